"""The score of a run: its model on test images."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from jaxcnn.data import Dataset
from jaxcnn.train.evaluation import evaluate, predict
from jaxcnn.train.metrics import confusion_matrix
from jaxcnn.train.run_folder import load_model
from jaxcnn.train.state import TrainState

BATCH_SIZE = 256


@dataclass(frozen=True)
class Score:
    """A run's model on test images.

    Args:
      scores: loss and accuracy.
      matrix: the confusion matrix `(true, predicted)`.
      probabilities: (N, classes).
    """

    scores: dict[str, float]
    matrix: np.ndarray
    probabilities: np.ndarray


def score(run_dir: str | os.PathLike, test: Dataset, *, mesh: Mesh | None = None) -> Score:
    """Evaluate a run's model on test images.

    Args:
      run_dir: the folder that `fit` wrote.
      test: labeled images.
      mesh: the devices, as in `evaluate`.

    Returns:
      A `Score`.

    Raises:
      FileNotFoundError: no model in the folder. WeightsError: a damaged model. ValueError: a model trained with a loss
        function of your own, whose outputs are no probabilities of classes.
    """
    model, params, state = load_model(Path(run_dir))
    train_state = TrainState(params, state, loss=model.loss)
    if model.loss is None:
        raise ValueError(
            f"score: {run_dir} holds a model trained by a loss of one's own, whose outputs are no probabilities; "
            "train.predict gives them as they are"
        )
    scores = evaluate(model, train_state, test, batch_size=BATCH_SIZE, mesh=mesh)
    probabilities = predict(model, train_state, test.images, batch_size=BATCH_SIZE, mesh=mesh)
    matrix = confusion_matrix(probabilities.argmax(axis=-1), test.labels, probabilities.shape[1])
    return Score(scores, matrix, probabilities)
