"""Training, evaluation and prediction of a model on labelled images."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jaxcnn.data import as_pair, epoch_plan, to_float
from jaxcnn.data.augment import Augment, per_image
from jaxcnn.train.callbacks import Callback, Epoch
from jaxcnn.train.history import History
from jaxcnn.train.losses import LossFunction, loss_function, name_of, probabilities
from jaxcnn.train.metrics import correct
from jaxcnn.train.run_folder import RunFolder
from jaxcnn.train.step import TrainState, make_evaluation, make_step, make_steps

DISPATCHES_PER_EPOCH = 25  # how often the progress bar moves and Ctrl-C is heard
MOST_STEPS_PER_DISPATCH = 50
ADVICE = "Lower the learning rate, clip the gradients (optax.clip_by_global_norm) or look for bad pixels or labels"


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or not a number, so no further step can help."""


def fit(
    model: Any,
    data: Any,
    *,
    validation: Any = None,
    epochs: int,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    loss: str | LossFunction = "softmax_cross_entropy",
    seed: int = 0,
    augment: Augment | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | os.PathLike | None = None,
    resume: bool = False,
) -> tuple[TrainState, History]:
    """Train a model.

    Many steps run in one dispatch, inside a compiled loop, with the data on the device. The last batch of an epoch may
    be short: other images fill it, but have no part in the loss (batch normalization does see them).

    Args:
      model: a `jaxcnn.models.Model`: `init(key)` and `apply(params, state, x, *, train, key)`.
      data: a `Dataset`, or (images, labels): images `(N, *input_shape)`, uint8 (taken as 0 to 1) or floating;
        labels integers `(N,)`, or `(N, C)`.
      validation: the same, evaluated after each epoch; or None.
      epochs: passes over the data.
      batch_size: images per step.
      optimizer: an optax transformation, with its schedule in steps.
      loss: a name from `jaxcnn.train.losses`, usually `model.loss`, or a function `(logits, labels) -> (N,)`.
      seed: of the initial parameters, the order of the images, augmentation and dropout. The same seed on the same
        machine gives the same run, bit for bit.
      augment: `(key, image) -> image` on one float image, from `jaxcnn.data.augment`.
      callbacks: functions of an `Epoch`, called after each; one that returns True ends the training.
      run_dir: a folder for the run (see `jaxcnn.train.run_folder`); or None to write nothing.
      resume: go on with the run in run_dir, after its last finished epoch, as if it had not stopped. Give the same
        data, optimizer and augmentation again: they are not in the folder. Callbacks start afresh.

    Returns:
      (TrainState, History) of the last epoch. With a run_dir the best epoch's model is in model.safetensors.

    Raises:
      ValueError, TypeError: data, labels or options that do not fit together.
      FileExistsError: run_dir holds a run and resume is False.
      NonFiniteLoss: names the epoch and step; the run folder keeps the last finished epoch.

    Example:
      >>> from jaxcnn import data, models
      >>> train, test = data.load("digits")
      >>> train_state, history = fit(models.create("digits_cnn"), train[:64], epochs=2, batch_size=32,
      ...                            optimizer=optax.adam(1e-3))
      epoch 1/2: ...
      epoch 2/2: ...
      >>> len(history)
      2
    """
    images, labels = _checked("fit", model, data, "data", loss)
    for name, value, least in (("epochs", epochs, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"fit: `{name}` must be an integer of at least {least}; got {value!r}")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"fit: `optimizer` must be an optax transformation, such as optax.adam(1e-3); got {optimizer!r}"
        )
    if resume and run_dir is None:
        raise ValueError("fit: `resume` needs a `run_dir` to resume from")
    held_out = None if validation is None else _checked("fit", model, validation, "validation", loss)

    init_key, step_key = jax.random.split(jax.random.key(seed))
    train_state = _fresh(model, init_key, optimizer, loss)
    history = History()
    folder = None
    if run_dir is not None:
        folder = RunFolder(run_dir, model, getattr(data, "classes", None))
        config = {
            "model": model.name,
            "options": dict(model.options),
            "loss": name_of(loss),
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "examples": len(images),
            "validation_examples": None if held_out is None else len(held_out[0]),
        }
        if resume:
            train_state, history = folder.resume(config, train_state)
        else:
            folder.start(config, train_state)

    steps = make_steps(make_step(model.apply, optimizer, per_image(augment) if augment else None))
    evaluation = make_evaluation(model.apply)
    on_device = jnp.asarray(images), jnp.asarray(labels)
    for number in range(len(history) + 1, epochs + 1):
        start = time.perf_counter()
        plan = epoch_plan(len(images), batch_size, seed=seed, epoch=number - 1)
        label = f"epoch {number}/{epochs}"
        train_state, row = _epoch(steps, train_state, on_device, plan, step_key, label)
        if held_out is not None:
            scores = _evaluate(evaluation, train_state, held_out, batch_size)
            row |= {f"validation_{name}": value for name, value in scores.items()}
        _check_finite(train_state, row, label)
        row = {"epoch": number, **row, "seconds": time.perf_counter() - start}
        history.append(row)
        print(
            f"{label}: " + ", ".join(_said(name, value) for name, value in row.items() if name != "epoch"), flush=True
        )
        if folder:
            folder.end_of_epoch(row, history, train_state)
        answers = [callback(Epoch(number, row, train_state)) for callback in callbacks]
        if any(answers):  # all were called
            break
    return train_state, history


