"""Filters and feature maps: the pictures hold what the network computes, layer by layer."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    Relu,
    branches,
    checkpointed,
    frozen,
    residual,
    serial,
    with_auxiliaries,
)
from jaxcnn.viz.features import feature_maps, filter_path, filters


def image_of(ax):
    return np.asarray(ax.images[0].get_array(), float)


def shown(figure):
    """Those of its axes with an image in them, without color bars."""
    return [ax for ax in figure.axes if ax.images and ax.get_label() != "<colorbar>"]


# ----------------------------------------------------------------------------------------------------------- filters


def test_filters_on_one_channel_are_signed_maps_on_one_scale():
    kernel = np.random.default_rng(0).normal(size=(3, 4, 1, 10))
    figure = filters(kernel, title="mine")
    cells = shown(figure)
    assert [ax.get_title() for ax in cells] == [str(i) for i in range(10)]
    top = np.abs(kernel).max()
    for i, ax in enumerate(cells):
        np.testing.assert_array_equal(image_of(ax), kernel[:, :, 0, i])
        assert ax.images[0].get_clim() == (-top, top)
    (bar,) = (ax for ax in figure.axes if ax.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "weight"
    assert figure.get_suptitle() == "mine"


def test_filters_on_three_channels_are_colors_with_gray_for_zero():
    kernel = np.zeros((2, 2, 3, 2))
    kernel[0, 0, 0, 0], kernel[1, 1, 2, 1] = 2, -4
    first, second = shown(filters(kernel))
    assert image_of(first)[0, 0].tolist() == [0.75, 0.5, 0.5]  # 2 of at most 4
    assert image_of(second)[1, 1].tolist() == [0.5, 0.5, 0]
    assert filters(kernel).get_suptitle() == "Learned filters, gray is 0"


def test_filters_on_other_channels_are_rows():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 10, 7))
    figure = filters(kernel, most=20)
    cells = shown(figure)
    assert len(cells) == 16
    for place, ax in enumerate(cells):
        row, column = divmod(place, 8)
        np.testing.assert_array_equal(image_of(ax), kernel[:, :, column, row])
    assert [cells[0].get_ylabel(), cells[8].get_ylabel(), cells[7].get_title()] == ["filter 0", "filter 1", "channel 7"]
    assert figure.get_suptitle() == "Learned filters, 2 of 7 filters, 8 of 10 channels"


def test_at_most_so_many_filters():
    figure = filters(np.ones((2, 2, 1, 100)))
    assert len(shown(figure)) == 64
    assert figure.get_suptitle() == "Learned filters, 64 of 100 filters"
    assert len(shown(filters(np.zeros((2, 2, 3, 5)), most=3))) == 3


@pytest.mark.parametrize("shape", [(3, 3, 1, 0)])
def test_what_is_no_kernel_is_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"`kernel` must be (kh, kw, C_in, C_out); got {shape}")):
        filters(np.ones(shape))


def test_at_least_one_filter():
    with pytest.raises(ValueError, match="filters: `most` must be at least 1; got 0"):
        filters(np.ones((3, 3, 1, 1)), most=0)


# ------------------------------------------------------------------------------------------------------ feature maps


@pytest.fixture(scope="module")
def lenet():
    """LeNet-5, its parameters, a digit in bytes, and what each of its layers gives by itself, one after the other."""
    model = models.create("lenet5")
    params, state = model.init(jax.random.key(0))
    digit = np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)
    outputs, x = {}, jnp.asarray(digit[None] / 255, jnp.float32)
    for name, layer in model.layer.children.items():
        x, _ = layer.apply(params.get(name, {}), {}, x)
        outputs[name] = np.asarray(x[0])
    return model, params, state, digit, outputs


def test_by_default_a_row_for_each_convolution_and_pool(lenet):
    *arguments, digit, outputs = lenet
    figure = feature_maps(*arguments, digit)
    first, *cells = shown(figure)
    np.testing.assert_allclose(image_of(first), digit.repeat(3, axis=-1) / 255, atol=1e-6)
    expected = [
        (name, c) for name, n in (("conv1", 6), ("max_pool1", 6), ("conv2", 12), ("max_pool2", 12)) for c in range(n)
    ]
    assert [int(ax.get_title()) for ax in cells] == [channel for _, channel in expected]
    for ax, (name, channel) in zip(cells, expected, strict=True):
        np.testing.assert_allclose(image_of(ax), outputs[name][..., channel], atol=1e-5)
    labels = [ax.get_ylabel().split("\n") for ax in cells if ax.get_ylabel()]
    assert [label[:2] for label in labels] == [
        ["conv1", "28 × 28 × 6"],
        ["max_pool1", "14 × 14 × 6"],
        ["conv2", "10 × 10 × 16"],
        ["max_pool2", "5 × 5 × 16"],
    ]
    low, high = outputs["conv1"].min(), outputs["conv1"].max()
    assert labels[0][2] == f"{low:.2g} to {high:.2g}"


def test_zero_is_always_the_same_color(lenet):
    *arguments, digit, outputs = lenet
    cells = shown(feature_maps(*arguments, digit, layers=["conv1", "relu1"], most=1))[1:]
    (low, high), (dark, bright) = (ax.images[0].get_clim() for ax in cells)
    assert outputs["conv1"][..., 0].min() < 0
    assert low == -high and dark == 0 < bright
    assert cells[0].images[0].get_cmap().name != cells[1].images[0].get_cmap().name


def pieces():
    """Ways that part and join, wrapped and with statistics: everything a network is made of."""
    way = serial(Conv(3, 3, padding=1), BatchNorm(), Relu())
    block = residual(serial(Conv(4, 1), AvgPool(3, stride=1, padding=1)), Conv(4, 1))
    body = serial(
        stem=frozen(serial(Conv(2, 3), Relu())),
        parts=branches(one=Conv(2, 1), other=branches(a=way, b=Conv(1, 1))),
        block=checkpointed(block),
        top=serial(Flatten(), Dense(2)),
    )
    return with_auxiliaries(body, early=("stem", serial(Conv(2, 3), Flatten(), Dense(2))))


def test_layers_inside_of_others_give_what_they_give_by_themselves():
    net = pieces()
    shape = (7, 6, 3)
    params, state = net.init(jax.random.key(3), shape)
    image = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    by_default = ["stem/conv1", "parts/one", "parts/other/a/conv1", "parts/other/b", "block/body/conv1"]
    by_default += ["block/body/avg_pool1", "block/shortcut"]
    first, *rows = [
        ax.get_ylabel().split("\n")[0] for ax in shown(feature_maps(net, params, state, image)) if ax.get_ylabel()
    ]
    assert (first, rows) == ("image", by_default)

    def alone(layer: Layer, path, x):
        p, s = params, state
        for name in path.split("/"):
            p, s = p.get(name, {}), s.get(name, {})
        return layer.apply(p, s, x)[0]

    children = net.children
    stem = alone(children["stem"], "stem", image[None])
    joined = alone(children["parts"], "parts", stem)
    relu = alone(children["parts"].children["other"].children["a"], "parts/other/a", stem)
    head = alone(children["early"].children["conv1"], "early/conv1", stem)
    block = alone(children["block"], "block", joined)
    shortcut = alone(children["block"].children["shortcut"], "block/shortcut", joined)
    expected = {
        "stem": stem,
        "early/conv1": head,
        "parts": joined,
        "parts/other/a/relu1": relu,
        "block": block,
        "block/shortcut": shortcut,
    }
    cells = iter(shown(feature_maps(net, params, state, image, layers=list(expected)))[1:])
    for values in expected.values():
        for channel in range(values.shape[-1]):
            np.testing.assert_allclose(image_of(next(cells)), values[0, ..., channel], atol=1e-5)
    assert next(cells, None) is None


def test_an_image_beyond_0_to_1_is_stretched(lenet):
    model, params, state, *_ = lenet
    image = np.linspace(-100, 300, 28 * 28, dtype=np.float32).reshape(28, 28, 1)
    first = shown(feature_maps(model, params, state, image, layers=["conv1"]))[0]
    np.testing.assert_allclose(image_of(first)[..., 0], (image[..., 0] + 100) / 400, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- filter path


def test_the_path_of_a_filter_in_three_panels(lenet):
    *arguments, digit, outputs = lenet
    figure = filter_path(*arguments, digit, channel=4)
    image, convolved, pooled = shown(figure)
    np.testing.assert_allclose(image_of(image)[..., 0], digit[..., 0] / 255, atol=1e-6)
    np.testing.assert_allclose(image_of(convolved), outputs["relu1"][..., 4], atol=1e-5)
    np.testing.assert_allclose(image_of(pooled), outputs["max_pool1"][..., 4], atol=1e-5)
    assert convolved.images[0].get_clim() == pooled.images[0].get_clim()
    assert [ax.get_title() for ax in (image, convolved, pooled)] == ["image", "after conv1 → relu1", "after max_pool1"]
    assert [ax.get_xlabel() for ax in (image, pooled)] == ["28 × 28 pixels", "14 × 14 values"]
    assert figure.get_suptitle() == "The path of filter 4 of conv1"


@pytest.mark.parametrize("ends", [{"conv": "conv2"}, {"pool": "max_pool2"}, {"conv": "conv2", "pool": "max_pool2"}])
def test_the_path_of_a_filter_further_on(lenet, ends):
    *arguments, digit, outputs = lenet
    _, convolved, pooled = shown(filter_path(*arguments, digit, channel=15, **ends))
    np.testing.assert_allclose(image_of(convolved), outputs["relu2"][..., 15], atol=1e-5)
    np.testing.assert_allclose(image_of(pooled), outputs["max_pool2"][..., 15], atol=1e-5)


def test_the_convolution_is_the_one_that_feeds_the_pool():
    net = serial(Conv(2, 3), Relu(), Conv(3, 3), MaxPool(2))
    image = np.ones((9, 9, 1), np.float32)
    figure = filter_path(net, *net.init(jax.random.key(0), image.shape), image, channel=2)
    assert figure.get_suptitle() == "The path of filter 2 of conv2"
    assert shown(figure)[1].get_title() == "after conv2"


# ------------------------------------------------------------------------------------------------------------ errors

BLANK = np.zeros((28, 28, 1), np.float32)


@pytest.mark.parametrize(
    ("draw", "image", "options", "message"),
    [
        (
            feature_maps,
            BLANK[:27],
            {},
            "feature_maps: `image` must be one image, (28, 28, 1) for lenet5; got (27, 28, 1)",
        ),
        (feature_maps, BLANK[None], {}, "`image` must be one image, (28, 28, 1) for lenet5; got (1, 28, 28, 1)"),
        (feature_maps, BLANK, {"most": 0}, "feature_maps: `most` must be at least 1; got 0"),
        (feature_maps, BLANK, {"layers": ["conv3"]}, "`layers` must name layers of the model; there is no 'conv3'"),
        (feature_maps, BLANK, {"layers": []}, "`layers` must name at least one"),
        (feature_maps, BLANK, {"layers": ["dense1"]}, "`layers` must give maps (H, W, C); 'dense1' gives (120,)"),
        (filter_path, BLANK[..., :0], {}, "filter_path: `image` must be one image, (28, 28, 1)"),
        (filter_path, BLANK, {"channel": 6}, "`channel` must be one of the 6 filters of 'conv1', from 0; got 6"),
        (filter_path, BLANK, {"channel": -1}, "`channel` must be"),
        (filter_path, BLANK, {"conv": "relu1"}, "`conv` must be one of conv1, conv2; got 'relu1'"),
        (filter_path, BLANK, {"pool": "pool"}, "`pool` must be one of max_pool1, max_pool2; got 'pool'"),
        (filter_path, BLANK, {"conv": "conv1", "pool": "max_pool2"}, "with no other convolution between them"),
        (filter_path, BLANK, {"conv": "conv2", "pool": "max_pool1"}, "and a pool after it"),
    ],
)
def test_what_does_not_fit_is_refused(lenet, draw, image, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(*lenet[:3], image, **options)


def test_a_network_without_maps():
    net = serial(Flatten(), Dense(2))
    image = np.ones((2, 2, 1), np.float32)
    trees = net.init(jax.random.key(0), image.shape)
    with pytest.raises(ValueError, match="`model` has no convolution or pool; name the `layers`"):
        feature_maps(net, *trees, image)
    with pytest.raises(ValueError, match="`conv` and `pool` must be a convolution and a pool after it"):
        filter_path(net, *trees, image)


@pytest.mark.parametrize("draw", [feature_maps, filter_path])
def test_neither_a_model_nor_a_layer(draw):
    with pytest.raises(TypeError, match="`model` must be a Model or a Layer; got 'lenet5'"):
        draw("lenet5", {}, {}, BLANK)
