"""Losses per example, and what they mean for the logits: the probabilities, and which examples are right."""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.train.metrics import correct

LossFunction = Callable[[jax.Array, jax.Array], jax.Array]
Activation = Literal["softmax", "sigmoid"]


def softmax_cross_entropy(
    logits: jax.typing.ArrayLike,
    labels: jax.typing.ArrayLike,
    *,
    label_smoothing: float = 0.0,
    ignore_label: int | None = None,
) -> jax.Array:
    """−Σ_c l_c log p_c per example, p = softmax(logits), 0 log 0 = 0: a class may be masked by a logit of −∞.

    Args:
      logits: `(N, C)`, C at least 2. Sums are in float32 at least.
      labels: integers `(N,)`, 0 to C − 1, or `(N, C)` with rows that sum to 1 (one-hot or soft).
      label_smoothing: ε in [0, 1): labels become (1 − ε)·l + ε/C.
      ignore_label: an integer label, such as −1 or 255, for examples that do not count: their loss and its gradient are
        0, and `fit` and `evaluate` leave them out of means and accuracies.

    Returns:
      `(N,)`, in the dtype of the logits; NaN where an integer label is out of range and traced, with no value to check.

    Raises:
      ValueError: shapes that do not fit, one logit only, an integer label or an ε out of range.

    Derivative:
      dlogits = (p − l)·dy.

    Example:
      >>> softmax_cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1])).tolist()
      [10000.0]
    """
    op = "softmax_cross_entropy"
    shape = jnp.shape(logits)
    if len(shape) != 2 or shape[-1] < 2:
        raise ValueError(
            f"{op}: `logits` must be (N, classes) with 2 classes at least; got {shape}. "
            "One logit means sigmoid_binary_cross_entropy."
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"{op}: `label_smoothing` must be in [0, 1); got {label_smoothing!r}")
    if ignore_label is not None and jnp.ndim(labels) != 1:
        raise ValueError(f"{op}: `ignore_label` is for integer labels (N,); got labels {jnp.shape(labels)}")
    targets, counts, logits, dtype = _prepared(op, logits, labels, ignore_label)
    smooth = jnp.asarray(optax.smooth_labels(targets, label_smoothing))
    losses = -_product(smooth, jax.nn.log_softmax(logits)).sum(axis=-1)
    return jnp.where(counts[:, 0], losses, 0).astype(dtype)


def sigmoid_binary_cross_entropy(
    logits: jax.typing.ArrayLike, labels: jax.typing.ArrayLike, *, ignore_label: int | None = None
) -> jax.Array:
    """−(l log p + (1 − l) log(1 − p)) per example, p = sigmoid(logits): the log loss, averaged over the units.

    Args:
      logits: `(N, 1)`, one unit for class 1 against class 0, or `(N, C)`, one unit per class. Sums are in float32 at
        least.
      labels: integers `(N,)`, or `(N, C)` with values 0 to 1: one label per unit, of which any number may be 1.
      ignore_label: a label, such as −1, that does not count in its example's average. An example that has no other
        label has loss 0 and gradient 0.

    Returns:
      `(N,)`, in the dtype of the logits; NaN where an integer label is out of range and traced, with no value to check.

    Raises:
      ValueError: shapes that do not fit, labels out of range.

    Derivative:
      dlogits = (p − l)·dy / units.

    Example:
      >>> sigmoid_binary_cross_entropy(jnp.array([[1e4], [-1e4]]), jnp.array([1, 0])).tolist()
      [0.0, 0.0]
    """
    op = "sigmoid_binary_cross_entropy"
    if jnp.ndim(logits) != 2:
        raise ValueError(f"{op}: `logits` must be (N, units); got {jnp.shape(logits)}")
    targets, counts, logits, dtype = _prepared(op, logits, labels, ignore_label)
    losses = -_product(targets, jax.nn.log_sigmoid(logits)) - _product(1 - targets, jax.nn.log_sigmoid(-logits))
    counts = jnp.broadcast_to(counts, losses.shape)
    total = jnp.where(counts, losses, 0).sum(axis=-1)
    return (total / jnp.maximum(counts.sum(axis=-1), 1).astype(total.dtype)).astype(dtype)


