"""PyTorch's state dicts, without PyTorch: what goes where, and what is said when it does not fit."""

import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file
from weights_tools import flattening, sequential_weights

from jaxcnn import models
from jaxcnn.layers import Conv, Dense, GlobalAvgPool, Relu, residual, serial
from jaxcnn.models import Model
from jaxcnn.weights import Mismatch, WeightsError, explain, from_torch, to_torch

MODEL = flattening()


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape) and np.asarray(a).tobytes() == np.asarray(b).tobytes()


def random_tree(model, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(rng.random(a.shape, np.float32)), shapes)


def tiny(kind="plain"):
    layers = (Conv(2, 3), Relu(), Conv(2, 3), GlobalAvgPool(), Dense(2))
    return Model(f"tiny {kind}", serial(*layers), (6, 6, 2), 2)


# ------------------------------------------------------------------------------------------------------ what goes where


def test_every_array_lands_in_its_place():
    """By the definition of each layer in PyTorch's layout, written with loops over NumPy arrays."""
    source = sequential_weights()
    params, state = from_torch(source, MODEL)
    x = np.random.default_rng(1).standard_normal((2, 9, 11, 2)).astype(np.float32)

    def windows(maps, size):
        return np.lib.stride_tricks.sliding_window_view(maps, (size, size), axis=(2, 3))

    def norm(values, i, axis):
        shape = [-1 if a == axis else 1 for a in range(values.ndim)]
        scale, bias, mean, var = (
            source[f"{i}.{leaf}"].reshape(shape) for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (values - mean) / np.sqrt(var + 1e-5) * scale + bias

    y = np.einsum("nihwuv,oiuv->nohw", windows(x.transpose(0, 3, 1, 2), 3), source["0.weight"])
    y = np.maximum(norm(y, 1, 1), 0)
    y = np.repeat(y, 2, axis=1)  # output channel c·2 + m is filter m on channel c
    y = np.einsum("nohwuv,ouv->nohw", windows(y, 2), source["3.weight"][:, 0]) + source["3.bias"][:, None, None]
    y = windows(y, 2).max((-2, -1))[:, :, ::2, ::2]
    y = norm(y.reshape(2, -1), 6, 1)
    y = np.maximum(y @ source["7.weight"].T + source["7.bias"], 0)
    expected = y @ source["9.weight"].T + source["9.bias"]
    actual, _ = MODEL.apply(params, state, x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lenet5", {}),
        ("resnet20", {}),
        ("resnet18", {"include_top": False}),
        ("resnet50", {"num_classes": 3}),
        ("vgg11", {"include_top": False}),
        ("vgg13", {"include_top": False, "batch_norm": True}),
        ("alexnet", {"include_top": False}),
        ("googlenet", {"num_classes": 3}),
        ("googlenet", {"auxiliary": False}),
        ("squeezenet1_1", {}),
        ("mobilenet_v2", {"width": 0.5}),
    ],
)
def test_there_and_back(name, options):
    model = models.create(name, **options)
    tree = random_tree(model)
    arrays = to_torch(*tree, model)
    assert len(arrays) == len(jax.tree.leaves(tree))
    assert all(type(a) is np.ndarray and a.flags.c_contiguous for a in arrays.values())
    assert_same_bits(from_torch(arrays, model), tree)


@pytest.mark.parametrize("name", models.names())
def test_names_of_the_whole_catalogue_are_one_to_one(name):
    """from_torch raises otherwise; and known ones are torchvision's, not ours."""
    rows = explain(models.create(name), "torch").assignments
    assert len({row.source for row in rows}) == len({row.target for row in rows}) == len(rows)
    some = {
        "alexnet": {"features.10.weight": (256, 256, 3, 3), "classifier.6.weight": (1000, 4096)},
        "vgg19": {"features.34.weight": (512, 512, 3, 3), "classifier.0.weight": (4096, 25088)},
        "googlenet": {"inception4d.branch3.1.bn.running_var": (64,), "aux2.fc1.weight": (1024, 2048)},
        "resnet152": {"layer3.35.conv2.weight": (256, 256, 3, 3), "layer4.0.downsample.1.running_mean": (2048,)},
        "resnet110": {"layer3.17.bn2.bias": (64,), "linear.weight": (10, 64)},
        "squeezenet1_1": {"features.12.expand3x3.weight": (256, 64, 3, 3), "classifier.1.bias": (1000,)},
        "mobilenet_v2": {"features.17.conv.1.0.weight": (960, 1, 3, 3), "features.1.conv.2.weight": (16,)},
    }.get(name, {})
    shapes = {row.source: row.source_shape for row in rows}
    assert some.items() <= shapes.items()


def test_nothing_is_shared_with_the_source():
    """A live module may be trained on, a donated buffer is reused."""
    source = sequential_weights()
    tree = from_torch(source, MODEL)
    before = jax.tree.map(lambda a: np.array(a), tree)
    arrays = to_torch(*tree, MODEL)
    for value in [*source.values(), *arrays.values()]:
        assert value.flags.writeable
        value *= 0
    assert_same_bits(jax.tree.map(np.asarray, tree), before)


