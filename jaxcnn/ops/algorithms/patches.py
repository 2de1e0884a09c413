"""Patches (im2col): what each window sees becomes a row of a matrix, and the product one large matrix product.

The matrix holds every input value once per tap. Built whole it would go through main memory; built for a few images, or
a band of rows of one image, at a time it stays in cache. That alone is worth a factor of 2 to 4 on a CPU (128 images of
32×32×32 to 32 channels, 3×3, 2 cores: 91 ms whole, 20 ms in tiles of 4 MB, 97 ms with the convolution of XLA).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.bilinear import varying_like
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.windows import accumulator, grouped, pad, taps

CLAIM = "takes every window"
TILE_BYTES = {"cpu": 4 * 2**20}  # of patches at a time; measured best of 1, 2, 4 and 8 MB
ACCELERATOR_TILE_BYTES = 256 * 2**20  # there a tile only bounds the memory that patches take


def fits(window: Window, channels: tuple[int, int]) -> bool:
    """Always."""
    return True


def product(x: jax.Array, kernel: jax.Array, window: Window, groups: int, precision, platform) -> jax.Array:
    """y[n, o] = Σ_k x[n, s·o + d·k] · w[k], with x `(N, *spatial, C)` and kernel `(*window, C/G, D)`."""
    out = window.output_size(x.shape[1:-1])
    shape = (x.shape[0], *out, kernel.shape[-1])
    weights = kernel.reshape(-1, groups, kernel.shape[-1] // groups)  # (K·C/G, G, D/G)
    weights = weights.swapaxes(0, 1) if groups > 1 else weights[:, 0]

    def tile_product(x, window):
        rows = _patches(x, window, groups)  # (N, *out, [G,] K·C/G)
        contract = ((rows.ndim - 1,), (weights.ndim - 2,))
        groups_axis = ((rows.ndim - 2,), (0,)) if groups > 1 else ((), ())
        y = lax.dot_general(rows, weights, (contract, groups_axis), precision, accumulator(x.dtype))
        y = jnp.moveaxis(y, 0, -2).reshape(*rows.shape[:-2], kernel.shape[-1]) if groups > 1 else y
        return y.astype(x.dtype)

    tiles = _Tiles(x, window, out, platform)
    if tiles.count == 1:
        return tile_product(x, window)

    def step(t, y):
        return lax.dynamic_update_slice(y, tile_product(tiles.input(t), tiles.window), tiles.start(t, y.ndim))

    return lax.fori_loop(0, tiles.count, step, varying_like(jnp.zeros(shape, x.dtype), x))


def kernel_gradient(x: jax.Array, dy: jax.Array, window: Window, groups: int, precision, platform) -> jax.Array:
    """dw[k] = Σ_{n, o} x[n, s·o + d·k] · dy[n, o]: patches, transposed, times the cotangent."""
    dtype = accumulator(x.dtype)
    per_group = x.shape[-1] // groups, dy.shape[-1] // groups
    shape = (groups, window.taps * per_group[0], per_group[1])

    def tile_gradient(x, dy, window):
        # The patches are built transposed, (K·C, positions): a @ b reaches XLA's fast kernel on CPU, a.T @ b does not.
        rows = _transposed_patches(x, window, dy.shape[1:-1], groups)
        dy = dy.reshape(-1, groups, per_group[1]).swapaxes(0, 1)  # (G, positions, D/G)
        if groups == 1:
            return lax.dot(rows[0], dy[0], precision=precision, preferred_element_type=dtype)[None]
        return lax.dot_general(rows, dy, (((2,), (1,)), ((0,), (0,))), precision, dtype)

    tiles = _Tiles(x, window, dy.shape[1:-1], platform)
    if tiles.count == 1:
        dw = tile_gradient(x, dy, window)
    else:

        def step(t, dw):
            return dw + tile_gradient(tiles.input(t), tiles.output(t, dy), tiles.window)

        dw = lax.fori_loop(0, tiles.count, step, varying_like(jnp.zeros(shape, dtype), x, dy))
    dw = dw.reshape(groups, *window.size, *per_group)
    return jnp.moveaxis(dw, 0, -2).reshape(*window.size, per_group[0], -1).astype(x.dtype)


def _patches(x: jax.Array, window: Window, groups: int) -> jax.Array:
    """(N, *out, K·C): each output's window, tap by tap; with groups (N, *out, G, K·C/G)."""
    out = window.output_size(x.shape[1 : window.rank + 1])
    x = pad(x, window)
    if groups > 1:
        x = grouped(x, groups)
    return jnp.concatenate(list(taps(x, window, out)), axis=-1)


