"""Taps: the sum, over the taps, of each tap's view of the input times that tap's weights; the input is never copied.

With one tap this is the matrix product of a 1×1 convolution. With few weights per output channel, as in a first layer,
it is a chain of multiply-adds that XLA fuses into one loop over the output, where a matrix product would spend most of
its time on the patches.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import ARRANGED
from jaxcnn.ops.algorithms.product import Product, correlate, multiply
from jaxcnn.ops.windows import accumulator, pad, taps, total


def fits(p: Product) -> bool:
    """Whether there is one tap, or few weights per output channel."""
    return p.window.taps == 1 or p.window.taps * p.channels[0] <= p.machine.most_tap_weights


def fits_kernel(p: Product) -> bool:
    """Whether there is one tap, or groups with so few channels that a matrix product would have one row."""
    thin = min(p.channels) == 1 and max(p.channels) <= 4
    return p.window.taps == 1 or (thin and p.window.taps <= p.machine.most_thin_taps)


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[d, o] = Σ_k w[d, c, k] · x[c, s·o + δ·k], per group."""
    w = w.reshape(*w.shape[:3], -1)
    return total(_multiply(view, w[..., k], p) for k, view in enumerate(_views(x, p))).astype(p.dtype)


def _multiply(view: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """(G, C, B, *out, n) times (G, D, C) gives (G, D, B, *out, n)."""
    dtype = accumulator(p.dtype)
    if p.window.taps > 1:
        view = view.astype(dtype)
        w = w.astype(dtype).reshape(*w.shape, *[1] * (view.ndim - 2))
        return total(view[:, c, None] * w[:, :, c] for c in range(p.channels[0]))
    columns = view.reshape(*view.shape[:2], -1)
    y = multiply(w, columns, p)
    return y.reshape(*y.shape[:2], *view.shape[2:])


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[d, c, k] = Σ_o dy[d, o] · x[c, s·o + δ·k], per group."""
    dw = jnp.stack([_correlate(view, dy, p) for view in _views(x, p)], axis=-1)
    return dw.reshape(*dw.shape[:3], *p.window.size).astype(p.dtype)


def _correlate(view: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """(G, C, B, *out, n) against (G, D, B, *out, n) gives (G, D, C): a sum over all positions."""
    dtype = accumulator(p.dtype)
    if p.window.taps == 1:
        rows, columns = (a.reshape(*a.shape[:2], -1) for a in (dy, view))
        return correlate(rows, columns, p)
    # From products of so few rows, XLA:CPU would make reduce-window operations.
    view, dy = view.astype(dtype), dy.astype(dtype)
    axes = range(2, dy.ndim)
    return jnp.stack([jnp.sum(view[:, c, None] * dy, axis=axes) for c in range(p.channels[0])], axis=-1)


def _views(x: jax.Array, p: Product) -> Iterator[jax.Array]:
    """Each tap's view of x: (G, C, B, *out, n)."""
    return taps(pad(x, p.window, axis=3), p.window, p.out, axis=3)


TAPS = Algorithm(
    "taps",
    "takes windows of one tap, and at most {most_tap_weights} weights per output channel",
    ARRANGED,
    fits=fits,
    product=product,
    kernel_gradient=kernel_gradient,
    fits_kernel=fits_kernel,
)
