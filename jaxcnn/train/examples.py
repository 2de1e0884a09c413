"""Checks that labeled images fit a model and a loss, before anything is computed."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data import as_pair
from jaxcnn.train.compiled import kept, template
from jaxcnn.train.losses import Classification, LossFunction, Meaning, check_range, loss_function, meaning
from jaxcnn.train.metrics import correct
from jaxcnn.train.network import Network

MOST_IN_CHECK = 2**16  # how many images are checked for the range of their values


def labeled_images(op: str, model: Network, data: Any, name: str, loss: str | LossFunction | None) -> tuple[Any, Any]:
    """(images, labels) as arrays; ValueError or TypeError if they do not fit the model or the loss."""
    check_model(op, model)
    images, labels = as_pair(data, name=name)
    match_images(op, model, images, name)
    labels = np.asarray(labels)
    function, says = loss_function(loss), meaning(loss)
    outputs = kept(model.apply, "outputs", lambda _: _outputs(model))
    outputs = jax.ShapeDtypeStruct((len(images), *outputs.shape[1:]), outputs.dtype)
    if says.activation == "softmax" and not isinstance(loss, Classification):
        _check_no_regression(op, name, labels)
    if says.activation is not None and outputs.ndim == 2:
        _check_classes(op, model, name, labels, outputs.shape[1], says)
    if np.issubdtype(labels.dtype, np.integer) and labels.size:
        least, most = labels.min(), labels.max()
        limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(np.int64))
        if not limits.min <= least <= most <= limits.max:
            raise ValueError(
                f"{op}: the labels of `{name}` must fit {limits.dtype}; got {least} to {most}. Targets so large become "
                "floats by labels.astype(np.float32)"
            )
    described = jax.ShapeDtypeStruct(labels.shape, jax.dtypes.canonicalize_dtype(labels.dtype))
    per_example = jax.eval_shape(function, outputs, described)
    if getattr(per_example, "shape", None) != (len(images),):
        got = getattr(per_example, "shape", type(per_example).__name__)
        raise ValueError(
            f"{op}: `loss` must give one value per example, (N,); got {got} for outputs {outputs.shape} and labels "
            f"{labels.shape}"
        )
    if says.activation is not None:
        jax.eval_shape(correct, outputs, described)
    elif outputs.shape == (len(images), 1) and labels.ndim == 1 and len(images) > 1:
        _check_apart(op, function, outputs, labels)
    return images, labels


def check_model(op: str, model: Network) -> None:
    """TypeError for a network without an `input_shape`."""
    if not hasattr(model, "input_shape"):
        raise TypeError(
            f"{op}: `model` must be a Model; got {type(model).__name__}. "
            "A Layer becomes one by Model(name, layer, input_shape, num_classes)."
        )


def match_images(op: str, model: Network, images: Any, name: str) -> None:
    """ValueError unless the images have the model's input shape; a warning if they are floats of 0 to 255."""
    shape = getattr(images, "shape", ())
    if tuple(shape[1:]) != tuple(model.input_shape):
        raise ValueError(
            f"{op}: `{name}` must hold images of {tuple(model.input_shape)} for {model.name}; got {tuple(shape)}"
        )
    check_pixels(op, images, name)


def check_pixels(op: str, images: Any, name: str) -> None:
    """Warn of float images of 0 to 255: networks expect 0 to 1, and would train badly or predict wrongly."""
    if not jnp.issubdtype(images.dtype, jnp.floating) or not len(images):
        return
    some = np.asarray(images[:: -(-len(images) // MOST_IN_CHECK)] if len(images) > MOST_IN_CHECK else images)
    if some.min() >= 0 and 2 < float(some.max()) < 2**16:
        warnings.warn(
            f"{op}: the images of `{name}` are floats above 2 and none below 0, where 0 to 1 is meant; they look like "
            "pixels of 0 to 255. Divide them by 255, or give them as uint8, which is scaled for you",
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """The `stacklevel` of the user's line that called jaxcnn: Python shows a warning once for each such line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("jaxcnn."):
        frame, level = frame.f_back, level + 1
    return level


def _outputs(model: Network) -> jax.ShapeDtypeStruct:
    """The shape and dtype of the model's output for one image."""
    params, state = template(model)
    image = jax.ShapeDtypeStruct((1, *model.input_shape), jnp.float32)
    return jax.eval_shape(lambda p, s, x: model.apply(p, s, x)[0], params, state, image)


def _check_no_regression(op: str, name: str, labels: np.ndarray) -> None:
    """ValueError for labels (N,) or (N, 1) that are not whole numbers: those of a regression."""
    if (labels.ndim == 1 or labels.shape[1:] == (1,)) and (labels != np.round(labels)).any():
        raise ValueError(
            f"{op}: the labels of `{name}` must be classes; got numbers from {labels.min():g} to {labels.max():g}. A "
            "regression has a loss of its own, (outputs, labels) -> (N,): for labels (N, K) "
            "lambda outputs, labels: jnp.square(outputs - labels).mean(axis=1)"
        )


def _check_classes(op: str, model: Network, name: str, labels: np.ndarray, units: int, says: Meaning) -> None:
    """ValueError unless labels are classes, or probabilities of classes, for a network with so many output units."""
    kept = labels if says.ignore_label is None else labels[labels != says.ignore_label]
    if labels.size and not kept.size:
        raise ValueError(f"{op}: `{name}` must have labels other than {says.ignore_label}, the one that is ignored")
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        highest = max(units, 2) - 1
        if not 0 <= kept.min() <= kept.max() <= highest:
            raise ValueError(
                f"{op}: the labels of `{name}` must be 0 to {highest} for {model.name}; got {kept.min()} to "
                f"{kept.max()}. Examples to leave out have a label of their own: "
                "loss=functools.partial(losses.softmax_cross_entropy, ignore_label=-1)"
            )
    elif says.activation == "sigmoid":
        check_range("sigmoid_binary_cross_entropy", labels, units, says.ignore_label)
    elif labels.shape == (len(labels), units):
        sums = labels.sum(axis=1, dtype=np.float64)
        bad = np.flatnonzero(~(np.abs(sums - 1) <= 1e-2) | (labels < 0).any(axis=1))
        if bad.size:
            raise ValueError(
                f"{op}: the labels of `{name}` must be rows of probabilities that sum to 1; {len(bad):,} of "
                f"{len(labels):,} are not, the first is row {bad[0]}, whose sum is {sums[bad[0]]:g}. Several classes "
                "at once, or none, are for sigmoid_binary_cross_entropy"
            )


def _check_apart(op: str, function: Callable, outputs: jax.ShapeDtypeStruct, labels: np.ndarray) -> None:
    """ValueError where a loss broadcasts outputs (N, 1) and labels (N,) to (N, N) and averages."""
    two = [int(np.argmin(labels)), int(np.argmax(labels))]
    y, z = jnp.asarray(labels[two]), jnp.asarray([[0.25], [0.75]], outputs.dtype)
    together, alone = function(z, y), jnp.concatenate([function(z[:1], y[:1]), function(z[1:], y[1:])])
    if not np.allclose(together, alone, rtol=1e-3, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"{op}: `loss` must give each example a value of its own, but mixes them: outputs {outputs.shape} and "
            f"labels {labels.shape} are broadcast to each other. Give labels[:, None], or use outputs[:, 0] in the loss"
        )
