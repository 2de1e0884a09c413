"""Logits equal to those of keras.applications, with random weights; Keras on its JAX backend."""

import gc
import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # read when keras is first imported

import jax
import numpy as np
import pytest
from weights_tools import assert_parity, random_weights

from jaxcnn import models
from jaxcnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Flatten,
    Gelu,
    GlobalAvgPool,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Relu,
    SeparableConv,
    branches,
    residual,
    serial,
)
from jaxcnn.models import Model
from jaxcnn.weights import WeightsError, from_keras

keras = pytest.importorskip("keras", reason="the extra `parity` is not installed")
pytest.importorskip("h5py", reason="the extra `parity` is not installed")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend here", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, when it saves


def randomized(network, gain=1.0):
    rng = np.random.default_rng(0)
    for variable in network.weights:
        variable.assign(random_weights(variable.path, tuple(variable.shape), rng, gain))
    return network


@pytest.fixture(autouse=True)
def memory():
    """VGG's dense layers are half a gigabyte, and Keras keeps what it has made."""
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize(
    ("name", "make", "options", "size", "gain"),
    [
        ("vgg16", "VGG16", {}, 224, 1.0),  # at other sizes Keras' dense layers are other ones
        ("vgg19", "VGG19", {}, 224, 1.0),
        ("resnet50", "ResNet50", {"form": "keras"}, 32, 0.5),
        ("resnet152", "ResNet152", {"form": "keras"}, 32, 0.5),
        ("mobilenet_v2", "MobileNetV2", {"form": "keras"}, 32, 1.0),
        ("mobilenet_v2", "MobileNetV2", {"form": "keras"}, 47, 1.0),  # odd sizes are padded otherwise than even ones
    ],
)
def test_logits_are_those_of_keras_applications(name, make, options, size, gain):
    network = getattr(keras.applications, make)(
        weights=None, input_shape=(size, size, 3), classes=5, classifier_activation=None
    )
    randomized(network, gain)
    x = np.random.default_rng(1).standard_normal((2, size, size, 3), np.float32)
    expected = network.predict(x, verbose=0)
    model = models.create(name, num_classes=5, input_size=size, **options)
    params, state = from_keras(network, model)
    del network
    actual = jax.jit(lambda p, s, x: model.apply(p, s, x)[0])(params, state, x)
    assert_parity(actual, expected)


# ------------------------------------------------------------------------------------------- files that Keras writes

L = keras.layers
NET = Model(
    "net",
    serial(
        *(Conv(4, 3, use_bias=False), BatchNorm(eps=1e-3), Relu(), MaxPool(2)),
        *(DepthwiseConv(2, multiplier=2), SeparableConv(6, 2), Relu()),
        *(Flatten(), Dense(5), Relu(), Dense(3)),
    ),
    (11, 9, 2),
    3,
)


