"""The kernels of `pallas.py`: how y, dx and dw are computed in the steps of a grid. It is imported at first use only."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxcnn.ops.algorithms.pallas import Cut
from jaxcnn.ops.bilinear import shaped_like


class _Grid:
    """A cut, as a grid of Pallas: groups of all members, images, bands of rows.

    The source stays in main memory. While a step computes with its band in one slot of a scratch, the band of the next
    step is copied into the other slot, each row between the zeros at its ends; rows outside of the source are zeros.
    """

    def __init__(self, cut: Cut, members: int) -> None:
        p = cut.product
        self.cut, self.product, self.groups = cut, p, p.groups // members
        first = cut.axes[0]
        self.shape = (p.groups, math.prod(p.images) // cut.images, -(-first.blocks // cut.rows))
        self.around = cut.padded != (cut.padded[0], *(axis.size for axis in cut.axes[1:]))

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
            *others, bands, arrived = refs
            number = (pl.program_id(0) * self.shape[1] + pl.program_id(1)) * self.shape[2] + pl.program_id(2)
            slot = lax.rem(number, 2)

            @pl.when(number == 0)
            def _():
                for each in range(min(2, math.prod(self.shape))):
                    self._clear_ends(bands.at[each])
                self._fetch(number, source, bands, arrived)

            self._fetch(number, source, bands, arrived, wait=True)

            @pl.when(number + 1 < math.prod(self.shape))
            def _():
                self._fetch(number + 1, source, bands, arrived)

            kernel(_Band(cut, bands.at[slot], pl.program_id(2)), *others)

        return pl.pallas_call(
            step,
            grid=self.shape,
            in_specs=[pl.BlockSpec(memory_space=pl.ANY), *(each for _, each in arrays)],
            out_specs=spec,
            out_shape=shaped_like(source, shape),
            scratch_shapes=[
                *scratch,
                pltpu.VMEM((2, *cut.padded, *cut.tile(0)), p.dtype),
                pltpu.SemaphoreType.DMA((2,)),
            ],
            compiler_params=pltpu.CompilerParams(vmem_limit_bytes=p.machine.kernel_bytes * 5 // 4),
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
            bands[slot, t] = jnp.zeros(bands.shape[2:], bands.dtype)
            return carry

        lax.fori_loop(low, high, copy, 0)
        if not wait and rows > first.size - max(0, first.low) or first.low < 0:
            lax.fori_loop(0, low, clear, 0)
            lax.fori_loop(high, rows, clear, 0)

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


class _Band:
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

    def tiles(self, place: Sequence[Any], taps: Sequence) -> list[jax.Array]:
        """What each tap sees of the band at a place: a tile."""
        found = []
        for tap in taps:
            seen = [
                q * axis.advance + offset - axis.low
                for q, axis, (_, offset) in zip(place, self.cut.axes, tap, strict=True)
            ]
            found.append(self.values[tuple(seen)])
        return found

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



INTERPRET: Any = True


def gathered(x: jax.Array, w: jax.Array, cut: Cut) -> jax.Array:
    """y or dx: the sum over the taps that a result sees, of what each sees and its weights.

    Args:
      x: the source, (members, N, *spatial, C).
      w: (members, *window, C/G, G, D/G), as in the convolution.
      cut: how it is cut.
    """
    p, grid = cut.product, _Grid(cut, len(x))
    (c, d), (in_lanes, out_lanes), phases = cut.channels, cut.lanes, list(cut.phases())
    across = not (in_lanes or out_lanes)
    turned = across and not cut.backward  # weights are (taps · C, D), else (D, taps · C): what XLA makes without turning
    matrices = [_weights(w, phase, cut, turned) for phase, taps in phases if taps]
    skips = p.skips_padding and grid.around

    def compute(weights, taps, places, band):
        """The results of places, each a tile in float32."""
        seen = [band.tiles(place, taps) for place in places]
        if across:
            axes = (1, 0) if turned else (1, 1)
            value = _dot(_joined([_joined(views, 1) for views in seen], 0), weights, p, axes)
            return list(value.reshape(len(places), *cut.tile(1)))
        axes = (1, 0) if in_lanes else (1, 1)
        values = [_dot(weights, _joined(views, 1 - in_lanes), p, axes) for views in seen]
        return values if out_lanes else [value.astype(x.dtype).T for value in values]

    def without_padding(weights, taps, place, band):
        """Zeros in place of the weights that would be multiplied by zeros around the source."""
        row = lax.broadcasted_iota(jnp.int32, weights.shape, 0 if turned else 1)
        sees = [(row >= k * c) & (row < (k + 1) * c) & inside for k, inside in enumerate(band.sees(place, taps))]
        return jnp.where(functools.reduce(jnp.logical_or, sees), weights.astype(jnp.float32), 0).astype(x.dtype)

    def kernel(band, *refs):
        *ws, y = refs
        finite = functools.reduce(jnp.logical_and, [jnp.all(each[...] * 0 == 0) for each in ws]) if skips else True
        matrices = iter(ws)
        for phase, taps in phases:
            weights = next(matrices)[...] if taps else None

            def write(places, values, phase=phase):
                for place, value in zip(places, values, strict=True):
                    band.write(y, place, phase, value)

            def at_once(places, weights=weights, taps=taps, write=write):
                write(places, compute(weights, taps, places, band))

            def exactly(places, weights=weights, taps=taps, write=write):
                write(places, compute(without_padding(weights, taps, places[0], band), taps, places, band))

            if not taps:
                band.each(lambda places, write=write: write(places, [jnp.zeros(cut.tile(1))] * len(places)))
                continue
            band.each(at_once)
            if skips:
                band.each(exactly, (1, 1), most=jnp.where(finite, 0, cut.rows))

    size = [axis.count for axis in cut.axes]
    y = grid.run(
        kernel,
        _inside(x, cut, 0),
        [(each, grid.of_kernels(*each.shape[1:])) for each in matrices],
        ((len(x), *size, *_tile_of(x.shape[1], grid.groups * d, out_lanes)), grid.of_images(size, 1)),
    )
    return _outside(y, cut, 1)


def _weights(w: jax.Array, phase: Sequence[int], cut: Cut, turned: bool) -> jax.Array:
    """The weights of a phase's taps: (groups, D, taps · C), or `turned`; C and D are the source's and the result's."""
    p, lead = cut.product, 1
    w = jnp.moveaxis(w, -2, 1)
    w = w.reshape(p.groups, *w.shape[2:])  # (groups, *window, C/G, D/G)
    for axis, r in zip(cut.axes[: p.window.rank], phase, strict=False):
        numbers = [k for k, _ in axis.phases[r]]
        step = numbers[1] - numbers[0] if numbers[1:] else 1
        w = lax.slice_in_dim(w, numbers[0], numbers[-1] + 1, step, lead)
        lead += 1
    w = w.reshape(p.groups, -1, *w.shape[-2:])
    w = w if cut.backward else w.swapaxes(2, 3)  # (groups, taps, D, C)
    w = jnp.pad(w, [(0, 0)] * 3 + [(0, cut.channels[0] - w.shape[-1])])
    if turned:
        return w.swapaxes(2, 3).reshape(p.groups, -1, cut.channels[1])
    return w.swapaxes(1, 2).reshape(p.groups, cut.channels[1], -1)


