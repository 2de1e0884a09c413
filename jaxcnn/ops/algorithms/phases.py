"""Phases: the gradient by the input of a strided convolution, without zeros between the values of dy.

Input position i meets output o through tap k where i + p = s·o + δ·k. Write i + p = s·q + r: only the taps of phase r,
those with δ·k = s·a + r for a whole a, reach it, from o = q − a. So each of the s phases is a product of unit stride
with every (s/g)-th tap, g = gcd(s, δ), over dy in steps of δ/g:

    dx[s·q + r − p] = Σ_t dy[q − a − (δ/g)·t] · w[k + (s/g)·t],   k and a of the phase's first tap

Phases with the same number of taps and the same a are one product with more channels; a phase without taps is zero. The
results are then put in their places (a pixel shuffle). For a 3×3 kernel and stride 2 that takes 9 multiply-adds per
four inputs, where zeros between the values of dy take 36, and no such zero meets a value that is not finite.

Source: Shi et al., Is the deconvolution layer the same as a convolutional layer? (2016).
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops.geometry import Window


@dataclass(frozen=True)
class Phases:
    """Phases of one axis that are computed together.

    Args:
      numbers: r of each phase.
      first: the first tap k of each phase.
      step: the distance from one tap of a phase to its next.
      taps: how many taps each phase has.
      shift: a of the first tap.
    """

    numbers: tuple[int, ...]
    first: tuple[int, ...]
    step: int
    taps: int
    shift: int


def fits(window: Window) -> bool:
    """Whether the window has a stride."""
    return max(window.stride) > 1


def parts(window: Window, size: Sequence[int]) -> Iterator[tuple[tuple[Phases, ...], Window]]:
    """The products that together give dx of `size`: of each, the phases of every axis and the window over dy."""
    axes = [_of_axis(window, axis) for axis in range(window.rank)]
    for chosen in itertools.product(*axes):
        yield chosen, _window(window, size, chosen)


def gradient(
    computed: Mapping[tuple[Phases, ...], jax.Array], window: Window, size: Sequence[int], lead: int
) -> jax.Array:
    """dx, from the results for those `parts` whose window has taps, with each phase's values put in their places.

    A result has the phases of each axis behind its `lead` first axes, then two more axes, then the blocks:
    (…, *phases, a, b, *blocks, …), and dx is (…, a, b, *size, …).
    """
    some = next(iter(computed.values()))
    before, after = some.shape[:lead], some.shape[lead + window.rank :]
    results = [
        computed[axes]
        if axes in computed
        else jnp.zeros((*before, *(len(phases.numbers) for phases in axes), *after), some.dtype)
        for axes, _ in parts(window, size)
    ]
    for axis in reversed(range(window.rank)):
        together = _of_axis(window, axis)
        order = [r for phases in together for r in phases.numbers]
        n = len(together)
        rows = [jnp.concatenate(results[k : k + n], lead + axis) for k in range(0, len(results), n)]
        ordered = order == sorted(order)
        results = rows if ordered else [jnp.take(y, np.argsort(order), axis=lead + axis) for y in rows]
    return _join(results[0], window, size, lead)


def _of_axis(window: Window, axis: int) -> list[Phases]:
    s, d, k = window.stride[axis], window.dilation[axis], window.size[axis]
    step = s // math.gcd(s, d)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for r in range(s):
        first = next((t for t in range(min(step, k)) if (d * t - r) % s == 0), None)
        alike = (0, 0) if first is None else (len(range(first, k, step)), (d * first - r) // s)
        found.setdefault(alike, []).append((r, first or 0))
    return [
        Phases(tuple(r for r, _ in those), tuple(first for _, first in those), step, taps, shift)
        for (taps, shift), those in found.items()
    ]


def _window(window: Window, size: Sequence[int], chosen: Sequence[Phases]) -> Window:
    """The window of stride 1 over dy that gives these phases of every block of s inputs."""
    dilation = tuple(d // math.gcd(s, d) for s, d in zip(window.stride, window.dilation, strict=True))
    padding = []
    for axis, (out, phases) in enumerate(zip(window.output_size(size), chosen, strict=True)):
        first, last = _blocks(window, size, axis)
        extent = dilation[axis] * (phases.taps - 1)
        padding.append((extent + phases.shift - first, last + 1 - phases.shift - out))
    return Window(tuple(phases.taps for phases in chosen), (1,) * window.rank, tuple(padding), dilation)


def _join(y: jax.Array, window: Window, size: Sequence[int], lead: int) -> jax.Array:
    """Put (…, *phases, a, b, *blocks, …) in order and crop it: (…, a, b, *size, …)."""
    rank = window.rank
    first = lead + rank + 2  # the first axis of blocks
    pairs = [axis for r in range(rank) for axis in (first + r, lead + r)]
    y = y.transpose(*range(lead), lead + rank, lead + rank + 1, *pairs, *range(first + rank, y.ndim))
    first -= rank
    joined = [y.shape[first + 2 * r] * s for r, s in enumerate(window.stride)]
    y = y.reshape(*y.shape[:first], *joined, *y.shape[first + 2 * rank :])
    start, stop = [0] * y.ndim, list(y.shape)
    for r, (s, (before, _)) in enumerate(zip(window.stride, window.padding, strict=True)):
        start[first + r] = before - s * _blocks(window, size, r)[0]
        stop[first + r] = start[first + r] + size[r]
    return lax.slice(y, start, stop)


def _blocks(window: Window, size: Sequence[int], axis: int) -> tuple[int, int]:
    """The first and the last block q of an axis."""
    (before, _), s = window.padding[axis], window.stride[axis]
    return before // s, (before + size[axis] - 1) // s
