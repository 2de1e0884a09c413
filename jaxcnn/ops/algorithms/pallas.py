"""Kernels for TPUs, written in Pallas: rows of images are copied into the chip's memory, and all taps read them there.

Inside, spatial axes stand outside of a tile of images and channels. So a shift, a stride or a dilation is an address,
and nothing is moved. The lanes of a register hold a tile's channels, or its images where 128 of them fill the lanes and
the channels would not: XLA orders the arrays of its own convolutions by the same rule, so nothing is copied around a
kernel.

    channels in the lanes   (members, *spatial, N, C)
    images in the lanes     (members, *spatial, C, N)

What a result sees is written down axis by axis, as an `Axis`. With that, y and dx are one kernel: with a stride,
results of dx that lie s apart see the same taps, and are a phase of their own. A kernel for each of the three products
takes what the matrix units of a v5e need for its multiply-adds, by the TPU compiler's schedule; the page on algorithms
has the table. On other platforms a kernel is interpreted, which is slow, and meant for tests.

Here is how a product is cut and what fits. pallas_grid.py brings the bands of rows into the chip, pallas_kernels.py
computes from them.

Source: jax.dev, Pallas TPU documentation ("Writing TPU kernels with Pallas").
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import AS_GIVEN
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.machine import LANES, SUBLANES, images_in_lanes

COPIES_PARTS_OF_TILES = jax.__version_info__ >= (0, 10)  # the libtpu of jax 0.7.2, which Colab has, does not


@dataclass(frozen=True)
class Axis:
    """What the results along one spatial axis see: result S·q + r sees the source at A·q + offset.

    Args:
      count: how many results there are.
      size: how many positions the source has; around them are zeros.
      phases: for each r below S, the taps that it sees: (number, offset).
      advance: A.
    """

    count: int
    size: int
    phases: tuple[tuple[tuple[int, int], ...], ...]
    advance: int

    @property
    def blocks(self) -> int:
        """How many values q has."""
        return -(-self.count // len(self.phases))

    @property
    def low(self) -> int:
        """The least offset, at most 0."""
        return min(0, *(offset for taps in self.phases for _, offset in taps))

    def padded(self, blocks: int) -> int:
        """How many positions of the source, with what is around it, so many values of q see, from the least offset."""
        most = max((offset for taps in self.phases for _, offset in taps), default=0)
        return (blocks - 1) * self.advance + most - self.low + 1

    @property
    def sees_beyond(self) -> bool:
        """Whether some result sees what is around the source."""
        return self.low < 0 or self.padded(self.blocks) > self.size


def _forward(window: Window, size: Sequence[int]) -> list[Axis]:
    """What y sees of x: y[o] sees x[s·o + δ·k − p]."""
    return [
        Axis(out, n, (tuple((k, d * k - before) for k in range(taps)),), s)
        for out, n, taps, s, d, (before, _) in zip(
            window.output_size(size), size, window.size, window.stride, window.dilation, window.padding, strict=True
        )
    ]


def _backward(window: Window, size: Sequence[int]) -> list[Axis]:
    """What dx sees of dy: dx[s·q + r] sees dy[q + (r + p − δ·k) / s] for the taps k with a whole quotient."""
    axes = []
    for out, n, taps, s, d, (before, _) in zip(
        window.output_size(size), size, window.size, window.stride, window.dilation, window.padding, strict=True
    ):
        shifts = [[(k, r + before - d * k) for k in range(taps)] for r in range(s)]
        axes.append(Axis(n, out, tuple(tuple((k, m // s) for k, m in row if m % s == 0) for row in shifts), 1))
    return axes


class Cut:
    """How a product is cut: by groups, by images, by bands of rows, and these into what is computed at once.

    Attributes:
      axes: what the results see, of two spatial axes at least.
      is_depthwise: whether each channel has its own kernel; then all channels of a member are one group here.
      groups: how many groups there are, of all members.
      channels: of the source, filled up where a tile needs that, and of the other array (y, dx or dy).
      lanes: whether the images are in the lanes, of the source and of the other array.
      few: whether the source has so few channels that XLA lets the last spatial axis stand in their place, (members,
        *spatial but the last, C, last, N); then a band is put in order in the chip.
      dtype: of the band in the chip's memory.
      images: how many images a step takes.
      rows: how many values of q, along the first axis, a step takes.
      unrolled: how many values of q, along the first and the last axis, are computed at once.
    """

    def __init__(self, p: Product, *, backward: bool = False, sums: bool = False) -> None:
        self.product, self.backward = p, backward
        axes = (_backward if backward else _forward)(p.window, p.size)
        self.axes = axes if len(axes) > 1 else [*axes, Axis(1, 1, (((0, 0),),), 1)]
        self.is_depthwise = p.channels == (1, 1) and p.groups > p.members
        self.groups = p.members if self.is_depthwise else p.groups
        own = p.groups // self.groups
        source, other = (c * own for c in (p.channels[::-1] if backward else p.channels))
        pack, n = SUBLANES * 4 // p.dtype.itemsize, math.prod(p.images)
        self.lanes = tuple(images_in_lanes(n, c) for c in (source, other))
        fills = self.lanes[0] and not self.is_depthwise
        self.few = (
            fills and source <= p.machine.few_channels and (COPIES_PARTS_OF_TILES or self.axes[-1].size % SUBLANES == 0)
        )
        self.dtype = jnp.dtype(jnp.float32) if self.few else p.dtype
        unit = SUBLANES if self.few else pack
        self.channels = (-(-source // unit) * unit if fills else source), other
        self.sums = 4 * p.window.taps * (source * LANES if self.is_depthwise else math.prod(self.channels)) * sums
        units = [pack if lane else LANES for lane in self.lanes]
        parted = self.groups > p.members and any(c % unit for c, unit in zip((source, other), units, strict=True))
        empty = any(not lane and c < p.machine.least_lanes for lane, c in zip(self.lanes, self.channels, strict=True))
        parts = [m for m in range(LANES, 0, -1) if n % m == 0 and m % pack == 0] or [n]
        fitting = [m for m in ([LANES] if any(self.lanes) else parts) if self._cut(m)]
        self.fits = not (parted or empty) and bool(fitting)
        if self.fits:  # as many images as can be, unless neighboring bands would then read much of the same
            self._cut(min(fitting, key=lambda m: max(1.25, self._cut(m) * self._reads)))

    def _cut(self, images: int) -> bool:
        """Cut by so many images; whether that fits."""
        self.images, first = images, self.axes[0]
        self.unrolled = self._unrolled()
        chunks = first.blocks // self.unrolled[0]
        most = self.product.machine.kernel_bytes
        fitting = [m for m in range(1, chunks + 1) if self._bytes(m * self.unrolled[0]) <= most]
        if fitting:
            even = max(m for m in fitting if chunks % m == 0)  # bands of equal size, unless they are much smaller
            self.rows = (even if 2 * even >= fitting[-1] else fitting[-1]) * self.unrolled[0]
        return bool(fitting)

    @property
    def _reads(self) -> float:
        """How often each row of the source is read."""
        first = self.axes[0]
        bands = -(-first.blocks // self.rows)
        return 1 if bands == 1 else bands * first.padded(self.rows) / first.size

    def _unrolled(self) -> tuple[int, int]:
        """Enough products for the matrix units, few enough for a short program."""
        p, (first, last) = self.product, (self.axes[0], self.axes[-1])
        most = max(1, p.machine.kernel_rows // (LANES if any(self.lanes) else self.images))
        adds = 1024 * self.channels[1] if self.is_depthwise else math.prod(self.channels)  # not by the matrix units
        cost = self.images * p.window.taps * adds / p.machine.kernel_multiply_adds
        most = max(1, min(most, int(1 / cost)))
        across = max(m for m in range(1, min(most, last.blocks) + 1) if last.blocks % m == 0)
        rows = [m for m in range(1, max(1, most // across) + 1) if first.blocks % m == 0]
        return max(rows), across

    @property
    def sees_beyond(self) -> bool:
        """Whether some result sees what is around the source."""
        return any(axis.sees_beyond for axis in self.axes)

    def tile(self, which: int) -> tuple[int, int]:
        """The tile of the source or, with 1, of the other array."""
        pair = self.images, self.channels[which]
        return pair[::-1] if self.lanes[which] else pair

    @property
    def padded(self) -> tuple[int, ...]:
        """The spatial size of a band of the source, with what is around it."""
        first, *others = self.axes
        return (
            first.padded(self.rows),
            *(max(axis.padded(axis.blocks), axis.size - axis.low) for axis in others),
        )

    def _bytes(self, rows: int) -> int:
        """What so many rows need of the chip's memory; blocks twice, since the next one is read during a step."""
        self.rows, size, taps = rows, self.product.dtype.itemsize, self.product.window.taps
        positions = math.prod(self.padded)
        if self.few:
            channels = self.product.channels[self.backward]
            raw = _tiles(positions // self.padded[-1] * channels, (self.padded[-1], LANES), size)
            source = raw + _tiles(positions, self.tile(0), 4) // 2  # put in order once
        else:
            source = _tiles(positions, self.tile(0), size)
        results = rows * len(self.axes[0].phases) * math.prod(axis.count for axis in self.axes[1:])
        kernels = (2 * taps, self.tile(0)) if self.is_depthwise else (1, (self.channels[1], taps * self.channels[0]))
        return 2 * (source + _tiles(results, self.tile(1), size) + _tiles(*kernels, size)) + self.sums

    def phases(self) -> Iterator[tuple[tuple[int, ...], list[tuple[tuple[int, int], ...]]]]:
        """Each phase, a number for each axis, with its taps: of each tap the pairs of its axes, in rows."""
        for phase in itertools.product(*(range(len(axis.phases)) for axis in self.axes)):
            seen = (axis.phases[r] for axis, r in zip(self.axes, phase, strict=True))
            yield phase, list(itertools.product(*seen))


def _tiles(positions: int, tile: tuple[int, int], size: int) -> int:
    """The bytes of tiles of values of so many bytes, in whole registers."""
    sublanes = SUBLANES * 4 // size
    return positions * -(-tile[0] // sublanes) * sublanes * -(-tile[1] // LANES) * LANES * size


def _can(p: Product, **what: bool) -> bool:
    """Whether there is a kernel."""
    known = p.dtype in (jnp.float32, jnp.bfloat16) and p.window.taps <= p.machine.most_products
    empty = 0 in p.images or min(*p.out, *p.size) < 1
    return known and not empty and not p.is_open and Cut(p, **what).fits


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[o, d] = Σ_k x[s·o + δ·k − p] · w[k, :, d]."""
    from jaxcnn.ops.algorithms import pallas_kernels  # Pallas takes an eighth of the time to import jaxcnn

    return pallas_kernels.gathered(x, w, Cut(p))


def input_gradient(dy: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """dx[i, c] = Σ_k dy[(i + p − δ·k) / s] · w[k, c], over the taps k for which the position is whole."""
    from jaxcnn.ops.algorithms import pallas_kernels

    return pallas_kernels.gathered(dy, w, Cut(p, backward=True))


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, s·o + δ·k − p, c] · dy[n, o, d]."""
    from jaxcnn.ops.algorithms import pallas_kernels

    return pallas_kernels.kernel_gradient(x, dy, Cut(p, sums=True))


PALLAS = Algorithm(
    "pallas",
    "takes bfloat16 and float32, at most {most_products} taps, and multiples of 128 images, or at least {least_lanes} "
    "channels in and out, of which a row fits {kernel_bytes} bytes",
    AS_GIVEN,
    fits=_can,
    product=product,
    input_gradient=input_gradient,
    kernel_gradient=kernel_gradient,
    fits_input=lambda p: _can(p, backward=True),
    fits_kernel=lambda p: _can(p, sums=True),
    multiplies_padding=False,
    platforms=("tpu",),
)
