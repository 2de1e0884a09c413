"""What the tests of the textbook share: numbers to try, and a function run together with its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles


def close(actual, expected):
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def distinct(*shape, seed=0):
    """No two numbers alike, neighbors at least 1/size apart: no ties for a maximum, also not nearly."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) - size / 2 + 0.25) / size


def run(f, *arguments):
    """A cotangent dy, the value of f, and what dy becomes at each argument."""

    @jax.jit
    def dy_value_gradients(*arguments):
        y, pullback = jax.vjp(f, *arguments)
        dy = jnp.array(normal(*y.shape, seed=2), y.dtype)
        return dy, y, *pullback(dy)

    return dy_value_gradients(*arguments)


def both_pads(padding, spatial, window, stride):
    """The oracle's (before, after) pairs for one of the textbook's paddings."""
    stride = (stride, stride) if isinstance(stride, int) else stride
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    return tuple(oracles.pads_for(padding, n, k, s) for n, k, s in zip(spatial, window, stride, strict=True))
