"""The train state: what training changes, and what it starts from, fresh parameters or given ones."""

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.train.compiled import template
from jaxcnn.train.losses import LossFunction
from jaxcnn.train.precision import Policy, cast
from jaxcnn.weights.tensors import flatten


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params", "state", "opt_state", "step", "ema"], meta_fields=["loss"]
)
@dataclass(repr=False)
class TrainState:
    """All that training changes.

    Args:
      params, state: the model's.
      opt_state: the optimizer's; empty for a state that is only evaluated.
      step: how many steps were taken, int32.
      loss: what the logits were trained for; it says how they become probabilities. None where a file does not hold it.
      ema: (params, state), their moving averages, where they are kept; else ().
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
        """The (params, state) that are evaluated, saved and used: the averages where they are kept."""
        return self.ema or (self.params, self.state)


Initial = tuple[Any, Any] | TrainState


def initial_state(
    model: Any,
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
    average = () if ema is None else (params, state)  # in float32: of smaller dtypes, small changes would be lost
    params = params if policy is None else cast(params, policy.param)
    train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), loss, average)
    # Copied: an optimizer may keep params itself, and a buffer cannot be donated twice; given arrays are the caller's.
    return jax.tree.map(jnp.copy, train_state)


def fingerprint(initial: Initial | None) -> str | None:
    """By which a run folder tells one start from another: of names, dtypes and bits."""
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


def _given(model: Any, initial: Initial) -> tuple[Any, Any]:
    """As arrays, checked against the model's names, shapes and dtypes."""
    weights = jax.tree.map(jnp.asarray, _weights(initial))
    expected, found = _named(template(model)), _named(weights)
    complaints = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:5])}{', …' if len(names) > 5 else ''}"
        for what, names in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys()))
        if names
    ]
    complaints += [
        f"{name} must be {leaf.dtype}{list(leaf.shape)} but is {found[name].dtype}{list(found[name].shape)}"
        for name, leaf in expected.items()
        if name in found and (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype)
    ]
    complaints += [f"{name} holds NaN or infinity" for name, leaf in found.items() if not jnp.isfinite(leaf).all()]
    if complaints:
        raise ValueError(f"fit: `initial` does not fit {model.name}; {'; '.join(complaints[:8])}")
    return weights
