"""The kernels of `pallas.py`: how y, dx and dw are computed in the steps of a grid. It is imported at first use only."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxcnn.ops.algorithms.pallas import LANES, Cut
from jaxcnn.ops.bilinear import shaped_like


class _Grid:
    """A cut, as a grid of Pallas: groups of all members, images, bands of rows.

    The source stays in main memory. While a step computes with its band in one slot of a scratch, the band of the next
    step is copied into the other slot, each row between the zeros at its ends; rows outside of the source are zeros.
    """

    def __init__(self, cut: Cut, members: int) -> None:
        p = cut.product
        self.cut, self.product, self.groups = cut, p, cut.groups // members
        first = cut.axes[0]
        self.shape = (cut.groups, math.prod(p.images) // cut.images, -(-first.blocks // cut.rows))
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
            kernel(_Band(cut, band, pl.program_id(2)), *others)

        scratch = [*scratch, pltpu.VMEM((2, *cut.padded, *cut.tile(0)), p.dtype), pltpu.SemaphoreType.DMA((2,))]
        if cut.few:
            scratch[-2] = pltpu.VMEM((2, cut.padded[0], *source.shape[2:]), p.dtype)
            scratch.append(pltpu.VMEM((*cut.padded, *cut.tile(0)), cut.dtype))
        return pl.pallas_call(
            step,
            grid=self.shape,
            in_specs=[pl.BlockSpec(memory_space=pl.ANY), *(each for _, each in arrays)],
            out_specs=spec,
            out_shape=shaped_like(source, shape),
            scratch_shapes=scratch,
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



INTERPRET: Any = True


def gathered(x: jax.Array, w: jax.Array, cut: Cut) -> jax.Array:
    """y or dx: the sum over the taps that a result sees, of what each sees and its weights.

    Args:
      x: the source, (members, N, *spatial, C).
      w: (members, *window, C/G, G, D/G), as in the convolution.
      cut: how it is cut.
    """
    grid, phases = _Grid(cut, len(x)), list(cut.phases())
    kind = (_Depthwise if cut.is_depthwise else _Matrices)(cut)
    arrays = [kind.weights(_of_phase(w, phase, cut)) for phase, taps in phases if taps]
    skips = cut.product.skips_padding and grid.around

    def kernel(band, *refs):
        *ws, y = refs
        finite = functools.reduce(jnp.logical_and, [jnp.all(each[...] * 0 == 0) for each in ws]) if skips else True
        rest = iter(ws)
        for phase, taps in phases:
            weights = next(rest) if taps else None

            def write(places, values, phase=phase):
                for place, value in zip(places, values, strict=True):
                    band.write(y, place, phase, value)

            def zeros(places, write=write):
                write(places, [jnp.zeros(cut.tile(1), jnp.float32)] * len(places))

            def at_once(places, weights=weights, taps=taps, write=write):
                write(places, kind.product(weights, band.tiles(places, taps)))

            def exactly(places, weights=weights, taps=taps, write=write):
                seen, sees = band.tiles(places, taps), band.sees(places[0], taps)
                write(places, kind.product(weights, seen, sees))

            band.each(at_once if taps else zeros)
            if skips and taps:
                band.each(exactly, (1, 1), most=jnp.where(finite, 0, cut.rows))

    size, all_channels = [axis.count for axis in cut.axes], (grid.groups * cut.channels[1], x.shape[1])
    y = grid.run(
        kernel,
        _inside(x, cut, 0),
        [(each, grid.of_kernels(*each.shape[1:])) for each in arrays],
        ((len(x), *size, *(all_channels if cut.lanes[1] else all_channels[::-1])), grid.of_images(size, 1)),
    )
    return _outside(y, cut)


def kernel_gradient(x: jax.Array, dy: jax.Array, cut: Cut) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, s·o + δ·k − p, c] · dy[n, o, d]; summed over the steps of a group."""
    p, grid, ((_, taps),) = cut.product, _Grid(cut, len(x)), cut.phases()
    kind = (_Depthwise if cut.is_depthwise else _Matrices)(cut)

    def kernel(band, dy, dw, sums):
        step = pl.program_id(1) * grid.shape[2] + pl.program_id(2)

        @pl.when(step == 0)
        def _():
            sums[...] = jnp.zeros(sums.shape, sums.dtype)

        def add(places):
            kind.add(sums, band.tiles(places, taps), [dy[tuple(place)] for place in places])

        blocks = cut.axes[0].blocks
        band.each(add, most=jnp.minimum(blocks - band.first, cut.rows) if blocks % cut.rows else None)

        @pl.when(step == grid.shape[1] * grid.shape[2] - 1)
        def _():
            kind.end(sums, dw)

    size = [axis.count for axis in cut.axes]
    sums, result = kind.sums(len(taps))
    dw = grid.run(
        kernel,
        _inside(x, cut, 0),
        [(_inside(dy, cut, 1), grid.of_images(size, 1))],
        ((cut.groups, *result), grid.of_kernels(*result)),
        pltpu.VMEM(sums, jnp.float32),
    )
    dw = kind.kernels(dw, len(taps))
    if cut.is_depthwise:
        return dw.reshape(len(x), *p.window.size, 1, -1, 1)
    return jnp.moveaxis(dw.reshape(len(x), grid.groups, *p.window.size, *dw.shape[2:]), 1, -2)


