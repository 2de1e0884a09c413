"""Labelled images that fit a model and a loss: found out before anything is computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import as_pair
from jaxcnn.train.losses import LossFunction, loss_function
from jaxcnn.train.metrics import correct


def labelled_images(op: str, model: Any, data: Any, name: str, loss: str | LossFunction) -> tuple[Any, Any]:
    """(images, labels) as arrays; ValueError or TypeError if they do not fit the model or the loss."""
    if not hasattr(model, "input_shape"):
        raise TypeError(
            f"{op}: `model` must be a Model; got {type(model).__name__}. "
            "A Layer becomes one by Model(name, layer, input_shape, num_classes)."
        )
    images, labels = as_pair(data, name=name)
    match_shape(op, model, images, name)
    labels = np.asarray(labels)
    if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < model.num_classes:
        raise ValueError(
            f"{op}: the labels of `{name}` must be 0 to {model.num_classes - 1} for {model.name}; "
            f"got {labels.min()} to {labels.max()}"
        )
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    logits = jax.eval_shape(
        lambda p, s, x: model.apply(p, s, x)[0],
        params,
        state,
        jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32),
    )
    one = jax.ShapeDtypeStruct((1, *labels.shape[1:]), labels.dtype)
    per_example = jax.eval_shape(loss_function(loss), logits, one)
    if per_example.shape != (1,):
        raise ValueError(f"{op}: `loss` must give one value per example, (N,); got {per_example.shape} for N = 1")
    jax.eval_shape(correct, logits, one)
    return images, labels


def match_shape(op: str, model: Any, images: Any, name: str) -> None:
    """ValueError unless the images are of the model's shape."""
    shape = getattr(images, "shape", ())
    if tuple(shape[1:]) != tuple(model.input_shape):
        raise ValueError(
            f"{op}: `{name}` must hold images of {tuple(model.input_shape)} for {model.name}; got {tuple(shape)}"
        )
