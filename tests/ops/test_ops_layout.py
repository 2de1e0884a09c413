"""The hint about memory changes no number, and passes through every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.ops.layout import settled

X = np.random.default_rng(0).normal(size=(9, 4, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("x", [X, X[:2], X[:, 0], X[:, 0, 0], X[..., None], X[:0]], ids=lambda x: str(x.shape))
def test_it_is_x(x):
    for f in (settled, jax.jit(settled), jax.jit(jax.vmap(settled))):
        np.testing.assert_array_equal(f(x), x)


def test_its_derivatives_are_the_identitys():
    def f(x):
        return jnp.sum(settled(x**2) * settled(x))

    np.testing.assert_allclose(jax.jit(jax.grad(f))(X), 3 * X**2, rtol=1e-6)
    y, dy = jax.jit(lambda x, t: jax.jvp(settled, (x,), (t,)))(X, 2 * X)
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(dy, 2 * X)
    hvp = jax.jit(lambda x, t: jax.jvp(jax.grad(f), (x,), (t,))[1])(X, X)
    np.testing.assert_allclose(hvp, 6 * X**2, rtol=1e-6)
