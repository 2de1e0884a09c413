"""Models on disk."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.files import tensors
from jaxcnn.layers import BatchNorm, Dense, Flatten, Layer, serial
from jaxcnn.models import Model
from jaxcnn.weights import Preprocessing, WeightsError, describe, load, save

SMALL = Model("small", serial(Flatten(), BatchNorm(), Dense(3)), (2, 2, 1), 3)


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def in_dtype(model: Model, dtype) -> Model:
    """The same model with parameters of another dtype."""

    def init(key, input_shape):
        params, state = model.layer.init(key, input_shape)
        return jax.tree.map(lambda a: a.astype(dtype), params), state

    return dataclasses.replace(model, layer=Layer(init, model.layer.apply))


@pytest.fixture
def saved(tmp_path):
    params, state = SMALL.init(jax.random.key(0))
    state = jax.tree.map(lambda a: a + 0.1, state)
    save(tmp_path / "small.safetensors", SMALL, params, state, classes=["a", "b", "c"])
    return tmp_path / "small.safetensors", params, state


# One of each family; those of a hundred megabytes without their dense layers.
FAMILIES = [
    ("lenet5", {}),
    ("zero_one", {}),
    ("cats_vs_dogs_cnn", {}),
    ("resnet20", {}),
    ("resnet18", {"include_top": False, "input_size": (64, 48)}),
    ("resnet50", {"form": "keras", "num_classes": 2}),
    ("alexnet", {"include_top": False}),
    ("vgg11", {"include_top": False, "batch_norm": True}),
    ("googlenet", {"auxiliary": False}),
    ("squeezenet1_1", {"in_channels": 1}),
    ("mobilenet_v2", {"width": 0.5}),
]


@pytest.mark.parametrize(("name", "options"), FAMILIES)
def test_every_model_comes_back(tmp_path, name, options):
    model, rng = models.create(name, **options), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))  # drawing them with JAX would compile for seconds
    params, state = jax.tree.map(lambda a: jnp.asarray(rng.random(a.shape, np.float32), a.dtype), shapes)
    save(tmp_path / "model.safetensors", model, params, state)
    about = describe(tmp_path / "model.safetensors")
    again = models.create(about["model"], **about["options"])
    assert_same_bits(load(tmp_path / "model.safetensors", again), (params, state))
    os.remove(tmp_path / "model.safetensors")  # pytest keeps folders, and the largest is 76 MB


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_come_back(tmp_path, dtype):
    model = in_dtype(SMALL, dtype)
    params, state = model.init(jax.random.key(0))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {dtype}
    save(tmp_path / "half.safetensors", model, params, state)
    assert_same_bits(load(tmp_path / "half.safetensors", model), (params, state))
    with pytest.raises(WeightsError, match=r"half\.safetensors: .*expects F32\[3\] but has B?F16\[3\]"):
        load(tmp_path / "half.safetensors", SMALL)


def test_the_description(saved):
    path, params, state = saved
    expected = {
        "model": "small",
        "options": {},
        "input_shape": [2, 2, 1],
        "num_classes": 3,
        "loss": "softmax_cross_entropy",
        "classes": ["a", "b", "c"],
        "preprocessing": None,
    }
    assert describe(path) == expected
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == expected
    assert sorted(os.listdir(path.parent)) == ["small.json", "small.safetensors"]
    assert_same_bits(load(str(path), SMALL), (params, state))  # a path may be a string


def test_preprocessing_travels_with_the_weights(saved):
    path, params, state = saved
    prepare = Preprocessing((2, 2), channels="BGR", scale=1.0, mean=(104, 117, 123))
    save(path, SMALL, params, state, preprocessing=prepare)
    assert describe(path)["preprocessing"] == prepare
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["preprocessing"]["mean"] == [104, 117, 123]


def test_files_from_before_preprocessing_was_written(saved):
    path, params, state = saved
    about = {name: value for name, value in describe(path).items() if name != "preprocessing"}
    tensors.write(path, {"params": params, "state": state}, about)
    assert describe(path)["preprocessing"] is None


def test_options_create_the_model_again(tmp_path):
    model = models.create("lenet5", num_classes=3, classic=True)
    save(tmp_path / "a.safetensors", model, *model.init(jax.random.key(0)))
    about = describe(tmp_path / "a.safetensors")
    assert about["options"] == {"num_classes": 3, "classic": True} and about["classes"] is None
    load(tmp_path / "a.safetensors", models.create(about["model"], **about["options"]))


def test_another_models_weights_are_refused(saved):
    path = saved[0]
    wider = Model("wider", serial(Flatten(), BatchNorm(), Dense(4)), (2, 2, 1), 4)
    with pytest.raises(
        WeightsError, match=r"small\.safetensors: .*params/dense1/bias expects F32\[4\] but has F32\[3\]"
    ):
        load(path, wider)
    plain = Model("plain", serial(Flatten(), Dense(3)), (2, 2, 1), 3)
    with pytest.raises(WeightsError, match=r"4 unknown: params/batch_norm1/bias, .*state/batch_norm1/var"):
        load(path, plain)


def test_another_number_of_classes_is_explained(tmp_path):
    ten, three = models.create("resnet20"), models.create("resnet20", num_classes=3)
    save(tmp_path / "ten.safetensors", ten, *ten.init(jax.random.key(0)))
    with pytest.raises(WeightsError) as error:
        load(tmp_path / "ten.safetensors", three)
    for words in (
        "params/top/dense1/bias expects F32[3] but has F32[10]",
        "The file's resnet20 tells 10 classes apart, this resnet20 3: create it with that many (num_classes=…)",
    ):
        assert words in str(error.value)


def test_names_of_other_classes_are_not_saved(saved):
    path, params, state = saved
    for classes in (["a", "b"], ["a", "b", "c", "d"], []):
        with pytest.raises(
            ValueError, match=rf"`classes` must be the names of the 3 classes of small; got {len(classes)}"
        ):
            save(path, SMALL, params, state, classes=classes)
    assert describe(path)["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(saved, value):
    path, params, state = saved
    state["batch_norm1"]["var"] = state["batch_norm1"]["var"].at[2].set(value)
    save(path, SMALL, params, state)
    with pytest.raises(
        WeightsError, match=r"small\.safetensors: state/batch_norm1/var holds NaN or infinity in 1 of 4"
    ):
        load(path, SMALL)


def test_a_damaged_file_is_named(saved):
    path = saved[0]
    path.write_bytes(path.read_bytes()[:-1])
    for call in (lambda: load(path, SMALL), lambda: describe(path)):
        with pytest.raises(WeightsError, match=r"small\.safetensors: expected a safetensors file"):
            call()
    path.unlink()
    for call in (lambda: load(path, SMALL), lambda: describe(path)):
        with pytest.raises(FileNotFoundError, match=r"small\.safetensors: no such weights file"):
            call()


def test_a_checkpoint_is_no_model(tmp_path):
    tensors.write(tmp_path / "checkpoint.safetensors", {"a": jnp.ones(2)}, {"history": []})
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: expected the weights of a jaxcnn model"):
        describe(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("path", ["weights.npz", "weights", "weights.safetensors.gz"])
def test_the_suffix_says_what_it_is(tmp_path, path):
    params, state = SMALL.init(jax.random.key(0))
    path = tmp_path / path
    for call in (lambda: save(path, SMALL, params, state), lambda: load(path, SMALL), lambda: describe(path)):
        with pytest.raises(ValueError, match=r"`path` must end in \.safetensors; got .*weights"):
            call()
    assert not os.listdir(tmp_path)


def test_arrays_of_another_model_are_not_saved(saved):
    path, params, state = saved
    before = path.read_bytes()
    wrong_shape = params | {"dense1": {"kernel": jnp.zeros((4, 4)), "bias": jnp.zeros(4)}}
    wrong_dtype = jax.tree.map(lambda a: a.astype(jnp.float16), params)
    for p, s in ((wrong_shape, state), (wrong_dtype, state), ({}, state), (params, {}), (state, params)):
        with pytest.raises(ValueError, match=r"weights\.save: the arrays are not those of small; expected .*, got "):
            save(path, SMALL, p, s)
    assert path.read_bytes() == before and len(os.listdir(path.parent)) == 2
