"""The report of a finished run: its score on test images, and the pictures of its folder."""

import csv
import os
from pathlib import Path

import numpy as np

from jaxcnn.data import DataError, Dataset
from jaxcnn.files.json_files import write_json
from jaxcnn.train import History, Score, score
from jaxcnn.viz.style import save
from jaxcnn.viz.training import confusion, curves, samples


def report(run_dir: str | os.PathLike, test: Dataset) -> tuple[dict[str, float], np.ndarray]:
    """Evaluate a run's model on test images; write result.json, curves.png, confusion.png and samples.png beside it.

    Args:
      run_dir: the folder that `fit` wrote.
      test: labeled images.

    Returns:
      (scores, matrix): loss and accuracy, and the confusion matrix `(true, predicted)`.

    Raises:
      FileNotFoundError: no model in the folder. WeightsError: a damaged model. ValueError: a model trained with a loss
        function of your own, whose outputs are no probabilities of classes.
    """
    found = score(run_dir, test)
    write_report(run_dir, test, found)
    return found.scores, found.matrix


def write_report(run_dir: str | os.PathLike, test: Dataset, found: Score) -> None:
    """Write result.json and the pictures into a run's folder; OSError if they cannot be written."""
    run_dir = Path(run_dir)
    write_json(run_dir / "result.json", {f"test_{name}": value for name, value in found.scores.items()})
    if (run_dir / "metrics.csv").exists():
        save(curves(_history(run_dir / "metrics.csv")), run_dir / "curves.png")
    save(confusion(found.matrix, test.classes), run_dir / "confusion.png")
    save(samples(test.images, test.labels, found.probabilities, test.classes), run_dir / "samples.png")


def _history(path: Path) -> History:
    """The epochs of a run; DataError naming the file where they cannot be read."""
    try:
        history = History.from_csv(path)
    except (ValueError, csv.Error) as error:
        raise DataError(path, "a row of numbers per epoch", str(error)) from None
    if not len(history):
        raise DataError(path, "a row of numbers per epoch", "none")
    return history
