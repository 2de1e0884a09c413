"""What a Keras model says besides its arrays, against what a model of ours computes: the same, or refused by name.

Configurations are those that Keras writes, shortened to what is read; the parity tests take Keras' own.
"""

import io
import json
import zipfile

import numpy as np
import pytest
from weights_tools import random_weights

from jaxcnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Elu,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Relu,
    Softmax,
    serial,
    stateless,
)
from jaxcnn.models import Model
from jaxcnn.weights import WeightsError, from_keras

h5py = pytest.importorskip("h5py", reason="the extra `parity` is not installed")

SHAPES = {"Conv2D": {"kernel": (3, 3, 2, 4), "bias": (4,)}, "Dense": {"kernel": (4, 3), "bias": (3,)}}
NORM = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (4,))
CONV = {
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "valid",
    "dilation_rate": [1, 1],
    "groups": 1,
}


def layer(class_name, name=None, **config):
    return {"class_name": class_name, "config": {"name": name or class_name.lower(), **config}}


def conv(**config):
    return layer("Conv2D", "first", **CONV | {"data_format": "channels_last", "activation": "linear"} | config)


def network(*middle, first=None, last="linear", front=(), shapes=None):
    """A Sequential of a convolution, some layers, a global mean and a dense layer, as a .keras file's bytes."""
    start = layer("InputLayer", "input", batch_shape=[None, 9, 9, 2])
    dense = layer("Dense", "last", units=3, activation=last)
    layers = [start, *front, first or conv(), *middle, layer("GlobalAveragePooling2D"), dense]
    content, rng, counts = io.BytesIO(), np.random.default_rng(0), {}
    with h5py.File(content, "w") as file:
        for each in layers:
            arrays = (shapes or {}).get(each["class_name"]) or SHAPES.get(each["class_name"], {})
            key = {"Conv2D": "conv2d", "BatchNormalization": "batch_normalization"}.get(each["class_name"], "dense")
            key = {"LayerNormalization": "layer_normalization", "GroupNormalization": "group_normalization"}.get(
                each["class_name"], key
            )
            for i, (name, shape) in enumerate(arrays.items()):
                file[f"layers/{key}/vars/{i}"] = random_weights(name, shape, rng)
            counts[key] = 1
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}}))
        file.writestr("model.weights.h5", content.getvalue())
    return archive.getvalue()


def model(*middle, first=None, front=(), last=(), loss="softmax_cross_entropy"):
    first = first or Conv(4, 3)
    return Model("net", serial(*front, first, *middle, GlobalAvgPool(), Dense(3), *last), (9, 9, 2), 3, loss)


def refused(tmp_path, content, ours):
    path = tmp_path / "net.keras"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        from_keras(path, ours)
    assert str(error.value).startswith(f"{path}: the arrays are for a network that computes something else than net; ")
    assert "\n" not in str(error.value)
    return str(error.value)


def taken(tmp_path, content, ours):
    (tmp_path / "net.keras").write_bytes(content)
    from_keras(tmp_path / "net.keras", ours)


@pytest.mark.parametrize(
    ("config", "wrong", "right", "words"),
    [
        ({"strides": [2, 2]}, {}, {"stride": 2}, "strides [2, 2] in the file, [1, 1] in the model at conv1"),
        ({"padding": "same"}, {}, {"padding": 1}, "padding SAME in the file, [[0, 0], [0, 0]] in the model at conv1"),
        ({"padding": "same"}, {"padding": 2}, {"padding": "SAME"}, "padding SAME in the file, [[2, 2], [2, 2]]"),
        ({"dilation_rate": [2, 2]}, {}, {"dilation": 2}, "dilation_rate [2, 2] in the file, [1, 1] in the model"),
        ({"dilation_rate": 2}, {}, {"dilation": (2, 2)}, "dilation_rate [2, 2] in the file, [1, 1] in the model"),
        ({"data_format": "channels_first"}, {}, None, "data_format channels_first in the file, channels_last in"),
    ],
)
def test_the_geometry_of_a_convolution(tmp_path, config, wrong, right, words):
    content = network(first=conv(**config))
    assert words in refused(tmp_path, content, model(first=Conv(4, 3, **wrong)))
    if right is not None:
        taken(tmp_path, content, model(first=Conv(4, 3, **right)))


@pytest.mark.parametrize(
    ("there", "wrong", "right", "words"),
    [
        ("relu", None, Relu(), "relu 'first' is in the file, nothing like it in the model after conv1"),
        ("linear", Relu(), None, "relu at relu1 is in the model, nothing like it in the file after 'first'"),
        ("relu6", Relu(), Relu(6), "max_value 6.0 in the file, None in the model at relu1"),
        ("tanh", Relu(), None, "tanh 'first' is in the file, relu in the model at relu1"),
        ("leaky_relu", LeakyRelu(), LeakyRelu(0.2), "negative_slope 0.2 in the file, 0.01 in the model"),
        ("gelu", Gelu(approximate=True), Gelu(), "approximate False in the file, True in the model"),
        ("elu", Elu(0.5), Elu(), "alpha 1.0 in the file, 0.5 in the model"),
        ("selu", Elu(), stateless("selu", abs), "selu 'first' is in the file"),
        ({"class_name": "ReLU", "config": {"max_value": 6.0}}, Relu(), Relu(6), "max_value 6.0 in the file, None"),
        ({"class_name": "function", "config": "relu"}, None, Relu(), "relu 'first' is in the file, nothing like it"),
    ],
)
def test_a_fused_activation_is_a_layer_here(tmp_path, there, wrong, right, words):
    content = network(first=conv(activation=there))
    assert words in refused(tmp_path, content, model(*[wrong] * (wrong is not None)))
    if right is not None:
        taken(tmp_path, content, model(right))


