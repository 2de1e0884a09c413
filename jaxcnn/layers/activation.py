"""Layers without parameters that act on each value: activations (thin over `jax.nn`) and dropout."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.layers.layer import Layer, makes_layer, stateless
from jaxcnn.ops.arguments import check_bool, check_number, is_number
from jaxcnn.ops.sharding import placed_like


@makes_layer
def Relu(max_value: float | None = None) -> Layer:
    """max(x, 0), or min(max(x, 0), max_value) if a `max_value` is given; the derivative at both ends is 0.

    Raises:
      ValueError: a max_value that is not positive. TypeError: one that is no number.
    """
    if max_value is None:
        return stateless("relu", jax.nn.relu, max_value=None)
    if not is_number(max_value):
        raise TypeError(f"Relu: `max_value` must be a number or None; got {max_value!r}")
    if not max_value > 0:
        raise ValueError(f"Relu: `max_value` must be positive; got {max_value!r}")

    def clip(x):
        end = jnp.asarray(max_value, x.dtype)
        return jnp.where(x >= end, end, jax.nn.relu(x))  # the minimum of the two would halve the derivative at the end

    return stateless("relu", clip, max_value=max_value)


@makes_layer
def LeakyRelu(negative_slope: float = 0.01) -> Layer:
    """x where positive, else negative_slope·x.

    Raises:
      TypeError: a slope that is no number.
    """
    slope = check_number("LeakyRelu", "negative_slope", negative_slope)
    return stateless("leaky_relu", lambda x: jnp.where(x > 0, x, jnp.asarray(slope, x.dtype) * x), negative_slope=slope)


@makes_layer
def Elu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha·(exp(x) − 1).

    Raises:
      TypeError: an alpha that is no number.
    """
    alpha = check_number("Elu", "alpha", alpha)
    return stateless("elu", lambda x: jax.nn.elu(x, alpha), alpha=alpha)


@makes_layer
def Gelu(approximate: bool = False) -> Layer:
    """x·Φ(x), Φ the normal distribution function, or its tanh approximation.

    Raises:
      TypeError: an `approximate` that is neither True nor False.
    """
    approximate = check_bool("Gelu", "approximate", approximate)
    return stateless("gelu", lambda x: jax.nn.gelu(x, approximate), approximate=approximate)


@makes_layer
def Silu() -> Layer:
    """x·sigmoid(x)."""
    return stateless("silu", jax.nn.silu)


@makes_layer
def Tanh() -> Layer:
    """tanh(x)."""
    return stateless("tanh", jnp.tanh)


@makes_layer
def Sigmoid() -> Layer:
    """1 / (1 + exp(−x))."""
    return stateless("sigmoid", jax.nn.sigmoid)


@makes_layer
def Softmax() -> Layer:
    """exp(x) / Σ exp(x) over the last axis. Losses take logits, so a model that is trained ends without it."""
    return stateless("softmax", jax.nn.softmax)


@makes_layer
def Dropout(rate: float) -> Layer:
    """In training, set each value to 0 with probability `rate` and divide the rest by 1 − rate; else do nothing.

    Args:
      rate: the probability of dropping, 0 ≤ rate < 1.

    Returns:
      A Layer without parameters; `apply(…, train=True)` needs a key.

    Raises:
      ValueError: a rate outside [0, 1); no key in training. TypeError: a rate that is no number.

    Example:
      >>> y, _ = Dropout(0.5).apply({}, {}, jnp.ones(1000), train=True, key=jax.random.key(0))
      >>> sorted(set(y.tolist()))
      [0.0, 2.0]

    Source: Srivastava et al., Dropout (2014); scaled in training, so that inference needs no factor.
    """
    return _dropping("Dropout", "dropout", rate, lambda x: x.shape)


@makes_layer
def DropPath(rate: float) -> Layer:
    """Stochastic depth: in training, set whole examples to 0 with probability `rate` and divide the others by 1 − rate.

    Put it at the end of a residual body: an example that is set to 0 skips the block.

    Args:
      rate: the probability of dropping, 0 ≤ rate < 1.

    Returns:
      A Layer without parameters; `apply(…, train=True)` needs a key.

    Raises:
      ValueError, TypeError: as `Dropout`.

    Example:
      >>> y, _ = DropPath(0.5).apply({}, {}, jnp.ones((100, 2, 3)), train=True, key=jax.random.key(0))
      >>> sorted({tuple(example.ravel().tolist()) for example in y})
      [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (2.0, 2.0, 2.0, 2.0, 2.0, 2.0)]

    Source: Huang et al., Deep networks with stochastic depth (2016); here by example, and scaled in training.
    """
    return _dropping("DropPath", "drop_path", rate, lambda x: (x.shape[0], *(1,) * (x.ndim - 1)))


def _dropping(name: str, kind: str, rate: float, mask_shape: Callable[[jax.Array], tuple[int, ...]]) -> Layer:
    rate = check_number(name, "rate", rate)
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: `rate` is the probability of dropping and must be in [0, 1); got {rate!r}")

    def apply(params, state, x, *, train=False, key=None):
        if not train or rate == 0:
            return x, state
        if key is None:
            raise ValueError(f"{name}: `key` must be given in training; call apply(…, train=True, key=…)")
        keep = placed_like(x, jax.random.bernoulli(key, 1 - rate, mask_shape(x)))
        return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x)), state

    return Layer(lambda key, input_shape: ({}, {}), apply, kind, settings={"rate": rate})