class _Matrices:
    """A matrix product of what the taps see and their weights.

    The taps stand side by side where that takes no shuffling: images in the lanes, or full lanes of channels.
    """

    def __init__(self, cut: Cut) -> None:
        self.cut, self.p = cut, cut.product
        self.c, self.d = cut.channels
        self.across = not any(cut.lanes)
        self.joined = cut.lanes[0] or self.c % LANES == 0 and not (self.across and cut.backward)
        self.turned = self.across and not cut.backward  # weights are (taps · C, D), else (D, taps · C)

    def weights(self, w: jax.Array) -> jax.Array:
        """(groups, taps, D, C) as a kernel takes them, made without turning where XLA can."""
        w = jnp.pad(w, [(0, 0)] * 3 + [(0, self.c - w.shape[-1])]).astype(self.cut.dtype)
        if not self.joined:
            return w.swapaxes(2, 3) if self.turned else w
        if self.turned:
            return w.swapaxes(2, 3).reshape(len(w), -1, self.d)
        return w.swapaxes(1, 2).reshape(len(w), self.d, -1)

    def product(self, weights: Any, seen: list[list[jax.Array]], sees: list | None = None) -> list[jax.Array]:
        """The results of places, tiles in float32; of the taps that it `sees`, if given."""
        lanes = self.cut.lanes
        if self.joined:
            w = weights[...] if sees is None else self._of_seen(weights[...], sees)
            pairs = [(w, [_joined(tiles, 1 - lanes[0]) for tiles in seen])]
        else:
            one = [True] * len(seen[0]) if sees is None else sees
            ws = [w if is_seen is True else self._kept(w, is_seen) for w, is_seen in zip(self._each(weights), one, strict=True)]
            pairs = list(zip(ws, zip(*seen, strict=True), strict=True))
        if self.across:
            axes = (1, 0) if self.turned else (1, 1)
            value = _sum(_dot(_joined(tiles, 0), w, self.p, axes) for w, tiles in pairs)
            return list(value.reshape(len(seen), *self.cut.tile(1)))
        axes = (1, 0) if lanes[0] else (1, 1)
        values = [_sum(_dot(w, tiles[number], self.p, axes) for w, tiles in pairs) for number in range(len(seen))]
        return values if lanes[1] else [value.astype(self.p.dtype).T for value in values]

    def _each(self, weights: Any) -> list[jax.Array]:
        return [weights[k] for k in range(weights.shape[0])]

    def _kept(self, w: jax.Array, is_seen: Any) -> jax.Array:
        return jnp.where(is_seen, w.astype(jnp.float32), 0).astype(w.dtype)

    def _of_seen(self, w: jax.Array, sees: list) -> jax.Array:
        """Zeros in place of the weights of taps that see what is around the source."""
        row = lax.broadcasted_iota(jnp.int32, w.shape, 0 if self.turned else 1)
        kept = [(row >= k * self.c) & (row < (k + 1) * self.c) & is_seen for k, is_seen in enumerate(sees)]
        return self._kept(w, functools.reduce(jnp.logical_or, kept))

    def sums(self, taps: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shape of the sums in a step, and of what they become in the end."""
        c, d, lanes = self.c, self.d, self.cut.lanes
        if not lanes[0]:
            return (taps, d, c), (taps, c, d) if self._turns_at_end() else (taps, d, c)
        shape = (d, taps * c) if lanes[1] else (taps * c, d)
        return shape, shape

    def _turns_at_end(self) -> bool:
        return not self.cut.lanes[0] and self.c % LANES == 0 and self.d % LANES == 0

    def add(self, sums: Any, seen: list[list[jax.Array]], rows: list[jax.Array]) -> None:
        """Add the products of what is seen and of the cotangents, at places."""
        lanes, rows = self.cut.lanes, [row.astype(self.cut.dtype) for row in rows]
        if self.across:
            turned, rows_of = _joined(rows, 0).T, zip(*seen, strict=True)
            for k, tiles in enumerate(rows_of):
                sums[k] += _dot(turned, _joined(tiles, 0), self.p)
            return
        for row, tiles in zip(rows, seen, strict=True):
            if lanes == (True, False):
                sums[...] += _dot(_joined(tiles, 0), row, self.p)
            elif lanes[0]:
                sums[...] += _dot(row, _joined(tiles, 0), self.p, (1, 1))
            else:
                for k, tile in enumerate(tiles):
                    sums[k] += _dot(row, tile, self.p)

    def end(self, sums: Any, dw: Any) -> None:
        """Write the sums."""
        if self._turns_at_end():
            for k in range(sums.shape[0]):
                dw[k] = sums[k].T.astype(dw.dtype)
        else:
            dw[...] = sums[...].astype(dw.dtype)

    def kernels(self, dw: jax.Array, taps: int) -> jax.Array:
        """What `end` wrote as (groups, taps, C, D), without the channels that fill up a tile."""
        lanes, (c, d) = self.cut.lanes, self.cut.channels
        if not lanes[0]:
            dw = dw if self._turns_at_end() else dw.swapaxes(2, 3)
        elif lanes[1]:
            dw = dw.reshape(-1, d, taps, c).transpose(0, 2, 3, 1)
        return dw.reshape(-1, taps, c, d)[:, :, : self.p.channels[0]]


class _Depthwise:
    """Each channel by itself: sums of tiles, weighted by tiles; no matrix product."""

    def __init__(self, cut: Cut) -> None:
        self.cut, self.in_lanes, self.tile = cut, cut.lanes[0], cut.tile(0)

    def weights(self, w: jax.Array) -> jax.Array:
        """(groups, taps, D, C) with D = 1, and the channels in the groups, as a tile for each tap."""
        members = self.cut.product.members
        w = w.reshape(members, -1, *w.shape[1:2]).swapaxes(1, 2).astype(jnp.float32)  # (members, taps, channels)
        w = w[..., None] if self.in_lanes else w[:, :, None]
        return jnp.broadcast_to(w, (*w.shape[:2], *self.tile))

    def product(self, weights: Any, seen: list[list[jax.Array]], sees: list | None = None) -> list[jax.Array]:
        """As of matrices."""
        def weight(k):
            return weights[k] if sees is None else jnp.where(sees[k], weights[k], 0)

        return [_sum(tile.astype(jnp.float32) * weight(k) for k, tile in enumerate(tiles)) for tiles in seen]

    def sums(self, taps: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As of matrices."""
        return (taps, *self.tile), (taps, *self.tile)

    def add(self, sums: Any, seen: list[list[jax.Array]], rows: list[jax.Array]) -> None:
        """As of matrices."""
        rows = [row.astype(jnp.float32) for row in rows]
        for k, tiles in enumerate(zip(*seen, strict=True)):
            sums[k] += _sum(tile.astype(jnp.float32) * row for tile, row in zip(tiles, rows, strict=True))

    def end(self, sums: Any, dw: Any) -> None:
        """As of matrices."""
        dw[...] = sums[...].astype(dw.dtype)

    def kernels(self, dw: jax.Array, taps: int) -> jax.Array:
        """(members, taps, channels)."""
        return dw.astype(jnp.float32).sum(3 if self.in_lanes else 2).astype(dw.dtype)


def _of_phase(w: jax.Array, phase: Sequence[int], cut: Cut) -> jax.Array:
    """The weights of a phase's taps, (groups of the convolution, taps, D, C); C of the source, D of the result."""
    w = jnp.moveaxis(w, -2, 1)
    w = w.reshape(-1, *w.shape[2:])
    for number, (axis, r) in enumerate(zip(cut.axes[: cut.product.window.rank], phase, strict=False), start=1):
        taps = [k for k, _ in axis.phases[r]]
        w = lax.slice_in_dim(w, taps[0], taps[-1] + 1, taps[1] - taps[0] if taps[1:] else 1, number)
    w = w.reshape(len(w), -1, *w.shape[-2:])
    return w if cut.backward else w.swapaxes(2, 3)


def _clear(band: Any, row: Any) -> None:
    band[row] = jnp.zeros(band.shape[1:], band.dtype)


def _inside(x: jax.Array, cut: Cut, which: int) -> jax.Array:
    """(members, N, *spatial, C) as (members, *spatial, tile): no copy, where XLA has chosen that order in memory."""
    if len(cut.axes) > cut.product.window.rank:
        x = x[..., None, :]
    if cut.few and which == 0:
        return jnp.moveaxis(x, (1, -1), (-1, -3))
    if cut.groups == cut.product.members:  # channels that fill up a tile
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, cut.channels[which] - x.shape[-1])])
    return jnp.moveaxis(x, 1, -1 if cut.lanes[which] else -2)


def _outside(y: jax.Array, cut: Cut) -> jax.Array:
    """A result as (members, N, *spatial, C)."""
    y = jnp.moveaxis(y, -1 if cut.lanes[1] else -2, 1)
    return y[..., 0, :] if len(cut.axes) > cut.product.window.rank else y


def _joined(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    return jnp.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _sum(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, parts)


def _dot(a: jax.Array, b: jax.Array, cut: Any, axes: tuple[int, int] = (1, 0)) -> jax.Array:
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=cut.precision, preferred_element_type=jnp.float32)
