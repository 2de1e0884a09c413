"""Keras' names and files, without Keras: files are written as Keras writes them, by h5py."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
from weights_tools import flattening, random_weights

from jaxcnn import models
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, Layer, SeparableConv, serial
from jaxcnn.models import Model
from jaxcnn.weights import Mismatch, WeightsError, explain, from_keras
from jaxcnn.weights.foreign.dialects import KERAS
from jaxcnn.weights.foreign.matching import fill

NET = Model(
    "net", serial(Conv(3, 2, use_bias=False), BatchNorm(), SeparableConv(4, 2), Flatten(), Dense(2)), (4, 4, 2), 2
)
LAYERS = {  # in the order of computation, as Keras has them
    "first": {"kernel": (2, 2, 2, 3), "bias": (3,)},
    "norm": {"gamma": (3,), "beta": (3,), "moving_mean": (3,), "moving_variance": (3,)},
    "separable": {"depthwise_kernel": (2, 2, 3, 1), "pointwise_kernel": (1, 1, 3, 4), "bias": (4,)},
    "last": {"kernel": (16, 2), "bias": (2,)},
}
CLASSES = {"first": "Conv2D", "norm": "BatchNormalization", "separable": "SeparableConv2D", "last": "Dense"}
NAMES = {
    "conv1": "first",
    "batch_norm1": "norm",
    "serial1/depthwise": "separable/depthwise",
    "serial1/pointwise": "separable/pointwise",
    "dense1": "last",
}


def values(layers=LAYERS, seed=0):
    rng = np.random.default_rng(seed)
    return {
        layer: {name: random_weights(f"{layer}/{name}", shape, rng) for name, shape in variables.items()}
        for layer, variables in layers.items()
    }


def snake(name):
    return {"Conv2D": "conv2d", "SeparableConv2D": "separable_conv2d", "Dense": "dense"}.get(
        name, "batch_normalization"
    )


def write_weights(group, layers, names=True):
    """Keras 3's .weights.h5: classes, counted, and numbered variables; newer versions add the layer's name."""
    for layer, variables in layers.items():
        made = group.create_group(f"layers/{snake(CLASSES[layer])}/vars")
        if names:
            made.attrs["name"] = layer
        for i, value in enumerate(variables.values()):
            made[str(i)] = value


def write_layers(group, layers, path="{layer}/{name}"):
    """The HDF5 of Keras 2, and of Keras 3 for .h5: names as attributes."""
    group.attrs["layer_names"] = [layer.encode() for layer in layers]
    for layer, variables in layers.items():
        names = {name: path.format(layer=layer, name=name) for name in variables}
        made = group.create_group(layer)
        made.attrs["weight_names"] = [name.encode() for name in names.values()]
        for name, value in variables.items():
            made[names[name]] = value


def write_archive(path, layers, content, config=None):
    described = [{"class_name": CLASSES[layer], "config": {"name": layer}} for layer in layers]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config or {"config": {"layers": described}}))
        archive.writestr("model.weights.h5", content)


def assert_net(tree, layers):
    """The arrays of NET by hand, the bias folded."""
    params, state = tree
    pairs = (
        (params["conv1"]["kernel"], layers["first"]["kernel"]),
        (params["batch_norm1"]["scale"], layers["norm"]["gamma"]),
        (params["batch_norm1"]["bias"], layers["norm"]["beta"]),
        (state["batch_norm1"]["mean"], layers["norm"]["moving_mean"] - layers["first"]["bias"]),
        (state["batch_norm1"]["var"], layers["norm"]["moving_variance"]),
        (params["serial1"]["depthwise"]["kernel"], layers["separable"]["depthwise_kernel"].reshape(2, 2, 1, 3)),
        (params["serial1"]["pointwise"]["kernel"], layers["separable"]["pointwise_kernel"]),
        (params["serial1"]["pointwise"]["bias"], layers["separable"]["bias"]),
        (params["dense1"]["kernel"], layers["last"]["kernel"]),
        (params["dense1"]["bias"], layers["last"]["bias"]),
    )
    for actual, expected in pairs:
        np.testing.assert_array_equal(np.asarray(actual), expected)
    assert "bias" not in params["conv1"]


# ------------------------------------------------------------------------------------------------------------ the names


def test_a_folded_bias_changes_no_output():
    """norm(x ⊗ kernel + b) by NumPy, against the network without b."""
    model = Model("folded", serial(Conv(3, 1, use_bias=False), BatchNorm()), (1, 1, 2), 0)
    rng = np.random.default_rng(0)
    arrays = {
        "c/kernel": rng.normal(size=(1, 1, 2, 3)).astype(np.float32),
        **{f"n/{leaf}": rng.normal(size=3).astype(np.float32) for leaf in ("gamma", "beta", "moving_mean")},
        "n/moving_variance": rng.uniform(0.5, 1.5, 3).astype(np.float32),
        "c/bias": rng.normal(size=3).astype(np.float32),
    }
    params, state = fill(model, KERAS, arrays, names={"conv1": "c", "batch_norm1": "n"}, order=None, where="here")
    x = rng.normal(size=(5, 1, 1, 2)).astype(np.float32)
    y = x @ arrays["c/kernel"][0, 0] + arrays["c/bias"]
    y = (y - arrays["n/moving_mean"]) / np.sqrt(arrays["n/moving_variance"] + 1e-5) * arrays["n/gamma"] + arrays[
        "n/beta"
    ]
    np.testing.assert_allclose(model.apply(params, state, x)[0], y, rtol=1e-5, atol=1e-5)


def test_a_bias_that_nothing_takes_is_unused():
    """Only in front of a batch norm may it be folded."""
    model = Model("bare", serial(Conv(3, 1, use_bias=False), Conv(3, 1, use_bias=False), BatchNorm()), (1, 1, 2), 0)
    norm = {f"n/{leaf}": np.ones(3) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")}
    arrays = {"a/kernel": np.ones((1, 1, 2, 3)), "a/bias": np.ones(3), "b/kernel": np.ones((1, 1, 3, 3)), **norm}
    with pytest.raises(Mismatch, match=r"1 unused: a/bias$"):
        fill(model, KERAS, arrays, names={"conv1": "a", "conv2": "b", "batch_norm1": "n"}, order=None, where="here")
    arrays["b/bias"] = arrays.pop("a/bias")
    fill(model, KERAS, arrays, names={"conv1": "a", "conv2": "b", "batch_norm1": "n"}, order=None, where="here")


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "resnet50", "resnet101", "resnet152", "mobilenet_v2"])
def test_names_of_keras_applications(name):
    rows = explain(models.create(name), "keras").assignments
    assert len({row.source for row in rows}) == len(rows)
    some = {
        "vgg19": {"block5_conv4/kernel": (3, 3, 512, 512), "fc2/kernel": (4096, 4096), "predictions/bias": (1000,)},
        "resnet152": {"conv4_block36_3_bn/gamma": (1024,), "conv2_block1_0_conv/kernel": (1, 1, 64, 256)},
        "mobilenet_v2": {
            "expanded_conv_depthwise/kernel": (3, 3, 32, 1),
            "block_16_project_BN/moving_mean": (320,),
            "block_1_expand/kernel": (1, 1, 16, 96),
            "Conv_1_bn/beta": (1280,),
        },
    }.get(name, {})
    assert some.items() <= {row.source: row.source_shape for row in rows}.items()


def test_the_resnet_files_of_2019_call_their_last_layer_probs():
    model = models.create("resnet50", num_classes=2)
    arrays = {row.source: np.ones(row.source_shape, np.float32) for row in explain(model, "keras").assignments}
    old = {name.replace("predictions", "probs"): value for name, value in arrays.items()}
    for source in (arrays, old):
        params, _ = fill(model, KERAS, source, names=None, order=None, where="here")
        assert params["top"]["dense1"]["kernel"].shape == (2048, 2)
    cut = models.create("resnet50", include_top=False)
    for source in (arrays, old):
        fill(cut, KERAS, source, names=None, order=None, where="here")


def test_the_state_of_random_generators_is_ignored():
    model = Model("dense", serial(Dense(2)), (3,), 2)
    arrays = {"dense1/kernel": np.ones((3, 2)), "dense1/bias": np.ones(2), "dropout/seed_generator_state": np.ones(2)}
    fill(model, KERAS, arrays, names=None, order=None, where="here")


def test_the_table_names_the_fold():
    text = str(explain(NET, "keras"))
    assert "− bias: a bias in front of a batch norm" in text
    assert (
        "compared batch_norm1: batch_norm eps=1e-05" in text and "compared conv1: conv kernel_size=[2, 2], stri" in text
    )
    assert "compared" not in str(explain(NET, "torch"))  # a state dict says nothing about them
    assert "state/batch_norm1/mean" in text and "serial1/depthwise/kernel" in text and "HWCM→HW1O: Keras keeps" in text


# ------------------------------------------------------------------------------------------------------------ the files


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py", reason="the extra `parity` is not installed")


@pytest.mark.parametrize("names", [True, False])
def test_weights_of_keras_3(tmp_path, h5py, names):
    layers = values()
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        write_weights(file, layers, names)
        file.create_group("vars")
    found = (
        NAMES
        if names
        else {p: snake(CLASSES[n.partition("/")[0]]) + n[len(n.partition("/")[0]) :] for p, n in NAMES.items()}
    )
    assert_net(from_keras(tmp_path / "a.weights.h5", NET, names=found), layers)


@pytest.mark.parametrize("names", [True, False])
def test_the_archive_of_keras_3_has_names_and_order(tmp_path, h5py, names):
    layers, content = values(), io.BytesIO()
    with h5py.File(content, "w") as file:
        write_weights(file, layers, names)
    write_archive(tmp_path / "a.keras", layers, content.getvalue())
    assert_net(from_keras(tmp_path / "a.keras", NET, names=NAMES), layers)


@pytest.mark.parametrize("path", ["{layer}/{name}:0", "{layer}/{layer}/{name}:0", "net/{layer}/{name}"])
@pytest.mark.parametrize("whole", [True, False])
def test_hdf5_of_keras_2_and_3(tmp_path, h5py, path, whole):
    layers = values()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_layers(file.create_group("model_weights") if whole else file, layers, path)
    assert_net(from_keras(str(tmp_path / "a.h5"), NET, names=NAMES), layers)


def test_the_oldest_names(tmp_path, h5py):
    """Those of VGG16's file of 2016."""
    model = Model("old", serial(Conv(3, 2), Flatten(), Dense(2)), (2, 2, 2), 2)
    rng = np.random.default_rng(0)
    layers = {
        "block1_conv1": {"W_1:0": rng.random((2, 2, 2, 3)), "b_1:0": rng.random(3)},
        "flatten": {},
        "predictions": {"W_1:0": rng.random((3, 2)), "b_1:0": rng.random(2)},
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_layers(file, layers, "{layer}_{name}")
    params, _ = from_keras(tmp_path / "a.h5", model)
    np.testing.assert_array_equal(params["conv1"]["kernel"], layers["block1_conv1"]["W_1:0"].astype(np.float32))
    np.testing.assert_array_equal(params["dense1"]["bias"], layers["predictions"]["b_1:0"].astype(np.float32))


def test_long_lists_of_names_stand_in_parts(tmp_path, h5py):
    layers = values()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_layers(file, layers)
        names = file.attrs.pop("layer_names")
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
    assert_net(from_keras(tmp_path / "a.h5", NET, names=NAMES), layers)


def test_a_sequential_goes_by_its_order(tmp_path, h5py):
    """Ten convolutions of one shape, whose counted names sort otherwise."""
    model = Model("deep", serial(*(Conv(2, 1) for _ in range(11))), (3, 3, 2), 0)
    rng = np.random.default_rng(0)
    kernels = [rng.random((1, 1, 2, 2)).astype(np.float32) for _ in range(11)]
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for i, kernel in enumerate(kernels):
            file[f"layers/conv2d{f'_{i}' if i else ''}/vars/0"] = kernel
            file[f"layers/conv2d{f'_{i}' if i else ''}/vars/1"] = np.zeros(2)
    params, _ = from_keras(tmp_path / "a.weights.h5", model)
    for i, kernel in enumerate(kernels):
        np.testing.assert_array_equal(params[f"conv{i + 1}"]["kernel"], kernel)


def test_layers_of_two_classes_have_no_order_in_such_a_file(tmp_path, h5py):
    model = Model("two", serial(Conv(2, 1), Conv(2, 1)), (3, 3, 2), 0)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for key in ("conv2d", "locally_connected2d"):
            file[f"layers/{key}/vars/0"], file[f"layers/{key}/vars/1"] = np.ones((1, 1, 2, 2)), np.ones(2)
    with pytest.raises(WeightsError, match=r"conv1 \(conv2d, locally_connected2d\)"):
        from_keras(tmp_path / "a.weights.h5", model)


def test_variables_of_unknown_layers_are_unused(tmp_path, h5py):
    layers = values()
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        write_weights(file, layers)
        for i in range(3):
            file[f"layers/strange/vars/{i}"] = np.ones(3)
    with pytest.raises(Mismatch, match="3 unused: strange/0, strange/1, strange/2"):
        from_keras(tmp_path / "a.weights.h5", NET, names=NAMES)


def test_two_layers_of_one_name_are_refused(tmp_path, h5py):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for key in ("dense", "dense_1"):
            group = file.create_group(f"layers/{key}/vars")
            group.attrs["name"], group["0"] = "same", np.ones((2, 2))
    with pytest.raises(WeightsError, match="same/kernel occurs twice"):
        from_keras(tmp_path / "a.weights.h5", NET)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_truncated_and_other_files_are_named(tmp_path, h5py, suffix):
    path, content = tmp_path / f"a{suffix}", io.BytesIO()
    with h5py.File(content, "w") as file:
        (write_layers if suffix == ".h5" else write_weights)(file, values())
    if suffix == ".keras":
        write_archive(path, LAYERS, content.getvalue())
    else:
        path.write_bytes(content.getvalue())
    from_keras(path, NET, names=NAMES)
    whole = path.read_bytes()
    for damaged in (b"", whole[:7], whole[: len(whole) // 2], whole[:-1], b"no weights" * 99):
        path.write_bytes(damaged)
        with pytest.raises(
            WeightsError, match=rf"a{suffix}: expected a \S+ file of Keras, found {len(damaged):,} bytes: "
        ):
            from_keras(path, NET, names=NAMES)


def test_archives_without_weights_are_named(tmp_path, h5py):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("readme", "none")
    with pytest.raises(WeightsError, match=r"a\.keras: expected a \.keras file of Keras.*config\.json"):
        from_keras(tmp_path / "a.keras", NET)
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("nothing")
    with pytest.raises(WeightsError, match=r"empty\.h5: expected a \.h5 file of Keras"):
        from_keras(tmp_path / "empty.h5", NET)


def test_nan_in_a_file_is_named(tmp_path, h5py):
    layers = values()
    layers["first"]["bias"][1] = np.nan  # folded, and still seen
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_layers(file, layers)
    with pytest.raises(WeightsError, match=r"a\.h5: first/bias holds NaN or infinity in 1 of 3 values"):
        from_keras(tmp_path / "a.h5", NET, names=NAMES)


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (7, TypeError, "`source` must be a Keras model or a path; got int"),
        ("a.onnx", ValueError, "`source` must end in .keras, .weights.h5 or .h5; got a.onnx"),
        ("nowhere.h5", FileNotFoundError, "nowhere.h5: no such weights file"),
        (Layer(None, None), TypeError, "`source` must be a Keras model or a path; got Layer"),
    ],
)
def test_other_sources_are_refused(source, error, words):
    with pytest.raises(error, match=words):
        from_keras(source, flattening())


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"a\.h5 needs the package `h5py`.*pip install 'jaxcnn\[parity\]'"):
        from_keras(tmp_path / "a.h5", NET)
