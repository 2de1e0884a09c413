"""PyTorch checkpoints as people leave them: wrapped, prefixed, in other precisions, of other shapes."""

import argparse
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcnn import models
from jaxcnn.layers import Conv, Dense, GlobalAvgPool, Relu, residual, serial
from jaxcnn.models import Model
from jaxcnn.weights import Mismatch, WeightsError, from_torch, to_torch

MODEL = models.create("resnet20", num_classes=3)
OWN = Model(
    "own", serial(conv=Conv(4, 3), block=residual(Conv(4, 1)), pool=GlobalAvgPool(), head=Dense(3)), (6, 6, 2), 3
)


def tree_of(model, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(rng.random(a.shape, np.float32)), shapes)


TREE, OWN_TREE = tree_of(MODEL), tree_of(OWN)
ARRAYS, OWN_ARRAYS = to_torch(*TREE, MODEL), to_torch(*OWN_TREE, OWN)


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert all(map(np.array_equal, jax.tree.leaves(actual), jax.tree.leaves(expected)))


def adam(arrays):
    """The state dict of an optimizer: tensors by name as well, under numbers."""
    moments = {"step": np.float32(3), "exp_avg": np.ones((3, 3)), "exp_avg_sq": np.ones((3, 3))}
    return {"state": {i: dict(moments) for i in range(len(arrays))}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a: {"net": a, "acc": 91.2, "epoch": 7},
        lambda a: {
            "state_dict": a,
            "hyper_parameters": {"lr": 0.1, "layers": [1, 2]},
            "callbacks": {"x": np.ones((2, 2))},
        },
        lambda a: {"model_state": a, "optimizer_state": adam(a)},
        lambda a: {"params": a},
        lambda a: {"weights": {"network": {"inner": a}}, "epoch": np.array(3)},
        lambda a: {
            "model_state_dict": a,
            "optimizer_state_dict": adam(a),
            "loss": 0.1,
            "scheduler": {"k": np.ones((2, 2))},
        },
        lambda a: {"anything at all": a, "rng_state": np.ones(5, np.uint8), "ema_decay": np.ones(1)},
        lambda a: {"checkpoint": [a, {"lr": 0.1}]},
    ],
)
def test_the_one_state_dict_is_found_wherever_it_is(wrap):
    assert_same(from_torch(wrap(ARRAYS), MODEL), TREE)


def test_of_several_state_dicts_one_must_be_given():
    source = {"model": ARRAYS, "extra": {"ema": ARRAYS}, "optimizer": adam(ARRAYS)}
    with pytest.raises(WeightsError) as error:
        from_torch(source, MODEL)
    assert str(error.value) == (
        "state dict: holds 2 state dicts; give one of them as `source`: source['model'] with 97 arrays, "
        "source['extra']['ema'] with 97 arrays"
    )
    assert_same(from_torch(source["extra"], MODEL), TREE)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "net.", "backbone.", "module._orig_mod.", "a.b.c.", "model.net.module."],
)
@pytest.mark.parametrize(("model", "arrays", "tree"), [(MODEL, ARRAYS, TREE), (OWN, OWN_ARRAYS, OWN_TREE)])
def test_a_prefix_of_all_names_is_taken_away(prefix, model, arrays, tree):
    wrapped = {prefix + name: value for name, value in arrays.items()}
    assert_same(from_torch(wrapped, model), tree)
    wrapped["n_averaged"] = np.array(5)  # of torch.optim.swa_utils.AveragedModel
    assert_same(from_torch({"state_dict": wrapped, "epoch": 1}, model), tree)


def test_wrappers_inside_of_the_network_are_taken_away():
    """torch.compile of one block, not of the whole."""
    inside = {name.replace("layer2.0.", "layer2.0._orig_mod."): value for name, value in ARRAYS.items()}
    assert inside.keys() != ARRAYS.keys()
    assert_same(from_torch(inside, MODEL), TREE)


def test_a_prefix_of_some_names_leaves_the_others():
    """A backbone in a module, the head beside it."""
    parts = {name if name.startswith("linear.") else f"backbone.{name}": value for name, value in ARRAYS.items()}
    assert_same(from_torch(parts, MODEL), TREE)
    with pytest.raises(Mismatch, match=r"1 unused: criterion\.weight"):
        from_torch({**parts, "criterion.weight": np.ones((3, 3))}, MODEL)


