"""Tiles: a window product cut into pieces whose intermediate results stay in cache.

An algorithm builds patches, or Winograd's transform, which are several times larger than its input. Built whole, they
would go through main memory. Built for a band of rows, an image or a group of channels at a time, they stay in cache,
and that alone is 2 to 4 times as fast on a CPU. The pieces are computed one after the other, each by all cores.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.ops.geometry import Pairs
from jaxcnn.ops.windows import accumulator


class Tiles:
    """Pieces of (groups, images, rows), all of one size, that together cover a product.

    Groups and images are cut without overlap. The last band of rows ends where the output ends, so it may overlap the
    band before it: y is then written twice with the same values, and for a sum `cotangent` is zero in rows that are
    counted already.

    Args:
      product: the product that is cut.
      row_bytes: the bytes that the algorithm builds for one row of outputs, of one group and one block of images.
      multiple: if there is more than one band, its number of rows is a multiple of this.
    """

    def __init__(self, product: Product, row_bytes: int, multiple: int = 1):
        budget = product.machine.tile_bytes
        self.product = product
        self.whole = (product.groups, product.images[0], product.out[0])
        most = max(budget // max(row_bytes, 1), 1)
        rows = _even_share(self.whole[2], most)
        rows = min(-(-rows // multiple) * multiple, self.whole[2])
        images = _divisor(self.whole[1], most // rows) if rows == self.whole[2] else 1
        groups = _divisor(self.whole[0], most // (rows * images)) if images == self.whole[1] else 1
        self.size = (groups, images, rows)
        self.grid = tuple(-(-n // b) for n, b in zip(self.whole, self.size, strict=True))
        self.count = math.prod(self.grid)

    def _index(self, t):
        """The first group, image and row of tile t, before the last band is moved back."""
        place: list = []
        for n, b in zip(self.grid[::-1], self.size[::-1], strict=True):
            last = n == self.count // math.prod(self.grid[len(self.grid) - len(place) :])  # no need to wrap around
            place.insert(0, 0 if n == 1 else (t if last else t % n) * b)
            t = t if n == 1 else t // n
        return tuple(place)

    def _start(self, t):
        return tuple(jnp.minimum(i, n - b) for i, n, b in zip(self._index(t), self.whole, self.size, strict=True))

    def input(self, x: jax.Array, t, extra: Pairs | None = None) -> jax.Array:
        """The part of x that tile t needs, padded, and by `extra` more: (g, C, b, *slab, n)."""
        window = self.product.window
        pairs = [(a + c, b + d) for (a, b), (c, d) in zip(window.padding, extra or [(0, 0)] * window.rank, strict=True)]
        groups, images, rows = self.size
        if self.count == 1:
            return _pad(x, pairs)
        g, b, r = self._start(t)
        before, after = pairs[0]
        need = (rows - 1) * window.stride[0] + window.extent[0] + (extra[0][1] if extra else 0)
        height = min(need, x.shape[3])
        top = r * window.stride[0] - before  # may lie in the padding
        start = jnp.clip(top, 0, x.shape[3] - height)
        slab = lax.dynamic_slice(
            x, (g, 0, b, start, *[0] * (x.ndim - 4)), (groups, x.shape[1], images, height, *x.shape[4:])
        )
        if not (before or after):
            return _pad(slab, [(0, 0), *pairs[1:]])
        # `before` is negative where x is cropped; then no tile starts in front of the slab
        slab = _pad(slab, [(max(before, 0), max(after, 0)), *pairs[1:]])
        return lax.dynamic_slice_in_dim(slab, max(before, 0) + top - start, need, axis=3)

    def cotangent(self, dy: jax.Array, t) -> jax.Array:
        """The part of dy in tile t, zero where an earlier tile has the same rows: (g, D, b, rows, *out[1:], n)."""
        if self.count == 1:
            return dy
        groups, images, rows = self.size
        g, b, r = self._start(t)
        part = lax.dynamic_slice(
            dy, (g, 0, b, r, *[0] * (dy.ndim - 4)), (groups, dy.shape[1], images, rows, *dy.shape[4:])
        )
        if self.whole[2] % rows:
            index = lax.broadcasted_iota(jnp.int32, part.shape, 3) + r
            part = jnp.where(index >= self._index(t)[2], part, 0)
        return part

    def output(self, step: Callable, x: jax.Array, weights: Any, dtype: jnp.dtype) -> jax.Array:
        """y of tiles `step(t, weights of its groups)`, (g, D, b, rows, *out[1:], n).

        `weights` is an array, or a tree of arrays, with groups first.
        """
        p = self.product
        shape = (p.groups, p.channels[1], p.images[0], *p.out, x.shape[-1])
        if self.count == 1:
            return step(0, weights).astype(dtype)

        def body(t, y):
            g, b, r = self._start(t)
            w = weights
            if self.grid[0] > 1:
                w = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, g, self.size[0]), weights)
            return lax.dynamic_update_slice(y, step(t, w).astype(dtype), (g, 0, b, r, *[0] * (y.ndim - 4)))

        return lax.fori_loop(0, self.count, body, varying_like(jnp.zeros(shape, dtype), x, *jax.tree.leaves(weights)))

    def sum(self, step: Callable, shape: tuple[int, ...], *like: jax.Array) -> jax.Array:
        """The sum over images and rows of `step(t) -> (g, *shape)`, for all groups."""
        zero = jnp.zeros((self.product.groups, *shape), accumulator(self.product.dtype))
        if self.count == 1:
            return step(0)

        def body(t, total):
            if self.grid[0] == 1:
                return total + step(t)
            g = self._start(t)[0]
            part = lax.dynamic_slice_in_dim(total, g, self.size[0]) + step(t)
            return lax.dynamic_update_slice_in_dim(total, part, g, axis=0)

        return lax.fori_loop(0, self.count, body, varying_like(zero, *like))


def of_a_tile(built_bytes: Callable[[Product], int]) -> Callable[[Product], int]:
    """The `temporary_bytes` of an algorithm that builds its `built_bytes` tile by tile."""
    return lambda p: min(built_bytes(p), p.machine.tile_bytes)


def _pad(x: jax.Array, pairs) -> jax.Array:
    """Zeros around the spatial axes of an arranged array."""
    if not any(map(any, pairs)):
        return x
    sides = [(0, 0, 0)] * 3 + [(before, after, 0) for before, after in pairs] + [(0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _even_share(n: int, most: int) -> int:
    """The smallest size of bands of n rows that gives no more bands than the size `most`."""
    return -(-n // -(-n // most))


def _divisor(n: int, most: int) -> int:
    """The largest divisor of n up to `most`."""
    return next((d for d in range(min(n, most), 1, -1) if n % d == 0), 1)
