"""The memory layout of images while a program runs: the one hint that our operations give to XLA.

A logical `(N, *spatial, C)` array may have its axes in any physical order. With the batch innermost, neighbors in
memory belong to the same place in different images, so every slice, pad and sum over a window runs over long vectors,
whatever the number of channels. Left to itself, XLA takes the layout of the nearest operation that demands one, usually
the flattening before a dense layer, and transposes around each convolution. So every sliding-window operation states
the layout of its operands and its result, and a whole network stays in it. The hint is given on a CPU only: elsewhere
nothing was measured.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxcnn.ops import machine
from jaxcnn.ops.bilinear import Lowering, Operation, linear
from jaxcnn.ops.sharding import Axes


def arrange(
    x: jax.Array, groups: int, lowering: Lowering | None, *, cotangent: bool = False, innermost: bool | None = None
) -> jax.Array:
    """(members, N, *spatial, C) as (members·groups, C/groups, B, *spatial, n), B = 1 or n = 1.

    XLA copies the operand of a transpose unless it is row-major, and fuses elementwise work before it into that copy. A
    cotangent is read twice (the bias reads it too), so it gets its layout first.
    """
    members, n, *size, c = x.shape
    innermost = machine.unplanned().innermost(n) if innermost is None else innermost
    x = x.reshape(x.shape[members == 1 :])  # XLA sees through a transpose of (N, *spatial, C), not with an axis of 1
    order = _order(members, len(size), innermost)
    x = _keep(x, order, lowering) if cotangent else x
    x = _keep(x.transpose(order), range(x.ndim), lowering)
    return x.reshape(members * groups, c // groups, *_around(size, n, innermost))


def _around(size: Sequence[int], n: int, innermost: bool) -> tuple[int, ...]:
    """The batch and spatial axes of an arranged array: (B, *spatial, n)."""
    return (1, *size, n) if innermost else (n, *size, 1)


def restore(y: jax.Array, members: int, lowering: Lowering | None, *, innermost: bool | None = None) -> jax.Array:
    """The inverse of `arrange`."""
    g, d, b, *size, n = y.shape
    innermost = machine.unplanned().innermost(b * n) if innermost is None else innermost
    lead = (members,) if members > 1 else ()
    y = y.reshape(*lead, g // members * d, *((*size, n) if innermost else (b, *size)))
    y = _keep(y, range(y.ndim), lowering)
    order = _order(members, len(size), innermost)
    y = _keep(y.transpose([order.index(axis) for axis in range(y.ndim)]), order, lowering)
    return y.reshape(members, *y.shape[members > 1 :])


def arranged(compute: Callable) -> Callable:
    """Let `compute(*arrays, window=…)`, made for `(N, *spatial, C)`, take any number of batch axes.

    On a CPU the arrays are brought to `(C·B, *spatial, n)` first, unless the operation is the only one of its program:
    there, changing the order of an array takes ten times as long as pooling it.
    """

    @functools.wraps(compute)
    def wrapped(*arrays, lowering, **static):
        tail = static["window"].rank + 1
        batch = arrays[0].shape[:-tail]
        arrays = [x.reshape(math.prod(batch), *x.shape[-tail:]) for x in arrays]
        y = of_images(arrays, lowering, static)
        return y.reshape(*batch, *y.shape[1:])

    def of_images(arrays, lowering, static):
        if lowering.platform != "cpu" or lowering.alone:
            return compute(*arrays, **static)
        c = arrays[0].shape[-1]
        moved = [arrange(x[None], 1, lowering) for x in arrays]
        y = compute(*[x.reshape(-1, *x.shape[3:]) for x in moved], **static)
        return restore(y.reshape(1, c, *moved[0].shape[2:3], *y.shape[1:]), 1, lowering)[0]

    return wrapped


def channels_first(x: jax.Array) -> jax.Array:
    """(N, *spatial, C) as (C, B, *spatial, n), in the order in which the sliding windows have it in memory.

    For operations between sliding windows that sum over positions, such as normalization. Written for (N, *spatial, C),
    XLA would compute them in another order, and copy the array before and after.
    """
    return _arranged(x, rank=x.ndim - 2, innermost=machine.unplanned().innermost(x.shape[0]))


def channels_last(y: jax.Array) -> jax.Array:
    """The inverse of `channels_first`."""
    return _restored(y, rank=y.ndim - 3, innermost=machine.unplanned().innermost(y.shape[1] * y.shape[-1]))


def _order(members: int, rank: int, innermost: bool) -> tuple[int, ...]:
    """The physical order, outermost first, of `(N, *spatial, C)` or (members > 1) `(members, N, *spatial, C)`."""
    first = int(members > 1)
    spatial = range(first + 1, first + 1 + rank)
    inner = (*spatial, first) if innermost else (first, *spatial)
    return (*range(first), first + rank + 1, *inner)


def _keep(x: jax.Array, order: Sequence[int], lowering: Lowering | None) -> jax.Array:
    """x, with a hint to XLA to lay its axes out in this order, outermost first."""
    return (
        with_layout_constraint(x, Layout(major_to_minor=tuple(order)))
        if lowering and lowering.platform == "cpu" and not lowering.exported
        else x
    )


def _compute_arranged(x: jax.Array, *, rank: int, innermost: bool, lowering: Lowering) -> jax.Array:
    members, tail = x.shape[: -rank - 2], x.shape[-rank - 2 :]
    y = arrange(x.reshape(math.prod(members), *tail), 1, lowering, cotangent=True, innermost=innermost)
    return y.reshape(*members, *y.shape[1:])


def _compute_restored(y: jax.Array, *, rank: int, innermost: bool, lowering: Lowering) -> jax.Array:
    members, tail = y.shape[: -rank - 3], y.shape[-rank - 3 :]
    x = restore(y.reshape(-1, *tail), math.prod(members), lowering, innermost=innermost)
    return x.reshape(*members, *x.shape[1:])


def _first(shape: Sequence[int], innermost: bool) -> tuple[int, ...]:
    """(N, *spatial, C) as (C, B, *spatial, n)."""
    n, *size, c = shape
    return (c, *_around(size, n, innermost))


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, B, *spatial, n) as (N, *spatial, C)."""
    c, b, *size, n = shape
    return (b * n, *size, c)


def _axes(members: int, rank: int, innermost: bool) -> tuple[Axes, Axes]:
    lead, size = [f"m{axis}" for axis in range(members)], [None] * rank
    around = (None, *size, "n") if innermost else ("n", *size, None)
    return (*lead, "n", *size, "c"), (*lead, "c", *around)


_arranged = Operation(
    "arranged",
    shape=lambda x, *, rank, innermost: (*x.shape[: -rank - 2], *_first(x.shape[-rank - 2 :], innermost)),
    compute=_compute_arranged,
    axes=lambda x, *, rank, innermost: _axes(x.ndim - rank - 2, rank, innermost),
)
_restored = Operation(
    "restored",
    shape=lambda y, *, rank, innermost: (*y.shape[: -rank - 3], *_last(y.shape[-rank - 3 :])),
    compute=_compute_restored,
    axes=lambda y, *, rank, innermost: _axes(y.ndim - rank - 3, rank, innermost)[::-1],
)
linear(_arranged, _restored)
linear(_restored, _arranged)
