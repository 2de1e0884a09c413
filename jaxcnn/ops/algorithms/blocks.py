"""Blocks: patches that neighbors in a row of y share, in the order of axes that the arrays have already; for GPUs.

XLA's compiler for GPUs takes a slice into a matrix product only where the sliced array is an argument of the program,
and never a sum of products. So a product for each tap writes every view of x and every product to memory, and what is
left is to build patches and to build few of them: b neighbors along the last axis see K + s·(b − 1) columns, where b
patches have b·K. They are one row of a matrix with these columns; its product with a kernel that holds the weights b
times, each time s columns further on, is the b neighbors, side by side as they stand in y. The zeros in that kernel
cost multiply-adds, so b is chosen for each product (see `width`).

By its kernels' operands and results the program for an H100 moves, for 3×3, 64 to 64 channels, 56×56, 32 images,
bfloat16: b = 1 257 MB, 2 180, 4 143; with a product for each tap 720, XLA's own convolution 26. With few weights per
output there is no matrix product, but multiply-adds in one loop: 3×3, 3 to 32 channels, moves what must be moved.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import AS_GIVEN
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.algorithms.tiles import of_a_tile
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.machine import GPUS
from jaxcnn.ops.windows import accumulator, pad, taps, total


def fits(p: Product) -> bool:
    """Whether the taps are few enough for a part of the program each, and y has more than a few channels.

    With few, products of x and the weights of all taps, which are then summed, move less (see channels_last.py).
    """
    few = 2 * p.channels[1] <= p.channels[0] and p.channels[1] <= p.machine.few_channels
    return not few and fits_kernel(p)


def fits_kernel(p: Product) -> bool:
    """Whether the taps are few enough for a part of the program each."""
    return p.window.taps <= p.machine.most_products


def built_bytes(p: Product) -> int:
    """The bytes of the patches, where there are any."""
    if p.window.taps == 1 or _is_thin(p):
        return 0
    b = width(p)
    positions = math.prod(p.images) * math.prod(p.out) // b
    return p.groups * positions * _wide(p, b).taps * p.channels[0] * p.dtype.itemsize


def width(p: Product) -> int:
    """b: how many neighbors share a row; the divisor of the last axis for which time is expected to be least.

    Time is counted in values that are moved, for each value of y: the patches are written, then read by a product that
    takes the longer of moving and multiplying; and the kernel, with its zeros, is written and read.
    """
    if p.window.taps == 1 or p.window.dilation[-1] > 1 or p.groups > 1:
        return 1
    (c, d), positions = p.channels, math.prod(p.images) * math.prod(p.out)

    def cost(b):
        weights = _wide(p, b).taps * c * d
        patches = weights / d / b
        return 2 * patches + max(d, weights / p.machine.products_per_value - patches) + 2 * weights * b / positions

    divisors = [b for b in range(1, p.out[-1] + 1) if p.out[-1] % b == 0]
    return min((b for b in divisors if _wide(p, b).taps <= p.machine.most_parts), key=cost, default=1)


def why(p: Product) -> str:
    """The reason to take this algorithm for a product."""
    if p.window.taps == 1:
        return "one tap: a matrix product as it stands"
    b = width(p)
    return f"patches that {b} neighbors share" if b > 1 else "patches without a change of order"


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[o, d] = Σ_k x[s·o + δ·k − p, c] · w[k, c, d]; w (members, *window, C/G, G, D/G)."""
    if _is_thin(p):
        return _weighted_sum(x, w, p)
    b, dtype = width(p), accumulator(p.dtype)
    s, axis = p.window.stride[-1], p.window.rank  # the last axis of the window
    ends = [(0, 0)] * w.ndim
    wide = []
    for a in range(b):
        ends[axis] = (a * s, (b - 1 - a) * s)
        wide.append(jnp.pad(w, ends) if b > 1 else w)
    weights = jnp.stack(wide, -2)  # (members, *window, C, groups, b, D)
    weights = weights.reshape(len(w), -1, w.shape[-2], b * w.shape[-1])

    def part(x):
        rows = _patches(x, p, b)
        y = jnp.einsum("mpgk,mkgd->mpgd", rows, weights, precision=p.precision, preferred_element_type=dtype)
        return y.reshape(*x.shape[:2], *p.out, -1).astype(p.dtype)

    count = _parts(x, p)
    if count == 1:
        return part(x)
    y = lax.map(part, _cut(x, count))
    return jnp.moveaxis(y, 0, 1).reshape(*x.shape[:2], *y.shape[3:])


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, s·o + δ·k − p, c] · dy[n, o, d]."""
    b, groups = width(p), p.groups // len(x)
    (c, d), dtype, s, k = p.channels, accumulator(p.dtype), p.window.stride[-1], p.window.size[-1]

    def part(x, dy):
        rows = _patches(x, p, b)
        columns = dy.reshape(*rows.shape[:2], groups, -1)
        return jnp.einsum("mpgk,mpgd->mkgd", rows, columns, precision=p.precision, preferred_element_type=dtype)

    count = _parts(x, p)
    if count == 1:
        wide = part(x, dy)
    else:
        xs, dys = _cut(x, count), _cut(dy, count)
        zero = jnp.zeros(jax.eval_shape(part, xs[0], dys[0]).shape, dtype)
        zero = varying_like(zero, x, dy)
        wide = lax.fori_loop(0, count, lambda i, dw: dw + part(xs[i], dys[i]), zero)
    wide = wide.reshape(len(x), *_wide(p, b).size, c, groups, b, d)
    axis = p.window.rank
    dw = total(lax.slice_in_dim(wide[..., a, :], a * s, a * s + k, axis=axis) for a in range(b))
    return dw.astype(p.dtype)


def _is_thin(p: Product) -> bool:
    """Whether a value of y has so few terms that multiply-adds in one loop take no longer than moving x and y."""
    return p.window.taps > 1 and p.groups == 1 and p.window.taps * p.channels[0] <= p.machine.most_tap_weights


def _weighted_sum(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y of one group, with a multiply-add for each weight."""
    dtype = accumulator(p.dtype)
    w = w.reshape(p.window.taps, p.channels[0], -1).astype(dtype)
    views = taps(pad(x, p.window, axis=2), p.window, p.out, axis=2)
    terms = (view[..., c, None].astype(dtype) * w[k, c] for k, view in enumerate(views) for c in range(p.channels[0]))
    return total(terms).astype(p.dtype)


