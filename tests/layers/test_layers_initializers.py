"""Initial values: variances and bounds of big kernels against the formulas, fans of every layer with a kernel."""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.layers import Conv, ConvTranspose, Dense, DepthwiseConv, SeparableConv
from jaxcnn.layers.initializers import normal

# layer of a kernel initializer, input shape, fan_in, fan_out; each kernel has some ten thousand values
LAYERS = {
    "conv": (lambda init: Conv(64, (3, 5), kernel_init=init), (9, 9, 32), 15 * 32, 15 * 64),
    "conv_1d": (lambda init: Conv(128, (3,), kernel_init=init), (9, 64), 3 * 64, 3 * 128),
    "conv_3d": (lambda init: Conv(40, (3, 2, 2), kernel_init=init), (9, 9, 9, 32), 12 * 32, 12 * 40),
    "grouped": (lambda init: Conv(96, 3, groups=4, kernel_init=init), (9, 9, 128), 9 * 32, 9 * 96),
    "depthwise": (lambda init: DepthwiseConv(5, multiplier=2, kernel_init=init), (9, 9, 400), 25, 25 * 800),
    "dense": (lambda init: Dense(256, kernel_init=init), (128,), 128, 256),
    "conv_transpose": (lambda init: ConvTranspose(32, 3, kernel_init=init), (9, 9, 128), 9 * 128, 9 * 32),
    "conv_transpose_grouped": (
        lambda init: ConvTranspose(64, 3, groups=4, kernel_init=init), (9, 9, 128), 9 * 32, 9 * 64,
    ),
}  # fmt: skip
VARIANCE = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}


