"""The folder of a run: its settings, versions and metrics, the best model, and a checkpoint to resume from.

    config.json                      the arguments of `fit`
    versions.json                    Python, the libraries and the device
    metrics.csv                      one row per epoch
    model.safetensors, model.json    the best epoch's model (by validation loss; without validation, the last); there
                                     is none before an epoch was finished
    checkpoint.safetensors           the last epoch's train state, to resume from

Each file is replaced as a whole, so the folder is usable at any moment.
"""

import contextlib
import dataclasses
import errno
import importlib.metadata
import json
import operator
import os
import platform
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcnn import weights
from jaxcnn.files import tensors
from jaxcnn.files.json_files import read_json, write_json
from jaxcnn.files.whole import remove_temporaries
from jaxcnn.train.callbacks import better
from jaxcnn.train.compiled import template
from jaxcnn.train.history import History
from jaxcnn.train.losses import meaning
from jaxcnn.train.state import TrainState
from jaxcnn.weights.saved import are_named

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PACKAGES = ("jaxcnn", "jax", "jaxlib", "optax", "numpy", "safetensors")
FILES = ("config.json", "versions.json", "metrics.csv", "model.safetensors", "model.json", "checkpoint.safetensors")
NAMES = {"softmax": "softmax_cross_entropy", "sigmoid": "sigmoid_binary_cross_entropy", None: None}  # by activation
BUSY = (errno.EAGAIN, errno.EACCES)


class RunFolder:
    """Writes a run to its folder, and reads it back to resume. Of several processes one writes, and all read."""

    def __init__(self, path: str | os.PathLike, model: Any, classes: Sequence[str] | None, *, writes: bool) -> None:
        self.path, self.model, self.classes, self.writes = Path(path), model, classes, writes
        self.best: float | None = None

    @contextlib.contextmanager
    def alone(self, resume: bool) -> Iterator[None]:
        """While the block runs, no other `fit` writes into the folder; half-written files of a killed one are removed.

        The operating system releases the folder when the process ends, even if it is killed.

        Raises:
          BlockingIOError: another `fit` is writing into the folder.
          FileNotFoundError: `resume` is True, and the folder holds no run.
          NotADirectoryError, IsADirectoryError: a file in the folder's place, or a folder in a file's.
        """
        if (self.path.exists() or self.path.is_symlink()) and not self.path.is_dir():
            what = "a file" if self.path.exists() else "a link to nothing"
            raise NotADirectoryError(f"fit: `run_dir` must be a folder; {self.path} is {what}")
        for file in (self.path / name for name in FILES):
            if file.is_dir():  # an error now, not when the first epoch is saved
                raise IsADirectoryError(f"fit: a run writes the file {file}, but a folder is in its place")
        if resume and not (self.path / "checkpoint.safetensors").is_file():
            file = self.path / "checkpoint.safetensors"
            raise FileNotFoundError(f"fit: `resume` needs a run in `run_dir`, but {file} does not exist")
        if not self.writes:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with _locked(self.path):
            remove_temporaries(self.path)
            yield

    def check_empty(self) -> None:
        """FileExistsError if the folder holds a run already."""
        if (self.path / "checkpoint.safetensors").exists():
            raise FileExistsError(
                f"fit: `run_dir` {self.path} holds a run already; pass resume=True to go on with it, or another folder"
            )

    def start(self, config: dict[str, Any], train_state: TrainState) -> None:
        """Begin a new run."""
        if not self.writes:
            return
        write_json(self.path / "config.json", _plain(config))
        write_json(self.path / "versions.json", versions())
        self._write_checkpoint(train_state, History())

    def resume(self, config: dict[str, Any], train_state: TrainState) -> tuple[TrainState, History]:
        """The train state and history of the last finished epoch.

        Raises:
          ValueError: the run has another configuration (the numbers of epochs and devices may differ), and the message
            names what differs; or config.json is broken. WeightsError: a damaged checkpoint.
        """
        file = self.path / "checkpoint.safetensors"
        check_settings(self.path / "config.json", config, free=("epochs", "devices"))
        train_state = tensors.read(file, train_state)
        history = _history(file)
        for row in history.rows:
            self._beats(row)
        if history.rows and self.writes:
            history.to_csv(self.path / "metrics.csv")  # from the checkpoint, so a damaged table is replaced
        if self.writes:
            write_json(self.path / "config.json", _plain(config))
        return train_state, history

    def end_of_epoch(self, row: dict[str, float], history: History, train_state: TrainState) -> None:
        """Write the model if it is the best so far, then the history, and last the checkpoint."""
        best = self._beats(row)
        if not self.writes:
            return
        if best:
            self._write_model(train_state)
        history.to_csv(self.path / "metrics.csv")
        self._write_checkpoint(train_state, history)

    def _beats(self, row: dict[str, float]) -> bool:
        """Whether an epoch has the best validation loss so far; with few images, many share the best accuracy."""
        if "validation_loss" not in row:
            return True
        if not better(row, "validation_loss", self.best):
            return False
        self.best = row["validation_loss"]
        return True

    def _write_model(self, train_state: TrainState) -> None:
        # The model is saved in its own dtypes, whatever the policy of the training.
        params, state = jax.tree.map(
            lambda leaf, own: leaf.astype(own.dtype), train_state.weights, template(self.model)
        )
        # The file names the activation that turns outputs into predictions: none for a loss function of the user.
        model = dataclasses.replace(self.model, loss=NAMES[meaning(train_state.loss).activation])
        names = self.classes if self.classes and are_named(model, self.classes) else None
        weights.save(self.path / "model.safetensors", model, params, state, classes=names)

    def _write_checkpoint(self, train_state: TrainState, history: History) -> None:
        tensors.write(self.path / "checkpoint.safetensors", train_state, {"history": history.rows})


