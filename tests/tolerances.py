"""How far a result may be from the truth: every tolerance of the tests, by dtype and number of summed terms."""

import jax.numpy as jnp
import numpy as np

# float64 against a float64 oracle. Sums of at most some thousand terms of size 1: far above their rounding, far below
# any mistake.
ORACLE = 1e-10

# The three ways of writing one inner product (adjoint identity), relative to the sum of its absolute terms.
ADJOINT = 1e-12


def unit(dtype) -> float:
    """The distance from 1 to the next number."""
    return float(jnp.finfo(dtype).eps)


def bound(dtype, terms: int = 1) -> float:
    """The error of a sum of `terms` products, as a share of the sum of their absolute values.

    Sums are kept in float32 at least: each of the terms may cost one rounding there, and the result is rounded to its
    own dtype twice (once for an intermediate such as 1/m or a power).
    """
    accumulator = jnp.promote_types(dtype, jnp.float32)
    return 2 * unit(dtype) + (terms + 1) * unit(accumulator)


def assert_sum_close(actual, expected, magnitude, dtype, terms: int = 1) -> None:
    """`actual` is `expected` but for rounding; `magnitude` is the same sum over absolute values."""
    actual, expected, magnitude = (np.asarray(a, np.float64) for a in (actual, expected, magnitude))
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    np.testing.assert_array_less(np.abs(actual - expected), bound(dtype, terms) * magnitude + 1e-30)


def assert_same(actual, expected, tolerance: float = ORACLE) -> None:
    """Equal in shape, and in value to `tolerance`, relative and absolute."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
