"""The content of a run folder: the epochs that are finished, and the model."""

import shlex
from pathlib import Path

from jaxcnn import weights
from jaxcnn.cli.wording import UsageError
from jaxcnn.data import DataError
from jaxcnn.files import tensors
from jaxcnn.models import Model
from jaxcnn.train import TrainState
from jaxcnn.weights import WeightsError

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"


def is_begun(run_dir: Path) -> bool:
    """Whether the folder holds a run that can be resumed."""
    return (run_dir / CHECKPOINT).is_file()


def finished_epochs(run_dir: Path) -> int:
    """How many epochs a run has finished, by its checkpoint; DataError if the checkpoint is damaged."""
    file = run_dir / CHECKPOINT
    if not file.is_file():
        return 0
    try:
        return len(tensors.metadata(file)["history"])
    except WeightsError:
        raise
    except Exception as error:  # whatever the file holds in place of a history
        raise DataError(file, "the history of a run", f"{type(error).__name__}: {error}") from None


def go_on_by(run_dir: Path) -> str:
    """The command line that resumes a run."""
    return f"jaxcnn train --resume {shlex.quote(str(run_dir))}"


def load_model(run: Path) -> tuple[Model, TrainState, dict]:
    """The model, the weights and their description in a run folder, or in a .safetensors file that jaxcnn wrote.

    Raises:
      UsageError: no such folder, or a run without a finished epoch.
      WeightsError: a damaged file.
    """
    file = run if run.suffix == ".safetensors" and run.is_file() else run / MODEL
    if file.parent == run:
        if not run.is_dir():
            raise UsageError(f"{run} is not a run folder: {'it is a file' if run.exists() else 'there is none'}")
        if is_begun(run) and not finished_epochs(run):
            raise UsageError(
                f"{run}: no epoch was finished, so there is no trained model; {go_on_by(run)} starts again"
            )
        if not file.exists():
            cure = f"; {go_on_by(run)} trains one" if (run / "command.json").exists() else ""
            raise UsageError(f"{run} is not a run folder with a model: it has no {MODEL}{cure}")
    model, params, state, about = weights.load_model(file)
    return model, TrainState(params, state, loss=model.loss), about
