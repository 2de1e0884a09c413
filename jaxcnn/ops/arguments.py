"""Checks of an operation's arguments: arrays, numbers, windows, groups, precision."""

import numbers
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.geometry import Padding, Window, per_axis, sliding_window

Ints = int | tuple[int, ...]
Precision = jax.lax.Precision | jax.lax.DotAlgorithmPreset
Shaped = jax.Array | jax.ShapeDtypeStruct


def check_array(op: str, argument: str, value: jax.typing.ArrayLike, *, floating: bool = False) -> jax.Array:
    """`value` as a JAX array; TypeError unless it is real and numeric (and floating point, if `floating`)."""
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        dtype = np.asarray(value).dtype
    numeric = jnp.issubdtype(dtype, jnp.floating) or (jnp.issubdtype(dtype, jnp.integer) and not floating)
    if not numeric or dtype == jnp.float8_e8m0fnu:  # float8_e8m0fnu has scale factors, powers of two: no 0, no sign
        kind = "floating-point" if floating else "real and numeric"
        raise TypeError(f"{op}: `{argument}` must be {kind}; got dtype {dtype}")
    return jnp.asarray(value)


def check_number(op: str, argument: str, value: object) -> float:
    """`value` as a float; TypeError unless it is a real number of Python or NumPy."""
    if not is_number(value):
        raise TypeError(f"{op}: `{argument}` must be a number; got {value!r}")
    return float(value)


def check_bool(op: str, argument: str, value: object) -> bool:
    """`value` as Python's own True or False; TypeError for anything else."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{op}: `{argument}` must be True or False; got {value!r}")
    return bool(value)


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` is a real number of Python or NumPy."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_same_dtype(op: str, **arrays: jax.Array) -> None:
    """TypeError unless all arrays have one dtype: no operation promotes dtypes silently."""
    if len({array.dtype for array in arrays.values()}) > 1:
        received = ", ".join(f"`{name}` {array.dtype}" for name, array in arrays.items())
        raise TypeError(f"{op}: arguments must have one dtype; got {received}. Cast one with .astype(...).")


def spatial_rank(op: str, x: Shaped, kernel: Shaped) -> int:
    """The number of window axes of the kernel; ValueError if x has another number of spatial axes."""
    rank = kernel.ndim - 2
    if rank < 1:
        raise ValueError(
            f"{op}: `kernel` must have at least one window axis and two channel axes, (*window, in, out); "
            f"got kernel {kernel.shape}"
        )
    if x.ndim < rank + 1:
        raise ValueError(
            f"{op}: `x` must have {rank} spatial axes and a channel axis, (*batch, *spatial, channels), for a kernel "
            f"with {rank} window axes; got x {x.shape}, kernel {kernel.shape}. Is the channel axis missing?"
        )
    return rank


def window_of(op: str, size, kernel: Shaped, stride: Ints, padding: Padding, dilation: Ints) -> Window:
    """The `Window` of a convolution's arguments."""
    return sliding_window(
        op,
        size,
        window=kernel.shape[:-2],
        stride=stride,
        padding=padding,
        dilation=dilation,
        argument="kernel",
    )


def precision_of(op: str, precision: Precision | str | None) -> Precision | None:
    """`precision` as JAX's enum. None means the setting of `jax.default_matmul_precision`, which may be None, too."""
    context: Any = jax.config
    asked = context.jax_default_matmul_precision if precision is None else precision
    presets = jax.lax.DotAlgorithmPreset
    if asked is None or isinstance(asked, presets):
        return asked
    if asked in presets.__members__:
        return presets[str(asked)]
    try:
        return jax.lax.Precision(asked)
    except ValueError:
        known = ", ".join(p.name.lower() for p in jax.lax.Precision)
        raise ValueError(f"{op}: `precision` must be None or one of {known}; got {precision!r}") from None


def check_groups(op: str, groups: int) -> int:
    """`groups`, an int of at least 1."""
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{op}: `groups` must be an int; got {groups!r}")
    if groups < 1:
        raise ValueError(f"{op}: `groups` must be at least 1; got {groups}")
    return int(groups)


def check_output_padding(op: str, output_padding: Ints, stride: tuple[int, ...], padding: Padding) -> tuple[int, ...]:
    """What is added to the output of a transposed convolution on each axis: below the stride, none beside "SAME"."""
    extra = per_axis(op, "output_padding", output_padding, len(stride), minimum=0)
    if any(e >= s for e, s in zip(extra, stride, strict=True)):
        raise ValueError(f"{op}: `output_padding` must be below the stride; got {output_padding!r}, stride {stride}")
    if any(extra) and padding in ("SAME", "SAME_LOWER"):
        raise ValueError(f"{op}: `output_padding` has no place beside padding {padding!r}; got {output_padding!r}")
    return extra


def check_channels(op: str, x: Shaped, kernel: Shaped, expected: int, groups: int) -> None:
    """ValueError unless groups, channels and kernel fit together."""
    received = f"x {x.shape}, kernel {kernel.shape}, groups {groups}."
    if x.shape[-1] % groups or kernel.shape[-1] % groups:
        raise ValueError(
            f"{op}: `groups` must divide the channels of `x` ({x.shape[-1]}) and the last axis of `kernel` "
            f"({kernel.shape[-1]}); {received}"
        )
    if x.shape[-1] != expected:
        raise ValueError(f"{op}: `kernel` expects {expected} input channels but `x` has {x.shape[-1]}; {received}")
