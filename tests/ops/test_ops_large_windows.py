"""Windows of any size: looped forms against the definition, programs of bounded size, and which maximum is first."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from ops_table import check_pool, every_window_is_large
from tolerances import assert_same

from jaxcnn import ops

# batch, size, window, stride, pads, dilation
GEOMETRIES = {
    "a line": ((2,), (11,), (5,), (1,), ((2, 1),), (1,)),
    "a line, strided": ((2,), (11,), (5,), (2,), ((2, 1),), (1,)),
    "a line, strided and dilated": ((2,), (13,), (4,), (3,), ((1, 2),), (2,)),
    "a line, dilated": ((2,), (13,), (4,), (1,), ((1, 2),), (3,)),
    "a line, gaps between windows": ((2,), (14,), (3,), (4,), ((0, 0),), (1,)),
    "touching": ((2,), (7, 6), (3, 2), (3, 2), ((0, 0), (0, 0)), (1, 1)),
    "touching, padded": ((2,), (7, 6), (3, 2), (3, 2), ((1, 2), (0, 1)), (1, 1)),
    "overlapping": ((3,), (6, 5), (4, 3), (2, 1), ((1, 2), (2, 0)), (1, 1)),
    "one axis only": ((2,), (6, 5), (4, 1), (1, 2), ((0, 1), (1, 0)), (1, 1)),
    "padding wider than the window": ((2,), (3, 3), (2, 2), (1, 2), ((3, 2), (2, 3)), (1, 1)),
    "volume": ((1,), (4, 5, 4), (2, 3, 2), (2, 1, 1), ((0, 1), (1, 1), (0, 0)), (1, 1, 2)),
    "no images": ((0,), (6, 5), (4, 3), (2, 1), ((1, 2), (2, 0)), (1, 1)),
}
POOLS = {
    "max": (ops.max_pool, oracles.max_pool, oracles.max_pool_gradient, {}),
    "avg": (ops.avg_pool, oracles.avg_pool, lambda dy, x, **g: oracles.avg_pool_gradient(dy, x.shape, **g), {}),
    "lp, p = 2": (ops.lp_pool, oracles.lp_pool, oracles.lp_pool_gradient, {"p": 2}),
    "lp, p = 1.5": (ops.lp_pool, oracles.lp_pool, oracles.lp_pool_gradient, {"p": 1.5}),
}


@pytest.fixture(scope="module")
def large():
    with jax.enable_x64(True), every_window_is_large():
        yield


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_looped_pools_against_the_loops(name, pool, large):
    function, value, gradient, options = POOLS[pool]
    check_pool(GEOMETRIES[name], function, value, gradient, **options)


@pytest.mark.parametrize("pool", ["max", "avg", "lp, p = 2"])
def test_looped_pools_pass_through_every_transformation(pool, large):
    function, *_, options = POOLS[pool]
    f = functools.partial(function, window=(3, 4), stride=(2, 1), padding=1, **options)
    x = jnp.asarray(np.random.default_rng(0).permutation(np.linspace(-2, 2, 2 * 6 * 7 * 2)).reshape(2, 6, 7, 2))

    def loss(x):
        return jnp.sum(jnp.sin(f(x)))

    assert_same(jax.vmap(f)(x[:, None])[:, 0], f(x))
    hessian_times_x = jax.grad(lambda z: jnp.vdot(jax.grad(loss)(z), x))(x)
    assert_same(jax.jvp(jax.grad(loss), (x,), (x,))[1], hessian_times_x)
    step = 1e-6
    numeric = (jax.grad(loss)(x + step * x) - jax.grad(loss)(x - step * x)) / (2 * step)
    np.testing.assert_allclose(hessian_times_x, numeric, rtol=1e-6, atol=1e-6)


WHOLE = {
    "max, whole map": (functools.partial(ops.max_pool, window=56), (4, 56, 56, 16)),
    "max, overlapping": (functools.partial(ops.max_pool, window=28, stride=1), (4, 40, 40, 16)),
    "max, volume": (functools.partial(ops.max_pool, window=(7, 7, 7)), (1, 14, 14, 14, 4)),
    "max, time": (functools.partial(ops.max_pool, window=(500,), stride=1), (2, 1000, 4)),
    "avg, time": (functools.partial(ops.avg_pool, window=(500,), stride=1), (2, 1000, 4)),
    "avg, whole map": (functools.partial(ops.avg_pool, window=56), (4, 56, 56, 16)),
    "lp, whole map": (functools.partial(ops.lp_pool, window=56), (4, 56, 56, 16)),
    "lp, time": (functools.partial(ops.lp_pool, window=(500,), stride=1), (2, 1000, 4)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_large_window_has_a_small_program(name):
    """The time to compile grows with the square of its length; a part per tap would be thousands of lines."""
    function, shape = WHOLE[name]
    gradient = jax.jit(jax.grad(lambda x: function(x).sum()))
    assert len(gradient.lower(jax.ShapeDtypeStruct(shape, jnp.float32)).as_text().splitlines()) < 1000


INF, NAN = np.inf, np.nan
LOWEST = float(np.finfo(np.float64).min)


def first_maximum(x, window, stride, before, out):
    """How often each pixel is the first maximum of a window, NaN being above everything; from the definition."""
    counts = np.zeros_like(x)
    for o in np.ndindex(*out):
        pixels = [
            tuple(s * i + k - b for s, i, k, b in zip(stride, o, tap, before, strict=True))
            for tap in np.ndindex(*window)
        ]
        inside = [p for p in pixels if all(0 <= i < n for i, n in zip(p, x.shape, strict=True))]
        if inside:
            best = inside[0]
            for p in inside[1:]:
                if x[p] > x[best] or (math.isnan(x[p]) and not math.isnan(x[best])):
                    best = p
            counts[best] += 1
    return counts


@pytest.mark.parametrize("looped", [False, True], ids=["unrolled", "looped"])
@pytest.mark.parametrize("pad", [0, 1, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_gradient_goes_to_the_first_maximum(pad, stride, looped):
    """Few different values, so most windows have ties; −∞ beside the smallest number; padding gets nothing."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):

        def gradient(x):
            return jax.grad(lambda x: ops.max_pool(x[..., None], (3, 2), stride=stride, padding=pad).sum())(x)

        def check():
            for values in ([-INF], [-INF, LOWEST], [-INF, LOWEST, 0, 1], [0, 1, NAN], [-INF, NAN]):
                x = rng.choice(values, (5, 6))
                out = [(n + 2 * pad - k) // stride + 1 for n, k in zip(x.shape, (3, 2), strict=True)]
                expected = first_maximum(x, (3, 2), (stride, stride), (pad, pad), out)
                np.testing.assert_array_equal(gradient(jnp.asarray(x)), expected, err_msg=f"{values}\n{x}")

        if looped:
            with every_window_is_large():
                check()
        else:
            check()