def test_a_name_that_looks_like_a_prefix_is_kept():
    """AlexNet's convolutions are all called features.…, and without its top nothing else is there."""
    model = models.create("alexnet", include_top=False)
    tree = tree_of(model)
    assert_same(from_torch(to_torch(*tree, model), model), tree)


def test_an_nn_sequential_in_a_module_goes_by_order():
    model = Model("deep", serial(Conv(2, 1), Relu(), Conv(2, 1), GlobalAvgPool(), Dense(2)), (3, 3, 2), 2)
    tree = tree_of(model)
    places = {"conv1": "0", "conv2": "2", "dense1": "10"}
    arrays = {
        f"model.layers.{places[n.partition('.')[0]]}.{n.partition('.')[2]}": a
        for n, a in to_torch(*tree, model).items()
    }
    assert_same(from_torch(arrays, model), tree)


def test_names_may_be_those_behind_the_prefix_or_whole():
    theirs = {"conv": "a", "block/body": "b", "head": "c"}
    arrays = {
        f"module.{theirs[n.rpartition('.')[0].replace('.', '/')]}.{n.rpartition('.')[2]}": v
        for n, v in OWN_ARRAYS.items()
    }
    assert_same(from_torch(arrays, OWN, names=theirs), OWN_TREE)
    assert_same(from_torch(arrays, OWN, names={path: f"module.{name}" for path, name in theirs.items()}), OWN_TREE)


# ------------------------------------------------------------------------------------------------------- what fits only


def test_without_strict_what_fits_is_taken_and_the_rest_listed():
    ten = models.create("resnet20")
    source = {name: value for name, value in ARRAYS.items() if name != "bn1.bias"} | {"fc.weight": np.ones((2, 2))}
    fresh_params, _ = ten.init(jax.random.key(0))
    with pytest.warns(UserWarning) as caught:
        params, state = from_torch(source, ten, strict=False)
    (warning,) = [str(w.message) for w in caught]
    for words in (
        "1 missing: bn1.bias",
        "1 unused: fc.weight",
        "linear.weight is (3, 64), needed (10, 64)",
        "rest is taken",
    ):
        assert words in warning
    np.testing.assert_array_equal(params["top"]["dense1"]["kernel"], fresh_params["top"]["dense1"]["kernel"])
    np.testing.assert_array_equal(params["batch_norm1"]["bias"], fresh_params["batch_norm1"]["bias"])
    np.testing.assert_array_equal(params["conv1"]["kernel"], TREE[0]["conv1"]["kernel"])
    assert_same(state, TREE[1])


def test_without_strict_nothing_is_said_where_all_fits_and_nothing_taken_where_nothing_does():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(from_torch(ARRAYS, MODEL, strict=False), TREE)
    with pytest.raises(Mismatch, match="97 missing"):
        from_torch({"other.weight": np.ones((2, 2))}, MODEL, strict=False)


def test_without_strict_names_may_name_a_part():
    arrays = {"first.weight": OWN_ARRAYS["conv.weight"], "first.bias": OWN_ARRAYS["conv.bias"]}
    with pytest.warns(UserWarning, match=r"4 missing: block\.body\.bias, .*head\.weight"):
        params, _ = from_torch(arrays, OWN, names={"conv": "first"}, strict=False)
    np.testing.assert_array_equal(params["conv"]["kernel"], OWN_TREE[0]["conv"]["kernel"])


def test_shapes_of_both_sides_are_shown():
    """A network of 3×3 convolutions for one of 5×5."""
    source = {
        "c1.weight": np.ones((32, 1, 3, 3)),
        "c1.bias": np.ones(32),
        "c2.weight": np.ones((64, 32, 3, 3)),
        "c2.bias": np.ones(64),
    }
    with pytest.raises(WeightsError) as error:
        from_torch(source, models.create("lenet5"))
    for words in (
        "conv1 (none; it needs bias (6,) weight (6, 1, 5, 5))",
        "c1 weight (32, 1, 3, 3) bias (32,)",
        "make the model with",
    ):
        assert words in str(error.value)
    with pytest.raises(Mismatch, match=r"conv\.weight is \(4, 2, 5, 5\), needed \(4, 2, 3, 3\)"):
        from_torch({**OWN_ARRAYS, "conv.weight": np.ones((4, 2, 5, 5))}, OWN)


