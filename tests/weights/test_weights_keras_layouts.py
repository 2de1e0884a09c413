"""The layouts in which versions of Keras keep the same network: written by h5py as they write it."""

import io
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weights_tools import random_weights

from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, GlobalAvgPool, Layer, MaxPool, Relu, serial
from jaxcnn.models import Model
from jaxcnn.weights import Mismatch, WeightsError, from_keras

h5py = pytest.importorskip("h5py", reason="the extra `parity` is not installed")

NET = Model(
    "net", serial(Conv(4, 3), Relu(), MaxPool(2), Flatten(), Dense(5), Relu(), Dense(4), Relu(), Dense(3)), (6, 6, 2), 3
)
LAYERS = [  # class, name, settings, arrays
    ("Conv2D", "conv2d", {"kernel_size": [3, 3], "activation": "relu"}, {"kernel": (3, 3, 2, 4), "bias": (4,)}),
    ("MaxPooling2D", "max_pooling2d", {"pool_size": [2, 2], "strides": [2, 2]}, {}),
    ("Flatten", "flatten", {}, {}),
    ("Dense", "dense", {"activation": "relu"}, {"kernel": (16, 5), "bias": (5,)}),
    ("Dense", "dense_1", {"activation": "relu"}, {"kernel": (5, 4), "bias": (4,)}),
    ("Dense", "dense_2", {"activation": "softmax"}, {"kernel": (4, 3), "bias": (3,)}),
]
SNAKE = {"Conv2D": "conv2d", "MaxPooling2D": "max_pooling2d", "Flatten": "flatten", "Dense": "dense"}


def values(seed=0):
    rng = np.random.default_rng(seed)
    return {name: {leaf: random_weights(leaf, s, rng) for leaf, s in arrays.items()} for _, name, _, arrays in LAYERS}


def config():
    start = {"class_name": "InputLayer", "config": {"name": "input", "batch_input_shape": [None, 6, 6, 2]}}
    layers = [{"class_name": kind, "config": {"name": name, **settings}} for kind, name, settings, _ in LAYERS]
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": [start, *layers]}}


def old_container(file, arrays, step, names=False):
    """Keras 2.13 counts a layer with arrays twice (step 2), 2.14 once; each layer has a group, with arrays or not."""
    counts = {}
    for kind, name, _, _ in LAYERS:
        base = SNAKE[kind]
        number = counts.get(base, 0)
        counts[base] = number + (step if arrays[name] else 1)
        group = file.create_group(f"_layer_checkpoint_dependencies/{base}{f'_{number}' if number else ''}/vars")
        for i, value in enumerate(arrays[name].values()):
            group[str(i)] = value
    file.create_group("vars")
    file["metrics/mean/vars/0"] = np.float32(3)
    file["optimizer/vars/0"] = np.int64(3)


def whole_h5(file, arrays):
    file.attrs["model_config"] = json.dumps(config())
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [name.encode() for name in arrays]
    for name, leaves in arrays.items():
        made = group.create_group(name)
        made.attrs["weight_names"] = np.array([f"{name}/{leaf}:0".encode() for leaf in leaves], "S")
        for leaf, value in leaves.items():
            made[f"{name}/{leaf}:0"] = value


def archive(path, content, about=None):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "2.14.0"}))
        file.writestr("config.json", json.dumps(about or config()))
        file.writestr("model.weights.h5", content)


def in_memory(write, *arguments):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file, *arguments)
    return content.getvalue()


def assert_net(tree, arrays):
    params, state = tree
    places = {"conv1": "conv2d", "dense1": "dense", "dense2": "dense_1", "dense3": "dense_2"}
    assert not state and set(params) == set(places)
    for here, there in places.items():
        for leaf, value in arrays[there].items():
            np.testing.assert_array_equal(np.asarray(params[here][leaf]), value)


@pytest.mark.parametrize("step", [1, 2])
def test_archives_of_keras_2_13_and_2_14(tmp_path, step):
    arrays = values()
    archive(tmp_path / "a.keras", in_memory(old_container, arrays, step))
    assert_net(from_keras(tmp_path / "a.keras", NET), arrays)