def test_what_a_model_is_made_without_is_ignored_with_the_reason():
    whole, cut = models.create("resnet20"), models.create("resnet20", include_top=False)
    params, state = random_tree(whole)
    expected = ({name: value for name, value in params.items() if name != "top"}, state)
    assert_same_bits(from_torch(to_torch(params, state, whole), cut), expected)
    assert (r"linear\..*", "the model is without its part 'top'") in explain(cut, "torch").ignored
    with pytest.raises(Mismatch, match=r"1 unused: fc\.weight"):  # only what the table says
        from_torch(to_torch(params, state, whole) | {"fc.weight": np.ones((10, 64), np.float32)}, cut)


def test_auxiliary_classifiers_are_ignored_where_the_model_has_none():
    whole, cut = models.create("googlenet", num_classes=3), models.create("googlenet", num_classes=3, auxiliary=False)
    params, state = random_tree(whole)
    expected = tuple({n: v for n, v in tree.items() if not n.startswith("auxiliary")} for tree in (params, state))
    assert_same_bits(from_torch(to_torch(params, state, whole), cut), expected)


def test_the_table_says_every_reason():
    lines = [" ".join(line.split()) for line in str(explain(MODEL, "torch")).splitlines()]
    for line in (
        "flattening from PyTorch",
        "params/conv1/kernel conv1.weight OIHW→HWIO",
        "params/dense1/kernel dense1.weight OI→IO, CHW→HWC",
        "params/dense2/kernel dense2.weight OI→IO",
        "state/batch_norm2/var batch_norm2.running_var CHW→HWC",
    ):
        assert line in lines
    for beginning in ("OIHW→HWIO: PyTorch", "OI→IO: ", "CHW→HWC: the map", "ignored .*\\bnum_batches_tracked: PyTorch"):
        assert any(line.startswith(beginning) for line in lines)
    with pytest.raises(ValueError, match="`library` must be one of torch, keras, arrays; got 'jax'"):
        explain(MODEL, "jax")


# ------------------------------------------------------------------------------------------------------- finding names


def test_an_nn_sequential_goes_by_order_even_where_the_file_has_lost_it(tmp_path):
    """safetensors sorts names: "10" before "2"."""
    layers = [layer for _ in range(4) for layer in (Conv(2, 1), Relu())]
    model = Model("deep", serial(*layers, GlobalAvgPool(), Dense(2)), (3, 3, 2), 2)
    tree = random_tree(model)
    arrays = to_torch(*tree, model)
    places = {"conv1": "0", "conv2": "2", "conv3": "4", "conv4": "6", "dense1": "10"}
    renamed = {f"{places[name.partition('.')[0]]}.{name.partition('.')[2]}": a for name, a in arrays.items()}
    save_file(renamed, tmp_path / "deep.safetensors")
    assert_same_bits(from_torch(tmp_path / "deep.safetensors", model), tree)


def test_layers_of_differing_shapes_go_by_shape():
    model = models.create("lenet5")
    tree = random_tree(model)
    theirs = {"conv1": "c1", "conv2": "c3", "dense1": "f5", "dense2": "f6", "dense3": "out"}
    arrays = {
        f"{theirs[name.partition('.')[0]]}.{name.partition('.')[2]}": a for name, a in to_torch(*tree, model).items()
    }
    assert_same_bits(from_torch(dict(reversed(arrays.items())), model), tree)


def test_layers_of_one_shape_want_names():
    model = tiny()
    tree = random_tree(model)
    theirs = {"conv1": "a", "conv2": "b", "dense1": "c"}
    arrays = {
        f"{theirs[name.partition('.')[0]]}.{name.partition('.')[2]}": a for name, a in to_torch(*tree, model).items()
    }
    with pytest.raises(
        WeightsError, match=r"layers that fit none or several of the source's: conv1 \(a, b\), conv2 \(a, b\)"
    ):
        from_torch(arrays, model)
    assert_same_bits(from_torch(arrays, model, names=theirs), tree)
    swapped = from_torch(arrays, model, names=theirs | {"conv1": "b", "conv2": "a"})
    assert (swapped[0]["conv1"]["kernel"] == tree[0]["conv2"]["kernel"]).all()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"conv1": "a", "conv2": "b"}, "without a name: dense1"),
        ({"conv1": "a", "conv2": "a", "dense1": "c"}, "named twice: a"),
        ({"conv1": "a", "conv2": "b", "dense1": "c", "conv3": "d"}, "no layer of the model: conv3"),
    ],
)
def test_names_must_name_each_layer_once(names, words):
    with pytest.raises(ValueError, match=f"`names` must give each layer of tiny plain a name of its own; {words}"):
        from_torch({}, tiny(), names=names)


def test_other_numbers_of_layers_are_told():
    source = {f"{i}.weight": np.ones((2, 2, 3, 3), np.float32) for i in range(3)}
    with pytest.raises(
        WeightsError, match=r"2 layers of the kind convolution \(conv1, conv2\), the source 3 \(0, 1, 2"
    ):
        from_torch(source, tiny())


