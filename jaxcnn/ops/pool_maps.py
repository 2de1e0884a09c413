"""The maps behind pooling, each beside its derivative.

A maximum is linear once its switches are known: take the input at the switch, and back, give to the switch. Window sums
are linear as they stand, and the p-norm is a power of one.
"""

import functools

import jax
import jax.numpy as jnp

from jaxcnn.ops.bilinear import Operation, linear, piecewise_linear
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.layout import arranged
from jaxcnn.ops.sharding import Axes
from jaxcnn.ops.windows import pad, spread_taps, taps, total

# Every array here is (*batch, *spatial, C); the computations see one batch axis.


def _spatial(x: jax.Array, window: Window) -> tuple[int, ...]:
    return x.shape[-window.rank - 1 : -1]


def _around(x: jax.Array, window: Window, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of x with another spatial size."""
    return (*x.shape[: -window.rank - 1], *size, x.shape[-1])


def _pooled(x: jax.Array, window: Window) -> tuple[int, ...]:
    return _around(x, window, _out(x, window))


def _axes(*operands: jax.Array, window: Window, size: tuple[int, ...] | None = None) -> tuple[Axes, ...]:
    """The axes that devices may share out: batch and channels, of each operand and the result."""
    batch = [f"n{axis}" for axis in range(operands[0].ndim - window.rank - 1)]
    return ((*batch, *[None] * window.rank, "c"),) * (len(operands) + 1)


# ---------------------------------------------------------------------------------------------------------------------
# Maximum: linear once its switches are known


def maximum(x: jax.Array, window: Window) -> jax.Array:
    """y[o] = max_k x[s·o + δ·k − p], padding below everything."""
    return _largest(x, window=window)


@arranged
def _compute_maximum(x: jax.Array, *, window: Window) -> jax.Array:
    """y[o] = max_k x[s·o + δ·k − p], padding below everything."""
    views = taps(pad(x, window, _lowest(x.dtype)), window, _out(x, window))
    return functools.reduce(jnp.maximum, views)


@arranged
def _compute_switches(x: jax.Array, *, window: Window) -> jax.Array:
    """Which tap is the first maximum of each window: (N, *out, C). A NaN is larger than everything but another NaN."""
    index_dtype = _index_dtype(window)
    if jnp.issubdtype(x.dtype, jnp.floating):
        x = jnp.maximum(x, jnp.finfo(x.dtype).min)  # an input of −∞ still comes before padding
    best, *views = taps(pad(x, window, _lowest(x.dtype)), window, _out(x, window))
    switch = jnp.zeros(best.shape, index_dtype)
    for k, view in enumerate(views, start=1):
        larger = (view > best) | ((view != view) & (best == best))
        best, switch = jnp.where(larger, view, best), jnp.where(larger, jnp.asarray(k, index_dtype), switch)
    return switch


_largest = Operation(
    "max_pool",
    shape=lambda x, *, window: _pooled(x, window),
    compute=_compute_maximum,
    axes=_axes,
    ask_alone=True,
)
_switches = Operation(
    "max_pool_switches",
    shape=lambda x, *, window: _pooled(x, window),
    dtype=lambda x, *, window: _index_dtype(window),
    compute=_compute_switches,
    axes=_axes,
    ask_alone=True,
)


@arranged
def _take(x: jax.Array, switches: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """y[o] = x at the switch of o."""
    views = taps(pad(x, window), window, _out(x, window))
    return total(jnp.where(switches == k, view, 0) for k, view in enumerate(views))


@arranged
def _give(dy: jax.Array, switches: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """dx[i] = the sum of dy[o] over the outputs o whose switch is i."""
    parts = [jnp.where(switches == k, dy, 0) for k in range(window.taps)]
    return spread_taps(parts, window, size)


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
        x = total(taps(x, line, _out(x, line)))
    return x


@arranged
def _compute_spread(dy: jax.Array, *, window: Window, size: tuple[int, ...]) -> jax.Array:
    """dx[i] = Σ_k dy[(i + p − δ·k) / s]: each output gives itself to every input of its window."""
    back = window.adjoint(size)
    spread = pad(dy, back, spread=window.stride)
    return _compute_sum(spread, window=back.unpadded(), size=size)


_sum_taps = Operation(
    "window_sum",
    shape=lambda x, *, window, size: _around(x, window, window.output_size(size)),
    compute=arranged(_compute_sum),
    axes=_axes,
    ask_alone=True,
)
_spread_sum = Operation(
    "window_spread",
    shape=lambda dy, *, window, size: _around(dy, window, size),
    compute=_compute_spread,
    axes=_axes,
    ask_alone=True,
)
linear(_sum_taps, _spread_sum)
linear(_spread_sum, _sum_taps)


# ---------------------------------------------------------------------------------------------------------------------
# Lp: the power rule


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def norm(x: jax.Array, window: Window, p: float) -> jax.Array:
    """y[o] = (Σ_k |x[s·o + δ·k − p]|^p)^(1/p)."""
    powers = window_sum(jnp.abs(x) ** p, window)
    return jnp.where(powers > 0, jnp.where(powers > 0, powers, 1) ** (1 / p), 0)


@norm.defjvp
def _(window, p, primals, tangents):
    (x,), (t,) = primals, tangents
    y = norm(x, window, p)
    # An even power keeps the sign by itself and is smooth at 0; sign(x) is not, for the second derivative.
    power = x ** (int(p) - 1) if p % 2 == 0 else jnp.sign(x) * jnp.abs(x) ** (p - 1)
    inverse = jnp.where(y > 0, jnp.where(y > 0, y, 1) ** (1 - p), 0)
    return y, window_sum(power * t, window) * inverse


# ---------------------------------------------------------------------------------------------------------------------


def _out(x: jax.Array, window: Window) -> tuple[int, ...]:
    return window.output_size(_spatial(x, window))


def _index_dtype(window: Window) -> jnp.dtype:
    return jnp.dtype(jnp.uint8 if window.taps <= 256 else jnp.int32)


def _lowest(dtype) -> float | int:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
