"""Metrics of predictions: accuracy, top-k accuracy and the confusion matrix."""

import jax
import jax.numpy as jnp
import numpy as np


def correct(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Per example, whether the highest score is at the label: bool `(N,)`.

    Args:
      scores: logits or probabilities `(N, C)`; one column means class 1 where positive (a logit).
      labels: integers `(N,)`, or `(N, C)`, where the highest value is the class; one column means class 1 where above
        ½.

    Raises:
      ValueError: shapes that do not fit.
    """
    if scores.ndim != 2 or labels.shape not in (scores.shape[:1], scores.shape):
        raise ValueError(
            f"accuracy: `labels` must be (N,) or have the shape of `scores`, (N, C); got scores {scores.shape}, "
            f"labels {labels.shape}"
        )
    one_column = scores.shape[-1] == 1
    if labels.ndim == 2:
        labels = labels[:, 0] > 0.5 if one_column else jnp.argmax(labels, axis=-1)
    chosen = scores[:, 0] > 0 if one_column else jnp.argmax(scores, axis=-1)
    return chosen == labels


def accuracy(scores: jax.typing.ArrayLike, labels: jax.typing.ArrayLike) -> float:
    """The share of examples whose highest score is at the label.

    Raises:
      ValueError: shapes that do not fit.

    Example:
      >>> accuracy([[0.9, 0.1], [0.6, 0.4]], [0, 1])
      0.5
    """
    return float(correct(jnp.asarray(scores), jnp.asarray(labels)).mean())


def top_k_accuracy(scores: jax.typing.ArrayLike, labels: jax.typing.ArrayLike, k: int = 5) -> float:
    """The share of examples whose label, an integer, is among the k highest scores.

    Raises:
      ValueError: k below 1 or above the number of classes; shapes that are not (N, C) and (N,).

    Example:
      >>> top_k_accuracy([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2], k=2)
      0.5
    """
    scores, labels = jnp.asarray(scores), jnp.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"top_k_accuracy: `scores` must be (N, C) and `labels` (N,); got {scores.shape} and {labels.shape}"
        )
    if not 1 <= k <= scores.shape[-1]:
        raise ValueError(f"top_k_accuracy: `k` must be 1 to {scores.shape[-1]}, the number of classes; got {k!r}")
    _, best = jax.lax.top_k(scores, k)
    return float((best == labels[:, None]).any(axis=-1).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each true class was predicted as each class: int64 `(true, predicted)`.

    Args:
      predicted, labels: integers `(N,)`, 0 to num_classes − 1.
      num_classes: the number of rows, and of columns.

    Raises:
      ValueError: a class out of range, or lengths that differ.

    Example:
      >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
      [[1, 1], [0, 1]]
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if predicted.shape != labels.shape or predicted.ndim != 1:
        raise ValueError(
            f"confusion_matrix: `predicted` and `labels` must be (N,) both; got {predicted.shape} and {labels.shape}"
        )
    for name, values in (("predicted", predicted), ("labels", labels)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"confusion_matrix: `{name}` must be 0 to {num_classes - 1}; got {values.min()} to {values.max()}"
            )
    pairs = np.bincount(labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)
