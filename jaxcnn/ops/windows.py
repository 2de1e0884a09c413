"""Arrays seen through a sliding window: padding, one tap's view of every window, and its transpose.

The spatial axes of an array are the `window.rank` axes from number `axis` on; in `(N, *spatial, C)` that is 1.

A program with one part for each tap makes one pass over memory, but its compile time grows with the square of the
number of taps. So a window of many taps (`is_large`) is computed in a loop.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops import machine
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.ops.geometry import Window


def is_large(window: Window) -> bool:
    """Whether a window has too many taps for a program with one part for each tap."""
    here = machine.unplanned()
    return window.taps > here.most_unrolled_taps or max(window.size) > here.most_unrolled_along_axis


def accumulator(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype in which sums are kept: at least 32 bits."""
    if dtype.itemsize >= 4:
        return dtype
    return jnp.dtype(jnp.float32 if jnp.issubdtype(dtype, jnp.floating) else jnp.int32)


def total(parts: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more arrays."""
    return functools.reduce(operator.add, parts)


def every(flags: jax.Array) -> jax.Array:
    """Whether all of them are True: whether the least is.

    Of many flags XLA computes `jnp.all` by windows of its own, and `jnp.max` of values loses a NaN (jaxlib 0.10.2,
    CPU).
    """
    flags = flags.reshape(-1)
    return flags[lax.argmin(flags, 0, jnp.int32)]


def grouped(x: jax.Array, groups: int) -> jax.Array:
    """The channels cut into groups: (…, C) as (…, G, C/G)."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def pad(
    x: jax.Array, window: Window, value: jax.typing.ArrayLike = 0, spread: Sequence[int] | None = None, axis: int = 1
) -> jax.Array:
    """Pad (a negative side crops) the spatial axes, after putting `spread − 1` values between neighbors."""
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


def tap(x: jax.Array, window: Window, out: Sequence[int], offset: Sequence[Any], axis: int = 1) -> jax.Array:
    """One of the views of `taps`, with an offset d·k that only the running program knows."""
    lead, rest = x.shape[:axis], x.shape[axis + window.rank :]
    span = [(o - 1) * s + 1 for o, s in zip(out, window.stride, strict=True)]
    zero = jnp.zeros_like(offset[0])
    seen = lax.dynamic_slice(x, (*[zero] * axis, *offset, *[zero] * len(rest)), (*lead, *span, *rest))
    return lax.slice(seen, [0] * x.ndim, seen.shape, (*[1] * axis, *window.stride, *[1] * len(rest)))


def over_taps(step: Callable, first: Callable, x: jax.Array, window: Window, out: Sequence[int], axis: int = 1) -> Any:
    """Fold `step(result, k, view)` over the taps of an input that is padded already, from `first(view of tap 0)`."""
    if not is_large(window):
        view, *views = taps(x, window, out, axis)
        result = first(view)
        for k, view in enumerate(views, start=1):
            result = step(result, k, view)
        return result
    offsets = jnp.asarray(list(window.offsets()), jnp.int32)
    result = jax.tree.map(lambda part: varying_like(part, x), first(next(taps(x, window, out, axis))))

    def body(k, result):
        return step(result, k, tap(x, window, out, offsets[k], axis))

    return lax.fori_loop(1, window.taps, body, result)


def patches(x: jax.Array, window: Window, axis: int) -> jax.Array:
    """All taps' views of an input that is padded already, as channels of axis − 2, the last axis's taps outermost.

    It is done one axis after the other: XLA:CPU fuses slices into a concatenation of few parts, but writes each of many
    parts to memory twice. In two steps the patches of a 3×3 or 5×5 window are built 1.5 times faster.
    """
    for line in window.lines():
        x = _line_patches(x, line, line.output_size(x.shape[axis : axis + line.rank]), axis)
    return x


def _line_patches(x: jax.Array, line: Window, out: Sequence[int], axis: int) -> jax.Array:
    """The patches of a window along one axis.

    The second half of a long window sees what its first half sees some positions later. So the patches of a window are
    made of two parts of its half's patches, and the program is short: with one part for each of 501 taps it would
    compile for 18 s.
    """
    (a,) = (a for a in range(line.rank) if line.size[a] * line.stride[a] > 1)
    place = axis + a
    k, s, d, n = line.size[a], line.stride[a], line.dilation[a], out[a]
    step = s // math.gcd(s, d)  # after so many taps, the next outputs see the same inputs
    half = -(-k // (2 * step)) * step
    if k <= machine.unplanned().most_unrolled_along_axis or half >= k:
        views = list(taps(x, line, out, axis))
        return jnp.concatenate(views, axis - 2) if len(views) > 1 else views[0]
    more = half * d // s
    short = replace(line, size=tuple(half if b == a else 1 for b in range(line.rank)))
    lacking = (n + more - 1) * s + d * (half - 1) + 1 - x.shape[place]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, max(lacking, 0) if b == place else 0, 0) for b in range(x.ndim)])
    both = _line_patches(x, short, [n + more if b == a else size for b, size in enumerate(out)], axis)
    first = lax.slice_in_dim(both, 0, n, axis=place)
    rest = lax.slice_in_dim(both, more, more + n, axis=place)
    rows = both.shape[axis - 2] // half * (k - half)
    return jnp.concatenate([first, lax.slice_in_dim(rest, 0, rows, axis=axis - 2)], axis - 2)


