"""Checks of arguments that every operation makes."""

import numbers
from typing import TypeGuard

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
    if not is_number(value):
        raise TypeError(f"{op}: `{argument}` must be a number; got {value!r}")
    return float(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number of Python or NumPy."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_same_dtype(op: str, **arrays: jax.Array) -> None:
    """TypeError unless all arrays have one dtype: nothing is promoted silently."""
    if len({array.dtype for array in arrays.values()}) > 1:
        received = ", ".join(f"`{name}` {array.dtype}" for name, array in arrays.items())
        raise TypeError(f"{op}: arguments must have one dtype; got {received}. Cast one with .astype(...).")