@dataclass(frozen=True)
class Classification:
    """A loss function of your own, for a classification.

    A plain function might be the loss of a regression, so with one `fit` and `evaluate` count no accuracy, and
    `predict` returns the plain outputs. With a `Classification` they return accuracies and probabilities.

    Args:
      function: `(logits, labels) -> (N,)`.
      activation: the function from logits to probabilities: "softmax", for one class per image, or "sigmoid", for units
        that are each true or false.
      ignore_label: a label of examples that do not count (see `softmax_cross_entropy`).

    Example:
      Class weights:

      >>> weights = jnp.array([1.0, 5.0])
      >>> weighted = Classification(lambda logits, labels: weights[labels] * softmax_cross_entropy(logits, labels))
      >>> weighted(jnp.zeros((2, 2)), jnp.array([0, 1])).round(3).tolist()
      [0.6930000185966492, 3.4660000801086426]
    """

    function: LossFunction
    activation: Activation = "softmax"
    ignore_label: int | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Classification: `function` must be (logits, labels) -> (N,); got {self.function!r}")
        if self.activation not in ("softmax", "sigmoid"):
            raise ValueError(f'Classification: `activation` must be "softmax" or "sigmoid"; got {self.activation!r}')

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        return self.function(logits, labels)


LOSSES: dict[str, LossFunction] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_binary_cross_entropy": sigmoid_binary_cross_entropy,
}
ACTIVATIONS: dict[Callable, Activation] = {
    softmax_cross_entropy: "softmax",
    sigmoid_binary_cross_entropy: "sigmoid",
    optax.softmax_cross_entropy: "softmax",
    optax.softmax_cross_entropy_with_integer_labels: "softmax",
    optax.safe_softmax_cross_entropy: "softmax",
}


def loss_function(loss: str | LossFunction | None) -> LossFunction:
    """The loss function of a name; a function `(logits, labels) -> (N,)` is returned unchanged."""
    if callable(loss):
        return loss
    if loss is None:
        raise ValueError("`loss` must be given: this model was trained with a function that its file does not hold")
    if loss not in LOSSES:
        raise ValueError(f"`loss` must be a function or one of {', '.join(LOSSES)}; got {loss!r}")
    return LOSSES[loss]


# ------------------------------------------------------------------------------------------ what the logits mean


class Meaning(NamedTuple):
    """The function from outputs to probabilities, None if there is none; and the label that does not count."""

    activation: Activation | None
    ignore_label: int | None = None


def meaning(loss: str | LossFunction | None) -> Meaning:
    """The `Meaning` of a named loss, optax's of the same kind, their `partial` or `jit`, or a `Classification`."""
    if loss is None:
        return Meaning(None)
    function: Any = loss_function(loss)
    options: dict[str, Any] = {}
    while not isinstance(function, Classification) and (inner := _inside(function)) is not None:
        options = getattr(function, "keywords", {}) | options
        function = inner
    if isinstance(function, Classification):
        ignored = meaning(function.function).ignore_label if function.ignore_label is None else function.ignore_label
        return Meaning(function.activation, ignored)
    return Meaning(ACTIVATIONS.get(function) if _hashable(function) else None, options.get("ignore_label"))


def probabilities(loss: str | LossFunction | None, logits: jax.Array) -> jax.Array:
    """The probabilities of logits under a loss: `(N, classes)`; a single sigmoid unit gives two classes.

    For a loss function of the user, or for None, the outputs are returned unchanged.
    """
    activation = meaning(loss).activation
    if activation is None:
        return logits
    if activation == "softmax":
        return jax.nn.softmax(logits)
    p = jax.nn.sigmoid(logits)
    return jnp.concatenate([1 - p, p], axis=-1) if p.shape[-1] == 1 else p