# ------------------------------------------------------------------------------------------------------------ the files


def test_a_pointer_of_git_lfs_is_named(tmp_path):
    from jaxcnn.weights import from_arrays, from_keras, load

    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 134\n"
    for call, suffix in (
        (from_torch, ".pth"),
        (from_torch, ".safetensors"),
        (load, ".safetensors"),
        (from_keras, ".h5"),
        (from_keras, ".keras"),
        (from_arrays, ".npz"),
    ):
        (tmp_path / f"a{suffix}").write_bytes(text)
        with pytest.raises(WeightsError, match=rf"a{suffix} is a Git LFS pointer, not the file itself; `git lfs pull`"):
            call(tmp_path / f"a{suffix}", OWN)


def test_a_file_of_safetensors_with_a_prefix(tmp_path):
    save_file({f"model.{name}": value for name, value in OWN_ARRAYS.items()}, tmp_path / "a.safetensors")
    assert_same(from_torch(str(tmp_path / "a.safetensors"), OWN), OWN_TREE)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the extra `parity` is not installed")


def test_what_stands_beside_the_tensors_of_a_checkpoint(tmp_path, torch):
    """NumPy's numbers and a parsed command line, in which nothing can run."""
    arrays = {name: torch.from_numpy(value.copy()) for name, value in ARRAYS.items()}
    about = {"acc": np.float64(91.2), "epoch": np.int64(3), "args": argparse.Namespace(lr=0.1)}
    torch.save({"net": arrays, **about}, tmp_path / "a.pth")
    assert_same(from_torch(tmp_path / "a.pth", MODEL), TREE)
    torch.save(({"net": arrays}, 7), tmp_path / "a.ckpt")
    assert_same(from_torch(tmp_path / "a.ckpt", MODEL), TREE)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_of_tensors(tmp_path, torch, dtype):
    arrays = {name: torch.from_numpy(value.copy()).to(getattr(torch, dtype)) for name, value in OWN_ARRAYS.items()}
    torch.save(arrays, tmp_path / "a.pt")
    params, _ = from_torch(tmp_path / "a.pt", OWN)
    kernel = arrays["head.weight"].float().numpy().T
    assert params["head"]["kernel"].dtype == jnp.float32 and np.array_equal(params["head"]["kernel"], kernel)


def test_a_tensor_under_two_names(torch):
    model = Model("tied", serial(a=Conv(2, 1), b=Conv(2, 1)), (3, 3, 2), 0)
    shared = torch.arange(4.0).reshape(2, 2, 1, 1)
    params, _ = from_torch(
        {n: shared if n.endswith("t") else torch.zeros(2) for n in ("a.weight", "a.bias", "b.weight", "b.bias")}, model
    )
    assert (params["a"]["kernel"] == params["b"]["kernel"]).all()


@pytest.mark.parametrize("kind", ["sparse", "meta", "quantized", "nested"])
def test_tensors_without_plain_values_are_one_line(torch, kind):
    plain = torch.ones(3, 4)
    make = {
        "sparse": lambda: plain.to_sparse(),
        "meta": lambda: plain.to("meta"),
        "quantized": lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([plain, plain[:2]]),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = make()
        with pytest.raises(WeightsError, match=rf"state dict: head\.weight is a {kind} tensor") as error:
            from_torch({**OWN_ARRAYS, "head.weight": tensor}, OWN)
    assert "\n" not in str(error.value)


def test_a_refused_pickle_says_what_to_save_instead(tmp_path, torch):
    """No advice to switch the safety off, no colors of a terminal, one line."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    for name, words in (
        ("module.pth", "torch.save(module.state_dict(), path)"),
        ("script.pt", "is a TorchScript program"),
    ):
        with pytest.raises(WeightsError) as error:
            from_torch(tmp_path / name, OWN)
        said = str(error.value)
        assert words in said and str(tmp_path / name) in said
        assert not any(
            unwanted in said for unwanted in ("weights_only=False", "weights_only set to", "\x1b", "\n", "Re-running")
        )
