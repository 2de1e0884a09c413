"""Sizes of real networks: against XLA's own operations in float64, and jit against eager in float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from tolerances import assert_same, bound

from jaxcnn import ops

# x, kernel, stride, pads, dilation, groups
CONVOLUTIONS = {
    "first layer": ((4, 32, 32, 3), (3, 3, 3, 16), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "in tiles of the real budget": ((8, 32, 32, 32), (3, 3, 32, 16), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "down by two": ((2, 16, 16, 32), (3, 3, 32, 32), (2, 2), ((0, 1), (1, 0)), (1, 1), 1),
    "large window, large stride": ((1, 67, 67, 3), (7, 7, 3, 16), (4, 4), ((2, 2), (2, 2)), (1, 1), 1),
    "grouped": ((2, 14, 14, 32), (3, 3, 8, 64), (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    "depthwise": ((2, 28, 28, 32), (3, 3, 1, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), 32),
    "1×1, strided": ((2, 28, 28, 64), (1, 1, 64, 32), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "dilated, padded beyond the kernel": ((2, 20, 20, 8), (3, 3, 8, 8), (1, 1), ((9, 3), (0, 11)), (3, 3), 1),
    "causal, 1-D": ((4, 400, 8), (9, 8, 8), (1,), ((32, 0),), (4,), 1),
    "volumes": ((1, 12, 12, 12, 4), (3, 3, 3, 4, 8), (1, 2, 1), ((1, 1),) * 3, (1, 1, 1), 1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv_against_xla(name):
    x_shape, w_shape, stride, pads, dilation, groups = CONVOLUTIONS[name]
    rank = len(stride)
    spatial = "DHW"[-rank:]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")

    def ours(x, w):
        return ops.conv(x, w, stride=stride, padding=pads, dilation=dilation, groups=groups)

    def xla(x, w):
        return lax.conv_general_dilated(
            x, w, stride, pads, rhs_dilation=dilation, dimension_numbers=layout, feature_group_count=groups
        )

    compare(ours, xla, x_shape, w_shape)


# window, stride, pads, dilation
POOLS = {
    "overlapping": ((3, 3), (2, 2), ((1, 1), (0, 1)), (1, 1)),
    "touching": ((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    "dilated": ((3, 2), (1, 2), ((2, 2), (1, 0)), (2, 3)),
}


# Not the dilated maximum: XLA's has no derivative. The loops of test_ops_values have it.
@pytest.mark.parametrize(
    ("kind", "name"), [("average", name) for name in POOLS] + [("max", "overlapping"), ("max", "touching")]
)
def test_pool_against_xla(kind, name):
    window, stride, pads, dilation = POOLS[name]

    def slide(x, start, reduction):
        full = ((0, 0), *pads, (0, 0))
        return lax.reduce_window(
            x, start, reduction, (1, *window, 1), (1, *stride, 1), full, window_dilation=(1, *dilation, 1)
        )

    if kind == "max":
        compare(
            lambda x: ops.max_pool(x, window, stride=stride, padding=pads, dilation=dilation),
            lambda x: slide(x, -jnp.inf, lax.max),
            (2, 33, 32, 8),
        )
    else:
        compare(
            lambda x: ops.avg_pool(x, window, stride=stride, padding=pads, dilation=dilation),
            lambda x: slide(x, 0.0, lax.add) / slide(jnp.ones_like(x), 0.0, lax.add),
            (2, 33, 32, 8),
        )


def compare(ours, xla, *shapes):
    """Value and gradients, in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        arguments = [rng.standard_normal(shape) for shape in shapes]
        ct = rng.standard_normal(jax.eval_shape(xla, *arguments).shape)

        def numbers(function):
            y, pull = jax.vjp(function, *arguments)
            return y, *pull(ct)

        for actual, expected in zip(jax.jit(lambda: numbers(ours))(), jax.jit(lambda: numbers(xla))(), strict=True):
            assert_same(actual, expected)


# ------------------------------------------------------------------------------------------------------ jit and eager
#
# jaxlib 0.10.2 on CPU sums wrongly when it fuses a matrix product, a square and a sum over more than 32,768 elements
# (jax#39103): only a jitted program shows it, and only a large one. Our products end in that pattern wherever a loss
# or a gradient's norm is taken. So those are compared with the same arrays computed eagerly, and summed by NumPy.

BIG = {
    "conv": (functools.partial(ops.conv, padding="SAME"), (4, 32, 32, 16), (3, 3, 16, 32)),
    "1×1": (ops.conv, (4, 32, 32, 16), (1, 1, 16, 32)),
    "depthwise": (functools.partial(ops.conv, padding="SAME", groups=16), (4, 32, 32, 16), (3, 3, 1, 16)),
    "more weights than pixels": (ops.conv, (2, 6, 6, 64), (3, 3, 64, 64)),
    "conv_transpose": (functools.partial(ops.conv_transpose, stride=2), (4, 16, 16, 16), (2, 2, 16, 16)),
    "max_pool": (functools.partial(ops.max_pool, window=2, stride=1), (4, 32, 32, 16)),
    "avg_pool": (functools.partial(ops.avg_pool, window=2, stride=1), (4, 32, 32, 16)),
    "lp_pool": (functools.partial(ops.lp_pool, window=2, stride=1), (4, 32, 32, 16)),
    "global_avg_pool": (ops.global_avg_pool, (64, 16, 16, 4)),
    "global_max_pool": (ops.global_max_pool, (64, 16, 16, 4)),
}


@pytest.mark.parametrize("name", BIG)
def test_jit_is_eager(name):
    """The squared norms of the result and of the gradients."""
    function, *shapes = BIG[name]
    rng = np.random.default_rng(0)
    arguments = [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]
    assert max(*map(np.prod, shapes), jax.eval_shape(function, *arguments).size) > 32_768

    def arrays(*arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, *pull(y)

    check_norms(arrays, *arguments)


def test_jit_is_eager_in_norms_of_per_example_gradients():
    """36,864 weights; the norm of each example's gradient apart."""
    function, *shapes = BIG["more weights than pixels"]
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)

    def gradient(x, w):
        y, pull = jax.vjp(lambda w: function(x, w), w)
        return pull(y)[0]

    check_norms(lambda x, w: jax.vmap(gradient, (0, None))(x, w), x, w)


def check_norms(arrays, *arguments):
    jitted = jax.jit(lambda *a: [jnp.sum(jnp.square(array)) for array in jax.tree.leaves(arrays(*a))])(*arguments)
    eager = [np.sum(np.asarray(array, np.float64) ** 2) for array in jax.tree.leaves(arrays(*arguments))]
    # All terms are positive, so the bound is relative. Blocked sums over 10⁵ terms stay far below 1,000 roundings.
    np.testing.assert_allclose(jitted, eager, rtol=bound(jnp.float32, 1000))
