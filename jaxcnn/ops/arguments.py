"""Checks of array arguments that every operation makes, and the folding of batch axes."""

import math
import numbers
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def check_array(op: str, argument: str, value: jax.typing.ArrayLike, *, floating: bool = False) -> jax.Array:
    """`value` as a JAX array; TypeError unless it is real and numeric (and floating point, where that is needed)."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        dtype = np.asarray(value).dtype
    numeric = jnp.issubdtype(dtype, jnp.floating) or (jnp.issubdtype(dtype, jnp.integer) and not floating)
    if not numeric or dtype == jnp.float8_e8m0fnu:  # that one holds powers of two to scale others by: no 0, no sign
        kind = "floating-point" if floating else "real and numeric"
        raise TypeError(f"{op}: `{argument}` must be {kind}; got dtype {dtype}")
    return jnp.asarray(value)


def check_number(op: str, argument: str, value: object) -> float:
    """`value` as a float: a real number of Python or NumPy; TypeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: `{argument}` must be a number; got {value!r}")
    return float(value)


def check_same_dtype(op: str, **arrays: jax.Array) -> None:
    """TypeError unless all arrays have one dtype: nothing is promoted silently."""
    if len({array.dtype for array in arrays.values()}) > 1:
        received = ", ".join(f"`{name}` {array.dtype}" for name, array in arrays.items())
        raise TypeError(f"{op}: arguments must have one dtype; got {received}. Cast one with .astype(...).")


def flatten_batch(x: jax.Array, rank: int) -> tuple[jax.Array, Sequence[int]]:
    """x as `(N, *spatial, C)`, and the batch axes that N stands for."""
    batch = x.shape[: x.ndim - rank - 1]
    return x.reshape(math.prod(batch), *x.shape[len(batch) :]), batch