def _wide(p: Product, b: int) -> Window:
    """The window that b neighbors along the last axis see together."""
    if b == 1:
        return p.window
    w, s = p.window, p.window.stride[-1]
    return replace(w, size=(*w.size[:-1], w.size[-1] + s * (b - 1)), stride=(*w.stride[:-1], b * s))


def _patches(x: jax.Array, p: Product, b: int) -> jax.Array:
    """What b neighbors see, side by side: (members, positions, groups, taps · channels)."""
    out = (*p.out[:-1], p.out[-1] // b)
    x = pad(x, p.window, axis=2)
    x = x.reshape(*x.shape[:-1], p.groups // len(x), -1)
    views = list(taps(x, _wide(p, b), out, axis=2))
    rows = jnp.concatenate(views, -1) if len(views) > 1 else views[0]
    return rows.reshape(len(x), -1, *rows.shape[-2:])


def _parts(x: jax.Array, p: Product) -> int:
    """In how many parts the images are taken, so that the patches of one stay within the machine's bound."""
    if p.is_open or built_bytes(p) <= p.machine.tile_bytes:
        return 1
    n, least = x.shape[1], -(-built_bytes(p) // p.machine.tile_bytes)
    return next((k for k in range(least, n) if n % k == 0), n)


def _cut(x: jax.Array, count: int) -> jax.Array:
    """The images in `count` parts: (count, members, N / count, …)."""
    return jnp.moveaxis(x.reshape(len(x), count, -1, *x.shape[2:]), 1, 0)


BLOCKS = Algorithm(
    "blocks",
    "takes at most {most_products} taps, and more than {few_channels} channels of y or as many as of x",
    AS_GIVEN,
    fits=fits,
    product=product,
    kernel_gradient=kernel_gradient,
    fits_kernel=fits_kernel,
    built_bytes=built_bytes,
    temporary_bytes=of_a_tile(built_bytes),
    platforms=GPUS,
)