POOL = {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}


@pytest.mark.parametrize(
    ("there", "wrong", "right", "words"),
    [
        (layer("ReLU", max_value=6.0, negative_slope=0.0, threshold=0.0), Relu(), Relu(6), "max_value 6.0 in the file"),
        (layer("ReLU", max_value=None, negative_slope=0.3), Relu(), LeakyRelu(0.3), "leaky_relu 'relu' is in the file"),
        (layer("ReLU", max_value=None, threshold=1.0), Relu(), None, "thresholded_relu 'relu' is in the file"),
        (layer("LeakyReLU", alpha=0.3), LeakyRelu(), LeakyRelu(0.3), "negative_slope 0.3 in the file, 0.01 in the"),
        (layer("Activation", activation="relu"), None, Relu(), "relu 'activation' is in the file, nothing like it"),
        (layer("MaxPooling2D", **POOL), AvgPool(2), MaxPool(2), "max_pool 'maxpooling2d' is in the file, avg_pool in"),
        (layer("MaxPooling2D", **POOL), None, MaxPool(2), "max_pool 'maxpooling2d' is in the file, nothing like it"),
        (layer("MaxPooling2D", **POOL), MaxPool(2, stride=1), MaxPool(2), "strides [2, 2] in the file, [1, 1] in the"),
        (
            layer("MaxPooling2D", **POOL),
            MaxPool(3, stride=2),
            MaxPool(2),
            "pool_size [2, 2] in the file, [3, 3] in the",
        ),
        (layer("MaxPooling2D", **POOL), MaxPool(2, ceil_mode=True), MaxPool(2), "ceil_mode False in the file, True"),
        (
            layer("AveragePooling2D", **POOL | {"padding": "same"}),
            AvgPool(2, padding="SAME", count_include_pad=True),
            AvgPool(2, padding=[(0, 1), (0, 1)]),
            "count_include_pad False in the file, True in the model at avg_pool1",
        ),
        (layer("ZeroPadding2D", padding=[[1, 1], [1, 1]]), None, None, "zero_padding 'zeropadding2d' is in the file"),
        (layer("UpSampling2D", size=[2, 2]), None, stateless("up_sampling2d", abs, size=(2, 2)), "stateless('up_sampl"),
        (layer("Permute", dims=[2, 1, 3]), None, None, "permute 'permute' is in the file"),
        (layer("Lambda", function="x"), None, None, "lambda 'lambda' is in the file"),
    ],
)
def test_layers_without_arrays(tmp_path, there, wrong, right, words):
    content = network(there)
    assert words in refused(tmp_path, content, model(*[wrong] * (wrong is not None)))
    if right is not None:
        taken(tmp_path, content, model(right))


@pytest.mark.parametrize(
    ("class_name", "ours", "config", "words"),
    [
        ("BatchNormalization", BatchNorm, {}, "epsilon 0.001 in the file, 1e-05 in the model at batch_norm1"),
        ("BatchNormalization", BatchNorm, {"axis": [1]}, "axis [1] in the file, the last in the model at batch_norm1"),
        ("LayerNormalization", LayerNorm, {}, "epsilon 0.001 in the file, 1e-05 in the model at layer_norm1"),
        ("LayerNormalization", LayerNorm, {"rms_scaling": True}, "rms_scaling True in the file, False in the model"),
        ("GroupNormalization", lambda **more: GroupNorm(2, **more), {"groups": 4}, "groups 4 in the file, 2 in the mo"),
    ],
)
def test_normalization(tmp_path, class_name, ours, config, words):
    shapes = {class_name: NORM if class_name == "BatchNormalization" else {"gamma": (4,), "beta": (4,)}}
    plain = {"axis": -1, "epsilon": 1e-3, "scale": True, "center": True}
    content = network(layer(class_name, **plain | config), shapes=shapes)
    wrong = ours() if "epsilon" in words else ours(eps=1e-3)
    assert words in refused(tmp_path, content, model(wrong))
    if not config:
        taken(tmp_path, content, model(ours(eps=1e-3)))
        single = network(layer(class_name, **plain | {"epsilon": float(np.float32(1e-3))}), shapes=shapes)
        taken(tmp_path, single, model(ours(eps=1e-3)))  # as older versions write it


def test_what_does_nothing_at_inference_is_passed_over(tmp_path):
    names = ("Dropout", "SpatialDropout2D", "GaussianNoise", "RandomFlip", "ActivityRegularization")
    taken(tmp_path, network(*(layer(name, rate=0.5) for name in names)), model())