def evaluate(model: Any, train_state: TrainState, data: Any, *, batch_size: int) -> dict[str, float]:
    """Loss and accuracy on labelled images, exactly those of the whole set at once.

    Args:
      model: as in `fit`.
      train_state: from `fit`, or `TrainState(params, state, loss=model.loss)`.
      data: as in `fit`.
      batch_size: images at a time.

    Returns:
      `{"loss": …, "accuracy": …}`.

    Raises:
      ValueError, TypeError: as `fit`.
    """
    pair = _checked("evaluate", model, data, "data", train_state.loss)
    return _evaluate(make_evaluation(model.apply), train_state, pair, batch_size)


def predict(model: Any, train_state: TrainState, x: Any, *, batch_size: int) -> np.ndarray:
    """Class probabilities.

    Args:
      model, train_state, batch_size: as in `evaluate`.
      x: images `(N, *input_shape)`, uint8 or floating.

    Returns:
      `(N, classes)` as a NumPy array; one sigmoid unit gives two columns.

    Raises:
      ValueError: images that are not of the model's shape.
    """
    _match_shape("predict", model, x, "x")

    @jax.jit
    def batch_probabilities(train_state, images):
        logits, _ = model.apply(train_state.params, train_state.state, to_float(images), train=False)
        return probabilities(train_state.loss, logits)

    indices, mask = epoch_plan(len(x), batch_size)
    parts = [
        np.asarray(batch_probabilities(train_state, x[chosen]))[use] for chosen, use in zip(indices, mask, strict=True)
    ]
    if not parts:
        return np.zeros((0, model.num_classes), np.float32)
    return np.concatenate(parts)


# ---------------------------------------------------------------------------------------------------------------------


def _fresh(model: Any, key: jax.Array, optimizer: optax.GradientTransformation, loss: str | LossFunction) -> TrainState:
    params, state = model.init(key)
    train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), loss)
    return jax.tree.map(jnp.copy, train_state)  # optimizers may keep params itself, but a buffer is donated only once


def _epoch(steps: Callable, train_state: TrainState, data: tuple, plan: tuple, key: jax.Array, label: str):
    """Run one epoch in dispatches of many steps; the train state, and the epoch's loss and accuracy."""
    indices, mask = plan
    total = len(indices)
    per_dispatch = min(-(-total // DISPATCHES_PER_EPOCH), MOST_STEPS_PER_DISPATCH)
    sums = np.zeros(3)
    with tqdm(total=total, desc=label, leave=False, disable=None, unit="step") as bar:
        for first in range(0, total, per_dispatch):
            chosen, use = indices[first : first + per_dispatch], mask[first : first + per_dispatch]
            count = len(chosen)
            fill = [(0, per_dispatch - count), (0, 0)]  # one shape for every dispatch; the rest is not run
            train_state, new = steps(train_state, *data, np.pad(chosen, fill), np.pad(use, fill), count, key)
            new = np.asarray(new, np.float64)[:count]
            bad = np.flatnonzero(~np.isfinite(new[:, 0]))
            if bad.size:
                raise NonFiniteLoss(
                    f"fit: the loss became {new[bad[0], 0]} in {label}, step {first + bad[0] + 1} of {total}. {ADVICE}"
                )
            sums += new.sum(axis=0)
            bar.update(count)
            bar.set_postfix(loss=f"{sums[0] / sums[2]:.4f}", accuracy=f"{sums[1] / sums[2]:.4f}")
    return train_state, {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}


def _check_finite(train_state: TrainState, row: dict[str, float], label: str) -> None:
    """Keep what cannot be gone on with out of the run folder: the training loss is that before each step."""
    if not np.isfinite(row.get("validation_loss", 0.0)):
        raise NonFiniteLoss(f"fit: the validation loss became {row['validation_loss']} after {label}. {ADVICE}")
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(train_state.params)):
        raise NonFiniteLoss(f"fit: parameters became infinite or not a number by the end of {label}. {ADVICE}")


def _evaluate(evaluation: Callable, train_state: TrainState, data: tuple, batch_size: int) -> dict[str, float]:
    images, labels = data
    sums = evaluation(train_state, jnp.asarray(images), jnp.asarray(labels), *epoch_plan(len(images), batch_size))
    loss, right, count = (np.asarray(part, np.float64).sum() for part in sums)
    return {"loss": float(loss / count), "accuracy": float(right / count)}


def _checked(op: str, model: Any, data: Any, name: str, loss: str | LossFunction) -> tuple[Any, Any]:
    """(images, labels) that fit the model and the loss, found out before anything is computed."""
    if not hasattr(model, "input_shape"):
        raise TypeError(
            f"{op}: `model` must be a Model; got {type(model).__name__}. "
            "A Layer becomes one by Model(name, layer, input_shape, num_classes)."
        )
    images, labels = as_pair(data, name=name)
    _match_shape(op, model, images, name)
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


def _match_shape(op: str, model: Any, images: Any, name: str) -> None:
    shape = getattr(images, "shape", ())
    if tuple(shape[1:]) != tuple(model.input_shape):
        raise ValueError(
            f"{op}: `{name}` must hold images of {tuple(model.input_shape)} for {model.name}; got {tuple(shape)}"
        )


def _said(name: str, value: float) -> str:
    return f"{value:.1f} s" if name == "seconds" else f"{name.replace('_', ' ')} {value:.4f}"