def kernel_gradient(x: jax.Array, dy: jax.Array, cut: Cut) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, s·o + δ·k − p, c] · dy[n, o, d]; summed over the steps of a group."""
    p, grid = cut.product, _Grid(cut, len(x))
    c, d = cut.channels
    ((_, taps),) = cut.phases()
    turned = cut.lanes == (True, False)  # the sums are (taps · C, D), else (D, taps · C)
    shape = (len(taps) * c, d) if turned else (d, len(taps) * c)
    result = shape if any(cut.lanes) else shape[::-1]  # it is turned at the end

    def kernel(band, dy, dw, sums):
        step = pl.program_id(1) * grid.shape[2] + pl.program_id(2)

        @pl.when(step == 0)
        def _():
            sums[...] = jnp.zeros(sums.shape, sums.dtype)

        def body(places):
            seen = [band.tiles(place, taps) for place in places]
            rows = [dy[tuple(place)] for place in places]
            if not any(cut.lanes):
                turned_rows = _joined(rows, 0).T
                for k in range(len(taps)):
                    sums[:, k * c : (k + 1) * c] += _dot(turned_rows, _joined([s[k] for s in seen], 0), p)
                return
            for row, s in zip(rows, seen, strict=True):
                if turned:
                    sums[...] += _dot(_joined(s, 0), row, p)
                elif cut.lanes[0]:
                    sums[...] += _dot(row, _joined(s, 0), p, (1, 1))
                else:
                    for k in range(len(taps)):
                        sums[:, k * c : (k + 1) * c] += _dot(row, s[k], p)

        blocks = cut.axes[0].blocks
        band.each(body, most=jnp.minimum(blocks - band.first, cut.rows) if blocks % cut.rows else None)

        @pl.when(step == grid.shape[1] * grid.shape[2] - 1)
        def _():
            if any(cut.lanes):
                dw[...] = sums[...].astype(dw.dtype)
            else:
                for k in range(len(taps)):
                    dw[k * c : (k + 1) * c] = sums[:, k * c : (k + 1) * c].T.astype(dw.dtype)

    size = [axis.count for axis in cut.axes]
    dw = grid.run(
        kernel,
        _inside(x, cut, 0),
        [(_inside(dy, cut, 1), grid.of_images(size, 1))],
        ((p.groups, *result), grid.of_kernels(*result)),
        pltpu.VMEM(shape, jnp.float32),
    )
    dw = dw.swapaxes(1, 2) if result[0] == d and any(cut.lanes) and not turned else dw
    dw = dw.reshape(len(x), grid.groups, *p.window.size, c, d)[..., : p.channels[0], :]
    return jnp.moveaxis(dw, 1, -2)


def _tile_of(images: int, channels: int, in_lanes: bool) -> tuple[int, int]:
    return (channels, images) if in_lanes else (images, channels)


def _inside(x: jax.Array, cut: Cut, which: int) -> jax.Array:
    """(members, N, *spatial, C) as (members, *spatial, tile): no copy, where XLA has chosen that order in memory."""
    if len(cut.axes) > cut.product.window.rank:
        x = x[..., None, :]
    if cut.product.groups == 1:  # channels that fill up a tile
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, cut.channels[which] - x.shape[-1])])
    return jnp.moveaxis(x, 1, -1 if cut.lanes[which] else -2)


def _outside(y: jax.Array, cut: Cut, which: int) -> jax.Array:
    """The inverse of `_inside`."""
    y = jnp.moveaxis(y, -1 if cut.lanes[which] else -2, 1)
    return y[..., 0, :] if len(cut.axes) > cut.product.window.rank else y


def _joined(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    return jnp.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _dot(a: jax.Array, b: jax.Array, cut: Any, axes: tuple[int, int] = (1, 0)) -> jax.Array:
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=cut.precision, preferred_element_type=jnp.float32)
