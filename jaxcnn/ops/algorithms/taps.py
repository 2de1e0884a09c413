"""Taps: no copy of the input at all; each tap's view of it times that tap's weights, summed over the taps.

With one tap this is the matrix product of a 1×1 convolution. With one channel in or out per group (depthwise) it is a
multiply-add that XLA fuses into one loop over the output.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.geometry import Window
from jaxcnn.ops.windows import accumulator, grouped, pad, taps, total

CLAIM = "takes windows of one tap, and groups with one channel in or out"


def fits(window: Window, channels: tuple[int, int]) -> bool:
    """One tap, or thin groups."""
    return window.taps == 1 or _thin(*channels)


def _thin(into: int, out: int) -> bool:
    """Few enough channels per group to write out as multiply-adds."""
    return min(into, out) == 1 and max(into, out) <= 4


def product(x: jax.Array, kernel: jax.Array, window: Window, groups: int, precision, platform) -> jax.Array:
    """y[n, o] = Σ_k x[n, s·o + d·k] · w[k], with x `(N, *spatial, C)` and kernel `(*window, C/G, D)`."""
    weights = kernel.reshape(window.taps, kernel.shape[-2], groups, -1)  # (K, C/G, G, D/G)
    out = window.output_size(x.shape[1:-1])
    x = grouped(pad(x, window), groups)
    terms = (_multiply(view, w, precision) for view, w in zip(taps(x, window, out), weights, strict=True))
    return total(terms).reshape(x.shape[0], *out, kernel.shape[-1]).astype(kernel.dtype)


def _multiply(view: jax.Array, w: jax.Array, precision) -> jax.Array:
    """(…, G, C/G) times (C/G, G, D/G) gives (…, G, D/G)."""
    dtype = accumulator(w.dtype)
    if _thin(w.shape[0], w.shape[2]):
        view, w = view.astype(dtype), w.astype(dtype)
        return total(view[..., c, None] * w[c] for c in range(w.shape[0]))
    if w.shape[1] == 1:
        y = lax.dot_general(view[..., 0, :], w[:, 0], (((view.ndim - 2,), (0,)), ((), ())), precision, dtype)
        return y[..., None, :]
    return jnp.einsum("...gc,cgd->...gd", view, w, precision=precision, preferred_element_type=dtype)


def kernel_gradient(x: jax.Array, dy: jax.Array, window: Window, groups: int, precision, platform) -> jax.Array:
    """dw[k] = Σ_{n, o} x[n, s·o + d·k] · dy[n, o]."""
    out = dy.shape[1:-1]
    dy = grouped(dy, groups)
    views = taps(grouped(pad(x, window), groups), window, out)
    dw = jnp.stack([_correlate(view, dy, precision) for view in views])
    return dw.reshape(*window.size, dw.shape[1], -1).astype(x.dtype)


def _correlate(view: jax.Array, dy: jax.Array, precision) -> jax.Array:
    """(…, G, C/G) against (…, G, D/G) gives (C/G, G, D/G): a sum over all positions."""
    dtype = accumulator(dy.dtype)
    if not _thin(view.shape[-1], dy.shape[-1]):
        return jnp.einsum("...gc,...gd->cgd", view, dy, precision=precision, preferred_element_type=dtype)
    # Written as a product this thin, XLA:CPU turns some of the sums into reduce-window operations.
    view, dy = view.astype(dtype), dy.astype(dtype)
    return jnp.stack([jnp.sum(view[..., c, None] * dy, axis=range(dy.ndim - 2)) for c in range(view.shape[-1])])
