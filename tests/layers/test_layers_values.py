"""Layers with a kernel, pooling and activations against NumPy, in float64; convolution and pooling by loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tolerances import assert_same

from jaxcnn import layers
from jaxcnn.layers import (
    AdaptiveAvgPool,
    AvgPool,
    Conv,
    ConvTranspose,
    Dense,
    DepthwiseConv,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    LpPool,
    MaxPool,
    SeparableConv,
)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def shapes(params):
    return jax.tree.map(jnp.shape, params)


def drawn(layer, input_shape):
    """Parameters of the shapes of `layer.init`, all of them drawn, biases too, in float64."""
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), input_shape))
    assert state == {}
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [numbers(*leaf.shape, seed=1 + i) for i, leaf in enumerate(leaves)])


def applied(layer, params, x):
    return jax.jit(lambda params, x: layer.apply(params, {}, x)[0])(params, jnp.asarray(x))


# ------------------------------------------------------------------------------------------- layers with a kernel

CONVS = {
    "2d": (Conv(3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 2))), (6, 5, 4), (3, 2, 4, 3),
           {"stride": (2, 1), "pads": ((1, 0), (0, 2))}),
    "square": (Conv(2, 3), (5, 4, 1), (3, 3, 1, 2), {}),
    "same": (Conv(2, 2, padding="SAME"), (4, 3, 2), (2, 2, 2, 2), {"pads": ((0, 1), (0, 1))}),
    "grouped": (Conv(6, 3, groups=2, dilation=2), (7, 6, 4), (3, 3, 2, 6), {"groups": 2, "dilation": 2}),
    "1d": (Conv(3, (3,), padding="FULL"), (5, 2), (3, 2, 3), {"pads": ((2, 2),)}),
    "3d": (Conv(2, (2, 1, 3), padding=1), (3, 2, 4, 2), (2, 1, 3, 2, 2), {"pads": ((1, 1),) * 3}),
    "depthwise": (DepthwiseConv(3, multiplier=2, stride=2, padding=1), (5, 6, 3), (3, 3, 1, 6),
                  {"stride": 2, "pads": ((1, 1),) * 2, "groups": 3}),
    "depthwise_1d": (DepthwiseConv((2,), dilation=2), (6, 3), (2, 1, 3), {"dilation": 2, "groups": 3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVS)
def test_convolutions_are_the_loops_plus_the_bias(case):
    layer, input_shape, kernel_shape, geometry = CONVS[case]
    params = drawn(layer, input_shape)
    assert shapes(params) == {"kernel": kernel_shape, "bias": kernel_shape[-1:]}
    x = numbers(2, *input_shape)
    assert_same(applied(layer, params, x), oracles.conv(x, params["kernel"], **geometry) + params["bias"])


TRANSPOSES = {
    "2d": (ConvTranspose(3, (3, 2), stride=2, output_padding=(0, 1)), (3, 4, 2), (3, 2, 3, 2),
           {"stride": 2, "output_padding": (0, 1)}),
    "grouped": (ConvTranspose(6, 3, padding=1, groups=2), (4, 3, 4), (3, 3, 3, 4),
                {"pads": ((1, 1),) * 2, "groups": 2}),
    "1d": (ConvTranspose(3, (2,), stride=3), (4, 2), (2, 3, 2), {"stride": 3}),
    "3d": (ConvTranspose(2, (2, 1, 2), dilation=2), (2, 3, 2, 1), (2, 1, 2, 2, 1), {"dilation": 2}),
}  # fmt: skip


@pytest.mark.parametrize("case", TRANSPOSES)
def test_transposed_convolutions_are_the_loops_plus_the_bias(case):
    layer, input_shape, kernel_shape, geometry = TRANSPOSES[case]
    params = drawn(layer, input_shape)
    channels = kernel_shape[-2] * geometry.get("groups", 1)
    assert shapes(params) == {"kernel": kernel_shape, "bias": (channels,)}
    x = numbers(2, *input_shape)
    assert_same(applied(layer, params, x), oracles.conv_transpose(x, params["kernel"], **geometry) + params["bias"])


def test_a_separable_convolution_is_depthwise_then_pointwise():
    layer = SeparableConv(5, 3, multiplier=2, stride=2, padding="SAME")
    params = drawn(layer, (5, 5, 3))
    assert shapes(params) == {
        "depthwise": {"kernel": (3, 3, 1, 6)},
        "pointwise": {"kernel": (1, 1, 6, 5), "bias": (5,)},
    }
    x = numbers(2, 5, 5, 3)
    middle = oracles.conv(x, params["depthwise"]["kernel"], stride=2, pads=((1, 1), (1, 1)), groups=3)
    expected = middle @ params["pointwise"]["kernel"][0, 0] + params["pointwise"]["bias"]
    assert_same(applied(layer, params, x), expected)


@pytest.mark.parametrize("input_shape", [(4,), (3, 2, 4)])
def test_dense_is_a_matrix_product_plus_the_bias(input_shape):
    layer = Dense(3)
    params = drawn(layer, input_shape)
    assert shapes(params) == {"kernel": (4, 3), "bias": (3,)}
    x = numbers(2, *input_shape)
    assert_same(applied(layer, params, x), x @ params["kernel"] + params["bias"])


@pytest.mark.parametrize(
    "layer",
    [Conv(3, 2, use_bias=False), ConvTranspose(3, 2, use_bias=False), DepthwiseConv(2, use_bias=False),
     Dense(3, use_bias=False)],
    ids=lambda layer: layer.kind,
)  # fmt: skip
def test_without_a_bias_there_is_none(layer):
    params = drawn(layer, (4, 4, 2))
    assert list(params) == ["kernel"]
    assert_same(applied(layer, params, np.zeros((1, 4, 4, 2))).sum(), 0.0)


def test_the_bias_of_a_separable_convolution_is_the_pointwise_one():
    assert shapes(drawn(SeparableConv(5, 3, use_bias=False), (5, 5, 3))) == {
        "depthwise": {"kernel": (3, 3, 1, 3)},
        "pointwise": {"kernel": (1, 1, 3, 5)},
    }


# --------------------------------------------------------------------------------------------------------- pooling

POOLS = {
    "max": (MaxPool(2), oracles.max_pool, (5, 4, 3), {"window": (2, 2)}),
    "max_padded": (MaxPool(3, stride=2, padding="SAME"), oracles.max_pool, (5, 7, 2),
                   {"window": (3, 3), "stride": 2, "pads": ((1, 1), (1, 1))}),
    "max_1d": (MaxPool((3,), stride=2, dilation=2, ceil_mode=True), oracles.max_pool, (8, 2),
               {"window": (3,), "stride": 2, "dilation": 2, "ceil_mode": True}),
    "avg": (AvgPool((3, 2), stride=(2, 1), padding=1), oracles.avg_pool, (5, 4, 3),
            {"window": (3, 2), "stride": (2, 1), "pads": ((1, 1), (1, 1))}),
    "avg_with_padding": (AvgPool(3, stride=2, padding=1, ceil_mode=True, count_include_pad=True), oracles.avg_pool,
                         (6, 6, 2), {"window": (3, 3), "stride": 2, "pads": ((1, 1), (1, 1)), "ceil_mode": True,
                                     "count_include_pad": True}),
    "avg_3d": (AvgPool((2, 1, 2), dilation=2, stride=1), oracles.avg_pool, (4, 2, 3, 2),
               {"window": (2, 1, 2), "dilation": 2, "stride": 1}),
    "l2": (LpPool(2), oracles.lp_pool, (4, 5, 2), {"window": (2, 2)}),
    "l3": (LpPool((2, 3), p=3, stride=2, padding=((0, 1), (1, 0)), dilation=(2, 1), ceil_mode=True), oracles.lp_pool,
           (5, 5, 2), {"window": (2, 3), "p": 3, "stride": 2, "pads": ((0, 1), (1, 0)), "dilation": (2, 1),
                       "ceil_mode": True}),
}  # fmt: skip


@pytest.mark.parametrize("case", POOLS)
def test_pooling_layers_are_the_loops(case):
    layer, oracle, input_shape, geometry = POOLS[case]
    x = numbers(2, *input_shape)
    assert_same(applied(layer, {}, x), oracle(x, **geometry))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pooling_is_over_all_positions(rank):
    x = numbers(2, *(4, 3, 2)[:rank], 3)
    axes = tuple(range(1, rank + 1))
    assert_same(applied(GlobalMaxPool(rank), {}, x), x.max(axes))
    assert_same(applied(GlobalAvgPool(rank), {}, x), x.mean(axes))


def bin_of(x, m, axis):
    """One axis to m bins: of n values, number p lies in bin i where [p/n, (p+1)/n) meets [i/m, (i+1)/m)."""
    n = x.shape[axis]
    inside = [[p for p in range(n) if p * m < (i + 1) * n and i * n < (p + 1) * m] for i in range(m)]
    return np.stack([np.take(x, positions, axis).mean(axis) for positions in inside], axis)


@pytest.mark.parametrize(
    ("size", "input_shape"),
    [
        (3, (7, 5, 2)),
        ((4, 2), (6, 4, 3)),
        (6, (6, 6, 1)),
        (7, (3, 7, 2)),
        (1, (4, 5, 2)),
        ((3,), (8, 2)),
        (2, (1, 3, 1)),
    ],
)
def test_adaptive_pooling_takes_the_mean_of_each_bin(size, input_shape):
    """Also of bins that overlap, and of more bins than values."""
    x = numbers(2, *input_shape)
    expected = x
    for axis, m in enumerate(size if isinstance(size, tuple) else (size, size), start=1):
        expected = bin_of(expected, m, axis)
    assert_same(applied(AdaptiveAvgPool(size), {}, x), expected)


def test_adaptive_pooling_of_what_has_the_size_already_computes_nothing():
    jaxpr = jax.make_jaxpr(lambda x: AdaptiveAvgPool(6).apply({}, {}, x)[0])(jnp.ones((2, 6, 6, 4)))
    assert jaxpr.eqns == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: AdaptiveAvgPool(0), ValueError, "AdaptiveAvgPool: `output_size` must be at least 1; got 0"),
        (
            lambda: AdaptiveAvgPool(2.0),
            TypeError,
            "AdaptiveAvgPool: `output_size` must be an int or a sequence; got 2.0",
        ),
        (
            lambda: applied(AdaptiveAvgPool(2), {}, np.ones((2, 6, 4))),
            ValueError,
            r"adaptive_avg_pool: `x` must have 2 spatial axes, none empty; got x \(2, 6, 4\)",
        ),
        (lambda: applied(AdaptiveAvgPool(2), {}, np.ones((2, 0, 6, 4))), ValueError, "none empty; got x"),
    ],
)
def test_adaptive_pooling_refuses_what_has_no_bins(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_flatten_keeps_the_order_of_the_pixels():
    x = numbers(2, 3, 2, 4)
    assert_same(applied(Flatten(), {}, x), x.reshape(2, 24))
    assert_same(applied(Flatten(), {}, numbers(2, 5)), numbers(2, 5))


# ----------------------------------------------------------------------------------------------------- activations

Z = np.array([-30.0, -2, -0.5, 0, 0.5, 2, 30])


def normal_distribution(z):
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])


ACTIVATIONS = {
    "relu": (layers.Relu(), jax.nn.relu, np.maximum(Z, 0)),
    "leaky_relu": (layers.LeakyRelu(), jax.nn.leaky_relu, np.where(Z > 0, Z, 0.01 * Z)),
    "leaky_relu_0.2": (layers.LeakyRelu(0.2), lambda z: jax.nn.leaky_relu(z, 0.2), np.where(Z > 0, Z, 0.2 * Z)),
    "elu": (layers.Elu(), jax.nn.elu, np.where(Z > 0, Z, np.expm1(Z))),
    "elu_2": (layers.Elu(2.0), lambda z: jax.nn.elu(z, 2.0), np.where(Z > 0, Z, 2 * np.expm1(Z))),
    "gelu": (layers.Gelu(), lambda z: jax.nn.gelu(z, False), Z * normal_distribution(Z)),
    "gelu_approximate": (layers.Gelu(approximate=True), jax.nn.gelu,
                         Z / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (Z + 0.044715 * Z**3)))),
    "silu": (layers.Silu(), jax.nn.silu, Z / (1 + np.exp(-Z))),
    "tanh": (layers.Tanh(), jnp.tanh, np.tanh(Z)),
    "sigmoid": (layers.Sigmoid(), jax.nn.sigmoid, 1 / (1 + np.exp(-Z))),
    "softmax": (layers.Softmax(), jax.nn.softmax, np.exp(Z) / np.exp(Z).sum()),
}  # fmt: skip


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_activations_are_their_formulas_and_those_of_jax(case):
    layer, of_jax, expected = ACTIVATIONS[case]
    y = layer.apply({}, {}, jnp.asarray(Z)[None])[0][0]
    np.testing.assert_array_equal(y, of_jax(jnp.asarray(Z)))
    assert_same(y, expected)


def test_relu_may_be_cut_off():
    x = np.array([-1.0, 0.0, 2.0, 6.0, 7.0])
    assert_same(applied(layers.Relu(6), {}, x), np.array([0.0, 0.0, 2.0, 6.0, 6.0]))
    slopes = jax.vmap(jax.grad(lambda x: layers.Relu(6).apply({}, {}, x)[0]))(jnp.array([-1.0, 0.0, 2.0, 6.0, 7.0]))
    assert_same(slopes, np.array([0.0, 0.0, 1.0, 0.0, 0.0]))
    assert np.isnan(applied(layers.Relu(6), {}, np.array([np.nan])))
    with pytest.raises(ValueError, match="Relu: `max_value` must be positive; got 0"):
        layers.Relu(0)
    for wrong in ("6", True, [6]):
        with pytest.raises(TypeError, match="Relu: `max_value` must be a number or None; got"):
            layers.Relu(wrong)


@pytest.mark.parametrize(
    ("layer", "at_zero"),
    [(layers.Relu(), 0), (layers.Relu(2), 0), (layers.LeakyRelu(0.25), 0.25), (layers.Elu(0.5), 0.5)],
)
def test_at_its_kink_an_activation_has_the_slope_that_it_states(layer, at_zero):
    assert jax.grad(lambda x: layer.apply({}, {}, x)[0])(0.0) == at_zero