def drawn(layer, input_shape, seed=0):
    key = jax.random.key(seed, impl="rbg")  # XLA's own generator, whose programs compile in a third of the time
    params, _ = layer.init(key, input_shape)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def assert_distribution(kernel, variance, distribution):
    """Mean, variance and shape, each to five standard errors (its own spread over seeds, for the number of values)."""
    n, deviation = kernel.size, math.sqrt(variance)
    assert abs(kernel.mean()) < 5 * deviation / math.sqrt(n)
    kurtosis = {"uniform": 1.8, "normal": 3.0}[distribution]  # of the truncated normal a little less
    assert abs(kernel.var() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    largest = np.abs(kernel).max() / deviation
    if distribution == "uniform":
        assert math.sqrt(3) * 0.99 < largest <= math.sqrt(3) * (1 + 1e-6)
    else:  # cut off at two standard deviations of the normal it is taken from, 2.27 of what is left
        assert 2.0 < largest < 2.28


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize("case", LAYERS)
def test_the_variance_of_a_kernel_is_that_of_its_fans(case, family, distribution):
    make, input_shape, fan_in, fan_out = LAYERS[case]
    params = drawn(make(f"{family}_{distribution}"), input_shape)
    assert_distribution(params["kernel"], VARIANCE[family](fan_in, fan_out), distribution)
    assert not params["bias"].any()


@pytest.mark.parametrize("case", LAYERS)
def test_fan_out_keeps_the_size_of_gradients(case):
    """Normal, and not cut off: a value in 22 lies beyond two standard deviations, one in 16,000 beyond four."""
    make, input_shape, _, fan_out = LAYERS[case]
    kernel = drawn(make("he_normal_fan_out"), input_shape)["kernel"]
    n, deviation = kernel.size, math.sqrt(2 / fan_out)
    assert abs(kernel.mean()) < 5 * deviation / math.sqrt(n)
    assert abs(kernel.var() / deviation**2 - 1) < 5 * math.sqrt(2 / n)
    beyond = (np.abs(kernel) > 2 * deviation).mean()
    assert abs(beyond - 0.0455) < 5 * math.sqrt(0.0455 / n)


@pytest.mark.parametrize("rows", [1, 64, 65, 200_000])
def test_the_values_do_not_depend_on_the_size_that_is_drawn(rows):
    """A kernel takes the first of a longer row; with JAX's own generator these are the numbers of jax.nn."""
    key, shape = jax.random.key(5), (rows, 32)
    kernel = Dense(32, kernel_init="he_uniform").init(key, (rows,))[0]["kernel"]
    key = jax.random.fold_in(key, zlib.crc32(b"kernel"))
    np.testing.assert_allclose(kernel, jax.nn.initializers.he_uniform()(key, shape), rtol=1e-5, atol=1e-7)


def test_normal_by_its_standard_deviation():
    kernel = drawn(Dense(200, kernel_init=normal(0.01)), (300,))["kernel"]
    assert abs(kernel.std() / 0.01 - 1) < 5 / math.sqrt(2 * kernel.size)
    assert abs(kernel.mean()) < 5 * 0.01 / math.sqrt(kernel.size)


@pytest.mark.parametrize("case", LAYERS)
def test_keras_and_the_default_are_glorot_uniform_with_zero_biases(case):
    make, input_shape, *fans = LAYERS[case]
    keras = drawn(make("keras"), input_shape)["kernel"]
    assert_distribution(keras, VARIANCE["glorot"](*fans), "uniform")
    np.testing.assert_array_equal(keras, drawn(make("glorot_uniform"), input_shape)["kernel"])
    default = {"dense": Dense(256), "conv": Conv(64, (3, 5)), "conv_transpose": ConvTranspose(32, 3)}
    if case in default:
        np.testing.assert_array_equal(keras, drawn(default[case], input_shape)["kernel"])


# torch counts fan_in as window times the second axis of its kernel: C_in // G of a convolution (C_out, C_in // G, …),
# but C_out // G of a transposed one (C_in, C_out // G, …).
PYTORCH = {
    "conv": (Conv, {"out_channels": 64, "kernel_size": 3}, (9, 9, 32), 9 * 32),
    "grouped": (Conv, {"out_channels": 96, "kernel_size": 3, "groups": 4}, (9, 9, 128), 9 * 32),
    "depthwise": (DepthwiseConv, {"kernel_size": 5}, (9, 9, 800), 25),
    "dense": (Dense, {"out_features": 1024}, (48,), 48),
    "conv_transpose": (ConvTranspose, {"out_channels": 32, "kernel_size": 3}, (9, 9, 128), 9 * 32),
    "conv_transpose_grouped": (
        ConvTranspose, {"out_channels": 256, "kernel_size": 3, "groups": 4}, (9, 9, 64), 9 * 64,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PYTORCH)
def test_pytorch_is_uniform_within_one_over_the_root_of_fan_in(case):
    factory, options, input_shape, fan_in = PYTORCH[case]
    params = drawn(factory(**options, kernel_init="pytorch", bias_init="pytorch"), input_shape)
    bound = 1 / math.sqrt(fan_in)
    assert_distribution(params["kernel"], bound**2 / 3, "uniform")
    assert np.abs(params["bias"]).max() <= bound
    assert np.abs(params["bias"]).max() > 0.85 * bound  # of 32 uniform values one in 180 sets stays below
    assert params["bias"].min() < -0.5 * bound and params["bias"].max() > 0.5 * bound


def test_zeros():
    params = drawn(Conv(4, 3, kernel_init="zeros", bias_init="keras"), (5, 5, 2))
    assert not params["kernel"].any() and not params["bias"].any()


def test_kernel_and_bias_have_keys_of_their_own():
    def same(key, shape, dtype):
        return jax.random.uniform(key, (1,), dtype) * jnp.ones(shape, dtype)

    params = drawn(Conv(4, 3, kernel_init=same, bias_init=same), (5, 5, 2))
    assert params["kernel"].flat[0] != params["bias"][0]


def test_an_initializer_may_be_a_function():
    calls = []

    def ones(key, shape, dtype):
        calls.append((shape, dtype))
        return jnp.ones(shape, dtype)

    params = drawn(Conv(4, 3, kernel_init=ones, bias_init=ones), (5, 5, 2))
    assert calls == [((3, 3, 2, 4), jnp.float32), ((4,), jnp.float32)]
    assert (params["kernel"] == 1).all() and (params["bias"] == 1).all()


def test_a_transposed_convolution_is_drawn_as_the_convolution_it_looks_like():
    """A function sees (*window, in // groups, out), group after group; what it gives stands channels swapped."""

    def labels(key, shape, dtype):
        assert shape == (1, 2, 6)  # 4 inputs, 6 outputs, 2 groups
        return 10.0 * jnp.arange(2, dtype=dtype)[None, :, None] + jnp.arange(6, dtype=dtype)

    kernel = drawn(ConvTranspose(6, (1,), groups=2, kernel_init=labels), (5, 4))["kernel"]
    # stored (1, out // groups, in): column i of group g holds what input i sends to the outputs 3g, 3g + 1, 3g + 2
    assert kernel[0].tolist() == [[0, 10, 3, 13], [1, 11, 4, 14], [2, 12, 5, 15]]


KNOWN = (
    "he_normal, he_uniform, he_normal_fan_out, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform, zeros, "
    "keras, pytorch"
)


@pytest.mark.parametrize("factory", [Conv, ConvTranspose, DepthwiseConv, SeparableConv, Dense])
def test_an_unknown_name_is_refused_at_once_with_the_known_ones(factory):
    size = {Dense: (4,), DepthwiseConv: (3,)}.get(factory, (4, 3))
    with pytest.raises(ValueError, match=rf"`kernel_init` must be a function or one of {KNOWN}; got 'xavier'"):
        factory(*size, kernel_init="xavier")
    with pytest.raises(ValueError, match=r"`bias_init` must be a function or one of zeros, keras, pytorch; got 'ones'"):
        factory(*size, bias_init="ones")