@pytest.mark.parametrize("step", [1, 2])
def test_weights_of_keras_2_13_and_2_14(tmp_path, step):
    arrays = values()
    (tmp_path / "a.weights.h5").write_bytes(in_memory(old_container, arrays, step))
    names = {"conv1": "conv2d", "dense1": "dense"}
    names |= {f"dense{i + 1}": f"dense_{i * step}" for i in (1, 2)}
    assert_net(from_keras(tmp_path / "a.weights.h5", NET, names=names), arrays)


def test_the_first_bytes_say_what_a_file_is(tmp_path):
    """HDF5 under the name of an archive, as older versions wrote it under any name, and the reverse."""
    arrays = values()
    (tmp_path / "a.keras").write_bytes(in_memory(whole_h5, arrays))
    assert_net(from_keras(tmp_path / "a.keras", NET), arrays)
    archive(tmp_path / "a.h5", in_memory(old_container, arrays, 1))
    assert_net(from_keras(str(tmp_path / "a.h5"), NET), arrays)
    (tmp_path / "b.keras").write_bytes(b"PK neither")
    with pytest.raises(WeightsError, match=r"b\.keras: expected a \.keras file of Keras, .* neither HDF5 nor a zip"):
        from_keras(tmp_path / "b.keras", NET)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_configuration_of_each_is_compared(tmp_path, suffix):
    write = (in_memory(whole_h5, values()),) if suffix == ".h5" else ()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(*write) if write else archive(path, in_memory(old_container, values(), 2))
    wrong = Model(
        "net", serial(Conv(4, 3), MaxPool(2), Flatten(), Dense(5), Relu(), Dense(4), Relu(), Dense(3)), (6, 6, 2), 3
    )
    with pytest.raises(WeightsError, match="relu 'conv2d' is in the file, nothing like it in the model after conv1"):
        from_keras(path, wrong)


def test_half_precision_of_keras(tmp_path):
    """bfloat16 is none of HDF5's types: two bytes, and an attribute that says it."""
    model, kernel = Model("half", serial(Dense(2)), (3,), 2), jnp.arange(6.0).reshape(3, 2).astype(jnp.bfloat16)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        stored = file.create_dataset("layers/dense/vars/0", data=np.asarray(kernel))
        stored.attrs["dtype"] = "bfloat16"
        file["layers/dense/vars/1"] = np.ones(2, np.float16)
    params, _ = from_keras(tmp_path / "a.weights.h5", model)
    np.testing.assert_array_equal(params["dense1"]["kernel"], np.arange(6.0).reshape(3, 2))
    assert params["dense1"]["bias"].dtype == jnp.float32


def test_layers_of_one_name_in_two_models(tmp_path):
    """A backbone called "dense" inside, and a head called so outside: told apart by the way to them."""
    model = Model("two", serial(Dense(4), Relu(), Dense(3)), (5,), 3)
    rng = np.random.default_rng(0)
    inner, outer = (
        {"kernel": rng.random(s).astype("f4"), "bias": rng.random(s[-1]).astype("f4")} for s in ((5, 4), (4, 3))
    )
    dense = {"class_name": "Dense", "config": {"name": "dense", "activation": "linear"}}
    relu = {"class_name": "Dense", "config": {"name": "dense", "activation": "relu"}}
    nested = {"class_name": "Sequential", "config": {"name": "backbone", "layers": [relu]}}
    about = {"class_name": "Sequential", "config": {"name": "all", "layers": [nested, dense]}}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for i, leaf in enumerate(("kernel", "bias")):
            file[f"layers/sequential/layers/dense/vars/{i}"], file[f"layers/dense/vars/{i}"] = inner[leaf], outer[leaf]
    archive(tmp_path / "a.keras", content.getvalue(), about)
    params, _ = from_keras(tmp_path / "a.keras", model)
    np.testing.assert_array_equal(params["dense1"]["kernel"], inner["kernel"])
    np.testing.assert_array_equal(params["dense2"]["kernel"], outer["kernel"])
    named = from_keras(tmp_path / "a.keras", model, names={"dense1": "backbone/dense", "dense2": "dense"})
    assert jax.tree.all(jax.tree.map(np.array_equal, named[0], params))


