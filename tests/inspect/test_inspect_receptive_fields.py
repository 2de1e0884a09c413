"""The receptive field, against gradients: the pixels by which a unit's value changes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, ops
from jaxcnn.inspect import Field, field_of_view, pixels_seen
from jaxcnn.inspect.boxes import boxes_of
from jaxcnn.layers import (
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LpPool,
    MaxPool,
    Relu,
    SeparableConv,
    Sigmoid,
    Softmax,
    branches,
    checkpointed,
    frozen,
    residual,
    serial,
    stateless,
)
from jaxcnn.ops.bilinear import OPERATIONS


def positive(key, shape, dtype):
    """No cancellation, no dead ReLU: what is connected has a gradient."""
    return jax.random.uniform(key, shape, dtype, 0.5, 1.0) / np.prod(shape[:-1])


conv = functools.partial(Conv, kernel_init=positive)
shortcut = stateless("zero_padded", lambda x: jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(1, 1)]))
zero_padding = stateless("zero_padding", lambda x: jnp.pad(x, [(0, 0), (2, 1), (1, 0), (0, 0)]))
gated = stateless("gated", lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)))
halves = stateless("halves", lambda x: jnp.split(x, 2, axis=-1)[0] * jnp.flip(jnp.split(x, [1], axis=-1)[1], 1))


def unpooled(x):
    """The transpose of a pool: each position takes the value of the one window that has it."""
    small = jax.eval_shape(lambda x: jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), x)
    return jax.linear_transpose(lambda x: ops.avg_pool(x, 2), small)(x)[0]


NETWORKS = {
    "the transpose of a pool": ((4, 5, 1), [conv(1, 2), stateless("unpooled", unpooled)]),
    "strides, padding, a remainder": ((14, 11, 1), [conv(2, (3, 2), stride=2), conv(2, 3, padding="SAME")]),
    "dilation": ((11, 9, 1), [conv(1, 3, dilation=(3, 2), padding=((4, 1), (0, 3))), conv(1, 2)]),
    "same_lower, full": ((14, 11, 1), [conv(1, 4, stride=3, padding="SAME_LOWER"), conv(1, 2, padding="FULL")]),
    "pools": ((13, 12, 1), [MaxPool(3, stride=2, ceil_mode=True), AvgPool(2, stride=1, padding=1), LpPool(2)]),
    "depthwise, separable": (
        (9, 8, 2),
        [DepthwiseConv(3, kernel_init=positive), SeparableConv(2, 2, kernel_init=positive)],
    ),
    "groups keep apart": (
        (9, 8, 2),
        [
            branches(conv(1, 1), conv(1, 5, padding=2)),
            conv(4, (2, 1), groups=2),
            stateless("first", lambda x: x[..., :2]),
        ],
    ),
    "residual without a shortcut": (
        (8, 8, 1),
        [residual(serial(conv(1, 3, padding=1), Relu(), conv(1, 3, padding=1)))],
    ),
    "residual, option A": ((9, 8, 1), [residual(conv(3, 1, stride=2), shortcut, jax.nn.relu), conv(1, 3)]),
    "branches": ((9, 9, 1), [branches(conv(1, 1), conv(1, 5, padding=2), conv(1, (3, 1), padding=((1, 1), (0, 0))))]),
    "transposed": ((6, 5, 1), [conv(2, 3, stride=2, padding=1), ConvTranspose(1, 3, stride=2, kernel_init=positive)]),
    "adaptive": ((9, 7, 1), [conv(1, 2), AdaptiveAvgPool((3, 4))]),
    "norms by position": ((6, 6, 4), [BatchNorm(), conv(4, 3), LayerNorm(), frozen(conv(2, 2)), Softmax()]),
    "norms over all": ((5, 5, 4), [conv(4, 2), GroupNorm(2)]),
    "explicit padding": ((6, 5, 1), [zero_padding, conv(1, 3)]),
    "gate": ((5, 5, 2), [conv(2, 3, padding=1), gated]),
    "split and flip": ((7, 5, 2), [conv(2, (2, 1)), halves]),
    "checkpointed": ((7, 7, 1), [checkpointed(serial(conv(1, 3, stride=2), Sigmoid()))]),
    "global average": ((6, 5, 1), [conv(2, 2, stride=2), GlobalAvgPool()]),
    "global maximum": ((4, 5, 1), [conv(2, 2), GlobalMaxPool(), Dense(2)]),
    "dense": ((6, 5, 1), [MaxPool(2), Flatten(), Dense(3, kernel_init=positive)]),
    "one axis": ((12, 1), [conv(1, (3,), stride=2), MaxPool((2,), stride=(1,))]),
    "three axes": ((5, 4, 6, 1), [conv(1, (2, 1, 3), stride=(1, 2, 2))]),
}


# Their units see boxes of several sizes, or at uneven steps.
NOT_ON_A_GRID = {"the transpose of a pool", "transposed", "adaptive", "split and flip"}


def changes(layer, params, state, shape):
    """(*units, *spatial): whether a unit has a gradient in a pixel, for any of many images (a maximum picks one)."""

    def one(x):
        y, _ = layer.apply(params, state, x[None])
        # unequal weights: the channels of a softmax sum to a constant
        return jnp.tensordot(y[0], jnp.arange(1.0, 1 + y.shape[-1]) ** 2, axes=1)

    with jax.enable_x64(True):  # what Winograd's transforms should cancel is far below all else
        params, state = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, state))
        images = np.random.default_rng(0).uniform(0.1, 1, (24, *shape))
        moved = np.abs(jax.jit(jax.vmap(jax.jacrev(one)))(images))
    return (moved > 1e-9 * moved.max()).any(axis=(0, -1))


def around(mask):
    """The smallest box with all that is true."""
    places = np.argwhere(mask)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(places.min(0), places.max(0), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_sees_what_its_gradient_reaches(name):
    shape, layers = NETWORKS[name]
    net = serial(**{f"layer{i}": layer for i, layer in enumerate(layers)})
    until = f"layer{len(layers) - 1}"
    params, state = net.init(jax.random.key(0), shape)
    moved = changes(net, params, state, shape)
    units = list(np.ndindex(moved.shape[: moved.ndim - (len(shape) - 1)]))

    edges = boxes_of(net, params, state, shape).seen
    for unit in units:
        first, last = (np.array([edge[0][unit].min() for edge in edges[k::2]]) for k in (0, 1))
        assert tuple(slice(a, 1 - b) for a, b in zip(first, last, strict=True)) == around(moved[unit]), f"unit {unit}"
    assert pixels_seen(net, until, units[-1], input_shape=shape) == around(moved[units[-1]])

    if name in NOT_ON_A_GRID:
        with pytest.raises(ValueError, match="has no single size and stride"):
            field_of_view(net, until, input_shape=shape)
        return
    field = field_of_view(net, until, input_shape=shape)
    boxes = {unit: field.box(unit) for unit in units}
    inside = {
        unit: tuple(slice(*ends) for ends in box)
        for unit, box in boxes.items()
        if all(first >= 0 and end <= n for (first, end), n in zip(box, shape, strict=False))
    }
    assert inside, "there must be units that no border cuts"
    assert inside == {unit: around(moved[unit]) for unit in inside}


@pytest.mark.parametrize(
    ("model", "layer", "expected"),
    [
        # Araujo et al. (2019), table of receptive fields: AlexNet 195 with stride 32, VGG-16 212, 32, padding 90
        (models.create("alexnet"), "max_pool3", Field((195, 195), (32, 32), (-66, -66))),
        (models.create("vgg16"), "stage5", Field((212, 212), (32, 32), (-90, -90))),
        # 1 + 6 + 4·2 + 4·2·4 + 2·4 + 3·2·8 + 2·8 + 3·2·16 + 2·16 + 3·2·32, and the paddings likewise; on 7×7 units
        (models.create("resnet18"), "stage4", Field((435, 435), (32, 32), (-217, -217))),
        # the same where a map is 1×1 and a step from one unit to the next cannot be seen
        (models.create("resnet18", input_size=32), "stage4", Field((435, 435), (32, 32), (-217, -217))),
        (models.create("lenet5"), "conv1", Field((5, 5), (1, 1), (-2, -2))),
        (models.create("lenet5"), "max_pool2", Field((16, 16), (4, 4), (-2, -2))),
        (models.create("lenet5"), "dense1", Field((28, 28), (0, 0), (0, 0))),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_known_fields(model, layer, expected):
    assert field_of_view(model, layer) == expected


def test_windows_are_found_by_the_primitive_and_not_by_its_name(monkeypatch):
    net = serial(Conv(2, 3, stride=2), MaxPool(2), LpPool(2, p=3), AvgPool(2), ConvTranspose(1, 3))
    at = functools.partial(pixels_seen, net, "conv_transpose1", (0, 1), input_shape=(40, 40, 1))
    expected = at()
    for primitive in OPERATIONS:
        monkeypatch.setattr(primitive, "name", "renamed")
    assert at() == expected


def test_inside_a_block_only_its_own_way_counts():
    net = serial(block=residual(serial(conv(1, 3, padding=1)), conv(1, 7, padding=3)))
    at = functools.partial(field_of_view, net, input_shape=(9, 9, 1))
    assert [at(path).size for path in ("block/body/conv1", "block/shortcut", "block")] == [(3, 3), (7, 7), (7, 7)]


def test_a_unit_of_padding_alone_sees_nothing():
    net = serial(conv(1, 1, padding=2))
    assert pixels_seen(net, "conv1", (0, 3), input_shape=(4, 4, 1)) == (slice(0, 0), slice(0, 0))
    constant = serial(stateless("constant", lambda x: jnp.zeros_like(x)))
    assert pixels_seen(constant, "constant1", (1, 1), input_shape=(4, 4, 1)) == (slice(0, 0), slice(0, 0))


# ------------------------------------------------------------------------------------------------------------ errors

LENET = models.create("lenet5")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: field_of_view(LENET, "conv9"), "there is no 'conv9'"),
        (lambda: field_of_view(serial(conv(1, 3)), "conv1"), "`input_shape` must be given for a Layer"),
        (lambda: pixels_seen(LENET, "conv1", (28, 0)), "`unit` must be one of the layer's, 0 to (27, 27); got (28, 0)"),
        (lambda: pixels_seen(LENET, "conv1", (0, -1)), "`unit` must be"),
        (lambda: pixels_seen(LENET, "conv1", 3), "`unit` must be"),
        (lambda: pixels_seen(LENET, "dense1", 3), "(), for its units have no positions; got 3"),
        (lambda: pixels_seen(LENET, "flatten1"), "units of different views without positions, (400,)"),
        (
            lambda: field_of_view(serial(ConvTranspose(1, 3, stride=2)), "conv_transpose1", input_shape=(4, 4, 1)),
            "'conv_transpose1' has no single size and stride",
        ),
        (
            lambda: field_of_view(
                serial(stateless("sorted", lambda x: jnp.sort(x, axis=1))), "sorted1", input_shape=(4, 4, 1)
            ),
            "there is no rule for the primitive 'sort'",
        ),
        (
            lambda: field_of_view(
                serial(stateless("dynamic", lambda x: ops.conv(x, x[0, :2, :2, :, None]))),
                "dynamic1",
                input_shape=(4, 4, 1),
            ),
            "makes a kernel of its input",
        ),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_neither_a_model_nor_a_layer():
    with pytest.raises(TypeError, match="field_of_view: `model` must be a Model or a Layer; got 3"):
        field_of_view(3, "conv1")
