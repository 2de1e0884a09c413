"""Where images lie in memory while a program runs: the one hint that our operations give to XLA.

A logical `(N, *spatial, C)` array may have its axes in any physical order. With the batch innermost, neighbours in
memory belong to the same place in different images, so every slice, pad and sum over a window runs over long vectors,
whatever the number of channels. XLA would decide from what stands nearest, usually the flattening before a dense
layer, and transpose around each convolution; told at the ends of every sliding-window operation, it keeps a whole
network so. On a CPU only: elsewhere nothing was measured.
"""

import functools
from collections.abc import Callable, Sequence

import jax
from jax.experimental.layout import Layout, with_layout_constraint

from jaxcnn.ops.bilinear import Operation, Target, linear

LANES = 8  # from this many images on, the batch is the innermost axis; a smaller one stands before the spatial axes


def arrange(x: jax.Array, groups: int, target: Target | None, *, cotangent: bool = False) -> jax.Array:
    """(members, N, *spatial, C) as (members·groups, C/groups, B, *spatial, n).

    XLA lays the operand of a transpose out row by row and copies what is not. What is elementwise before it is then
    computed by that copy and costs nothing; but a cotangent has a second reader, the bias, and is laid out first.
    """
    members, n, *size, c = x.shape
    x = x.reshape(x.shape[members == 1 :])  # XLA sees through a transpose of (N, *spatial, C), not with an axis of 1
    order = _order(members, len(size), n)
    x = _keep(x, order, target) if cotangent else x
    x = _keep(x.transpose(order), range(x.ndim), target)
    return x.reshape(members * groups, c // groups, *_around(size, n))


def _around(size: Sequence[int], n: int) -> tuple[int, ...]:
    """(B, *spatial, n)."""
    outer, inner = images_of(n)
    return outer, *size, inner


def images_of(n: int) -> tuple[int, int]:
    """(B, n): the images before the spatial axes and the images innermost."""
    return (n, 1) if n < LANES else (1, n)


def restore(y: jax.Array, members: int, target: Target | None) -> jax.Array:
    """The inverse of `arrange`."""
    g, d, b, *size, n = y.shape
    lead = (members,) if members > 1 else ()
    y = y.reshape(*lead, g // members * d, *((b, *size) if b * n < LANES else (*size, n)))
    y = _keep(y, range(y.ndim), target)
    order = _order(members, len(size), b * n)
    y = _keep(y.transpose([order.index(axis) for axis in range(y.ndim)]), order, target)
    return y.reshape(members, *y.shape[members > 1 :])


def arranged(compute: Callable) -> Callable:
    """On a CPU, let `compute(*arrays, …)`, made for `(N, *spatial, C)`, work on `(C·B, *spatial, n)` instead.

    Not where it stands alone: to bring an array into that order takes ten times as long as to pool it.
    """

    @functools.wraps(compute)
    def wrapped(*arrays, target, **static):
        if target.platform != "cpu" or target.alone:
            return compute(*arrays, **static)
        c = arrays[0].shape[-1]
        moved = [arrange(x[None], 1, target) for x in arrays]
        y = compute(*[x.reshape(-1, *x.shape[3:]) for x in moved], **static)
        return restore(y.reshape(1, c, *moved[0].shape[2:3], *y.shape[1:]), 1, target)[0]

    return wrapped


def channels_first(x: jax.Array) -> jax.Array:
    """(N, *spatial, C) as (C, B, *spatial, n), in the order in which the sliding windows have it in memory.

    For what stands between them and sums over positions, as normalization does: written on the array as it is, XLA
    computes that in another order, and copies before and after.
    """
    y = _arranged(x.reshape(1, *x.shape))
    return y.reshape(y.shape[1:])


def channels_last(y: jax.Array) -> jax.Array:
    """The inverse of `channels_first`."""
    x = _restored(y.reshape(1, *y.shape))
    return x.reshape(x.shape[1:])


def _order(members: int, rank: int, n: int) -> tuple[int, ...]:
    """The physical order, outermost first, of `(N, *spatial, C)` or (members > 1) `(members, N, *spatial, C)`."""
    first = int(members > 1)
    spatial = range(first + 1, first + 1 + rank)
    inner = (*spatial, first) if n >= LANES else (first, *spatial)
    return (*range(first), first + rank + 1, *inner)


def _keep(x: jax.Array, order: Sequence[int], target: Target | None) -> jax.Array:
    """x, its axes laid out in this order, outermost first."""
    return (
        with_layout_constraint(x, Layout(major_to_minor=tuple(order)))
        if target and target.platform == "cpu" and not target.exported
        else x
    )


_arranged = Operation(
    "arranged",
    shape=lambda x: (x.shape[0], x.shape[-1], *_around(x.shape[2:-1], x.shape[1])),
    compute=lambda x, *, target: arrange(x, 1, target, cotangent=True),
    batch=(0,),
    batch_result=0,
)
_restored = Operation(
    "restored",
    shape=lambda y: (y.shape[0], y.shape[2] * y.shape[-1], *y.shape[3:-1], y.shape[1]),
    compute=lambda y, *, target: restore(y, y.shape[0], target),
    batch=(0,),
    batch_result=0,
)
linear(_arranged, _restored)
linear(_restored, _arranged)