def test_a_model_of_ones_own_class_goes_by_its_attributes(tmp_path):
    """Its configuration lists no layers: the arrays are taken, and that the settings were not compared is said."""
    model = Model("own", serial(Dense(4), Relu(), Dense(3)), (5,), 3)
    rng = np.random.default_rng(0)
    shapes = {"first": ((5, 4), (4,)), "second": ((4, 3), (3,))}
    arrays = {name: [rng.random(s).astype("f4") for s in both] for name, both in shapes.items()}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, both in arrays.items():
            for i, value in enumerate(both):
                file[f"{name}/vars/{i}"] = value
    archive(tmp_path / "a.keras", content.getvalue(), {"class_name": "Net", "config": {"trainable": True}})
    with pytest.warns(
        UserWarning, match="settings were not compared with the model's, since its configuration lists no"
    ):
        params, _ = from_keras(tmp_path / "a.keras", model, names={"dense1": "first", "dense2": "second"})
    np.testing.assert_array_equal(params["dense2"]["kernel"], arrays["second"][0])


# ---------------------------------------------------------------------------- batch norm without scale or without bias


def norm_without(*leaves):
    """A batch norm that lacks some of its learned arrays."""
    whole = BatchNorm(eps=1e-3)

    def init(key, input_shape):
        params, state = whole.init(key, input_shape)
        return {name: value for name, value in params.items() if name not in leaves}, state

    return Layer(
        init, lambda params, state, x, *, train=False, key=None: (x, state), "batch_norm", settings=whole.settings
    )


def norm_file(path, scale, center, suffix):
    names = ["gamma"] * scale + ["beta"] * center + ["moving_mean", "moving_variance"]
    arrays = {name: np.full(4, 2.0 + i, np.float32) for i, name in enumerate(names)}
    conv, dense = {"kernel": np.ones((3, 3, 2, 4), "f4")}, {"kernel": np.ones((4, 3), "f4"), "bias": np.ones(3, "f4")}
    layers = {"conv2d": conv, "batch_normalization_3": arrays, "dense": dense}
    norm = {"name": "batch_normalization_3", "epsilon": 1e-3, "axis": [3], "scale": scale, "center": center}
    described = [
        {"class_name": "Conv2D", "config": {"name": "conv2d", "kernel_size": [3, 3], "use_bias": False}},
        {"class_name": "BatchNormalization", "config": norm},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "pool"}},
        {"class_name": "Dense", "config": {"name": "dense", "activation": "linear"}},
    ]
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, leaves in layers.items():
            for i, value in enumerate(leaves.values()):
                file[f"layers/{name.removesuffix('_3')}/vars/{i}"] = value
    if suffix == ".keras":
        archive(path, content.getvalue(), {"class_name": "Sequential", "config": {"layers": described}})
    else:
        path.write_bytes(content.getvalue())
    return arrays


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False), (False, False)])
def test_batch_norm_without_scale_or_bias(tmp_path, suffix, scale, center):
    """The variables are numbered, so which is which the configuration tells, or else the model."""
    path = tmp_path / f"a{suffix}"
    arrays = norm_file(path, scale, center, suffix)
    lacking = ["scale"] * (not scale) + ["bias"] * (not center)
    net = serial(Conv(4, 3, use_bias=False), norm_without(*lacking), GlobalAvgPool(), Dense(3))
    params, state = from_keras(path, Model("net", net, (6, 6, 2), 3))
    found = {**params.get("batch_norm1", {}), **state["batch_norm1"]}
    ours = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
    assert {name: float(value[0]) for name, value in found.items()} == {ours[n]: float(v[0]) for n, v in arrays.items()}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_batch_norm_with_other_variables_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    norm_file(path, False, False, suffix)
    net = serial(Conv(4, 3, use_bias=False), BatchNorm(eps=1e-3), GlobalAvgPool(), Dense(3))
    with pytest.raises(Mismatch, match=r"2 missing: (\w+)/beta, \1/gamma\. .*use_scale=False.*use_bias=False"):
        from_keras(path, Model("net", net, (6, 6, 2), 3))


def test_paths_may_be_text_or_anything_with_a_path(tmp_path):
    arrays = values()
    archive(tmp_path / "a.keras", in_memory(old_container, arrays, 2))

    class Somewhere:
        def __fspath__(self):
            return str(tmp_path / "a.keras")

    for path in (str(tmp_path / "a.keras"), Somewhere()):
        assert jax.tree.structure(from_keras(path, NET)) == jax.tree.structure(
            jax.eval_shape(NET.init, jax.random.key(0))
        )
