"""The kernels of `pallas.py`: how y and dw are computed in the steps of a grid. It is imported at first use only."""

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
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.bilinear import shaped_like


class _Grid(Cut):
    """A cut, as a grid of Pallas."""

    def run(self, kernel: Any, arrays: Sequence[tuple[jax.Array, Any]], result: Any, *scratch: Any) -> Any:
        """The kernel over all groups, images and rows.

        Args:
          kernel: takes the references of the arrays, of the result, of the padded images and of the scratch.
          arrays: each with its `BlockSpec`.
          result: the shape of the result and its `BlockSpec`.
          scratch: more memory that the steps share.
        """
        p = self.product
        shape, spec = result
        return pl.pallas_call(
            kernel,
            grid=(p.groups, math.prod(p.images) // self.images, p.out[0] // self.rows),
            in_specs=[each for _, each in arrays],
            out_specs=spec,
            out_shape=shaped_like(arrays[0][0], shape),
            scratch_shapes=[pltpu.VMEM((*self.padded, self.images, p.channels[0]), p.dtype), *scratch],
            compiler_params=pltpu.CompilerParams(vmem_limit_bytes=p.machine.kernel_bytes * 5 // 4),
            interpret=p.machine.platform != "tpu",
        )(*(each for each, _ in arrays))

    def of_images(self, size: Sequence[int], channels: int, groups: int, by_rows: bool) -> pl.BlockSpec:
        """The blocks of x or y, (members, *size, N, channels of all groups)."""
        zeros = [0] * (len(size) - 1)
        block = (None, self.rows if by_rows else size[0], *size[1:], self.images, channels)

        def at(g, n, r):  # by lax.div and lax.rem: // and % look at signs, for which Mosaic asks the device
            return lax.div(g, groups), r if by_rows else 0, *zeros, n, lax.rem(g, groups)

        return pl.BlockSpec(block, at)

    def of_kernels(self) -> pl.BlockSpec:
        """The blocks of w or dw, (members · groups, *window, C, D)."""
        shape = *self.product.window.size, *self.product.channels
        return pl.BlockSpec((None, *shape), lambda g, n, r: (g, *[0] * len(shape)))

    def pad(self, x: Any, padded: Any) -> None:
        """Copy the images of this step into the scratch, with zeros around them, if they are not there yet."""
        p = self.product

        @pl.when(pl.program_id(2) == 0)
        def _():
            inside = tuple(pl.ds(before, n) for (before, _), n in zip(p.window.padding, p.size, strict=True))
            for axis, ((before, after), n) in enumerate(zip(p.window.padding, p.size, strict=True)):
                for start, length in ((0, before), (before + n, after)):
                    if length:
                        border = [*self.padded, self.images, p.channels[0]]
                        border[axis] = length
                        place = [slice(None)] * axis + [pl.ds(start, length)]
                        padded[tuple(place)] = jnp.zeros(border, p.dtype)
            padded[inside] = x[...]

    def views(self, padded: Any) -> Iterator[tuple[tuple[int, ...], jax.Array, Callable]]:
        """Each tap, what it sees from the rows of this step, (positions, C), and how its product joins the sum.

        Where padding does not count, a tap's product has no columns that see padding, and its rows that see padding
        are replaced by zeros: they may be NaN, from weights that are not finite.
        """
        p = self.product
        first = pl.program_id(2) * self.rows
        for tap in itertools.product(*map(range, p.window.size)):
            offset = [k * d for k, d in zip(tap, p.window.dilation, strict=True)]
            seen = [
                (max(0, before - o), min(out, before + n - o)) if p.skips_padding else (0, out)
                for o, out, n, (before, _) in zip(offset, p.out, p.size, p.window.padding, strict=True)
            ]
            if all(start < end for start, end in seen):
                across = [pl.ds(o + start, end - start) for o, (start, end) in zip(offset[1:], seen[1:], strict=True)]
                view = padded[(pl.ds(first + offset[0], self.rows), *across)].reshape(-1, p.channels[0])
                yield tap, view, functools.partial(self._placed, seen, first)

    def _placed(self, seen: Sequence[tuple[int, int]], first: jax.Array, part: jax.Array) -> jax.Array:
        """A product of the outputs that are `seen`, (positions, D), with zeros for the others of these rows."""
        out, (start, end) = self.product.out, seen[0]
        part = part.reshape(self.rows, *(b - a for a, b in seen[1:]), self.images, -1)
        for axis, ((a, b), n) in enumerate(zip(seen[1:], out[1:], strict=True), start=1):
            shapes = [tuple(z if i == axis else m for i, m in enumerate(part.shape)) for z in (a, n - b)]
            before, after = ([jnp.zeros(shape, part.dtype)] if shape[axis] else [] for shape in shapes)
            part = jnp.concatenate([*before, part, *after], axis) if before or after else part
        if (start, end) != (0, out[0]):
            row = lax.broadcasted_iota(jnp.int32, part.shape, 0) + first
            part = jnp.where((row >= start) & (row < end), part, 0)
        return part


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y[o, d] = Σ_k x[o + δ·k − p] · w[k, :, d]; x (members, N, *size, C), w (members, *window, C/G, G, D/G)."""
    grid, groups, d = _Grid(p), p.groups // len(x), p.channels[1]

    def kernel(x, w, y, padded):
        grid.pad(x, padded)
        zero = jnp.zeros((grid.rows, *p.out[1:], grid.images, d), jnp.float32)
        parts = [placed(_dot(view, w[tap], p)) for tap, view, placed in grid.views(padded)]
        sums = functools.reduce(jnp.add, parts or [zero])
        y[...] = sums.reshape(y.shape).astype(y.dtype)

    y = grid.run(
        kernel,
        [
            (_images_inside(x), grid.of_images(p.size, p.channels[0], groups, by_rows=False)),
            (jnp.moveaxis(w, -2, 1).reshape(p.groups, *p.window.size, *p.channels), grid.of_kernels()),
        ],
        ((len(x), *p.out, x.shape[1], groups * d), grid.of_images(p.out, d, groups, by_rows=True)),
    )
    return jnp.moveaxis(y, -2, 1)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw[k, c, d] = Σ_{n, o} x[n, o + δ·k − p, c] · dy[n, o, d]; summed over the steps of a group."""
    grid, groups, (c, d) = _Grid(p), p.groups // len(x), p.channels

    def kernel(x, dy, dw, padded, sums):
        step = pl.program_id(1) * pl.num_programs(2) + pl.program_id(2)

        @pl.when(step == 0)
        def _():
            sums[...] = jnp.zeros(sums.shape, sums.dtype)

        grid.pad(x, padded)
        rows = dy[...].reshape(-1, d).T  # turned once for all taps
        for tap, view, _ in grid.views(padded):
            sums[tap] += _dot(rows, view, p)

        @pl.when(step == pl.num_programs(1) * pl.num_programs(2) - 1)
        def _():
            for tap in itertools.product(*map(range, p.window.size)):
                dw[tap] = sums[tap].T.astype(dw.dtype)

    dw = grid.run(
        kernel,
        [
            (_images_inside(x), grid.of_images(p.size, c, groups, by_rows=False)),
            (_images_inside(dy), grid.of_images(p.out, d, groups, by_rows=True)),
        ],
        ((p.groups, *p.window.size, c, d), grid.of_kernels()),
        pltpu.VMEM((*p.window.size, d, c), jnp.float32),
    )
    return jnp.moveaxis(dw.reshape(len(x), groups, *dw.shape[1:]), 1, -2)


def _images_inside(x: jax.Array) -> jax.Array:
    """(members, N, *spatial, C) as (members, *spatial, N, C): no copy, where XLA has chosen that order in memory."""
    return jnp.moveaxis(x, 1, -2)


def _dot(a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
    dimensions = (((1,), (0,)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision=p.precision, preferred_element_type=jnp.float32)