def test_several_differences_in_the_order_of_computation(tmp_path):
    content = network(layer("MaxPooling2D", **POOL), first=conv(strides=[2, 2], activation="relu"))
    said = refused(tmp_path, content, model(MaxPool(3)))
    places = [said.index(words) for words in ("strides [2, 2]", "relu 'first'", "pool_size [2, 2]")]
    assert places == sorted(places)


def test_a_mean_over_the_whole_map_is_a_global_pool(tmp_path):
    ours = Model("net", serial(Conv(4, 3), AvgPool(7), Flatten(), Dense(3)), (9, 9, 2), 3)
    taken(tmp_path, network(), ours)
    other = Model("net", serial(Conv(4, 3), GlobalMaxPool(), Dense(3)), (9, 9, 2), 3)
    assert "global_avg_pool 'globalaveragepooling2d' is in the file, global_max_pool in" in refused(
        tmp_path, network(), other
    )


def test_the_end_is_logits_here(tmp_path):
    taken(tmp_path, network(last="softmax"), model())
    taken(tmp_path, network(last="softmax"), model(last=[Softmax()]))
    taken(tmp_path, network(last="sigmoid"), model(loss="sigmoid_binary_cross_entropy"))
    with pytest.warns(UserWarning, match="ends in a sigmoid, and net has the loss 'softmax_cross_entropy'"):
        taken(tmp_path, network(last="sigmoid"), model())
    assert "softmax at softmax1 is in the model" in refused(tmp_path, network(), model(last=[Softmax()]))
    assert "tanh 'last' is in the file" in refused(tmp_path, network(last="tanh"), model())


def test_scaling_in_front(tmp_path):
    unit, other = (
        network(front=[layer("Rescaling", scale=scale, offset=offset)]) for scale, offset in ((1 / 255, 0), (2, -1.0))
    )
    with pytest.warns(UserWarning, match="'rescaling' divides images by 255, and the model has no such layer"):
        taken(tmp_path, unit, model())
    said = refused(tmp_path, other, model())
    assert "rescaling 'rescaling' is in the file, nothing like it in the model before its first layer" in said
    assert "stateless('rescaling', function, scale=2, offset=-1.0) can stand for it" in said
    ours = stateless("rescaling", lambda x: 2 * x - 1, scale=2, offset=-1)
    taken(tmp_path, other, model(front=[ours]))
    wrong = stateless("rescaling", lambda x: 2 * x, scale=2, offset=0)
    assert "offset -1.0 in the file, 0 in the model at rescaling1" in refused(tmp_path, other, model(front=[wrong]))


def test_functions_of_ones_own_on_both_sides_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="what lambda 'lambda' does cannot be compared with twice at twice1"):
        taken(tmp_path, network(layer("Lambda", function="x")), model(stateless("twice", lambda x: 2 * x)))


def test_a_reshape_of_the_input_is_the_models_shape(tmp_path):
    taken(tmp_path, network(front=[layer("Reshape", target_shape=[9, 9, 2])]), model())
    said = refused(tmp_path, network(front=[layer("Reshape", target_shape=[3, 27, 2])]), model())
    assert "reshape 'reshape' is in the file" in said


def test_padding_of_zeros_belongs_to_the_convolution_behind_it(tmp_path):
    content = network(front=[layer("ZeroPadding2D", padding=[[1, 2], [0, 3]])])
    taken(tmp_path, content, model(first=Conv(4, 3, padding=[(1, 2), (0, 3)])))
    assert "padding [[1, 2], [0, 3]] in the file, [[1, 1], [1, 1]] in" in refused(
        tmp_path, content, model(first=Conv(4, 3, padding=1))
    )


def test_depthwise_is_not_a_full_convolution(tmp_path):
    said = refused(
        tmp_path,
        network(shapes={"Conv2D": {"kernel": (3, 3, 2, 2), "bias": (4,)}}),
        model(first=DepthwiseConv(3, multiplier=2)),
    )
    assert "conv 'first' is in the file, depthwise_conv in the model at depthwise_conv1" in said


def test_wrong_types_in_a_configuration_are_one_line(tmp_path):
    """Every value of a configuration replaced by values of every kind: as before, or one line that names the file."""
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(io.BytesIO(network(layer("MaxPooling2D", **POOL)))) as archive:
        config, arrays = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    ways = list(paths_in(config))
    random = np.random.default_rng(0)
    for _ in range(12):
        changed = json.loads(json.dumps(config))
        way, value = ways[random.integers(len(ways))], [None, -1, 1e300, "x", [], {}, [[1]]][random.integers(7)]
        place = changed
        for step in way[:-1]:
            place = place[step]
        place[way[-1]] = value
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(changed))
            archive.writestr("model.weights.h5", arrays)
        try:
            from_keras(path, model(MaxPool(2)))
        except WeightsError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        except UserWarning as warning:
            assert "settings were not compared" in str(warning)


def paths_in(value, way=()):
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*way, key)
            yield from paths_in(part, (*way, key))
