"""Layers without parameters that act on each value: activations (thin over `jax.nn`) and dropout."""

import jax
import jax.numpy as jnp

from jaxcnn.layers.layer import Layer, stateless


def Relu() -> Layer:
    """max(x, 0); its derivative at 0 is 0."""
    return stateless("relu", jax.nn.relu)


def LeakyRelu(negative_slope: float = 0.01) -> Layer:
    """x where positive, else negative_slope·x."""
    return stateless("leaky_relu", lambda x: jax.nn.leaky_relu(x, negative_slope))


def Elu(alpha: float = 1.0) -> Layer:
    """x where positive, else alpha·(exp(x) − 1)."""
    return stateless("elu", lambda x: jax.nn.elu(x, alpha))


def Gelu(approximate: bool = False) -> Layer:
    """x·Φ(x), Φ the normal distribution function, or its tanh approximation."""
    return stateless("gelu", lambda x: jax.nn.gelu(x, approximate))


def Silu() -> Layer:
    """x·sigmoid(x)."""
    return stateless("silu", jax.nn.silu)


def Tanh() -> Layer:
    """tanh(x)."""
    return stateless("tanh", jnp.tanh)


def Sigmoid() -> Layer:
    """1 / (1 + exp(−x))."""
    return stateless("sigmoid", jax.nn.sigmoid)


def Softmax() -> Layer:
    """exp(x) / Σ exp(x) over the last axis. Losses take logits, so a model that is trained ends without it."""
    return stateless("softmax", jax.nn.softmax)


def Dropout(rate: float) -> Layer:
    """In training each value is 0 with probability `rate`, else divided by 1 − rate; otherwise nothing happens.

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

    Source: Srivastava et al., Dropout (2014); scaled in training, so that inference is left alone.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"Dropout: `rate` must be a number; got {rate!r}")
    if not 0 <= rate < 1:
        raise ValueError(f"Dropout: `rate` is the probability of dropping and must be in [0, 1); got {rate!r}")

    def apply(params, state, x, *, train=False, key=None):
        if not train or rate == 0:
            return x, state
        if key is None:
            raise ValueError("Dropout: `key` must be given in training; call apply(…, train=True, key=…)")
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x)), state

    return Layer(lambda key, input_shape: ({}, {}), apply, "dropout")
