"""The maps behind pooling, each beside its derivative.

Once its switches are known, a maximum is linear: each output takes the input at its switch, and the transpose gives the
cotangent back to the switch. A window sum is linear as it is, and a p-norm is a power of a window sum.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.bilinear import Operation, derived, linear, piecewise_linear
from jaxcnn.ops.geometry import Slide, Window
from jaxcnn.ops.layout import arranged, channels_first, channels_last
from jaxcnn.ops.pool_on_tpu import or_kernel
from jaxcnn.ops.sharding import Axes
from jaxcnn.ops.windows import is_large, over_taps, pad, spread_line, spread_taps

# Every array here is (*batch, *spatial, C); the functions `_compute_…` get it with one batch axis.


def _spatial(x: jax.Array, window: Window) -> tuple[int, ...]:
    return x.shape[-window.rank - 1 : -1]


def _around(x: jax.Array, window: Window, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of x with another spatial size."""
    return (*x.shape[: -window.rank - 1], *size, x.shape[-1])


def _pooled(x: jax.Array, window: Window) -> tuple[int, ...]:
    return _around(x, window, _out(x, window))


def _axes(*operands: jax.Array, window: Window, size: tuple[int, ...] | None = None) -> tuple[Axes, ...]:
    """The axes of each operand and of the result that devices may share out: batch and channels."""
    batch = [f"n{axis}" for axis in range(operands[0].ndim - window.rank - 1)]
    return ((*batch, *[None] * window.rank, "c"),) * (len(operands) + 1)


def _slide(window: Window, **_: object) -> Slide:
    """Each value of the result sees a window of its own channel."""
    return Slide(window)


# ---------------------------------------------------------------------------------------------------------------------
# Maximum: linear once its switches are known


def maximum(x: jax.Array, window: Window) -> jax.Array:
    """y[o] = max_k x[s·o + δ·k − p], padding below everything.

    A large window is computed as one maximum per axis, the last axis first. That finds the first row with the maximum,
    and in it the first place: the first maximum in row-major order.
    """
    if not is_large(window):
        return _largest(x, window=window)
    for axis in reversed(range(window.rank)):
        if (window.size[axis], window.stride[axis], window.padding[axis]) != (1, 1, (0, 0)):
            x = _largest(x, window=window.along(axis))
    return x


@or_kernel("maximum")
@arranged
def _compute_maximum(x: jax.Array, *, window: Window) -> jax.Array:
    """y[o] = max_k x[s·o + δ·k − p], padding below everything."""
    padded = pad(x, window, _lowest(x.dtype))
    return over_taps(lambda best, k, view: jnp.maximum(best, view), lambda view: view, padded, window, _out(x, window))


@or_kernel("switches")
@arranged
def _compute_switches(x: jax.Array, *, window: Window) -> jax.Array:
    """Which tap is the first maximum of each window: (N, *out, C). A NaN is larger than everything but another NaN.

    The search for a larger value begins at the window's first tap inside the input. So padding is never the switch,
    even where all values of the input are as low as padding.
    """
    index_dtype = _index_dtype(window)
    first = _first_inside(window, _spatial(x, window)).astype(index_dtype)[None, ..., None]

    def start(view):
        return view, jnp.zeros_like(view, index_dtype) + first

    def compare(found, k, view):
        best, switch = found
        larger = (view > best) | ((view != view) & (best == best))
        return jnp.where(larger, view, best), jnp.where(larger, jnp.asarray(k, index_dtype), switch)

    padded = pad(x, window, _lowest(x.dtype))
    return over_taps(compare, start, padded, window, _out(x, window))[1]