def sees_some(x: jax.Array, window: Window, out: Sequence[int]) -> jax.Array:
    """Whether each window sees a value that is not 0: of x (G, C, B, *spatial, n), padded already, (G, 1, B, *out, n).

    For a window of zeros a transform gives not 0 but rounding errors, from the values around the window; a ReLU would
    let half of those through, with their gradients. So where this is False, the result is set to what the definition
    gives: `nothing`.
    """
    some = jnp.any(x != 0, axis=1, keepdims=True)
    for line in window.lines():
        size = line.output_size(some.shape[3 : 3 + line.rank])
        some = functools.reduce(jnp.logical_or, taps(some, line, size, axis=3))
    return lax.slice(some, [0] * some.ndim, (*some.shape[:3], *out, some.shape[-1]))


def nothing(w: jax.Array, rank: int) -> jax.Array:
    """What a window of zeros gives: 0, or NaN where a weight is not finite, (G, D, 1, …) of this rank, for w (G, D, …).

    It is a product with a vector of zeros, which XLA:CPU computes at the speed of memory; a sum of 0 · w takes a third
    of the time of vgg16 with one image.
    """
    rows = w.reshape(*w.shape[:2], -1)
    zeros = jnp.zeros(rows.shape[-1], w.dtype)
    return (rows @ zeros).reshape(*w.shape[:2], *[1] * (rank - 2))


def spread_taps(parts: Sequence[jax.Array], window: Window, size: Sequence[int]) -> jax.Array:
    """The transpose of `pad` followed by `taps`: parts[k] at output o is added to input position s·o + d·k − before."""
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


def spread_line(part: Callable[[jax.Array], jax.Array], window: Window, axis: int, n: int) -> jax.Array:
    """`spread_taps` for a window along one spatial axis of n inputs, with any number of taps.

    At offset f = s·q + r, output o meets the input s·o + f = s·(o + q) + r. So for one q, an axis of length s behind
    the outputs holds the inputs of all r; for the next q the inputs lie one output further on.

    Args:
      part: a function of offsets f, an array of length s on axis + 2 and 1 on the others. It returns what the outputs
        add to the inputs at these offsets, `(N, *out, …)` with that axis inserted; 0 where the window has no tap.
    """
    s, (before, _) = window.stride[axis], window.padding[axis]
    passes = -(-window.extent[axis] // s)
    rank = window.rank + 3

    def at(q):
        return part(s * q + jnp.arange(s).reshape([s if a == axis + 2 else 1 for a in range(rank)]))

    x = first = at(0)
    if passes > 1:
        wide = accumulator(first.dtype)
        ends = [(0, (passes - 1) * (a == axis + 1), 0) for a in range(rank)]
        x = lax.pad(first.astype(wide), jnp.zeros((), wide), ends)

        def add(q, x):
            start = [q * (a == axis + 1) for a in range(rank)]
            there = lax.dynamic_slice(x, start, first.shape)
            return lax.dynamic_update_slice(x, there + at(q).astype(wide), start)

        x = lax.fori_loop(1, passes, add, x).astype(first.dtype)
    reached = x.shape[axis + 1] * s
    x = x.reshape(*x.shape[: axis + 1], reached, *x.shape[axis + 3 :])
    sides = tuple((-before, n + before - reached) if a == axis else (0, 0) for a in range(window.rank))
    return pad(x, replace(window, padding=sides))


def _interleave(parts: Sequence[jax.Array], window: Window, size: Sequence[int], out: Sequence[int]) -> jax.Array:
    """The sum of windows that do not overlap: every input is in one window at most, so the parts only change places."""
    rank = window.rank
    x = jnp.stack(parts)
    x = x.reshape(*window.size, *parts[0].shape)
    for o, k in zip(out, window.size, strict=True):  # each tap axis is merged into the spatial axis before it
        x = jnp.moveaxis(x, 0, rank + 1)
        x = x.reshape(*x.shape[:rank], o * k, *x.shape[rank + 2 :])
    sides = tuple(
        (-before, n + before - o * k)
        for o, k, n, (before, _) in zip(out, window.size, size, window.padding, strict=True)
    )
    return pad(x, replace(window, padding=sides))
