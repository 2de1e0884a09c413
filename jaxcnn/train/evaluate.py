"""What a trained net gives for many images: its scores, its probabilities, or just its outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import epoch_plan, to_float
from jaxcnn.train.examples import labelled_images, match_shape
from jaxcnn.train.losses import probabilities
from jaxcnn.train.precision import Policy
from jaxcnn.train.step import TrainState, make_evaluation


def evaluate(
    model: Any, train_state: TrainState, data: Any, *, batch_size: int, policy: Policy | None = None
) -> dict[str, float]:
    """Loss and accuracy on labelled images, exactly those of the whole set at once.

    Args:
      model: as in `fit`.
      train_state: from `fit`, or `TrainState(params, state, loss=model.loss)`; its averages, where it keeps them.
      data: as in `fit`.
      batch_size: images at a time.
      policy: the dtypes, as in `fit`.

    Returns:
      `{"loss": …, "accuracy": …}`.

    Raises:
      ValueError, TypeError: as `fit`.
    """
    pair = labelled_images("evaluate", model, data, "data", train_state.loss)
    return scores(
        make_evaluation(model.apply if policy is None else policy(model.apply)), train_state, pair, batch_size
    )


def predict(
    model: Any, train_state: TrainState, x: Any, *, batch_size: int, policy: Policy | None = None
) -> np.ndarray:
    """Class probabilities.

    Args:
      model, train_state, batch_size, policy: as in `evaluate`.
      x: images `(N, *input_shape)`, uint8 or floating.

    Returns:
      `(N, classes)` as a NumPy array; one sigmoid unit gives two columns.

    Raises:
      ValueError: images that are not of the model's shape.
    """
    match_shape("predict", model, x, "x")
    apply = model.apply if policy is None else policy(model.apply)

    def function(params, state, images):
        return probabilities(train_state.loss, apply(params, state, images)[0])

    return _in_batches(function, *train_state.weights, x, batch_size)


def outputs(layer: Any, params: Any, state: Any, x: Any, *, batch_size: int) -> np.ndarray:
    """What a layer gives for many images: the features of a backbone (`models.features`), or the logits of a model.

    Args:
      layer: a `Layer` or a `Model`.
      params, state: its own; what it does not need may be in them.
      x: images `(N, H, W, C)`, uint8 (taken as 0 to 1) or floating, or what else the layer takes.
      batch_size: how many at a time.

    Returns:
      `(N, …)` as a NumPy array.

    Raises:
      ValueError, TypeError: those of the layer.

    Example:
      >>> from jaxcnn import models
      >>> model, test = models.create("lenet5"), np.zeros((5, 28, 28, 1), np.uint8)
      >>> outputs(model, *model.init(jax.random.key(0)), test, batch_size=2).shape
      (5, 10)
    """
    return _in_batches(lambda p, s, images: layer.apply(p, s, images)[0], params, state, x, batch_size)


def scores(evaluation: Callable, train_state: TrainState, data: tuple, batch_size: int) -> dict[str, float]:
    """Mean loss and accuracy by the sums of a compiled evaluation."""
    images, labels = data
    sums = evaluation(train_state, jnp.asarray(images), jnp.asarray(labels), *epoch_plan(len(images), batch_size))
    loss, right, count = (np.asarray(part, np.float64).sum() for part in sums)
    return {"loss": float(loss / count), "accuracy": float(right / count)}


def _in_batches(function: Callable, params: Any, state: Any, x: Any, batch_size: int) -> np.ndarray:
    @jax.jit
    def compiled(params, state, x):
        return function(params, state, to_float(x))

    parts = [
        np.asarray(compiled(params, state, x[chosen]))[use]
        for chosen, use in zip(*epoch_plan(len(x), batch_size), strict=True)
    ]
    if parts:
        return np.concatenate(parts)
    promised = jax.eval_shape(compiled, params, state, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    return np.zeros((0, *promised.shape[1:]), promised.dtype)
