"""What is not finite ends a training, before it is written over what is."""

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
    """The loss, or a number that the next steps go by, became infinite or not a number.

    Attributes:
      history: the epochs that were finished.
      train_state: of the last of them, where `fit` has no run_dir and one was finished; else None.
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
    """NonFiniteLoss at the end of an epoch. The loss of training is that before each step, and may look well still.

    Args:
      train_state, row: at the end of the epoch.
      label: of the epoch.
      known: arrays that were not finite before the first step, such as the best loss that an optimizer has seen.
    """
    if not np.isfinite(row.get("validation_loss", 0.0)):
        raise NonFiniteLoss(f"fit: the validation loss became {row['validation_loss']} after {label}. {ADVICE}")
    bad = [name for name in not_finite(train_state) if name not in known]
    if bad:
        what = next(words for part, words in PARTS.items() if any(name.split("/")[0] == part for name in bad))
        names = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise NonFiniteLoss(f"fit: {what} became infinite or not a number by the end of {label}: {names}. {ADVICE}")
