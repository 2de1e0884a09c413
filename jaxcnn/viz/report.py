"""What a finished run shows: its score on images it has not seen, and the pictures of its folder."""

import os
from pathlib import Path

import numpy as np

from jaxcnn import weights
from jaxcnn.data import Dataset
from jaxcnn.train import History, TrainState, evaluate, predict
from jaxcnn.train.metrics import confusion_matrix
from jaxcnn.viz.style import save
from jaxcnn.viz.training import confusion, curves, samples
from jaxcnn.weights.files import write_json

BATCH_SIZE = 256


def report(run_dir: str | os.PathLike, test: Dataset) -> tuple[dict[str, float], np.ndarray]:
    """Evaluate a run's model on test images; write result.json, curves.png, confusion.png and samples.png beside it.

    Args:
      run_dir: the folder that `fit` wrote.
      test: labelled images.

    Returns:
      (scores, matrix): loss and accuracy, and the confusion matrix `(true, predicted)`.

    Raises:
      FileNotFoundError: no model in the folder. WeightsError: a damaged one.
    """
    run_dir = Path(run_dir)
    model, params, state, about = weights.load_model(run_dir / "model.safetensors")
    train_state = TrainState(params, state, loss=about["loss"])
    scores = evaluate(model, train_state, test, batch_size=BATCH_SIZE)
    probabilities = predict(model, train_state, test.images, batch_size=BATCH_SIZE)
    matrix = confusion_matrix(probabilities.argmax(axis=-1), test.labels, model.num_classes)
    write_json(run_dir / "result.json", {f"test_{name}": value for name, value in scores.items()})
    if (run_dir / "metrics.csv").exists():  # not so for a run that was stopped in its first epoch
        save(curves(History.from_csv(run_dir / "metrics.csv")), run_dir / "curves.png")
    save(confusion(matrix, test.classes), run_dir / "confusion.png")
    save(samples(test.images, test.labels, probabilities, test.classes), run_dir / "samples.png")
    return scores, matrix
