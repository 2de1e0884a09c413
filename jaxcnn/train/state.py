"""The train state: everything that training changes, and its value before the first step."""

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.files.trees import differences, flatten
from jaxcnn.train.compiled import template
from jaxcnn.train.losses import LossFunction
from jaxcnn.train.network import Network
from jaxcnn.train.precision import Policy, cast


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params", "state", "opt_state", "step", "ema"], meta_fields=["loss"]
)
@dataclass(repr=False)
class TrainState:
    """Everything that training changes.

    Args:
      params, state: the model's parameters and statistics.
      opt_state: the optimizer's state; empty for a train state that is only evaluated.
      step: how many steps were taken, int32.
      loss: the loss of the training; it decides how logits become probabilities. None if a file does not name it.
      ema: the moving averages of (params, state); () if none are kept.
    """

    params: Any
    state: Any
    opt_state: Any = ()
    step: Any = 0
    loss: str | LossFunction | None = "softmax_cross_entropy"
    ema: Any = ()

    def __repr__(self) -> str:
        parameters = sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(self.params))
        return f"TrainState(step={self.step}, {parameters:,} parameters)"

    @property
    def weights(self) -> tuple[Any, Any]:
        """The (params, state) to evaluate and to save: the moving averages if they are kept."""
        return self.ema or (self.params, self.state)


Initial = tuple[Any, Any] | TrainState


def initial_state(
    model: Network,
    key: jax.Array,
    optimizer: optax.GradientTransformation,
    *,
    loss: str | LossFunction,
    initial: Initial | None = None,
    ema: float | None = None,
    policy: Policy | None = None,
) -> TrainState:
    """The train state before the first step, in buffers of its own.

    Raises:
      ValueError, TypeError: an `initial` that is not the model's.
    """
    params, state = model.init(key) if initial is None else _given(model, initial)
    average = () if ema is None else (params, state)  # in float32: smaller dtypes would lose small changes
    params = params if policy is None else cast(params, policy.param)
    train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), loss, average)
    # Copied: an optimizer may keep params itself, and a buffer cannot be donated twice; given arrays are the caller's.
    return jax.tree.map(jnp.copy, train_state)


def fingerprint(initial: Initial | None) -> str | None:
    """A hash of names, dtypes and bits, by which a run folder recognizes the initial parameters."""
    if initial is None:
        return None
    digest = hashlib.sha256()
    for name, leaf in _named(_weights(initial)).items():
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _weights(initial: Initial) -> tuple[Any, Any]:
    if isinstance(initial, TrainState):
        return initial.weights
    if not isinstance(initial, tuple) or len(initial) != 2:
        raise TypeError(f"fit: `initial` must be (params, state) or a TrainState; got {type(initial).__name__}")
    return initial


def _named(weights: tuple[Any, Any]) -> dict[str, Any]:
    return flatten(dict(zip(("params", "state"), weights, strict=True)))


def _given(model: Network, initial: Initial) -> tuple[Any, Any]:
    """The given parameters as arrays, checked against the model's names, shapes and dtypes."""
    weights = jax.tree.map(jnp.asarray, _weights(initial))
    expected, found = _named(template(model)), _named(weights)
    complaints = differences(_shapes(expected), _shapes(found))
    complaints += [f"{name} holds NaN or infinity" for name, leaf in found.items() if not jnp.isfinite(leaf).all()]
    if complaints:
        raise ValueError(f"fit: `initial` does not fit {model.name}; {'; '.join(complaints[:8])}")
    return weights


def _shapes(named: dict[str, Any]) -> dict[str, str]:
    """dtype and shape in words, by name."""
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in named.items()}
