"""The kernels of `pallas.py`: how y, dx and dw are computed from a band. It is imported at first use only."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxcnn.ops.algorithms.pallas import Cut
from jaxcnn.ops.algorithms.pallas_grid import Grid, inside, outside
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.machine import LANES
from jaxcnn.ops.windows import total


def gathered(x: jax.Array, w: jax.Array, cut: Cut) -> jax.Array:
    """y or dx: the sum over the taps that a result sees, of what each sees and its weights.

    Args:
      x: the source, (members, N, *spatial, C).
      w: (members, *window, C/G, G, D/G), as in the convolution.
      cut: how it is cut.
    """
    grid, phases = Grid(cut, len(x)), list(cut.phases())
    kind = (_Depthwise if cut.is_depthwise else _Matrices)(cut)
    arrays = [kind.weights(_of_phase(w, phase, cut)) for phase, taps in phases if taps]
    skips = cut.product.skips_padding and cut.sees_beyond

    def kernel(band, *refs):
        *ws, y = refs
        # 0 times a value is 0, or NaN where it is not finite; sums of flags do not compile with the libtpu of jax 0.7.2
        finite = total(jnp.sum(each[...].astype(jnp.float32) * 0) for each in ws) == 0 if skips else True
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
        inside(x, cut, 0),
        [(each, grid.of_kernels(*each.shape[1:])) for each in arrays],
        ((len(x), *size, *(all_channels if cut.lanes[1] else all_channels[::-1])), grid.of_images(size, 1)),
    )
    return outside(y, cut)


def kernel_gradient(x: jax.Array, dy: jax.Array, cut: Cut) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, s·o + δ·k − p, c] · dy[n, o, d]; summed over the steps of a group."""
    p, grid, ((_, taps),) = cut.product, Grid(cut, len(x)), cut.phases()
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
        inside(x, cut, 0),
        [(inside(dy, cut, 1), grid.of_images(size, 1))],
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
        self.joined = cut.lanes[0] or (self.c % LANES == 0 and not (self.across and cut.backward))
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
            ws = [weights[tap] for tap in range(weights.shape[0])]
            ws = ws if sees is None else [_kept(w, is_seen) for w, is_seen in zip(ws, sees, strict=True)]
            pairs = [(w, list(of_tap)) for w, of_tap in zip(ws, zip(*seen, strict=True), strict=True)]
        if self.across:
            axes = (1, 0) if self.turned else (1, 1)
            value = total(_dot(_joined(tiles, 0), w, self.p, axes) for w, tiles in pairs)
            return list(value.reshape(len(seen), *self.cut.tile(1)))
        axes = (1, 0) if lanes[0] else (1, 1)
        values = [total(_dot(w, tiles[number], self.p, axes) for w, tiles in pairs) for number in range(len(seen))]
        return values if lanes[1] else [value.astype(self.p.dtype).T for value in values]

    def _of_seen(self, w: jax.Array, sees: list) -> jax.Array:
        """Zeros in place of the weights of taps that see what is around the source."""
        row = lax.broadcasted_iota(jnp.int32, w.shape, 0 if self.turned else 1)
        kept = [(row >= k * self.c) & (row < (k + 1) * self.c) & is_seen for k, is_seen in enumerate(sees)]
        return _kept(w, functools.reduce(jnp.logical_or, kept))

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
            turned = _joined(rows, 0).T
            for k, of_tap in enumerate(zip(*seen, strict=True)):
                sums[k] += _dot(turned, _joined(of_tap, 0), self.p)
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

        return [total(tile.astype(jnp.float32) * weight(k) for k, tile in enumerate(tiles)) for tiles in seen]

    def sums(self, taps: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As of matrices."""
        return (taps, *self.tile), (taps, *self.tile)

    def add(self, sums: Any, seen: list[list[jax.Array]], rows: list[jax.Array]) -> None:
        """As of matrices."""
        rows = [row.astype(jnp.float32) for row in rows]
        for k, tiles in enumerate(zip(*seen, strict=True)):
            sums[k] += total(tile.astype(jnp.float32) * row for tile, row in zip(tiles, rows, strict=True))

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


def _kept(w: jax.Array, is_seen: Any) -> jax.Array:
    """The weights where `is_seen`, else zeros; by way of float32, since v5e selects nothing smaller."""
    return jnp.where(is_seen, w.astype(jnp.float32), 0).astype(w.dtype)


def _joined(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    return jnp.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _dot(a: jax.Array, b: jax.Array, p: Product, axes: tuple[int, int] = (1, 0)) -> jax.Array:
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=p.precision, preferred_element_type=jnp.float32)