def _first_inside(window: Window, size: Sequence[int]) -> np.ndarray:
    """The first tap, in row-major order, that sees the input: (*out). For a window of padding alone it is any tap."""
    first = np.zeros((), np.int32)
    for o, k, s, d, (before, _) in zip(
        window.output_size(size), window.size, window.stride, window.dilation, window.padding, strict=True
    ):
        along = [min(max(-(-(before - s * i) // d), 0), k - 1) for i in range(o)]
        first = np.add.outer(first * k, np.array(along, np.int32))
    return first


_largest = Operation(
    "max_pool",
    shape=lambda x, *, window: _pooled(x, window),
    compute=_compute_maximum,
    axes=_axes,
    ask_alone=True,
    slides=_slide,
)
_switches = Operation(
    "max_pool_switches",
    shape=lambda x, *, window: _pooled(x, window),
    dtype=lambda x, *, window: _index_dtype(window),
    compute=_compute_switches,
    axes=_axes,
    ask_alone=True,
    slides=_slide,
)


@arranged
def _take(x: jax.Array, switches: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """y[o] = x at the switch of o."""

    def take(y, k, view):
        return jnp.where(switches == jnp.asarray(k, switches.dtype), view, y)

    return over_taps(take, lambda view: take(0, 0, view), pad(x, window), window, _out(x, window))


@or_kernel("give")
@arranged
def _give(dy: jax.Array, switches: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """dx[i] = the sum of dy[o] over the outputs o whose switch is i."""
    if not is_large(window):
        parts = [jnp.where(switches == k, dy, 0) for k in range(window.taps)]
        return spread_taps(parts, window, size)
    (axis,) = (a for a, k in enumerate(window.size) if k > 1)  # `maximum` has cut larger windows into lines
    offsets = window.dilation[axis] * switches.astype(jnp.int32)

    def part(offset):
        return jnp.where(jnp.expand_dims(offsets, axis + 2) == offset, jnp.expand_dims(dy, axis + 2), 0)

    return spread_line(part, window, axis, size[axis])


_at_switches = Operation(
    "max_pool_take",
    shape=lambda x, switches, *, window, size: switches.shape,
    compute=_take,
    axes=_axes,
    ask_alone=True,
)
_to_switches = Operation(
    "max_pool_give",
    shape=lambda dy, switches, *, window, size: _around(dy, window, size),
    compute=_give,
    axes=_axes,
    ask_alone=True,
)


def _tangent_of_largest(t: jax.Array, x: jax.Array, *, window: Window) -> jax.Array:
    switches = _switches(jax.lax.stop_gradient(x), window=window)
    return _at_switches(t, switches, window=window, size=_spatial(x, window))


piecewise_linear(_largest, _tangent_of_largest)
linear(_at_switches, _to_switches, constants=1)
linear(_to_switches, _at_switches, constants=1)


# ---------------------------------------------------------------------------------------------------------------------
# Window sums, for average and Lp


def window_sum(x: jax.Array, window: Window) -> jax.Array:
    """y[o] = Σ_k x[s·o + δ·k − p], padding as 0."""
    return _sum_taps(x, window=window, size=_spatial(x, window))


def _compute_sum(x: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """y[o] = Σ_k x[s·o + δ·k − p], one axis after the other: k₁ + k₂ additions instead of k₁·k₂."""
    x = pad(x, window)
    for line in window.lines():
        x = over_taps(lambda y, k, view: y + view, lambda view: view, x, line, _out(x, line))
    return x


@arranged
def _compute_spread(dy: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """dx[i] = Σ_k dy[(i + p − δ·k) / s]: the cotangent of an output goes to every input of its window."""
    lines = [window.along(axis) for axis in range(window.rank)]
    if not any(map(is_large, lines)):
        back = window.adjoint(size)
        spread = pad(dy, back, spread=window.stride)
        return _compute_sum(spread, window=back.unpadded(), size=size)
    x = dy
    for axis, (line, n) in enumerate(zip(lines, size, strict=True)):
        x = spread_line(functools.partial(_to_all, x, window, axis), line, axis, n)
    return x


def _to_all(dy: jax.Array, window: Window, axis: int, offset: jax.Array) -> jax.Array:
    """dy at the offsets where this axis of the window has a tap, else 0."""
    is_tap = (offset % window.dilation[axis] == 0) & (offset < window.extent[axis])
    return jnp.where(is_tap, jnp.expand_dims(dy, axis + 2), 0)


_sum_taps = Operation(
    "window_sum",
    shape=lambda x, *, window, size: _around(x, window, window.output_size(size)),
    compute=arranged(_compute_sum),
    axes=_axes,
    ask_alone=True,
    slides=_slide,
)
_spread_sum = Operation(
    "window_spread",
    shape=lambda dy, *, window, size: _around(dy, window, size),
    compute=_compute_spread,
    axes=_axes,
    ask_alone=True,
    slides=lambda window, size: Slide(window, back_to=size),
)
linear(_sum_taps, _spread_sum)
linear(_spread_sum, _sum_taps)


# ---------------------------------------------------------------------------------------------------------------------
# Lp: the power rule


def norm(x: jax.Array, window: Window, p: float) -> jax.Array:
    """y[o] = m·(Σ_k (|x[s·o + δ·k − p]| / m)^p)^(1/p), m the largest |x| of the window.

    Without m, powers would overflow where y does not. y does not depend on m, so m is a constant in the derivatives.
    """
    if p == 1:
        return window_sum(_power(x, 1), window)
    m = maximum(jax.lax.stop_gradient(jnp.abs(x)), window)
    m = jnp.where((m > 0) & (m < jnp.inf), m, 1)
    powers = _powers(x, m, window=window, p=p)
    is_zero = powers == 0
    return jnp.where(is_zero, 0, m * jnp.where(is_zero, 1, powers) ** (1 / p))


def _differentiable_powers(x: jax.Array, m: jax.Array, *, window: Window, p: float) -> jax.Array:
    """Σ_k (|x[s·o + δ·k − p]| / m[o])^p, written so that JAX can differentiate it."""
    if is_large(window) and all(s >= e for s, e in zip(window.stride, window.extent, strict=True)):
        at_inputs = _spread_sum(m, window=window, size=_spatial(x, window))  # each input is in one window at most
        in_one = at_inputs > 0
        return window_sum(_power(jnp.where(in_one, x, 0) / jnp.where(in_one, at_inputs, 1), p), window)
    axis = x.ndim - window.rank - 1
    if axis != 1:
        return _add_powers(x, m, window=window, p=p, axis=axis)
    # in the order of the sliding windows: five times as fast on a CPU
    y = _add_powers(channels_first(x), channels_first(m), window=window, p=p, axis=2)
    return channels_last(y)


def _add_powers(x: jax.Array, m: jax.Array, *, window: Window, p: float, axis: int = 1) -> jax.Array:
    term = jax.checkpoint(lambda view: _power(view / m, p))  # else a loop keeps the powers of all taps for the gradient
    out = m.shape[axis : axis + window.rank]
    return over_taps(lambda y, k, view: y + term(view), term, pad(x, window, axis=axis), window, out, axis)


def _power(x: jax.Array, p: float) -> jax.Array:
    """|x|^p. Derivatives at 0 that do not exist, which only powers that are not even have, count as 0."""
    if p % 2 == 0:
        return x ** int(p)
    is_zero = x == 0
    size = jnp.abs(jnp.where(is_zero, 1, x))
    return jnp.where(is_zero, 0, size ** (int(p) if p % 1 == 0 else p))


def _undivided_powers(x: jax.Array, m: jax.Array, *, window: Window, p: float) -> jax.Array:
    """Σ_k |x[s·o + δ·k − p]|^p / m[o]^p, for x whose powers stay in the range of numbers."""
    return window_sum(_power(x, p), window) / m**p


# A power is computed for each tap, because each window has its own m.
_powers = Operation(
    "lp_pool_powers",
    shape=lambda x, m, *, window, p: m.shape,
    compute=arranged(_add_powers),
    axes=lambda x, m, *, window, p: _axes(x, m, window=window),
    ask_alone=True,
    slides=_slide,
)
derived(_powers, _differentiable_powers, _undivided_powers)


# ---------------------------------------------------------------------------------------------------------------------


def _out(x: jax.Array, window: Window) -> tuple[int, ...]:
    return window.output_size(_spatial(x, window))


def _index_dtype(window: Window) -> jnp.dtype:
    return jnp.dtype(jnp.uint8 if window.taps <= 256 else jnp.int32)


def _lowest(dtype) -> np.ndarray:
    """Below every value: −∞, or the lowest value of a dtype without infinity (integers, some floats of 8 bits)."""
    if not jnp.issubdtype(dtype, jnp.floating):
        return np.asarray(jnp.iinfo(dtype).min, dtype)
    infinity = np.asarray(-np.inf).astype(dtype)
    return infinity if np.isneginf(infinity.astype(np.float64)) else np.asarray(jnp.finfo(dtype).min, dtype)
