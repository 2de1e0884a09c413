"""The grid of the kernels of `pallas.py`: what is in the chip's memory at each step, and how it gets there."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxcnn.ops.algorithms.pallas import Cut
from jaxcnn.ops.bilinear import shaped_like

INTERPRET: Any = True  # how a kernel is interpreted on other platforms


class Grid:
    """A cut, as a grid of Pallas: groups of all members, images, bands of rows.

    The source stays in main memory. While a step computes with its band in one slot of a scratch, the band of the next
    step is copied into the other slot, each row between the zeros at its ends; rows outside of the source are zeros.
    """

    def __init__(self, cut: Cut, members: int) -> None:
        p = cut.product
        self.cut, self.product, self.groups = cut, p, cut.groups // members
        first = cut.axes[0]
        self.shape = (cut.groups, math.prod(p.images) // cut.images, -(-first.blocks // cut.rows))

    def run(self, kernel: Callable, source: jax.Array, arrays: Sequence, result: Any, *scratch: Any) -> jax.Array:
        """The kernel over all steps.

        Args:
          kernel: takes the band of a step, the references of the arrays, of the result and of the scratch.
          source: (members, *spatial, tile).
          arrays: each with its `BlockSpec`.
          result: the shape of the result and its `BlockSpec`.
          scratch: more memory that the steps share.
        """
        cut, p = self.cut, self.product
        shape, spec = result

        def step(source, *refs):
            *others, bands, arrived = refs[: len(refs) - cut.few]
            number = (pl.program_id(0) * self.shape[1] + pl.program_id(1)) * self.shape[2] + pl.program_id(2)
            slot = lax.rem(number, 2)

            @pl.when(number == 0)
            def _():
                if cut.few:
                    lax.fori_loop(0, cut.padded[0], lambda t, c: _clear(refs[-1], t) or c, 0)
                else:
                    for each in range(min(2, math.prod(self.shape))):
                        self._clear_ends(bands.at[each])
                self._fetch(number, source, bands, arrived)

            self._fetch(number, source, bands, arrived, wait=True)

            @pl.when(number + 1 < math.prod(self.shape))
            def _():
                self._fetch(number + 1, source, bands, arrived)

            band = bands.at[slot]
            if cut.few:
                self._put_in_order(band, refs[-1])
                band = refs[-1]
            kernel(Band(cut, band, pl.program_id(2)), *others)

        memory = [*scratch, pltpu.VMEM((2, *cut.padded, *cut.tile(0)), p.dtype), pltpu.SemaphoreType.DMA((2,))]
        if cut.few:
            memory[-2] = pltpu.VMEM((2, cut.padded[0], *source.shape[2:-1], cut.images), p.dtype)
            memory.append(pltpu.VMEM((*cut.padded, *cut.tile(0)), cut.dtype))
        return pl.pallas_call(
            step,
            grid=self.shape,
            in_specs=[pl.BlockSpec(memory_space=pl.ANY), *(each for _, each in arrays)],
            out_specs=spec,
            out_shape=shaped_like(source, shape),
            scratch_shapes=memory,
            cost_estimate=pl.CostEstimate(
                flops=2 * p.multiply_adds,
                bytes_accessed=sum(math.prod(a.shape) * a.dtype.itemsize for a in (source, *(a for a, _ in arrays)))
                + math.prod(shape) * p.dtype.itemsize,
                transcendentals=0,
            ),
            compiler_params=pltpu.CompilerParams(vmem_limit_bytes=p.machine.kernel_limit),
            interpret=INTERPRET if p.machine.platform != "tpu" else False,
        )(source, *(each for each, _ in arrays))

    def _fetch(self, number: Any, source: Any, bands: Any, arrived: Any, wait: bool = False) -> None:
        """Start, or wait for, the copies of a step's rows."""
        cut = self.cut
        first, *others = cut.axes
        slot, rest = lax.rem(number, 2), lax.div(number, self.shape[2])
        group, image = lax.div(rest, self.shape[1]), lax.rem(rest, self.shape[1])
        start = lax.rem(number, self.shape[2]) * (cut.rows * first.advance) + first.low
        images, channels = (
            pl.ds(pl.multiple_of(i * n, n), n)
            for i, n in ((image, cut.images), (lax.rem(group, self.groups), cut.channels[0]))
        )
        tile = (channels, images) if cut.lanes[0] else (images, channels)
        inside = [pl.ds(-axis.low, axis.size) for axis in others]
        if cut.few:
            tile, inside = (slice(None), images), []

        rows = cut.padded[0]
        low = jnp.clip(-start, 0, rows)
        high = jnp.clip(first.size - start, low, rows)

        def copy(t, carry):
            row = pltpu.make_async_copy(
                source.at[(lax.div(group, self.groups), start + t, *[slice(None)] * len(others), *tile)],
                bands.at[(slot, t, *inside)],
                arrived.at[slot],
            )
            (row.wait if wait else row.start)()
            return carry

        def clear(t, carry):
            _clear(bands.at[slot], t)
            return carry

        lax.fori_loop(low, high, copy, 0)
        if not wait:
            lax.fori_loop(0, low, clear, 0)
            lax.fori_loop(high, rows, clear, 0)

    def _put_in_order(self, raw: Any, band: Any) -> None:
        """The rows of few channels, (…, C, last, N), as tiles of channels and images: (…, last, C, N)."""
        last = self.cut.axes[-1]
        places = list(itertools.product(*(range(n) for n in raw.shape[1:-3]), range(raw.shape[-3])))

        def row(t, carry):
            for *middle, channel in places:
                at = [i - axis.low for i, axis in zip(middle, self.cut.axes[1:-1], strict=True)]
                band[(t, *at, pl.ds(-last.low, last.size), channel)] = raw[(t, *middle, channel)].astype(band.dtype)
            return carry

        lax.fori_loop(0, raw.shape[0], row, 0)

    def _clear_ends(self, band: Any) -> None:
        """Zeros before and after each row, once: no copy ever reaches there."""
        for number, axis in enumerate(self.cut.axes[1:], start=1):
            for start, stop in ((0, -axis.low), (axis.size - axis.low, band.shape[number])):
                if stop > start:
                    end = [*band.shape[1:]]
                    end[number - 1] = stop - start
                    place = [slice(None)] * (number - 1) + [pl.ds(start, stop - start)]

                    def clear(t, carry, place=place, end=end):
                        band[(t, *place)] = jnp.zeros(end, band.dtype)
                        return carry

                    lax.fori_loop(0, band.shape[0], clear, 0)

    def of_images(self, size: Sequence[int], which: int) -> pl.BlockSpec:
        """The blocks of y, dx or dy: (members, *spatial, tile)."""
        cut, zeros = self.cut, [0] * (len(size) - 1)

        def at(g, n, r):  # by lax.div and lax.rem: // and % look at signs, for which Mosaic asks the device
            tile = n, lax.rem(g, self.groups)
            return lax.div(g, self.groups), r, *zeros, *(tile[::-1] if cut.lanes[which] else tile)

        return pl.BlockSpec((None, cut.rows * len(cut.axes[0].phases), *size[1:], *cut.tile(which)), at)

    def of_kernels(self, *shape: int) -> pl.BlockSpec:
        """The blocks of an array (members · groups, *shape)."""
        return pl.BlockSpec((None, *shape), lambda g, n, r: (g, *[0] * len(shape)))


