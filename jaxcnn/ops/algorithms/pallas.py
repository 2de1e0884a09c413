"""A kernel for TPUs, written in Pallas: an image is copied into the chip's memory once, and all taps read it there.

Axes are ordered (members, *spatial, N, C) inside, as XLA orders the arrays of its own convolutions: images along the
sublanes of a register, channels along its lanes. So a shift along a spatial axis is an address, and nothing is moved.
A step of the grid takes some rows of some images, with a matrix product for each tap, and sums in float32. The first
step of an image also copies it into a scratch with its padding around it, so no padded copy is in main memory.

By the TPU compiler's schedule, for a v5e, bfloat16, 3×3, 128 to 256 channels, 28×28, 128 images: y takes 0.43 million
cycles, dx 0.45 and dw 0.44, what its matrix units need for the products (0.45); XLA's own convolution takes 0.47 for
each, a product for each tap outside of a kernel 4.6 for y. On other platforms the kernel is interpreted, which is
slow, and meant for tests. Here is how a product is cut and what fits; pallas_kernels.py computes it.

Source: jax.dev, Pallas TPU documentation ("Writing TPU kernels with Pallas").
"""

import math

import jax
import jax.numpy as jnp

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import AS_GIVEN
from jaxcnn.ops.algorithms.product import Product


def fits(p: Product) -> bool:
    """Whether the channels fill the lanes, and an image with what belongs to it fits the chip's memory."""
    full = all(c % p.machine.kernel_channels == 0 for c in p.channels)
    plain = p.dtype in (jnp.float32, jnp.bfloat16) and max(p.window.stride) == 1 and min(p.out) > 0
    plain = plain and min(map(min, p.window.padding)) >= 0  # a gradient may have less than none: x is cropped
    if not full or not plain or p.is_open:
        return False
    cut = Cut(p)
    return math.prod(p.images) % cut.images == 0 and cut.bytes <= p.machine.kernel_bytes


class Cut:
    """How a product is cut: by groups, by images, by rows.

    Attributes:
      images: how many images a step takes.
      rows: how many rows of y, along the first spatial axis.
    """

    def __init__(self, p: Product) -> None:
        self.product = p
        self.images = max(1, min(32 // p.dtype.itemsize, math.prod(p.images)))  # a column of a register, or all
        across = math.prod(p.out[1:]) * self.images
        fitting = [r for r in range(1, p.out[0] + 1) if p.out[0] % r == 0 and r * across <= p.machine.kernel_rows]
        self.rows = max(fitting, default=1)
        self.padded = tuple(n + sum(pair) for n, pair in zip(p.size, p.window.padding, strict=True))

    @property
    def bytes(self) -> int:
        """What it needs of the chip's memory; blocks twice, since the next one is read during a step."""
        (c, d), p = self.product.channels, self.product
        positions = self.rows * math.prod(p.out[1:]) * self.images
        blocks = math.prod(p.size) * self.images * c + positions * d + p.window.taps * c * d
        sums = positions * d + p.window.taps * c * d
        return (2 * blocks + math.prod(self.padded) * self.images * c) * p.dtype.itemsize + 4 * sums


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[o, d] = Σ_k x[o + δ·k − p] · w[k, :, d]."""
    from jaxcnn.ops.algorithms import pallas_kernels  # Pallas takes an eighth of the time to import jaxcnn

    return pallas_kernels.product(x, w, p)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, o + δ·k − p, c] · dy[n, o, d]."""
    from jaxcnn.ops.algorithms import pallas_kernels

    return pallas_kernels.kernel_gradient(x, dy, p)


PALLAS = Algorithm(
    "pallas",
    "takes bfloat16 and float32, stride 1, multiples of {kernel_channels} channels, images within {kernel_bytes} bytes",
    AS_GIVEN,
    fits=fits,
    product=product,
    kernel_gradient=kernel_gradient,
    multiplies_padding=False,
    platforms=("tpu",),
)
