"""Fourier transforms: a correlation over positions is a product per frequency, whatever the size of the window.

    y = F⁻¹ [Σ_c F x · conj F w]      dw = F⁻¹ [Σ_n F x · conj F dy]

The transforms are cyclic, but at least as long as x with its padding, so only results that are thrown away wrap around.
Errors scale with the largest value of an image, also where the image is small; a window of zeros still gives 0. A value
that is not finite would spread over its whole image, and squares overflow sooner than the sums of the definition. So
the automatic choice takes transforms only together with another algorithm for such values (see `is_safe`).

Source: Mathieu, Henaff, LeCun, Fast training of convolutional networks through FFTs (2013).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import ARRANGED
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.windows import every, nothing, pad, sees_some


def fits(p: Product) -> bool:
    """Whether the stride is 1 and there are at most three axes, as many as XLA transforms at a time."""
    plain = p.precision in (None, lax.Precision.DEFAULT) and p.dtype in (jnp.float32, jnp.float64)
    return plain and max(p.window.stride) == 1 and p.window.rank <= 3


def multiply_adds(p: Product) -> int:
    """As many multiply-adds of a matrix product as take the same time, by the costs in `machine.py`."""
    (c, d), images, points = p.channels, math.prod(p.images), math.prod(_length(p)) // 2
    transforms = (images * (c + d) + c * d) * points * math.log2(2 * points)
    return p.groups * int(p.machine.transform_cost * transforms + p.machine.spectrum_cost * images * c * d * points)


def built_bytes(p: Product) -> int:
    """The spectra of x, w and y."""
    (c, d), images = p.channels, math.prod(p.images)
    return p.groups * (images * (c + d) + c * d) * math.prod(_length(p)) * p.dtype.itemsize


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[d, o] = Σ_{c, k} w[d, c, k] · x[c, o + δ·k], per group."""
    padded = pad(x, p.window, axis=3)
    blank = nothing(w, x.ndim)
    x, w = (_spectrum(a, p) for a in (_images_first(padded), _dilated(w, p)))
    y = jnp.einsum("gcn...,gdc...->gdn...", x, w.conj())
    y = _images_last(_values(y, p.out, p), padded)
    return jnp.where(sees_some(padded, p.window, p.out), y, blank)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[d, c, k] = Σ_o dy[d, o] · x[c, o + δ·k], per group."""
    x, dy = (_spectrum(_images_first(a), p) for a in (pad(x, p.window, axis=3), dy))
    dw = _values(jnp.einsum("gcn...,gdn...->gdc...", x, dy.conj()), p.window.extent, p)
    return dw[(..., *(slice(None, None, d) for d in p.window.dilation))]


def largest(dtype: jnp.dtype) -> float:
    """The magnitude from which on the product of two spectra may overflow."""
    return 1e150 if dtype == jnp.float64 else 1e15


def is_safe(a: jax.Array, b: jax.Array) -> jax.Array:
    """Whether both operands are finite, and small enough for their transforms to be finite, too."""
    return every(jnp.abs(a) < largest(a.dtype)) & every(jnp.abs(b) < largest(b.dtype))


def _images_first(x: jax.Array) -> jax.Array:
    """(G, C, B, *spatial, n) as (G, C, N, *spatial)."""
    x = jnp.moveaxis(x, -1, 3)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])


def _images_last(y: jax.Array, like: jax.Array) -> jax.Array:
    return jnp.moveaxis(y.reshape(*y.shape[:2], like.shape[2], like.shape[-1], *y.shape[3:]), 3, -1)


def _dilated(w: jax.Array, p: Product) -> jax.Array:
    """The kernel with zeros between its taps."""
    gaps = [(0, 0, d - 1) for d in p.window.dilation]
    return lax.pad(w, jnp.zeros((), w.dtype), [(0, 0, 0)] * 3 + gaps)


def _spectrum(x: jax.Array, p: Product) -> jax.Array:
    return jnp.fft.rfftn(x, _length(p), axes=range(-p.window.rank, 0))


def _values(spectrum: jax.Array, size: Sequence[int], p: Product) -> jax.Array:
    x = jnp.fft.irfftn(spectrum, _length(p), axes=range(-p.window.rank, 0))
    return x[(..., *(slice(n) for n in size))]


def _length(p: Product) -> tuple[int, ...]:
    """The length of the transforms: that of x with its padding, rounded up to prime factors 2, 3 and 5."""
    padded = (n + before + after for n, (before, after) in zip(p.size, p.window.padding, strict=True))
    return tuple(next(m for m in range(n, 2 * n + 2) if _smooth(m)) for n in padded)


def _smooth(n: int) -> bool:
    return n > 0 and 30 ** n.bit_length() % n == 0


FFT = Algorithm(
    "fft",
    "takes float32 and float64, stride 1, at most three axes, and default precision",
    ARRANGED,
    fits=fits,
    product=product,
    kernel_gradient=kernel_gradient,
    multiply_adds=multiply_adds,
    built_bytes=built_bytes,
    platforms=("cpu",),
)
