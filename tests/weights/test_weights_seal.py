"""Files of ours after somebody or something changed them: refused by name, whatever was changed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxcnn import models
from jaxcnn.files import tensors
from jaxcnn.files.seal import FORMAT, sealed
from jaxcnn.files.trees import flatten
from jaxcnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Relu,
    residual,
    serial,
    stateless,
)
from jaxcnn.models import Model
from jaxcnn.weights import Preprocessing, WeightsError, describe, load, load_model, save


def model(*layers, name="net", shape=(4, 4, 1), loss="softmax_cross_entropy", eps=1e-5, **more):
    layers = layers or (Conv(2, 3, padding="SAME"), BatchNorm(eps=eps), Relu(), Flatten(), Dense(3))
    return Model(name, serial(*layers, **more), shape, 3, loss)


def saved(path, net, **more):
    params, state = net.init(jax.random.key(0))
    save(path, net, params, state, **more)
    return params, state


@pytest.mark.parametrize("seed", range(4))
def test_every_flipped_bit_is_refused(tmp_path, seed):
    """Fifty bits each of a model: of the arrays and of the header, where names, places and metadata stand."""
    path, net, rng = tmp_path / "net.safetensors", model(), np.random.default_rng(seed)
    saved(path, net, classes=["Käse", "b", "c"])
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    bits = [*rng.integers(0, 8 * header, 25), *rng.integers(8 * header, 8 * len(whole), 25)]
    for bit in map(int, bits):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"net\.safetensors") as error:
            load(path, net)
        assert "\n" not in str(error.value)
    path.write_bytes(whole)
    load(path, net)


@pytest.mark.parametrize("flips", [200])
def test_every_flipped_bit_of_a_checkpoint_is_refused(tmp_path, flips):
    """The train state goes through the same file, optimizer and all."""
    path, rng = tmp_path / "checkpoint.safetensors", np.random.default_rng(0)
    tree = {
        "params": {"k": jnp.arange(60.0)},
        "key": jax.random.key(1),
        "step": jnp.array(7),
        "half": jnp.ones(3, "bfloat16"),
    }
    tensors.write(path, tree, {"history": [{"loss": 0.5}]})
    whole = path.read_bytes()
    for bit in map(int, rng.choice(8 * len(whole), flips, replace=False)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"checkpoint\.safetensors"):
            tensors.read(path, tree)


def test_a_newer_format_is_refused_by_name(tmp_path, monkeypatch):
    path, net = tmp_path / "net.safetensors", model()
    with monkeypatch.context() as newer:
        newer.setattr("jaxcnn.files.seal.FORMAT", FORMAT + 1)
        saved(path, net)
    for call in (lambda: load(path, net), lambda: describe(path)):
        with pytest.raises(
            WeightsError, match=rf"net\.safetensors: .*format {FORMAT + 1}, and this jaxcnn knows .*{FORMAT}"
        ):
            call()


def test_files_from_before_the_hash_still_load(tmp_path):
    path, net = tmp_path / "net.safetensors", model()
    params, state = saved(path, net)
    about = describe(path)
    arrays = flatten({"params": params, "state": state})
    save_file({n: np.asarray(a) for n, a in arrays.items()}, path, metadata={"jaxcnn": json.dumps(about)})
    back, _ = load(path, net)
    assert (back["conv1"]["kernel"] == params["conv1"]["kernel"]).all() and describe(path) == about


# ---------------------------------------------------------------------------------------------- other models, settings


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"eps": 1e-3}, {}, "eps 0.001 in the file, 1e-05 in the model at batch_norm1"),
        ({"name": "a"}, {"name": "b"}, "model 'a' in the file, 'b' in the model"),
        ({"loss": "sigmoid_binary_cross_entropy"}, {}, "loss 'sigmoid_binary_cross_entropy' in the file, 'softmax"),
    ],
)
def test_other_settings_are_refused_with_both_values(tmp_path, there, here, words):
    saved(tmp_path / "net.safetensors", model(**there))
    with pytest.raises(WeightsError) as error:
        load(tmp_path / "net.safetensors", model(**here))
    assert "net.safetensors: the file is not of this" in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        (Conv(1, 3, stride=1), Conv(1, 3, stride=2), "stride [1, 1] in the file, [2, 2] in the model at conv1"),
        (Conv(1, 3, padding=1), Conv(1, 3), "padding [[1, 1], [1, 1]] in the file, [[0, 0], [0, 0]] in the model"),
        (Conv(1, 1, dilation=2), Conv(1, 1), "dilation [2, 2] in the file"),
        (AvgPool(2), AvgPool(2, stride=1), "stride [2, 2] in the file, [1, 1] in the model at avg_pool1"),
        (Relu(), Relu(6), "max_value None in the file, 6 in the model at relu1"),
        (Relu(), AvgPool(1), "relu1 (relu) is in the file only; avg_pool1 (avg_pool) is in the model only"),
        (
            residual(Conv(1, 1), None, jax.nn.relu),
            residual(Conv(1, 1)),
            "activation relu in the file, None in the model",
        ),
    ],
)
def test_each_setting_of_a_layer_is_compared(tmp_path, there, here, words):
    saved(tmp_path / "net.safetensors", model(there, GlobalAvgPool(), Dense(3)))
    with pytest.raises(WeightsError) as error:
        load(tmp_path / "net.safetensors", model(here, GlobalAvgPool(), Dense(3)))
    assert words in str(error.value)


def test_another_preprocessing_in_front_is_refused(tmp_path):
    """A function that is a dataclass says its settings itself."""

    def prepared(**more):
        first = stateless("preprocessing", Preprocessing((4, 4), **more))
        return model(first, Conv(1, 3), GlobalAvgPool(), Dense(3), shape=(4, 4, 3))

    saved(tmp_path / "net.safetensors", prepared(mean=(0.1, 0.2, 0.3)))
    with pytest.raises(
        WeightsError, match=r"channels RGB in the file, BGR in the model at preprocessing1; mean \[0\.1"
    ):
        load(tmp_path / "net.safetensors", prepared(channels="BGR"))
    load(tmp_path / "net.safetensors", prepared(mean=(0.1, 0.2, 0.3)))


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    """As `num_classes=labels.max() + 1` gives them."""
    net = models.create("lenet5", num_classes=np.int64(3))
    saved(tmp_path / "net.safetensors", net, classes=np.array(["a", "b", "c"]))
    about = describe(tmp_path / "net.safetensors")
    assert about["options"] == {"num_classes": 3} and about["classes"] == ["a", "b", "c"]
    assert json.loads((tmp_path / "net.json").read_text())["options"] == {"num_classes": 3}
    load_model(tmp_path / "net.safetensors")


def test_what_means_the_same_is_the_same(tmp_path):
    """An int for each axis, a word for no padding, and what only training knows."""
    saved(
        tmp_path / "net.safetensors",
        model(Conv(2, 3, stride=1), BatchNorm(0.9), Dropout(0.5), GlobalAvgPool(), Dense(3)),
    )
    same = model(
        Conv(2, (3, 3), stride=(1, 1), padding=[(0, 0), (0, 0)], kernel_init="keras"),
        BatchNorm(momentum=0.99),
        GlobalAvgPool(),
        Dense(3),
    )
    load(tmp_path / "net.safetensors", same)


def test_another_shape_is_refused_only_where_it_is_flattened(tmp_path):
    path = tmp_path / "net.safetensors"
    saved(path, model(Flatten(), Dense(3), shape=(4, 4, 1)))
    with pytest.raises(WeightsError, match=r"input_shape \[4, 4, 1\] in the file, \[2, 8, 1\] in the model"):
        load(path, model(Flatten(), Dense(3), shape=(2, 8, 1)))
    saved(path, model(Conv(2, 3), GlobalAvgPool(), Dense(3), shape=(4, 4, 1)))
    load(path, model(Conv(2, 3), GlobalAvgPool(), Dense(3), shape=(9, 7, 1)))


def test_a_model_of_ones_own_is_not_made_by_its_name(tmp_path):
    saved(tmp_path / "net.safetensors", model(name="tiny"))
    with pytest.raises(WeightsError, match=r"net\.safetensors: .*'tiny', .*weights\.load\(path, model\) fills it"):
        load_model(tmp_path / "net.safetensors")


# ------------------------------------------------------------------------------------------------------ wrong metadata

RIGHT = {"model": "lenet5", "options": {}, "input_shape": [28, 28, 1], "num_classes": 10, "classes": None}
PREPROCESSING = {"size": [28, 28], "resize": None, "channels": "RGB", "scale": 1.0, "mean": [0, 0, 0], "std": [1, 1, 1]}
WRONG = [None, 7, -1, 1.5, True, "text", [], [1, "a"], {}, {"a": None}, [[]], "10" * 99]


@pytest.mark.parametrize(
    "field", [*RIGHT, "preprocessing", "layers", "loss", *(f"preprocessing/{n}" for n in PREPROCESSING)]
)
def test_wrong_types_in_the_metadata_are_one_line(tmp_path, field):
    """Each field with each kind of value: it loads as before, or says which file and field."""
    path = tmp_path / "net.safetensors"
    for old in (False, True):
        for value in WRONG:
            about = {**RIGHT, "preprocessing": dict(PREPROCESSING)}
            place = about["preprocessing"] if "/" in field else about
            place[field.rpartition("/")[2]] = value
            entry = json.dumps(about) if old else sealed(about, "0" * 64)
            save_file({"a": np.ones(1, "f4")}, path, metadata={"jaxcnn": entry})
            for call in (describe, load_model):
                try:
                    call(path)
                except WeightsError as error:
                    assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "entry", ["", "null", "[]", "7", "{", "{}", '{"model": 1', "[" * 100_000, '{"format": 2}', '"model"']
)
def test_metadata_that_is_no_description_is_one_line(tmp_path, entry):
    path = tmp_path / "net.safetensors"
    save_file({"a": np.ones(1, "f4")}, path, metadata={"jaxcnn": entry})
    for call in (describe, load_model, tensors.metadata, lambda path: load(path, model())):
        with pytest.raises(WeightsError, match=r"net\.safetensors: ") as error:
            call(path)
        assert "\n" not in str(error.value)