def _transposed_patches(x: jax.Array, window: Window, out: tuple[int, ...], groups: int) -> jax.Array:
    """(G, K·C/G, N·out)."""
    x = pad(x, window)
    x = jnp.moveaxis(grouped(x, groups), (-2, -1), (0, 1))  # (G, C/G, N, *spatial)
    lead = x.shape[:2]
    views = taps(x.reshape(math.prod(x.shape[:3]), *x.shape[3:]), window, out)
    return jnp.concatenate([view.reshape(*lead, -1) for view in views], axis=1)


class _Tiles:
    """A cut of the batch (and, where one image is too large, of its rows) into pieces whose patches fit in cache.

    All tiles have one size. The last one is moved back to end where the output ends, so it may overlap its neighbour:
    a product writes the same values twice; for a sum, `output` blanks what an earlier tile has counted.
    """

    def __init__(self, x: jax.Array, window: Window, out: tuple[int, ...], platform: str | None):
        budget = TILE_BYTES.get(platform or "", ACCELERATOR_TILE_BYTES)
        row = math.prod(out[1:]) * window.taps * x.shape[-1] * x.dtype.itemsize  # patches of one row of outputs
        self.out = (x.shape[0], out[0])
        self.size = (1, out[0])
        if row * out[0] <= budget:  # whole images
            self.size = (_even_share(x.shape[0], budget // max(row * out[0], 1)), out[0])
            self.x, self.window = x, window
            rows = x.shape[1]
        else:
            self.size = (1, _even_share(out[0], max(budget // row, 1)))
            self.x, self.window = pad(x, window), window.unpadded()
            rows = (self.size[1] - 1) * window.stride[0] + window.extent[0]
        self.slice = (self.size[0], rows, *self.x.shape[2:])
        self.grid = tuple(-(-n // b) for n, b in zip(self.out, self.size, strict=True))
        self.count = max(math.prod(self.grid), 1)

    def _corner(self, t):
        """The first image and row that tile t covers, before it is moved back to fit."""
        return (t // self.grid[1]) * self.size[0], (t % self.grid[1]) * self.size[1]

    def start(self, t, ndim: int):
        """Where tile t begins in the output."""
        corner = (jnp.minimum(c, n - b) for c, n, b in zip(self._corner(t), self.out, self.size, strict=True))
        return (*corner, *[0] * (ndim - 2))

    def input(self, t):
        """The part of x that tile t looks at."""
        image, row, *rest = self.start(t, self.x.ndim)
        return lax.dynamic_slice(self.x, (image, row * self.window.stride[0], *rest), self.slice)

    def output(self, t, dy):
        """The part of dy in tile t, zero where an earlier tile holds it too."""
        start = self.start(t, dy.ndim)
        part = lax.dynamic_slice(dy, start, (*self.size, *dy.shape[2:]))
        for axis in (0, 1):
            if self.out[axis] % self.size[axis]:
                index = lax.broadcasted_iota(jnp.int32, part.shape, axis) + start[axis]
                part = jnp.where(index >= self._corner(t)[axis], part, 0)
        return part


def _even_share(n: int, most: int) -> int:
    """The smallest tile that needs no more tiles than tiles of `most`."""
    return max(-(-n // -(-n // max(most, 1))), 1) if n else 1
