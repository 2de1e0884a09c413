"""Losses per example, from logits: optax's, told apart by what the logits mean."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0) -> jax.Array:
    """−Σ_c l_c log p_c per example, p = softmax(logits).

    Args:
      logits: `(N, C)`, C at least 2.
      labels: integers `(N,)`, or `(N, C)` with rows that sum to 1 (one-hot or soft).
      label_smoothing: ε in [0, 1): labels become (1 − ε)·l + ε/C.

    Returns:
      `(N,)`.

    Raises:
      ValueError: shapes that do not fit, one logit only, or an ε out of range.

    Derivative:
      dlogits = (p − l)·dy.

    Example:
      >>> softmax_cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1])).tolist()
      [10000.0]
    """
    if logits.ndim != 2 or logits.shape[-1] < 2:
        raise ValueError(
            f"softmax_cross_entropy: `logits` must be (N, classes) with 2 classes at least; got {logits.shape}. "
            "One logit means sigmoid_binary_cross_entropy."
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"softmax_cross_entropy: `label_smoothing` must be in [0, 1); got {label_smoothing!r}")
    targets = _one_hot("softmax_cross_entropy", logits, labels)
    return optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, label_smoothing))


def sigmoid_binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """−(l log p + (1 − l) log(1 − p)) per example, p = sigmoid(logits): the log loss, averaged over the units.

    Args:
      logits: `(N, 1)`, one unit for class 1 against class 0, or `(N, C)`, one unit per class.
      labels: integers `(N,)`, or `(N, C)` with values 0 to 1.

    Returns:
      `(N,)`.

    Raises:
      ValueError: shapes that do not fit.

    Derivative:
      dlogits = (p − l)·dy / units.

    Example:
      >>> sigmoid_binary_cross_entropy(jnp.array([[1e4], [-1e4]]), jnp.array([1, 0])).tolist()
      [0.0, 0.0]
    """
    if logits.ndim != 2:
        raise ValueError(f"sigmoid_binary_cross_entropy: `logits` must be (N, units); got {logits.shape}")
    targets = _one_hot("sigmoid_binary_cross_entropy", logits, labels)
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean(axis=-1)


LOSSES: dict[str, LossFunction] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_binary_cross_entropy": sigmoid_binary_cross_entropy,
}


def loss_function(loss: str | LossFunction) -> LossFunction:
    """The function behind a name; a function `(logits, labels) -> (N,)` is itself."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be a function or one of {', '.join(LOSSES)}; got {loss!r}")
    return LOSSES[loss]


def probabilities(loss: str | LossFunction, logits: jax.Array) -> jax.Array:
    """What the logits say under a loss: `(N, classes)`; a single sigmoid unit gives two classes."""
    function = loss_function(loss)
    if isinstance(function, functools.partial):
        function = function.func
    if function is not sigmoid_binary_cross_entropy:
        return jax.nn.softmax(logits)
    p = jax.nn.sigmoid(logits)
    return jnp.concatenate([1 - p, p], axis=-1) if p.shape[-1] == 1 else p


def name_of(loss: str | LossFunction) -> str:
    """What a loss is called in a run's config: the same in every process, as its `repr` is not."""
    if isinstance(loss, str):
        return loss
    if isinstance(loss, functools.partial):
        arguments = [repr(a) for a in loss.args] + [f"{name}={value!r}" for name, value in loss.keywords.items()]
        return f"{name_of(loss.func)}({', '.join(arguments)})"
    return getattr(loss, "__qualname__", type(loss).__qualname__)


def _one_hot(op: str, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Labels of the shape of the logits; a single unit's are 0 or 1 already."""
    targets = labels
    if labels.ndim == 1 and logits.shape[-1] == 1:
        targets = labels[:, None]
    elif labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer):
        targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if targets.shape != logits.shape:
        raise ValueError(
            f"{op}: `labels` must be integers (N,) or have the shape of the logits; got labels {labels.shape} "
            f"{labels.dtype}, logits {logits.shape}"
        )
    return targets.astype(logits.dtype)
