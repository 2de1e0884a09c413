"""Patches (im2col): what each window sees becomes a column of a matrix, and the product one large matrix product."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.algorithms.tiles import Tiles
from jaxcnn.ops.windows import accumulator, taps

CLAIM = "takes every window"


def fits(p: Product) -> bool:
    """Always."""
    return True


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[d, o] = Σ_{c, k} w[d, c·k] · patches[c·k, o], per group."""
    weights = jnp.moveaxis(w, 2, -1).reshape(p.groups, p.channels[1], -1)  # (G, D, K·C)
    tiles = _tiles(p)

    def step(t, weights):
        columns, shape = _patches(tiles.input(x, t), p)
        y = lax.dot_general(weights, columns, (((2,), (1,)), ((0,), (0,))), p.precision, accumulator(p.dtype))
        return y.reshape(*y.shape[:2], *shape)

    return tiles.output(step, x, weights, p.dtype)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[d, c·k] = Σ_o dy[d, o] · patches[c·k, o], per group."""
    (c, d), tiles = p.channels, _tiles(p)

    def step(t):
        columns, _ = _patches(tiles.input(x, t), p)
        rows = tiles.cotangent(dy, t).reshape(-1, d, columns.shape[-1])
        return lax.dot_general(rows, columns, (((2,), (2,)), ((0,), (0,))), p.precision, accumulator(p.dtype))

    dw = tiles.sum(step, (d, p.window.taps * c), x, dy).reshape(p.groups, d, *p.window.size, c)
    return jnp.moveaxis(dw, -1, 2).astype(p.dtype)


def _tiles(p: Product) -> Tiles:
    return Tiles(p, p.window.taps * p.channels[0] * math.prod(p.out[1:]) * p.images[1] * p.dtype.itemsize)


def _patches(x: jax.Array, p: Product) -> tuple[jax.Array, tuple[int, ...]]:
    """(g, K·C, positions) of a padded slab (g, C, b, *slab, n), and what the positions are: (b, *out, n)."""
    g, _, b, *slab, n = x.shape
    out = p.window.unpadded().output_size(slab)
    columns = jnp.concatenate(list(taps(x, p.window, out, axis=3)), axis=1)
    return columns.reshape(g, columns.shape[1], -1), (b, *out, n)