class Band:
    """The band of a step, in the chip's memory, and the places of its results: for each axis a q.

    Args:
      cut: how the product is cut.
      values: (*padded, *tile).
      number: which band it is of its images.
    """

    def __init__(self, cut: Cut, values: Any, number: Any) -> None:
        self.cut, self.values, self.first = cut, values, number * cut.rows

    def each(self, body: Callable, unrolled: tuple[int, int] | None = None, most: Any = None) -> None:
        """Call `body(places)` for the places that are computed at once; a place has a q for each axis.

        Args:
          body: what to do.
          unrolled: how many places, along the first and the last axis, are computed at once; as in the cut if None.
          most: how many rows, if not all; a scalar.
        """
        cut = self.cut
        _, *middle, last = cut.axes
        rows, across = unrolled or cut.unrolled
        counts = [cut.rows // rows, *(axis.blocks for axis in middle), last.blocks // across]
        times = [counts[0] if most is None else lax.div(most, rows), *counts[1:]]

        def nested(index):
            if len(index) == len(counts):
                start, *between, column = index
                body([(start * rows + r, *between, column * across + c) for r in range(rows) for c in range(across)])
            elif isinstance(times[len(index)], int) and counts[len(index)] == 1:
                nested((*index, 0))
            else:
                lax.fori_loop(0, times[len(index)], lambda i, c: nested((*index, i)) or c, 0)

        nested(())

    def tiles(self, places: Sequence[Sequence[Any]], taps: Sequence) -> list[list[jax.Array]]:
        """What each tap sees of the band at each place: tiles."""
        return [[self._tile(place, tap) for tap in taps] for place in places]

    def _tile(self, place: Sequence[Any], tap: Sequence) -> jax.Array:
        axes = zip(place, self.cut.axes, tap, strict=True)
        return self.values[tuple(q * axis.advance + offset - axis.low for q, axis, (_, offset) in axes)]

    def write(self, block: Any, place: Sequence[Any], phase: Sequence[int], value: jax.Array) -> None:
        """Write the result of a place, if there is one: a stride's last phases have fewer."""
        exists: Any = True
        at = [q * len(axis.phases) + r for q, r, axis in zip(place, phase, self.cut.axes, strict=True)]
        for i, axis in zip(at[1:], self.cut.axes[1:], strict=True):  # rows beyond the last are dropped
            if isinstance(i, int) or axis.count % len(axis.phases):
                exists = exists & (i < axis.count)

        def store():
            block[tuple(at)] = value.astype(block.dtype)

        if exists is True:
            store()
        elif exists is not False:
            pl.when(exists)(store)

    def sees(self, place: Sequence[Any], taps: Sequence) -> list[Any]:
        """Whether each tap sees the source at a place, and not the zeros around it: scalars."""
        places = (self.first + place[0], *place[1:])
        found = []
        for tap in taps:
            inside = True
            for q, axis, (_, offset) in zip(places, self.cut.axes, tap, strict=True):
                at = q * axis.advance + offset
                inside = inside & (at >= 0) & (at < axis.size)
            found.append(inside)
        return found


def _clear(band: Any, row: Any) -> None:
    band[row] = jnp.zeros(band.shape[1:], band.dtype)


def inside(x: jax.Array, cut: Cut, which: int) -> jax.Array:
    """(members, N, *spatial, C) as (members, *spatial, tile): no copy, where XLA has chosen that order in memory."""
    if len(cut.axes) > cut.product.window.rank:
        x = x[..., None, :]
    if cut.few and which == 0:
        return jnp.moveaxis(x, (1, -1), (-1, -3))
    if cut.groups == cut.product.members:  # channels that fill up a tile
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, cut.channels[which] - x.shape[-1])])
    return jnp.moveaxis(x, 1, -1 if cut.lanes[which] else -2)


def outside(y: jax.Array, cut: Cut) -> jax.Array:
    """A result as (members, N, *spatial, C)."""
    y = jnp.moveaxis(y, -1 if cut.lanes[1] else -2, 1)
    return y[..., 0, :] if len(cut.axes) > cut.product.window.rank else y
