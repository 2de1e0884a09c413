"""A training ends when a number becomes infinite or NaN, before it overwrites the last finite state."""

from collections.abc import Container
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import JaxcnnError
from jaxcnn.files.trees import flatten
from jaxcnn.train.history import History
from jaxcnn.train.state import TrainState

ADVICE = "Lower the learning rate, clip the gradients (optax.clip_by_global_norm) or look for bad pixels or labels"
PARTS = {
    "params": "parameters",
    "state": "batch statistics",
    "ema": "the averages of parameters and statistics",
    "opt_state": "the optimizer's state",
}


class NonFiniteLoss(JaxcnnError, ArithmeticError):
    """The loss, or a number that the next step would use, became infinite or NaN.

    Attributes:
      history: the epochs that were finished.
      train_state: after the last finished epoch; None if there is none, or if `fit` has a run_dir, which holds it.
    """

    history: History
    train_state: TrainState | None = None


def not_finite(train_state: TrainState) -> list[str]:
    """The names of the arrays that hold NaN or infinity."""
    return [
        name
        for name, leaf in flatten(train_state).items()
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all()
    ]


def check_finite(train_state: TrainState, row: dict[str, Any], label: str, known: Container[str]) -> None:
    """Raise NonFiniteLoss at the end of an epoch after which the training cannot go on.

    The training loss is measured before each step, so it may be finite when the parameters are not.

    Args:
      train_state, row: the state and the metrics at the end of the epoch.
      label: the epoch's name in the message.
      known: arrays that were infinite before the first step, such as the best loss that an optimizer has seen.
    """
    if not np.isfinite(row.get("validation_loss", 0.0)):
        raise NonFiniteLoss(f"fit: the validation loss became {row['validation_loss']} after {label}. {ADVICE}")
    bad = [name for name in not_finite(train_state) if name not in known]
    if bad:
        what = next(words for part, words in PARTS.items() if any(name.split("/")[0] == part for name in bad))
        names = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise NonFiniteLoss(f"fit: {what} became infinite or not a number by the end of {label}: {names}. {ADVICE}")
