"""Overlap-add: first a matrix product of every input position with all taps, then the sum over each window.

Patches lay out taps · C rows and sum over them. Here taps · D rows come out of the product, and each row is added to
the outputs that its tap reaches. That moves less memory where D, the channels out, is less than C, the channels in: as
in the gradient by the input of a layer that has few input channels. Positions in the padding are never computed.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import ARRANGED
from jaxcnn.ops.algorithms.product import Product, multiply


def fits(p: Product) -> bool:
    """Whether the stride is 1."""
    return max(p.window.stride) == 1


def built_bytes(p: Product) -> int:
    """The bytes of the matrix product's result."""
    return p.groups * p.window.taps * p.channels[1] * math.prod(p.images) * math.prod(p.size) * p.dtype.itemsize


def multiply_adds(p: Product) -> int:
    """How many the product of every position of x with every tap takes."""
    return p.groups * p.window.taps * math.prod(p.channels) * math.prod(p.images) * math.prod(p.size)


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[d, i − δ·k + p] += Σ_c w[d, c, k] · x[c, i], per group."""
    rank, (c, _) = p.window.rank, p.channels
    rows = w.transpose(0, *range(3, w.ndim), 1, 2).reshape(p.groups, -1, c)  # (G, K·D, C)
    z = multiply(rows, x.reshape(p.groups, c, -1), p)
    z = z.reshape(p.groups, *p.window.size, -1, *x.shape[2:])
    for axis in reversed(range(rank)):  # (G, *window up to this axis, D, B, *size, n)
        taps, place = axis + 1, z.ndim - 1 - rank + axis
        y = jnp.zeros((*z.shape[:taps], *z.shape[taps + 1 : place], p.out[axis], *z.shape[place + 1 :]), z.dtype)
        for k in range(p.window.size[axis]):
            y = _add(y, lax.index_in_dim(z, k, taps, keepdims=False), _shift(p, axis, k), place - 1)
        z = y
    return z.astype(p.dtype)


def _shift(p: Product, axis: int, k: int) -> int:
    """How far an input position has to move along an axis to reach the output that sees it through tap k."""
    return p.window.padding[axis][0] - p.window.dilation[axis] * k


def _add(y: jax.Array, z: jax.Array, shift: int, axis: int) -> jax.Array:
    """y[i + shift] += z[i] along an axis, for positions inside y."""
    start, stop = max(0, -shift), min(z.shape[axis], y.shape[axis] - shift)
    if start >= stop:
        return y
    old = lax.slice_in_dim(y, start + shift, stop + shift, axis=axis)
    new = old + lax.slice_in_dim(z, start, stop, axis=axis)
    return lax.dynamic_update_slice_in_dim(y, new, start + shift, axis)


OVERLAP = Algorithm(
    "overlap",
    "takes stride 1",
    ARRANGED,
    fits=fits,
    product=product,
    multiply_adds=multiply_adds,
    built_bytes=built_bytes,
    multiplies_padding=False,
    platforms=("cpu",),
)
