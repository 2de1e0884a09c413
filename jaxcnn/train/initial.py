"""The train state that a training starts from: fresh parameters, or given ones."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.train.losses import LossFunction
from jaxcnn.train.precision import Policy, cast
from jaxcnn.train.step import TrainState
from jaxcnn.weights.tensors import flatten

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
    # Optimizers may keep params itself, and given ones are the caller's: a buffer is donated only once, and never his.
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
    template = jax.eval_shape(model.init, jax.random.key(0))
    weights = jax.tree.map(jnp.asarray, _weights(initial))
    expected, found = _named(template), _named(weights)
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
