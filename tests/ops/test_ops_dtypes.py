"""Dtypes: the result has the input's, a gradient its primal's; sums are in float32 at least; integers are exact."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from ops_table import CASES, tiles_of
from tolerances import assert_sum_close

from jaxcnn import ops

FLOATS = [jnp.float32, jnp.float64, jnp.bfloat16, jnp.float16]
LOW = [jnp.bfloat16, jnp.float16]


def name(value):
    return getattr(value, "__name__", None) or getattr(value, "name", None)


def value_and_pullback(function):
    def both(ct, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, *pull(ct)

    return jax.jit(both)


@functools.cache
def reference(case):
    return value_and_pullback(case.reference)


@pytest.mark.parametrize("dtype", FLOATS, ids=name)
@pytest.mark.parametrize("case", CASES, ids=name)
def test_dtype_kept_and_error_bounded(case, dtype):
    """Against float64 from the same, already rounded, numbers; the bound grows with the number of summed terms."""
    wide = dtype == jnp.float64
    with jax.enable_x64(wide):
        arguments = [a.astype(dtype) for a in case.arguments()]
        shape = jax.eval_shape(case.function, *arguments).shape
        ct = jnp.asarray(np.random.default_rng(1).standard_normal(shape)).astype(dtype)
        actual = value_and_pullback(case.function)(ct, *arguments)
        assert [a.dtype for a in actual] == [dtype] * len(actual)
        assert not any(a.weak_type for a in actual)
        given = [np.asarray(a, np.float64) for a in (ct, *arguments)]
    with jax.enable_x64(True):
        expected = reference(case)(*given)
        # What the terms of each sum add up to without their signs. A maximum's switches must stay where they are.
        without = [abs(given[0]), *(given[1:] if "max" in case.name else map(abs, given[1:]))]
        magnitude = [abs(m) for m in reference(case)(*without)]
    terms = 10 + max(a.size for a in given)  # no sum is longer; ten more for what a power costs
    for a, e, m in zip(actual, expected, magnitude, strict=True):
        assert_sum_close(a, e, m, dtype, terms)


def big_and_small(dtype):
    """A number, and how many ones must be added to it for the sum to be representable, while adding 1 alone is lost."""
    big = {jnp.bfloat16: 256, jnp.float16: 2048}[dtype]
    assert dtype(big) + dtype(1) == dtype(big)
    return big


# Each sums 4,096 ones. One after the other, bfloat16 would stop at 256 and float16 at 2,048. (XLA:CPU may widen such
# sums unasked, so what fails there is test_no_sum_is_written_in_16_bits; on a GPU these would.)
LONG_SUMS = {
    "conv, channels": (lambda one: ops.conv(one(1, 4096), one(1, 4096, 1)), 4096),
    "conv, patches": (lambda one: ops.conv(one(8, 8, 64), one(8, 8, 64, 3)), 4096),
    "conv, groups": (lambda one: ops.conv(one(8, 8, 128), one(8, 8, 64, 2), groups=2), 4096),
    "conv, channels to many": (lambda one: ops.conv(one(1, 4096), one(1, 4096, 5)), 4096),
    "conv_transpose, channels": (lambda one: ops.conv_transpose(one(1, 4096), one(1, 2, 4096)), 4096),
    "avg_pool": (lambda one: ops.avg_pool(one(64, 64, 2), 64), 1),
    "lp_pool, p = 1": (lambda one: ops.lp_pool(one(64, 64, 2), 64, p=1), 4096),
    "lp_pool, p = 2": (lambda one: ops.lp_pool(one(64, 64, 2), 64), 64),
    "global_avg_pool": (lambda one: ops.global_avg_pool(one(64, 64, 2)), 1),
    "kernel gradient, patches": (lambda one: gradient(ops.conv, 1, one(4, 33, 33, 2), one(2, 2, 2, 3)), 4096),
    "kernel gradient, 1×1": (lambda one: gradient(ops.conv, 1, one(4, 32, 32, 2), one(1, 1, 2, 3)), 4096),
    "kernel gradient, depthwise": (
        lambda one: gradient(functools.partial(ops.conv, groups=2), 1, one(4, 33, 33, 2), one(2, 2, 1, 2)),
        4096,
    ),
    "input gradient": (lambda one: gradient(ops.conv, 0, one(2, 2, 3), one(1, 1, 3, 4096)), 4096),
}


def gradient(function, argument, *arguments):
    """Of the plain sum, in the dtype of the op: the cotangent is ones."""
    y, pull = jax.vjp(function, *arguments)
    return pull(jnp.ones_like(y))[argument]


@pytest.mark.parametrize("dtype", LOW, ids=name)
@pytest.mark.parametrize("case", LONG_SUMS)
def test_long_sums_do_not_stop(case, dtype):
    compute, expected = LONG_SUMS[case]
    result = compute(lambda *shape: jnp.ones(shape, dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(np.asarray(result, np.float64), expected)


# What adds numbers in StableHLO, where its result is 16 bits wide.
SHORT_SUM = re.compile(
    r"stablehlo\.(add\b|dot_general\b|reduce\b.* applies stablehlo\.add\b).*\btensor<([0-9]+x)*b?f16>\s*$", re.MULTILINE
)


@pytest.mark.parametrize("budget", [2**22, 300], ids=["whole", "in tiles"])
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "global_max_pool"], ids=name)
def test_no_sum_is_written_in_16_bits(case, budget):
    """Forward and backward: the numbers above also come right where XLA:CPU widens a sum by itself.

    Not global_max_pool: its gradient is a scatter of one number per channel, which adds in form only.
    """
    with tiles_of(budget):
        arguments = [a.astype(jnp.bfloat16) for a in case.arguments()]
        ct = jnp.ones(jax.eval_shape(case.function, *arguments).shape, jnp.bfloat16)
        text = value_and_pullback(case.function).lower(ct, *arguments).as_text()
    assert "bf16" in text
    assert SHORT_SUM.search(text) is None, SHORT_SUM.search(text).group()


@pytest.mark.parametrize(
    "add",
    [lambda x: x + x, lambda x: jax.lax.dot(x, x), lambda x: jax.lax.reduce(x, x.dtype.type(0), jax.lax.add, (0, 1))],
    ids=["add", "dot", "reduce"],
)
def test_the_search_finds_what_it_looks_for(add):
    assert SHORT_SUM.search(jax.jit(add).lower(jnp.ones((2, 2), jnp.bfloat16)).as_text())
    assert not SHORT_SUM.search(jax.jit(add).lower(jnp.ones((2, 2), jnp.float32)).as_text())


@pytest.mark.parametrize("dtype", LOW, ids=name)
def test_kernel_gradient_is_summed_over_tiles_in_float32(dtype):
    with tiles_of(2000):
        dw = gradient(ops.conv, 1, jnp.ones((4, 33, 33, 2), dtype), jnp.ones((2, 2, 2, 3), dtype))
    np.testing.assert_array_equal(np.asarray(dw, np.float64), 4096)


@pytest.mark.parametrize("dtype", LOW, ids=name)
def test_nine_terms_of_unequal_size(dtype):
    """A large number and eight ones, in the sums that are written as additions: tap by tap, window by window."""
    big = big_and_small(dtype)
    image = jnp.ones((3, 3, 1), dtype).at[0, 0].set(big)

    def only(result):
        assert result.dtype == dtype
        assert result.size == 1
        return float(result.reshape(()))

    assert only(ops.conv(image, jnp.ones((3, 3, 1, 1), dtype))) == big + 8
    assert only(ops.lp_pool(image, 3, p=1)) == big + 8
    assert only(ops.avg_pool(image, 3)) == float(dtype((big + 8) / 9))
    # Nine windows see the middle of a 5×5 image, and send it their cotangents.
    middle = jnp.zeros((5, 5, 1), dtype).at[2, 2].set(1)
    pools = {"max": ops.max_pool, "average": ops.avg_pool, "norm": functools.partial(ops.lp_pool, p=1)}
    received = {}
    for kind, pool in pools.items():
        _, pull = jax.vjp(functools.partial(pool, window=3, stride=1), middle)
        received[kind] = float(pull(image)[0][2, 2, 0])
    assert received == {"max": big + 8, "average": float(dtype((big + 8) / 9)), "norm": big + 8}


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.int32, jnp.uint32], ids=name)
def test_integers(dtype):
    """Convolution and maximum are exact; padding is below every integer of the dtype."""
    low = 0 if jnp.issubdtype(dtype, jnp.unsignedinteger) else -3
    rng = np.random.default_rng(0)
    x, w = rng.integers(low, 4, (2, 5, 4, 2)), rng.integers(low, 3, (3, 2, 2, 2))
    pads = ((1, 0), (0, 2))
    y = ops.conv(jnp.asarray(x, dtype), jnp.asarray(w, dtype), padding=pads, stride=2)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, oracles.conv(x, w, 2, pads))
    below = x - 4 if low else x  # negative throughout, where the dtype allows: padding with 0 would show
    y = ops.max_pool(jnp.asarray(below, dtype), 2, stride=1, padding=1)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, oracles.max_pool(below, (2, 2), 1, ((1, 1), (1, 1))))
    total = ops.global_max_pool(jnp.asarray(below, dtype))
    assert total.dtype == dtype
    np.testing.assert_array_equal(total, below.max((1, 2)))


def test_numpy_arrays_and_lists_are_arrays():
    """As everywhere in JAX: float64 from NumPy is float32 where x64 is off, and so mixes with float32."""
    x = [[1.0], [2.0], [3.0]]
    y = ops.conv(np.array(x), jnp.ones((2, 1, 1)))
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, [[3], [5]])
    np.testing.assert_array_equal(ops.max_pool(x, (2,), stride=1), [[2], [3]])


SMALL_FLOATS = [n for n in dir(jnp) if n.startswith(("float4", "float8")) and n != "float8_e8m0fnu"]


@pytest.mark.parametrize("kind", SMALL_FLOATS)
def test_max_pool_of_floats_with_and_without_infinity(kind):
    """Padding is below every value, and the gradient goes to the input, also where that is the lowest there is."""
    dtype = getattr(jnp, kind)
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[..., None].astype(dtype)
    for image in (x, -x):
        y = ops.max_pool(image, 2, padding=1)
        np.testing.assert_array_equal(y.astype(jnp.float32), image.astype(jnp.float32))
    lowest = jnp.full_like(x, jnp.finfo(dtype).min)
    assert (ops.max_pool(lowest, 2, padding=1) == lowest).all()
    gradient = jax.grad(lambda x: ops.max_pool(x, 2, padding=1).astype(jnp.float32).sum())(lowest)
    np.testing.assert_array_equal(gradient.astype(jnp.float32), 1)
    nan = x.at[0, 0].set(jnp.nan)
    if np.isnan(np.asarray(nan, np.float32)).any():  # there are kinds without
        assert np.isnan(np.asarray(ops.max_pool(nan, 2), np.float32)).all()


def test_a_float_that_only_scales_others_is_refused():
    with pytest.raises(TypeError, match="max_pool: `x` must be real and numeric; got dtype float8_e8m0fnu"):
        ops.max_pool(jnp.ones((2, 2, 1), jnp.float8_e8m0fnu), 2)
