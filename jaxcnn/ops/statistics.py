"""Mean and variance of arrays, and their use: (x − mean) / √(var + eps) · scale + bias."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.layout import channels_first, channels_last


def moments(x: jax.Array, axes: tuple[int, ...], axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Mean and variance (divided by n), in float32 at least, with the axes kept.

    The mean of many numbers far from 0 is off by a few millionths of their size, which may be much of their spread. So
    a first mean is subtracted, and both moments are computed from the differences; derivatives do not depend on it.
    """

    def average(values):
        mean = jnp.mean(values, axes, keepdims=True)
        return lax.pmean(mean, axis_name) if axis_name else mean

    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    near = lax.stop_gradient(average(x))
    left = x - near
    rest = average(left)
    square = jnp.square(rest)
    square = jnp.where(jnp.isinf(square), 0, square)  # an infinite mean of squares stays infinite: ∞ − ∞ would be NaN
    return near + rest, jnp.maximum(average(jnp.square(left)) - square, 0)


def normalized(x: jax.Array, mean: jax.Array, var: jax.Array, eps: float, params: Mapping[str, jax.Array]) -> jax.Array:
    """(x − mean) / √(var + eps) · scale + bias; params may have either or both, with as many axes as x."""
    factor = lax.rsqrt(var + eps)
    if "scale" in params:
        factor = factor * params["scale"]
    y = (x - mean) * factor
    if "bias" in params:
        y = y + params["bias"]
    return y.astype(x.dtype)


def normalized_by_batch(
    x: jax.Array, eps: float, params: Mapping[str, jax.Array], axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each channel of x, `(N, *spatial, C)`, normalized over batch and positions; with the mean and the variance, (C,).

    Between convolutions it is computed in their order of axes, so that XLA does not transpose before and after.
    """
    turned = x.ndim > 2
    inner = channels_first(x) if turned else x
    axes = tuple(range(1, inner.ndim) if turned else range(inner.ndim - 1))
    mean, var = moments(inner, axes, axis_name)
    y = normalized(inner, mean, var, eps, {name: jnp.expand_dims(p, axes) for name, p in params.items()})
    return (channels_last(y) if turned else y), mean.reshape(-1), var.reshape(-1)