def load_model(run_dir: Path) -> tuple[Any, Any, Any]:
    """The best epoch's (model, params, state); FileNotFoundError if there is none yet."""
    model, params, state, _ = weights.load_model(run_dir / "model.safetensors")
    return model, params, state


def check_settings(file: str | os.PathLike, settings: Mapping[str, Any], *, free: Container[str] = ()) -> None:
    """Raise an error if a run was begun with other settings.

    `fit` compares config.json this way. A command can do the same with a file of its own, for settings that `fit` does
    not know: learning rate, augmentation, which epoch's model to keep. Write that file when the run starts, so that a
    run that is stopped has it, too.

    Args:
      file: the run's file, a JSON object with its settings.
      settings: the settings to compare it with.
      free: names of settings that may differ.

    Raises:
      FileNotFoundError: no such file. ValueError: it holds no JSON object, or settings differ; names each with both
        values.
    """
    old, new = read_settings(file), _plain(settings)
    differing = [name for name in new if name not in free and new[name] != old.get(name)]
    if differing:
        changes = "; ".join(f"{name} was {old.get(name)!r}, is {new[name]!r}" for name in differing)
        raise ValueError(f"fit: `resume` goes on with the same run, but {changes} ({file})")


def read_settings(file: str | os.PathLike) -> dict[str, Any]:
    """The JSON object in a file; if there is none, an error that names the file."""
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, though the run beside it needs one")
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: expected a JSON object with the settings of a run, found {error}") from None


def versions() -> dict[str, str]:
    """The versions of Python and the libraries, and the name of the device."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "device": f"{jax.device_count()} × {device.platform} ({device.device_kind}), {os.cpu_count()} cores",
    }


# ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, if the file system can, without a lock file, which a killed process would leave behind."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                raise BlockingIOError(
                    error.errno, f"fit: `run_dir` {folder} is being written by another training; give each its own"
                ) from None
        yield
    finally:
        os.close(handle)


def _history(checkpoint: Path) -> History:
    """The history in a checkpoint; a WeightsError names a checkpoint without one."""
    about: Any = tensors.metadata(checkpoint)
    rows: Any = about.get("history") if isinstance(about, dict) else None
    history = History()
    try:
        for row in rows:
            if not all(isinstance(value, int | float) for value in row.values()):
                raise TypeError
            history.append(dict(row))
    except (TypeError, AttributeError, ValueError):
        raise weights.WeightsError(
            f"{checkpoint}: expected the history of a run in its metadata, found {rows!r:.200}"
        ) from None
    return history


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as JSON would give them back; NumPy integers become ints."""
    return json.loads(json.dumps(dict(settings), default=lambda value: operator.index(value)))
