"""The folder of a run: what was asked, with which versions, what came of each epoch, the best model, and how to go on.

    config.json                      what was asked of `fit`
    versions.json                    of Python, the libraries and the device
    metrics.csv                      one row per epoch
    model.safetensors, model.json    the best epoch's model (by validation loss; without validation, the last)
    checkpoint.safetensors           the last epoch's train state, to resume from

Each file is replaced as a whole, so the folder is usable at any moment.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcnn import weights
from jaxcnn.train.callbacks import better
from jaxcnn.train.history import History
from jaxcnn.train.step import TrainState
from jaxcnn.weights import tensors
from jaxcnn.weights.files import write_json

PACKAGES = ("jaxcnn", "jax", "jaxlib", "optax", "numpy", "safetensors")


class RunFolder:
    """Writes a run, and reads it back to go on."""

    def __init__(self, path: str | os.PathLike, model: Any, classes: Sequence[str] | None) -> None:
        self.path, self.model, self.classes = Path(path), model, classes
        self.best: float | None = None

    def start(self, config: dict[str, Any], train_state: TrainState) -> None:
        """A new run. FileExistsError if the folder holds one already."""
        if (self.path / "checkpoint.safetensors").exists():
            raise FileExistsError(
                f"fit: `run_dir` {self.path} holds a run already; pass resume=True to go on with it, or another folder"
            )
        write_json(self.path / "config.json", config)
        write_json(self.path / "versions.json", versions())
        self._write_model(train_state)
        self._write_checkpoint(train_state, History())

    def resume(self, config: dict[str, Any], train_state: TrainState) -> tuple[TrainState, History]:
        """The train state and history of the last finished epoch.

        Raises:
          FileNotFoundError: no run in the folder.
          ValueError: a run with another configuration (but for the number of epochs), naming what differs.
          WeightsError: a damaged checkpoint.
        """
        file = self.path / "checkpoint.safetensors"
        if not file.exists():
            raise FileNotFoundError(f"fit: `resume` needs a run in `run_dir`, but {file} does not exist")
        old = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        new = json.loads(json.dumps(config))
        differing = [name for name in new if name != "epochs" and new[name] != old.get(name)]
        if differing:
            changes = "; ".join(f"{name} was {old.get(name)!r}, is {new[name]!r}" for name in differing)
            raise ValueError(f"fit: `resume` goes on with the same run, but {changes}")
        write_json(self.path / "config.json", config)
        train_state = tensors.read(file, train_state)
        history = History()
        for row in tensors.metadata(file)["history"]:
            history.append(row)
            self._beats(row)
        return train_state, history

    def end_of_epoch(self, row: dict[str, float], history: History, train_state: TrainState) -> None:
        """Write what is new: the model if it is the best, the history, last the checkpoint that vouches for them."""
        if self._beats(row):
            self._write_model(train_state)
        history.to_csv(self.path / "metrics.csv")
        self._write_checkpoint(train_state, history)

    def _beats(self, row: dict[str, float]) -> bool:
        """By validation loss: among a few images many epochs share the best accuracy, and an early one would win."""
        if "validation_loss" not in row:
            return True
        if not better(row, "validation_loss", self.best):
            return False
        self.best = row["validation_loss"]
        return True

    def _write_model(self, train_state: TrainState) -> None:
        template = jax.eval_shape(self.model.init, jax.random.key(0))
        # In the model's own dtypes, whatever the policy of the training.
        params, state = jax.tree.map(lambda leaf, own: leaf.astype(own.dtype), train_state.weights, template)
        weights.save(self.path / "model.safetensors", self.model, params, state, classes=self.classes)

    def _write_checkpoint(self, train_state: TrainState, history: History) -> None:
        tensors.write(self.path / "checkpoint.safetensors", train_state, {"history": history.rows})


def versions() -> dict[str, str]:
    """Versions of Python and the libraries, and the device that is computed on."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "device": f"{jax.device_count()} × {device.platform} ({device.device_kind}), {os.cpu_count()} cores",
    }