def right(loss: str | LossFunction | None, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How right each example is, `(N,)`, 0 to 1.

    An example is right if its highest logit is at its label. If units are each true or false, with labels `(N, C)`, it
    is the share of labels that equal the sign of their unit. With a loss function of the user it is 0.
    """
    activation, ignored = meaning(loss)
    if activation is None:
        return jnp.zeros(len(labels))
    if activation == "softmax" or logits.shape != labels.shape or logits.shape[-1] == 1:
        return correct(logits, labels).astype(jnp.float32)
    counts = _counts(labels, ignored)
    told = ((logits > 0) == (labels > 0.5)) & counts
    return told.sum(axis=-1) / jnp.maximum(jnp.broadcast_to(counts, told.shape).sum(axis=-1), 1)


def counted(loss: str | LossFunction | None, labels: jax.Array) -> jax.Array:
    """Which examples count, bool `(N,)`: those with a label other than the ignored one."""
    counts = _counts(labels, meaning(loss).ignore_label)
    return jnp.broadcast_to(counts, labels.shape).reshape(len(labels), -1).any(axis=1)


def name_of(loss: str | LossFunction) -> str:
    """The name of a loss in a run's config; unlike its `repr`, the same in every process."""
    if isinstance(loss, str):
        return loss
    if isinstance(loss, Classification):
        return name_of(loss.function)
    if isinstance(loss, functools.partial):
        arguments = [repr(a) for a in loss.args] + [f"{name}={value!r}" for name, value in loss.keywords.items()]
        return f"{name_of(loss.func)}({', '.join(arguments)})"
    return getattr(loss, "__qualname__", type(loss).__qualname__)


# ---------------------------------------------------------------------------------------------------------------------


def _prepared(
    op: str, logits: Any, labels: Any, ignore_label: int | None
) -> tuple[jax.Array, jax.Array, jax.Array, Any]:
    """Targets in the logits' shape, which labels count, the logits in float32 at least, and the logits' own dtype."""
    logits = jnp.asarray(logits)
    if ignore_label is not None:
        ignore_label = operator.index(ignore_label)
    if not isinstance(labels, jax.core.Tracer):
        check_range(op, np.asarray(labels), logits.shape[-1], ignore_label)  # before a large integer loses its top bits
    labels = jnp.asarray(labels)
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    integers, units = jnp.issubdtype(labels.dtype, jnp.integer), logits.shape[-1]
    if integers and jnp.iinfo(labels.dtype).bits < 32:
        labels = labels.astype(jnp.int32)  # in uint8, class 261 is 5
    counts = _counts(labels, ignore_label)
    if integers and labels.ndim == 1:
        classes = max(units, 2)
        hot = labels[:, None] == jnp.arange(classes)[None]
        targets = hot[:, 1:] if units == 1 else hot
        # An ignored example may have any target; one out of range has NaN, which nobody takes for a loss.
        known = hot.any(axis=1) | ~counts
        targets, counts = jnp.where(known[:, None], targets.astype(wide), jnp.nan), counts[:, None]
    else:
        targets = labels[:, None] if labels.ndim == 1 and units == 1 else labels
        counts = counts[:, None] if counts.ndim == 1 else counts
    if targets.shape != logits.shape:
        raise ValueError(
            f"{op}: `labels` must be integers (N,) or have the shape of the logits; got labels {labels.shape} "
            f"{labels.dtype}, logits {logits.shape}{_advice(labels, integers)}"
        )
    targets = jnp.where(counts, targets.astype(wide), 0)
    return targets, counts, jnp.where(counts, logits.astype(wide), 0), logits.dtype


def check_range(op: str, labels: np.ndarray, units: int, ignore_label: int | None = None) -> None:
    """ValueError unless labels are classes for so many units, or values of 0 to 1, one for each unit."""
    kept = labels if ignore_label is None else labels[labels != ignore_label]
    if not kept.size or kept.dtype == bool:
        return
    least, most = kept.min(), kept.max()
    classes = jnp.issubdtype(kept.dtype, jnp.integer) and labels.ndim == 1
    highest = max(units, 2) - 1 if classes else 1
    if classes and not 0 <= least <= most <= highest:
        raise ValueError(
            f"{op}: integer labels must be 0 to {highest} for logits of {units}; got {least} to {most}. Examples to "
            "leave out have a label of their own: functools.partial(losses."
            f"{op}, ignore_label=-1)"
        )
    if not classes and op == "sigmoid_binary_cross_entropy" and not 0 <= least <= most <= 1:
        raise ValueError(f"{op}: labels of units must be 0 to 1; got {least} to {most}")


def _counts(labels: jax.Array, ignore_label: int | None) -> jax.Array:
    """Which labels count."""
    if ignore_label is None:
        return jnp.ones((len(labels), *(1 for _ in labels.shape[1:])), bool)
    return labels != jnp.int32(ignore_label)


def _product(targets: jax.Array, log_p: jax.Array) -> jax.Array:
    """targets · log p, where 0 · log 0 = 0."""
    return targets * jnp.where((targets == 0) & (log_p == -jnp.inf), 0, log_p)


def _advice(labels: jax.Array, integers: bool) -> str:
    """How to make the right labels from those that were given."""
    if labels.ndim == 2 and labels.shape[1] == 1 and integers:
        return ". Labels in a column become (N,) by labels[:, 0]"
    if labels.ndim == 1 and not integers:
        return ". Class numbers in another dtype become integers by labels.astype(int)"
    return ""


def _inside(function: Callable) -> Callable | None:
    """The function in a `functools.partial` without positional arguments, or in a `jit`; None for anything else."""
    if isinstance(function, functools.partial):
        return None if function.args else function.func
    return getattr(function, "__wrapped__", None)


def _hashable(function: Callable) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True
