"""The p-norm of a window: where its powers leave the range of numbers, what is not finite, and kinks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_table import every_window_is_large

from jaxcnn import ops

NAN, INF = np.nan, np.inf


def image(values):
    return jnp.asarray(values)[..., None]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4])
def test_a_nan_is_not_hidden(p, stride):
    """It reaches the windows that hold it, in value and in gradient, and no other."""
    x = image(np.ones((4, 4), np.float32)).at[0, 0].set(NAN)
    y = ops.lp_pool(x, 2, p=p, stride=stride)
    assert np.isnan(y[0, 0, 0]) and np.isnan(y).sum() == 1
    gradient = jax.grad(lambda x: ops.lp_pool(x, 2, p=p, stride=stride).sum())(x)[..., 0]
    assert np.isnan(gradient[0, 0]) or p == 1  # |x| has slope 1 there as anywhere
    assert np.isfinite(gradient[2:, 2:]).all()


@pytest.mark.parametrize("looped", [False, True], ids=["unrolled", "looped"])
@pytest.mark.parametrize("stride", [1, 2], ids=["overlapping", "touching"])
@pytest.mark.parametrize(("p", "size"), [(2, 1e20), (2, 1e-25), (30, 0.01), (2.5, 1e30), (300, 1.0), (1, 1e30)])
def test_no_power_overflows_where_the_norm_does_not(p, size, stride, looped):
    """Value, gradient and second derivative against float64, whose range holds all of these powers but the last."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.8, 1.2, (3, 4)) * rng.choice([-1, 1], (3, 4))
    scales = {0: size, 1: 1, 2: 1 / size}  # of the value, its first and its second derivative

    def of(pool):
        def f(x):
            return pool(x).sum()

        return lambda x: (pool(x), jax.grad(f)(x), jax.jvp(jax.grad(f), (x,), (jnp.ones_like(x),))[1])

    def ours(x):
        return ops.lp_pool(x[..., None], 2, p=p, stride=stride)

    def definition(x):
        rows = [x[i : 2 + i : stride, j : 3 + j : stride] for i in (0, 1) for j in (0, 1)]
        return (sum(jnp.abs(row) ** p for row in rows) ** (1 / p))[..., None]

    def check():
        numbers = jax.jit(of(ours))(jnp.asarray(x * size, jnp.float32))
        with jax.enable_x64(True):
            expected = of(definition)(jnp.asarray(x))
        for order, (actual, wanted) in enumerate(zip(numbers, expected, strict=True)):
            scaled = np.asarray(actual, np.float64) / scales[order]
            np.testing.assert_allclose(scaled, wanted, rtol=1e-4, atol=1e-4 * max(p - 1, 1), err_msg=f"order {order}")

    if looped:
        with every_window_is_large():
            check()
    else:
        check()


def test_windows_of_very_different_size_stand_beside_each_other():
    """Each window has its own scale; a shared one would lose the small."""
    x = jnp.asarray([1e20, 1e20, 1e-20, 1e-20, 1.0, 1.0, 0, 0], jnp.float32)[:, None]
    y = ops.lp_pool(x, (2,), p=30)[:, 0]
    np.testing.assert_allclose(y, np.array([1e20, 1e-20, 1, 0]) * 2 ** (1 / 30), rtol=1e-5)


@pytest.mark.parametrize("p", [1, 1.5, 2, 2.3, 3, 16])
def test_zeros_and_infinities(p):
    zeros = jnp.zeros((2, 2, 1))
    assert ops.lp_pool(zeros, 2, p=p) == 0 and ops.lp_pool(zeros.at[0].set(-INF), 2, p=p) == INF
    gradient = jax.grad(lambda x: ops.lp_pool(x, 2, p=p).sum())
    assert (gradient(zeros) == 0).all()
    assert ops.lp_pool(zeros, 2, p=p, padding=3).shape == (4, 4, 1)
    assert (jax.jvp(gradient, (zeros,), (zeros + 1,))[1] == 0).all()


def test_a_zero_among_others_has_finite_second_derivatives():
    """Of p = 2 the right ones; a derivative that does not exist counts as 0, and padding, all zeros, adds none."""
    x = image(np.array([[3.0, 0.0], [0.0, 4.0]], np.float32))
    hessian = jax.hessian(lambda x: ops.lp_pool(x, 2, p=2).sum())(x).reshape(4, 4)
    flat = np.asarray(x).ravel()
    np.testing.assert_allclose(hessian, np.eye(4) / 5 - np.outer(flat, flat) / 125, atol=1e-6)
    assert np.isfinite(jax.hessian(lambda x: ops.lp_pool(x, 2, p=1.5, padding=1).sum())(x)).all()


@pytest.mark.parametrize("p", [np.float32(3), np.float64(3), np.int64(3), np.uint8(3)])
def test_p_may_come_from_numpy(p):
    x = image(np.arange(4, dtype=np.float32).reshape(2, 2))
    assert ops.lp_pool(x, 2, p=p) == ops.lp_pool(x, 2, p=3)
