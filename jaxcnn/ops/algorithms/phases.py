"""Phases: the gradient by the input of a strided convolution, without the zeros that spreading by the stride puts in.

Input position i meets output o through tap k where i + p = s·o + δ·k. With δ = 1 write i + p = s·q + r: only the taps
k = s·t + r reach it, from o = q − t. So each of the s phases r is a product of unit stride with every s-th tap,

    dx[s·q + r − p] = Σ_t dy[q − t] · w[s·t + r]

and all phases together are one product with s times the channels, whose result changes places only (a pixel shuffle).
Of a 3×3 kernel and stride 2 that takes 16 products per four inputs instead of the 36 among zeros.

Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016).
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.geometry import Window


def fits(window: Window) -> bool:
    """A stride, and no dilation along with it."""
    return max(window.stride) > 1 and all(s == 1 or d == 1 for s, d in zip(window.stride, window.dilation, strict=True))


def backward_window(window: Window, size: tuple[int, ...]) -> Window:
    """The window of unit stride that slides over dy and gives all phases of an input of `size`."""
    most = [-(-k // s) for k, s in zip(window.size, window.stride, strict=True)]  # taps of a phase
    padding = []
    for axis, out in enumerate(window.output_size(size)):
        first, last = _blocks(window, size, axis)
        extent = (most[axis] - 1) * window.dilation[axis]
        padding.append((extent - first, last - out + 1))
    return Window(tuple(most), (1,) * window.rank, tuple(padding), window.dilation)


def kernel(w: jax.Array, window: Window) -> jax.Array:
    """(G, D, C, *window) as (G, s·C, D, *taps of a phase), the phases outermost and the taps running backwards."""
    for axis, s in enumerate(window.stride):
        at = 3 + 2 * axis  # each axis before has become two
        w = lax.pad(w, jnp.zeros((), w.dtype), [(0, -w.shape[at] % s if a == at else 0, 0) for a in range(w.ndim)])
        w = w.reshape(*w.shape[:at], -1, s, *w.shape[at + 1 :])
    taps, phases = range(3, w.ndim, 2), range(4, w.ndim, 2)
    w = jnp.flip(w, taps).transpose(0, *phases, 2, 1, *taps)
    return w.reshape(w.shape[0], -1, *w.shape[1 + window.rank + 1 :])


def join(y: jax.Array, window: Window, size: tuple[int, ...]) -> jax.Array:
    """(G, s·C, B, *blocks, n) to its places, cropped to (G, C, B, *size, n)."""
    g, _, b, *blocks, n = y.shape
    rank = window.rank
    y = y.reshape(g, *window.stride, -1, b, *blocks, n)
    order = [axis for pair in zip(range(rank + 3, 2 * rank + 3), range(1, rank + 1), strict=True) for axis in pair]
    y = y.transpose(0, rank + 1, rank + 2, *order, 2 * rank + 3)
    y = y.reshape(*y.shape[:3], *(q * s for q, s in zip(blocks, window.stride, strict=True)), n)
    start = [
        before - s * _blocks(window, size, axis)[0]
        for axis, (s, (before, _)) in enumerate(zip(window.stride, window.padding, strict=True))
    ]
    stop = [a + m for a, m in zip(start, size, strict=True)]
    return lax.slice(y, (0, 0, 0, *start, 0), (*y.shape[:3], *stop, n))


def _blocks(window: Window, size: tuple[int, ...], axis: int) -> tuple[int, int]:
    """The first and the last q of an axis."""
    (before, _), s = window.padding[axis], window.stride[axis]
    return before // s, (before + size[axis] - 1) // s
