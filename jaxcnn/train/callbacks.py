"""Callbacks: functions of an `Epoch` that `fit` calls at the end of each; one that returns True ends the training."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.train.state import TrainState


class Epoch(NamedTuple):
    """What a callback is given at the end of an epoch; its `train_state` is a copy, which may be kept."""

    number: int
    metrics: dict[str, float]
    train_state: TrainState


Callback = Callable[[Epoch], Any]


class Best:
    """Keeps a copy of the train state of the best epoch.

    Args:
      monitor: a column of the history; one that ends in "loss" is better when lower, any other when higher.
      min_delta: by how much a value must be better to count.

    Attributes:
      epoch, value, train_state: the best epoch so far, its metric and its train state.

    Raises:
      ValueError: when called, if the history has no such column.
    """

    def __init__(self, monitor: str = "validation_loss", min_delta: float = 0.0) -> None:
        self.monitor, self.min_delta = monitor, min_delta
        self.epoch: int | None = None
        self.value: float | None = None
        self.train_state: TrainState | None = None

    def __call__(self, epoch: Epoch) -> None:
        if better(epoch.metrics, self.monitor, self.value, self.min_delta):
            self.epoch, self.value = epoch.number, epoch.metrics[self.monitor]
            self.train_state = jax.tree.map(jnp.copy, epoch.train_state)


class EarlyStopping:
    """Ends the training when a metric has not improved for some epochs.

    Args:
      monitor, min_delta: as for `Best`.
      patience: how many epochs without improvement before it stops.

    Raises:
      ValueError: a patience below 1; when called, if the history has no such column.
    """

    def __init__(self, monitor: str = "validation_loss", patience: int = 3, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: `patience` must be at least 1; got {patience!r}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.value: float | None = None
        self.waited = 0

    def __call__(self, epoch: Epoch) -> bool:
        if better(epoch.metrics, self.monitor, self.value, self.min_delta):
            self.value, self.waited = epoch.metrics[self.monitor], 0
        else:
            self.waited += 1
        return self.waited >= self.patience


def checked(op: str, callbacks: Any, columns: Sequence[str]) -> list[Callback]:
    """The callbacks as a list; an error if one is no function of an Epoch, or monitors what is no column."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(f"{op}: `callbacks` must be a list of functions; got {type(callbacks).__name__}")
    listed = list(callbacks)
    for callback in listed:
        if not callable(callback):
            raise TypeError(f"{op}: `callbacks` must be functions of an Epoch; got {callback!r}")
        if isinstance(callback, Best | EarlyStopping):
            better(dict.fromkeys(columns, 0.0), callback.monitor, None)
    return listed


def better(metrics: dict[str, float], monitor: str, best: float | None, min_delta: float = 0.0) -> bool:
    """Whether this epoch's metric beats the best so far; ValueError if there is no such metric."""
    if monitor not in metrics:
        watched = str(monitor).partition("_")
        held_out = watched[0] in ("val", "validation") and watched[2] in metrics
        cure = f"; validation_{watched[2]} is there where `fit` is given `validation`" if held_out else ""
        raise ValueError(
            f"callbacks: `monitor` must be a column of the history, {list(metrics)}; got {monitor!r}{cure}"
        )
    if best is None:
        return True
    gain = best - metrics[monitor] if monitor.endswith("loss") else metrics[monitor] - best
    return gain > min_delta