def test_own_names_reach_into_blocks():
    model = Model(
        "block", serial(block=residual(serial(Conv(2, 1))), pool=GlobalAvgPool(), head=Dense(2)), (3, 3, 2), 2
    )
    tree = random_tree(model)
    arrays = to_torch(*tree, model)
    assert set(arrays) == {"block.body.conv1.weight", "block.body.conv1.bias", "head.weight", "head.bias"}
    assert_same_bits(from_torch(arrays, model), tree)


def test_a_dataparallel_module_is_unwrapped():
    model = models.create("resnet20")
    tree = random_tree(model)
    wrapped = {f"module.{name}": value for name, value in to_torch(*tree, model).items()}
    assert_same_bits(from_torch(wrapped, model), tree)


# -------------------------------------------------------------------------------------------------------------- errors


def test_missing_unused_and_misshaped_names_are_listed():
    source = sequential_weights()
    names = {"conv1": "0", "batch_norm1": "1", "depthwise_conv1": "3", "batch_norm2": "6", "dense1": "7", "dense2": "9"}
    del source["3.bias"], source["1.running_var"]
    source |= {"11.weight": np.ones(3), "7.weight": np.ones((6, 95)), "0.weight": np.ones((4, 2, 3))}
    with pytest.raises(Mismatch) as error:
        from_torch(source, MODEL, names=names)
    assert error.value.missing == ("1.running_var", "3.bias")
    assert error.value.unused == ("11.weight",)
    assert error.value.misshaped == ("0.weight", "7.weight")
    for words in (
        "state dict: the arrays do not fit flattening; 2 missing: 1.running_var, 3.bias; 1 unused: 11.weight; ",
        "2 misshaped: 0.weight is (4, 2, 3), needed (4, 2, 3, 3), 7.weight is (6, 95), needed (6, 96)",
    ):
        assert words in str(error.value)
    assert "classes" not in str(error.value)


def test_long_lists_are_cut_in_the_message_only():
    with pytest.raises(Mismatch, match=r"97 missing: conv1\.weight, .*, …; 1 unused: x$") as error:
        from_torch({"x": np.ones(1)}, models.create("resnet20"))
    assert len(error.value.missing) == 97 and str(error.value).count(",") == 8


def test_another_number_of_classes_is_explained():
    ten, three = models.create("resnet20"), models.create("resnet20", num_classes=3)
    arrays = to_torch(*random_tree(ten), ten)
    with pytest.raises(Mismatch) as error:
        from_torch(arrays, three)
    assert error.value.misshaped == ("linear.bias", "linear.weight") and not error.value.missing
    for words in (
        "linear.weight is (10, 64), needed (3, 64)",
        "tell 10 classes apart, the model 3: create it with that",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(value):
    source = sequential_weights()
    source["7.weight"][2, 5:8] = value
    with pytest.raises(WeightsError, match=r"state dict: 7\.weight holds NaN or infinity in 3 of 576 values"):
        from_torch(source, MODEL)


def test_integers_are_no_weights():
    source = sequential_weights()
    source["9.bias"] = np.arange(3)
    with pytest.raises(WeightsError, match=r"9\.bias must hold floating-point numbers; got int64"):
        from_torch(source, MODEL)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, jnp.bfloat16])
def test_other_precisions_become_the_models(dtype):
    source = {n: v if n.endswith("tracked") else v.astype(dtype) for n, v in sequential_weights().items()}
    params, _ = from_torch(source, MODEL)
    kernel = params["dense2"]["kernel"]
    assert kernel.dtype == jnp.float32 and (np.asarray(kernel) == source["9.weight"].T.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (
            [1, 2],
            TypeError,
            "`source` must be a state dict or a path; got list. For a module, give module.state_dict()",
        ),
        ({"0.weight": "text"}, WeightsError, "state dict: expected arrays by name, found 0.weight: str"),
        ("weights.onnx", ValueError, "`source` must end in .safetensors, .pth.*; got weights.onnx"),
        ("nowhere.safetensors", FileNotFoundError, "nowhere.safetensors: no such weights file"),
        ("nowhere.pth", FileNotFoundError, "nowhere.pth: no such weights file"),
    ],
)
def test_other_sources_are_refused(source, error, words):
    with pytest.raises(error, match=words):
        from_torch(source, MODEL)


def test_a_truncated_safetensors_file_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(sequential_weights(), path)
    whole = path.read_bytes()
    for kept in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(WeightsError, match=rf"a\.safetensors: expected a safetensors file, found {kept} bytes"):
            from_torch(path, MODEL)


def test_a_pickle_without_pytorch_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(Tripwire(tmp_path)))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"a\.pth is a pickle, which only PyTorch reads safely.*jaxcnn\[parity\]"):
        from_torch(path, MODEL)
    assert not (tmp_path / "ran").exists()


class Tripwire:
    """Unpickling it leaves a file."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (self.folder / "ran").touch, ()