def layers():
    return [
        *(L.Conv2D(4, 3, name="first"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D()),
        *(L.DepthwiseConv2D(2, depth_multiplier=2), L.SeparableConv2D(6, 2, activation="relu")),
        *(L.Flatten(), L.Dropout(0.5), L.Dense(5, activation="relu", name="hidden"), L.Dense(3)),
    ]


def sequential():
    return keras.Sequential([L.Input((11, 9, 2)), *layers()])


def nested():
    return keras.Sequential([L.Input((11, 9, 2)), keras.Sequential(layers()[:6]), *layers()[6:]])


def functional():
    inputs = x = L.Input((11, 9, 2))
    for layer in layers():
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("make", [sequential, nested, functional])
def test_a_network_of_ones_own_and_its_files(tmp_path, make):
    """By order, or where a file has none by the layers' names."""
    network = randomized(make())
    network.compile("adam", "mse")
    network.fit(np.ones((2, 11, 9, 2)), np.ones((2, 3)), verbose=0)  # optimizers keep variables in files as well
    randomized(network)
    x = np.random.default_rng(1).standard_normal((2, 11, 9, 2), np.float32)
    expected = network.predict(x, verbose=0)
    apply = jax.jit(lambda p, s, x: NET.apply(p, s, x)[0])
    assert_parity(apply(*from_keras(network, NET), x), expected)
    network.save(tmp_path / "a.keras")
    assert_parity(apply(*from_keras(tmp_path / "a.keras", NET), x), expected)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("absl.logging.warning", lambda *args: None)
        network.save(tmp_path / "a.h5")
    assert_parity(apply(*from_keras(tmp_path / "a.h5", NET), x), expected)
    network.save_weights(tmp_path / "a.weights.h5")
    own = [layer for layer in flat(network) if layer.weights]
    names = dict(zip(("conv1", "batch_norm1", "depthwise_conv1"), (layer.name for layer in own[:3]), strict=True))
    names |= {f"serial1/{part}": f"{own[3].name}/{part}" for part in ("depthwise", "pointwise")}
    names |= {"dense1": own[4].name, "dense2": own[5].name}
    assert_parity(apply(*from_keras(tmp_path / "a.weights.h5", NET, names=names), x), expected)


def flat(network):
    for layer in network.layers:
        yield from flat(layer) if getattr(layer, "layers", None) else [layer]


# ------------------------------------------------------------------------------------------------ settings, by outputs


def branching():
    """Every kind of step that both libraries have, at odd sizes: (Keras' network, ours)."""
    x = inputs = L.Input((13, 11, 2))
    x = L.ZeroPadding2D(((1, 2), (0, 1)))(x)
    x = L.Conv2D(4, 3, strides=2, activation="leaky_relu")(x)
    y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=1)(x)
    y = L.BatchNormalization(epsilon=0.01)(y)
    x = L.Add()([x, y])
    x = L.ReLU(6.0)(x)
    x = L.AveragePooling2D(2, padding="same")(x)
    x = L.Concatenate()(
        [L.Conv2D(3, 3, dilation_rate=2, padding="same")(x), L.SeparableConv2D(2, 3, padding="same")(x)]
    )
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="gelu")(x)
    x = L.LayerNormalization()(x)
    x = L.GlobalAveragePooling2D()(x)
    theirs = keras.Model(inputs, L.Dense(3, activation="softmax")(x))
    ours = serial(
        *(Conv(4, 3, stride=2, padding=[(1, 2), (0, 1)]), LeakyRelu(0.2)),
        residual(serial(DepthwiseConv(3, padding="SAME"), BatchNorm(eps=0.01)), None, jax.nn.relu6),
        AvgPool(2, padding="SAME"),
        branches(Conv(3, 3, dilation=2, padding="SAME"), SeparableConv(2, 3, padding="SAME")),
        *(ConvTranspose(4, 3, stride=2, padding="SAME"), Gelu(), LayerNorm(eps=1e-3), GlobalAvgPool(), Dense(3)),
    )
    return theirs, Model("branching", ours, (13, 11, 2), 3)


@pytest.mark.parametrize("suffix", ["", ".keras", ".h5"])
def test_settings_that_agree_give_the_same_outputs(tmp_path, suffix):
    theirs, ours = branching()
    randomized(theirs)
    x = np.random.default_rng(1).standard_normal((2, 13, 11, 2), np.float32)
    source = theirs
    if suffix:
        source = tmp_path / f"a{suffix}"
        with pytest.MonkeyPatch.context() as quiet:
            quiet.setattr("absl.logging.warning", lambda *args: None)
            theirs.save(source)
    params, state = from_keras(source, ours)
    logits = ours.apply(params, state, x)[0]
    np.testing.assert_allclose(jax.nn.softmax(logits), theirs.predict(x, verbose=0), atol=1e-5)


def test_a_sum_of_other_layers_is_refused():
    """The same layers and shapes, another way through them."""
    x = inputs = L.Input((6, 6, 4))
    y = L.Conv2D(4, 3, padding="same", name="a")(x)
    z = L.Conv2D(4, 3, padding="same", name="b")(y)
    theirs = keras.Model(inputs, L.Add()([z, x]))
    right = Model("sum", serial(residual(serial(Conv(4, 3, padding="SAME"), Conv(4, 3, padding="SAME")))), (6, 6, 4), 0)
    wrong = Model("sum", serial(Conv(4, 3, padding="SAME"), residual(Conv(4, 3, padding="SAME"))), (6, 6, 4), 0)
    from_keras(theirs, right)
    with pytest.raises(WeightsError, match="is in the file where the model has"):
        from_keras(theirs, wrong)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_another_form_of_the_same_network_is_refused(name):
    """torchvision's strides, paddings and epsilon, for Keras' arrays, which fit."""
    make = {"resnet50": keras.applications.ResNet50, "mobilenet_v2": keras.applications.MobileNetV2}[name]
    network = make(weights=None, input_shape=(32, 32, 3), classes=5)
    model = models.create(name, num_classes=5, input_size=32)
    with pytest.raises(WeightsError, match=r"(epsilon|strides|padding) .* in the file, .* in the model at .*more\."):
        from_keras(network, model)
