"""Arrays seen through a sliding window: padding, one tap's view of every window, and its transpose.

The spatial axes of an array are the `window.rank` axes from `axis` on, which is 1 in `(N, *spatial, C)`; the others are
left as they are.
"""

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.geometry import Window


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype sums are kept in: at least 32 bits."""
    if dtype.itemsize >= 4:
        return dtype
    return jnp.dtype(jnp.float32 if jnp.issubdtype(dtype, jnp.floating) else jnp.int32)


def total(parts: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more arrays."""
    return functools.reduce(operator.add, parts)


def grouped(x: jax.Array, groups: int) -> jax.Array:
    """The channels cut into groups: (…, C) as (…, G, C/G)."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def pad(
    x: jax.Array, window: Window, value: float | int = 0, spread: Sequence[int] | None = None, axis: int = 1
) -> jax.Array:
    """Pad (a negative side crops) the spatial axes, after putting `spread − 1` values between neighbours."""
    gaps = [s - 1 for s in spread] if spread else [0] * window.rank
    sides = [(before, after, gap) for (before, after), gap in zip(window.padding, gaps, strict=True)]
    if not any(map(any, sides)):
        return x
    rest = x.ndim - axis - window.rank
    return lax.pad(x, jnp.asarray(value, x.dtype), [*[(0, 0, 0)] * axis, *sides, *[(0, 0, 0)] * rest])


def taps(x: jax.Array, window: Window, out: Sequence[int], axis: int = 1) -> Iterator[jax.Array]:
    """For each tap k, x[s·o + d·k] at every output o: views `(…, *out, …)` of an input that is padded already."""
    lead, rest = x.shape[:axis], x.shape[axis + window.rank :]
    for offset in window.offsets():
        last = [k + (o - 1) * s + 1 for k, o, s in zip(offset, out, window.stride, strict=True)]
        start, stop = (*[0] * axis, *offset, *[0] * len(rest)), (*lead, *last, *rest)
        yield lax.slice(x, start, stop, (*[1] * axis, *window.stride, *[1] * len(rest)))


def patches(x: jax.Array, window: Window, axis: int) -> jax.Array:
    """All taps' views of an input that is padded already, as channels of axis − 2, the last axis's taps outermost.

    One axis after the other: XLA:CPU fuses slices into a concatenation of few parts, but writes each of many parts to
    memory twice. In two steps the patches of a 3×3 or 5×5 window are ready 1.5 times sooner.
    """
    for line in window.lines():
        views = list(taps(x, line, line.output_size(x.shape[axis : axis + line.rank]), axis))
        x = jnp.concatenate(views, axis - 2) if len(views) > 1 else views[0]
    return x


def sees_some(x: jax.Array, window: Window, out: Sequence[int]) -> jax.Array:
    """Whether each window sees a value that is not 0: of x (G, C, B, *spatial, n), padded already, (G, 1, B, *out, n).

    A transform leaves of a window of zeros not 0 but rounding errors of its neighbours, and a relu lets half of those
    through, with their gradients. So what the definition gives, 0 times the weights, is put where this is False.
    """
    some = jnp.any(x != 0, axis=1, keepdims=True)
    for line in window.lines():
        size = line.output_size(some.shape[3 : 3 + line.rank])
        some = functools.reduce(jnp.logical_or, taps(some, line, size, axis=3))
    return lax.slice(some, [0] * some.ndim, (*some.shape[:3], *out, some.shape[-1]))


def spread_taps(parts: Sequence[jax.Array], window: Window, size: Sequence[int]) -> jax.Array:
    """The transpose of `taps` after `pad`: parts[k] at output o is added to input position s·o + d·k − before."""
    out = parts[0].shape[1 : window.rank + 1]
    if window.dilation == (1,) * window.rank and window.size == window.stride:
        return _interleave(parts, window, size, out)
    dtype = parts[0].dtype
    placed = []
    for offset, part in zip(window.offsets(), parts, strict=True):
        start = [k - before for k, (before, _) in zip(offset, window.padding, strict=True)]
        span = [(o - 1) * s + 1 for o, s in zip(out, window.stride, strict=True)]
        sides = tuple((lo, n - lo - m) for lo, n, m in zip(start, size, span, strict=True))
        placed.append(pad(part, replace(window, padding=sides), spread=window.stride).astype(accumulator(dtype)))
    return total(placed).astype(dtype)


def _interleave(parts: Sequence[jax.Array], window: Window, size: Sequence[int], out: Sequence[int]) -> jax.Array:
    """Windows that lie side by side: every input is in one window at most, so the parts only change places."""
    rank = window.rank
    x = jnp.stack(parts)
    x = x.reshape(*window.size, *parts[0].shape)
    for o, k in zip(out, window.size, strict=True):  # each tap axis goes right behind its spatial axis, and joins it
        x = jnp.moveaxis(x, 0, rank + 1)
        x = x.reshape(*x.shape[:rank], o * k, *x.shape[rank + 2 :])
    sides = tuple(
        (-before, n + before - o * k)
        for o, k, n, (before, _) in zip(out, window.size, size, window.padding, strict=True)
    )
    return pad(x, replace(window, padding=sides))
