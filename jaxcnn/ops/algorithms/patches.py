"""Patches (im2col): the values in each window become a column of a matrix, so the convolution is one matrix product."""

import math

import jax

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import ARRANGED
from jaxcnn.ops.algorithms.product import Product, correlate, multiply
from jaxcnn.ops.algorithms.tiles import Tiles, of_a_tile
from jaxcnn.ops.windows import patches


def built_bytes(p: Product) -> int:
    """The bytes of the patches."""
    rows = p.groups * p.window.taps * p.channels[0]
    return rows * math.prod(p.images) * math.prod(p.out) * p.dtype.itemsize


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[d, o] = Σ_{c, k} w[d, c·k] · patches[c·k, o], per group."""
    weights = w.transpose(0, 1, *reversed(range(3, w.ndim)), 2).reshape(p.groups, p.channels[1], -1)  # (G, D, K·C)
    tiles = _tiles(p)

    def step(t, weights):
        columns, shape = _patches(tiles.input(x, t), p)
        y = multiply(weights, columns, p)
        return y.reshape(*y.shape[:2], *shape)

    return tiles.output(step, x, weights, p.dtype)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[d, c·k] = Σ_o dy[d, o] · patches[c·k, o], per group."""
    (c, d), tiles = p.channels, _tiles(p)

    def step(t):
        columns, _ = _patches(tiles.input(x, t), p)
        rows = tiles.cotangent(dy, t).reshape(-1, d, columns.shape[-1])
        return correlate(rows, columns, p)

    dw = tiles.sum(step, (d, p.window.taps * c), x, dy).reshape(p.groups, d, *reversed(p.window.size), c)
    return dw.transpose(0, 1, dw.ndim - 1, *reversed(range(2, dw.ndim - 1))).astype(p.dtype)


def _tiles(p: Product) -> Tiles:
    return Tiles(p, p.window.taps * p.channels[0] * math.prod(p.out[1:]) * p.images[1] * p.dtype.itemsize)


def _patches(x: jax.Array, p: Product) -> tuple[jax.Array, tuple[int, ...]]:
    """The patches (g, K·C, positions) of a padded slab (g, C, b, *slab, n), and the positions' axes (b, *out, n)."""
    columns = patches(x, p.window, axis=3)
    return columns.reshape(*columns.shape[:2], -1), columns.shape[2:]


PATCHES = Algorithm(
    "patches",
    "takes every window",
    ARRANGED,
    fits=lambda p: True,
    product=product,
    kernel_gradient=kernel_gradient,
    built_bytes=built_bytes,
    temporary_bytes=of_a_tile(built_bytes),
)
