"""Kernels for TPUs, written in Pallas: maxima of windows that lie side by side, their switches and their gradient.

In the order of axes in which XLA and the kernels of convolutions have images, a window's inputs are tiles at addresses
of their own, so a maximum is one pass. XLA's program for the gradient writes the parts of all taps and moves them into
place by two copies: by the TPU compiler's estimate, for 2×2, 32 channels, 30×30, 128 images, bfloat16, switches and
gradient take 310 thousand cycles of a v5e. The kernel for the gradient takes 5, and main memory 18.

This file imports Pallas, which takes an eighth of the time to import jaxcnn; `pool_maps.py` imports it at first use.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxcnn.ops.bilinear import shaped_like
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.machine import LANES, Machine, images_in_lanes


def maximum(x: jax.Array, window: Window, machine: Machine) -> jax.Array:
    """y[o] = max_k x[s·o + k]; x (N, *spatial, C)."""

    def compute(place, x, y):
        y[place] = functools.reduce(jnp.maximum, [_float(x[at]) for at in _inputs(place, window)]).astype(y.dtype)

    return _run(compute, (x,), window, x.shape[1:-1], x.dtype, machine)


def switches(x: jax.Array, window: Window, dtype: jnp.dtype, machine: Machine) -> jax.Array:
    """Which tap is the first maximum of each window; a NaN is larger than everything but another NaN."""

    def compute(place, x, found):
        first, *others = (_float(x[at]) for at in _inputs(place, window))
        best, switch = first, jnp.zeros(first.shape, jnp.int32)
        for number, value in enumerate(others, start=1):
            larger = (value > best) | ((value != value) & (best == best))
            best, switch = jnp.where(larger, value, best), jnp.where(larger, number, switch)
        found[place] = switch.astype(found.dtype)

    return _run(compute, (x,), window, x.shape[1:-1], dtype, machine)


def give(dy: jax.Array, switches: jax.Array, window: Window, size: tuple[int, ...], machine: Machine) -> jax.Array:
    """dx[s·o + k] = dy[o] where k is the switch of o, else 0."""

    def compute(place, dy, switches, dx):
        value, switch = _float(dy[place]), switches[place].astype(jnp.int32)
        for number, at in enumerate(_inputs(place, window)):
            dx[at] = jnp.where(switch == number, value, 0).astype(dx.dtype)

    return _run(compute, (dy, switches), window, size, dy.dtype, machine, back=True)


def _inputs(place: Sequence[Any], window: Window) -> list[tuple[Any, ...]]:
    """The inputs of a window, tap by tap."""
    taps = itertools.product(*map(range, window.size))
    return [tuple(o * k + t for o, k, t in zip(place, window.size, tap, strict=True)) for tap in taps]


def _float(tile: jax.Array) -> jax.Array:
    """In float32: v5e computes with nothing smaller."""
    return tile.astype(jnp.float32)


def _run(
    compute: Callable,
    arrays: Sequence[jax.Array],
    window: Window,
    size: tuple[int, ...],
    dtype: jnp.dtype,
    machine: Machine,
    back: bool = False,
) -> jax.Array:
    """Call `compute(place, *references)` for the place of each window, some images at a time.

    Args:
      compute: reads the arrays and writes the result.
      arrays: (N, *spatial, C).
      window: the windows lie side by side.
      size: the spatial size of their inputs.
      dtype: the dtype of the result.
      machine: the machine it runs on.
      back: whether the result has the size of the inputs. Inputs in no window are then 0.
    """
    out, (n, *_, channels) = window.output_size(size), arrays[0].shape
    in_lanes = images_in_lanes(n, channels)
    images = LANES if in_lanes else 32 if n % 32 == 0 else n
    leaves_some = any(o * k != s for o, k, s in zip(out, window.size, size, strict=True))

    def kernel(*refs):
        if back and leaves_some:
            lax.fori_loop(0, size[0], functools.partial(_clear, refs[-1]), 0)

        def nested(place):
            if len(place) == window.rank:
                compute(place, *refs)
            else:
                lax.fori_loop(0, out[len(place)], lambda o, c: nested((*place, o)) or c, 0)

        nested(())

    def block(spatial):
        zeros = [0] * len(spatial)
        tile, at = (
            ((channels, images), lambda i: (*zeros, 0, i))
            if in_lanes
            else ((images, channels), lambda i: (*zeros, i, 0))
        )
        return pl.BlockSpec((*spatial, *tile), at)

    axis, result = -1 if in_lanes else -2, size if back else out
    y = pl.pallas_call(
        kernel,
        grid=(n // images,),
        in_specs=[block(a.shape[1:-1]) for a in arrays],
        out_specs=block(result),
        out_shape=shaped_like(arrays[0], (*result, *((channels, n) if in_lanes else (n, channels)))).update(
            dtype=dtype
        ),
        cost_estimate=pl.CostEstimate(
            flops=0,
            bytes_accessed=sum(a.size * a.dtype.itemsize for a in arrays)
            + n * channels * math.prod(result) * jnp.dtype(dtype).itemsize,
            transcendentals=0,
        ),
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=machine.kernel_limit),
        interpret=machine.platform != "tpu",
    )(*(jnp.moveaxis(a, 0, axis) for a in arrays))
    return jnp.moveaxis(y, axis, 0)


def _clear(block: Any, row: jax.Array, carry: int) -> int:
    block[row] = jnp.zeros(block.shape[1:], block.dtype)
    return carry
