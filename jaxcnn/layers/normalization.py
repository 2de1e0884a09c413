"""Normalization: (x − mean) / √(var + eps) · scale + bias, over the batch, the channels or groups of channels."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.layers.layer import Layer, Tree, along_channels, makes_layer
from jaxcnn.ops.arguments import check_bool, is_number
from jaxcnn.ops.geometry import per_axis
from jaxcnn.ops.statistics import moments, normalized, normalized_by_batch


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
        y, mean, var = normalized_by_batch(x, eps, params, axis_name)

        def moved(old, batch):
            return momentum * old + (1 - momentum) * lax.stop_gradient(batch).astype(old.dtype)

        return y, {"mean": moved(state["mean"], mean), "var": moved(state["var"], var)}

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
        return _normalize(x, *moments(x, (-1,)), eps, params), state

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
        return _normalize(grouped, *moments(grouped, axes), eps, own).reshape(x.shape), state

    return Layer(init, apply, "group_norm", settings={"groups": groups, "eps": eps})


def _scale_and_bias(layer: str, use_scale: bool, use_bias: bool) -> Callable[..., tuple[Tree, Tree]]:
    use_scale, use_bias = check_bool(layer, "use_scale", use_scale), check_bool(layer, "use_bias", use_bias)

    def init(key, input_shape):
        channels = input_shape[-1:]
        scale = {"scale": jnp.ones(channels, jnp.float32)} if use_scale else {}
        bias = {"bias": jnp.zeros(channels, jnp.float32)} if use_bias else {}
        return scale | bias, {}

    return init


def _normalize(x: jax.Array, mean: jax.Array, var: jax.Array, eps: float, params: Tree) -> jax.Array:
    return normalized(x, mean, var, eps, {name: along_channels(p, x) for name, p in params.items()})


def _check_eps(layer: str, eps: float) -> float:
    if not is_number(eps) or not 0 < eps < math.inf:
        raise ValueError(f"{layer}: `eps` must be positive and finite; got {eps!r}")
    return float(eps)
