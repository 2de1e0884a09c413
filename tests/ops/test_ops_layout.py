"""The order of axes that sliding windows have in memory, for other operations: a permutation, and its own way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.ops.layout import channels_first, channels_last
from jaxcnn.ops.machine import CPU

X = np.random.default_rng(0).normal(size=(9, 4, 3, 2)).astype(np.float32)
arrays = pytest.mark.parametrize("x", [X, X[:2], X[:, 0], X[..., None], X[:0]], ids=lambda x: str(x.shape))


def permuted(x):
    """What `channels_first` gives, by NumPy: images innermost, or if few before the spatial axes."""
    if len(x) < CPU.lanes:
        return np.moveaxis(x, -1, 0)[..., None]
    return np.moveaxis(np.moveaxis(x, -1, 0), 1, -1)[:, None]


@arrays
def test_there(x):
    for f in (channels_first, jax.jit(channels_first)):
        np.testing.assert_array_equal(f(x), permuted(x))
    members = np.stack([x, 2 * x])
    expected = np.stack([permuted(x), permuted(2 * x)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(channels_first))(members), expected)


@arrays
def test_and_back(x):
    def both(x):
        return channels_last(channels_first(x))

    for f in (both, jax.jit(both), jax.jit(jax.vmap(both))):
        np.testing.assert_array_equal(f(x), x)


def test_derivatives():
    def f(x):
        inner = channels_first(x**2) * channels_first(x)
        return jnp.sum(channels_last(inner) * jnp.arange(2))

    np.testing.assert_allclose(jax.jit(jax.grad(f))(X), 3 * X**2 * np.arange(2), rtol=1e-6)
    y, dy = jax.jit(lambda x, t: jax.jvp(channels_first, (x,), (t,)))(X, 2 * X)
    np.testing.assert_array_equal(y, permuted(X))
    np.testing.assert_array_equal(dy, 2 * permuted(X))
    hvp = jax.jit(lambda x, t: jax.jvp(jax.grad(f), (x,), (t,))[1])(X, X)
    np.testing.assert_allclose(hvp, 6 * X**2 * np.arange(2), rtol=1e-6)


@pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool], ids=["max", "average"])
def test_pooling_alone_leaves_its_argument_as_it_lies(pool):
    """An argument of the program is pooled where it is; what an operation computed, in the order of the windows."""

    def transposes(function):
        return jax.jit(function).lower(X).as_text().count("stablehlo.transpose")

    assert transposes(lambda x: pool(x, 2)) == 0
    if jax.default_backend() == "cpu":
        assert transposes(lambda x: pool(jnp.abs(x), 2)) > 0
    inside = jax.jit(lambda x: pool(jnp.abs(x), 2) - pool(x, 2))(np.abs(X))
    np.testing.assert_array_equal(inside, np.zeros_like(inside))
