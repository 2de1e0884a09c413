"""Normalization: (x − mean) / √(var + eps) · scale + bias, over the batch, the channels or groups of channels."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.layers.layer import Layer, Tree, along_channels, makes_layer
from jaxcnn.ops.arguments import check_bool, is_number
from jaxcnn.ops.geometry import per_axis
from jaxcnn.ops.layout import channels_first, channels_last


@makes_layer
def BatchNorm(
    momentum: float = 0.9,
    eps: float = 1e-5,
    axis_name: str | None = None,
    *,
    use_scale: bool = True,
    use_bias: bool = True,
) -> Layer:
    """Bring each channel to mean 0 and variance 1 over batch and positions; then scale it and add a bias.

    In training the batch's own statistics are used, and the running statistics move toward them:

        new = momentum · old + (1 − momentum) · batch

    Otherwise the running statistics are used. The running variance is an average of batch variances divided by n, as in
    Keras and Flax; PyTorch divides by n − 1, and its `momentum` is one minus this one. A batch without values does not
    change the statistics.

    Args:
      momentum: the share of the old statistics that is kept, in [0, 1).
      eps: added to the variance.
      axis_name: a `vmap` or `shard_map` axis over which the statistics are shared, so that batches in several parts
        are normalized as one.
      use_scale, use_bias: whether there is a scale, and a bias; without one there is no such parameter.

    Returns:
      A Layer with params `{"scale": (C,), "bias": (C,)}` and state `{"mean": (C,), "var": (C,)}`, statistics in
      float32.

    Raises:
      ValueError: a momentum outside [0, 1), eps not positive.

    Example:
      >>> norm = BatchNorm()
      >>> params, state = norm.init(jax.random.key(0), (1,))
      >>> y, state = norm.apply(params, state, jnp.array([[1.0], [3.0]]), train=True)
      >>> y[:, 0].round(3), state["mean"].round(3)
      (Array([-1.,  1.], dtype=float32), Array([0.2], dtype=float32))

    Source: Ioffe, Szegedy, Batch normalization (2015), algorithms 1 and 2.
    """
    if not is_number(momentum) or not 0 <= momentum < 1:
        raise ValueError(f"BatchNorm: `momentum` is the part kept and must be in [0, 1); got {momentum!r}")
    momentum, eps = float(momentum), _check_eps("BatchNorm", eps)
    init_params = _scale_and_bias("BatchNorm", use_scale, use_bias)

    def init(key, input_shape):
        params, _ = init_params(key, input_shape)
        channels = input_shape[-1:]
        # arrays of their own, not those of bias and scale: a training step donates them all
        return params, {"mean": jnp.zeros(channels, jnp.float32), "var": jnp.ones(channels, jnp.float32)}

    def apply(params, state, x, *, train=False, key=None):
        if not train or 0 in x.shape[:-1]:
            return _normalize(x, *(along_channels(state[name], x) for name in ("mean", "var")), eps, params), state
        turned = x.ndim > 2 and jax.default_backend() == "cpu"  # elsewhere nothing was measured
        inner = channels_first(x) if turned else x
        axes = tuple(range(1, inner.ndim) if turned else range(inner.ndim - 1))
        mean, var = _moments(inner, axes, axis_name)

        def moved(old, batch):
            return momentum * old + (1 - momentum) * lax.stop_gradient(batch).reshape(-1).astype(old.dtype)

        new = {"mean": moved(state["mean"], mean), "var": moved(state["var"], var)}
        y = _normalize(inner, mean, var, eps, {name: jnp.expand_dims(p, axes) for name, p in params.items()})
        return (channels_last(y) if turned else y), new

    return Layer(init, apply, "batch_norm", settings={"momentum": momentum, "eps": eps})


@makes_layer
def LayerNorm(eps: float = 1e-5, *, use_scale: bool = True, use_bias: bool = True) -> Layer:
    """Bring the channels of each position to mean 0 and variance 1; then scale them and add a bias.

    Args:
      eps: added to the variance.
      use_scale, use_bias: as in `BatchNorm`.

    Returns:
      A Layer with params `{"scale": (C,), "bias": (C,)}`.

    Raises:
      ValueError: eps not positive.

    Source: Ba, Kiros, Hinton, Layer normalization (2016).
    """
    eps = _check_eps("LayerNorm", eps)

    def apply(params, state, x, *, train=False, key=None):
        return _normalize(x, *_moments(x, (-1,)), eps, params), state

    return Layer(_scale_and_bias("LayerNorm", use_scale, use_bias), apply, "layer_norm", settings={"eps": eps})


@makes_layer
def GroupNorm(groups: int, eps: float = 1e-5, *, use_scale: bool = True, use_bias: bool = True) -> Layer:
    """Bring each group of channels of an image, over all positions, to mean 0 and variance 1; then scale, add a bias.

    Args:
      groups: into how many groups the channels are cut; it divides their number.
      eps: added to the variance.
      use_scale, use_bias: as in `BatchNorm`.

    Returns:
      A Layer with params `{"scale": (C,), "bias": (C,)}`.

    Raises:
      ValueError: groups below 1 or not dividing the channels, eps not positive. TypeError: groups no int.

    Source: Wu, He, Group normalization (2018).
    """
    eps = _check_eps("GroupNorm", eps)
    (groups,) = per_axis("GroupNorm", "groups", groups, 1)
    init_params = _scale_and_bias("GroupNorm", use_scale, use_bias)

    def init(key, input_shape):
        if input_shape[-1] % groups:
            raise ValueError(f"GroupNorm: `groups` ({groups}) must divide the channels; got input {input_shape}")
        return init_params(key, input_shape)

    def apply(params, state, x, *, train=False, key=None):
        grouped = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)  # (N, *spatial, G, C/G)
        axes = (*range(1, x.ndim - 1), grouped.ndim - 1)
        own = {name: p.reshape(groups, -1) for name, p in params.items()}
        return _normalize(grouped, *_moments(grouped, axes), eps, own).reshape(x.shape), state

    return Layer(init, apply, "group_norm", settings={"groups": groups, "eps": eps})


def _scale_and_bias(layer: str, use_scale: bool, use_bias: bool) -> Callable[..., tuple[Tree, Tree]]:
    use_scale, use_bias = check_bool(layer, "use_scale", use_scale), check_bool(layer, "use_bias", use_bias)

    def init(key, input_shape):
        channels = input_shape[-1:]
        scale = {"scale": jnp.ones(channels, jnp.float32)} if use_scale else {}
        bias = {"bias": jnp.zeros(channels, jnp.float32)} if use_bias else {}
        return scale | bias, {}

    return init


def _moments(x: jax.Array, axes: tuple[int, ...], axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
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


def _normalize(x, mean, var, eps, params):
    """(x − mean) / √(var + eps) · scale + bias, of which either may be missing."""
    factor = lax.rsqrt(var + eps)
    if "scale" in params:
        factor = factor * along_channels(params["scale"], x)
    y = (x - mean) * factor
    if "bias" in params:
        y = y + along_channels(params["bias"], x)
    return y.astype(x.dtype)


def _check_eps(layer: str, eps: float) -> float:
    if not is_number(eps) or not 0 < eps < math.inf:
        raise ValueError(f"{layer}: `eps` must be positive and finite; got {eps!r}")
    return float(eps)
