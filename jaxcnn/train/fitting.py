"""Training a model on labeled images."""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxcnn.data import epoch_plan
from jaxcnn.data.augment import Augment, per_image
from jaxcnn.train.callbacks import Callback, Epoch, checked
from jaxcnn.train.devices import Devices, devices_for, one_behind
from jaxcnn.train.evaluation import means, scores
from jaxcnn.train.examples import labeled_images
from jaxcnn.train.finite import ADVICE, NonFiniteLoss, check_finite, not_finite
from jaxcnn.train.history import History
from jaxcnn.train.integers import whole
from jaxcnn.train.keywords import hinted
from jaxcnn.train.losses import LossFunction, meaning, name_of
from jaxcnn.train.network import Network
from jaxcnn.train.precision import Policy
from jaxcnn.train.run_folder import RunFolder
from jaxcnn.train.state import Initial, TrainState, fingerprint, initial_state
from jaxcnn.train.step import check_ema, make_step, make_steps

# In a notebook without ipywidgets, tqdm warns and draws lines of text; the user can do nothing about that warning.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

DISPATCHES_PER_EPOCH = 25  # the progress bar moves, and Ctrl-C takes effect, between dispatches
MOST_STEPS_PER_DISPATCH = 50


@hinted(positional=2)
def fit(
    model: Network,
    data: Any,
    *,
    validation: Any = None,
    epochs: int,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    loss: str | LossFunction = "softmax_cross_entropy",
    seed: int = 0,
    augment: Augment | None = None,
    initial: Initial | None = None,
    ema: float | None = None,
    policy: Policy | None = None,
    mesh: Mesh | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
) -> tuple[TrainState, History]:
    """Train a model.

    Many steps run in one dispatch, inside a compiled loop, with the data on the device. If the last batch of an epoch
    is short, other images fill it; they do not count in the loss, but batch normalization sees them.

    Args:
      model: a `jaxcnn.models.Model`: `init(key)` and `apply(params, state, x, *, train, key)`. Auxiliary classifiers
        count in the training loss; accuracy and validation are those of the main classifier.
      data: a `Dataset`, or (images, labels): images `(N, *input_shape)`, uint8 (taken as 0 to 1) or floating;
        labels integers `(N,)`, or `(N, C)`; for a loss function of your own, whatever numbers `(N, …)` it takes.
      validation: data as above, evaluated after each epoch; or None.
      epochs: passes over the data.
      batch_size: images per step; no more than there are.
      optimizer: an optax transformation, with its schedule in steps: `optax.cosine_onecycle_schedule(steps, peak)`,
        `optax.cosine_decay_schedule`, `optax.piecewise_constant_schedule`. Clipping, accumulation over k batches and
        groups of parameters also come from optax: `optax.chain(optax.clip_by_global_norm(1.0), optimizer)`,
        `optax.MultiSteps(optimizer, k)`, `optax.partition` (see `group_params`).
      loss: a name from `jaxcnn.train.losses`, usually `model.loss`; one of its functions with options, such as
        `functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1)` or `ignore_label=-1`; or a function of
        your own, `(outputs, labels) -> (N,)`. A function of your own may be for regression, so it has no accuracy, and
        `predict` returns the plain outputs; wrap it in `losses.Classification` if its outputs are logits. Accuracy is
        the share of images whose class is right. With labels `(N, C)` and sigmoid_binary_cross_entropy, where each unit
        is true or false, it is the share of labels that are right.
      seed: decides the initial parameters, the order of the images, augmentation and dropout. The same seed on the same
        machine gives the same run, bit for bit.
      augment: `(key, image) -> image` on one float image, from `jaxcnn.data.augment`.
      initial: parameters and statistics to start from in place of fresh ones: (params, state), or a `TrainState`, of
        which the moving averages are taken if it has them. The given arrays are not changed; the optimizer and its
        schedule start anew.
      ema: the decay, such as 0.999, of a moving average of parameters and statistics (see `make_step`). The averages
        are what is evaluated after each epoch and saved; `train_state.weights` gives them.
      policy: the dtypes of parameters, layers and outputs (see `Policy`); float32 without one.
      mesh: the devices that share each batch, such as `device_mesh(4)` for four; by default all accelerators of this
        process, or the devices of all processes if there are several. Each holds the data and the train state, and
        takes an equal part of each batch; the result is that of one device, but for rounding. Several processes
        (`jax.distributed`) all call this with the same arguments and data; one writes the run folder, which all read.
      callbacks: functions of an `Epoch`, called after each epoch, once it is saved; one that returns True ends the
        training.
      run_dir: a folder for the run (see `jaxcnn.train.run_folder`); or None to write nothing.
      resume: go on with the run in run_dir after its last finished epoch, as if it had not stopped. Give the same data,
        optimizer, augmentation and initial parameters again, since the folder does not hold them. Callbacks start anew.
      progress: False to print nothing.

    Returns:
      (TrainState, History) of the last epoch. With a run_dir the best epoch's model is in model.safetensors.

    Raises:
      ValueError, TypeError: data, labels or options that do not fit together.
      FileExistsError: run_dir holds a run and resume is False. BlockingIOError: another `fit` is writing into it.
      NonFiniteLoss: the loss, a parameter, a statistic or the optimizer's state became infinite or NaN; the message
        names the epoch and step. The last finished epoch is in the run folder or, without one, in the error.

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
    images, labels = labeled_images("fit", model, data, "data", loss)
    epochs, batch_size = whole("fit", "epochs", epochs, 1), whole("fit", "batch_size", batch_size, 1)
    seed = whole("fit", "seed", seed, 0, 2**32 - 1)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"fit: `optimizer` must be an optax transformation, such as optax.adam(1e-3); got {optimizer!r}"
        )
    ema = check_ema("fit", ema)
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(f"fit: `policy` must be a Policy, such as Policy(compute=jnp.bfloat16); got {policy!r}")
    if resume and run_dir is None:
        raise ValueError("fit: `resume` needs a `run_dir` to resume from")
    if not isinstance(run_dir, str | bytes | os.PathLike | None):
        raise TypeError(f"fit: `run_dir` must be a path; got {run_dir!r}")
    if run_dir is not None and not os.fspath(run_dir):
        raise ValueError("fit: `run_dir` must be a folder; got an empty path")
    held_out = None if validation is None else labeled_images("fit", model, validation, "validation", loss)
    devices = devices_for("fit", mesh, images, all_processes=True)
    progress = progress and devices.leads

    columns = ["loss", *(["accuracy"] if meaning(loss).activation else [])]
    columns = ["epoch", *columns, *(f"validation_{name}" for name in columns if held_out), "seconds"]
    callbacks = checked("fit", callbacks, columns)

    init_key, step_key = jax.random.split(jax.random.key(seed))
    train_state = initial_state(model, init_key, optimizer, loss=loss, initial=initial, ema=ema, policy=policy)
    known = not_finite(train_state)
    history = History()
    devices = devices.for_batches(min(batch_size, len(images)), whole=bool(jax.tree.leaves(train_state.state)))
    with contextlib.ExitStack() as stack:
        folder = None
        if run_dir is not None:
            folder = RunFolder(run_dir, model, getattr(data, "classes", None), writes=devices.leads)
            config = {
                "model": model.name,
                "options": dict(model.options),
                "loss": name_of(loss),
                "epochs": epochs,
                "batch_size": batch_size,
                "seed": seed,
                "examples": len(images),
                "validation_examples": None if held_out is None else len(held_out[0]),
                "initial": fingerprint(initial),
                "ema": ema,
                "policy": None if policy is None else str(policy),
                "devices": devices.count,
            }
            stack.enter_context(folder.alone(resume))
            if resume:
                train_state, history = folder.resume(config, train_state)
            else:
                folder.check_empty()
                devices.wait("run folder")  # before one process writes, all have seen what is there
                folder.start(config, train_state)
        devices.check_agree(
            {
                "images": images,
                "labels": labels,
                "the values of `initial` or of the run in `run_dir`": fingerprint(
                    (train_state.params, train_state.state)
                ),
                "epochs": (epochs, len(history)),
                "batch_size": batch_size,
                "seed": seed,
            }
        )
        if batch_size > len(images):
            if progress:
                print(f"fit: a batch holds all {len(images):,} images, since batch_size is {batch_size:,}", flush=True)
            batch_size = len(images)
        if progress and devices.count > 1:
            print(f"fit: {devices.count} devices share each batch of {batch_size:,} images", flush=True)

        apply = model.apply if policy is None else policy(model.apply)
        augment_batch = per_image(augment) if augment else None
        step = make_step(apply, optimizer, augment_batch, ema=ema, auxiliary_weight=model.auxiliary_weight)
        steps = make_steps(step, mesh=devices.mesh)
        train_state, step_key, *on_device = devices.everywhere((train_state, step_key, images, labels))
        lasting: Any = None
        begun = len(history)
        for number in range(begun + 1, epochs + 1):
            start = time.perf_counter()
            plan = epoch_plan(len(images), batch_size, seed=seed, epoch=number - 1)
            label = f"epoch {number}/{epochs}"
            bar = tqdm(total=len(plan[0]), desc=label, leave=False, disable=None if progress else True, unit="step")
            if number == begun + 1:
                bar.set_description(f"{label}, compiling…")
            try:
                with bar:
                    train_state, row = _epoch(steps, train_state, on_device, plan, step_key, devices, label, bar)
                if held_out is not None:
                    held_out_scores = scores(model, train_state, held_out, batch_size, policy, devices)
                    row |= {f"validation_{name}": value for name, value in held_out_scores.items()}
                check_finite(devices.here(train_state), row, label, known)
            except NonFiniteLoss as error:
                kept = NonFiniteLoss(f"{error}. {_finished(history, run_dir, 'This error')}")
                kept.history, kept.train_state = history, lasting
                raise kept from None
            except KeyboardInterrupt as stop:
                stop.add_note(f"fit: {_finished(history, run_dir, None)}.")
                raise
            row = {"epoch": number, **row, "seconds": time.perf_counter() - start}
            history.append(row)
            if folder:
                folder.end_of_epoch(row, history, devices.here(train_state))
            if progress:  # print an epoch only after it is saved
                said = ", ".join(_said(name, value) for name, value in row.items() if name != "epoch")
                print(f"{label}: {said}", flush=True)
            if callbacks or not folder:
                # the next step reuses the buffers of train_state
                lasting = jax.tree.map(jnp.copy, devices.here(train_state))
            answers = [callback(Epoch(number, row, lasting)) for callback in callbacks]
            if devices.any(any(answers)):  # after all callbacks were called
                break
    return devices.here(train_state), history


# ---------------------------------------------------------------------------------------------------------------------


def _epoch(
    steps: Callable,
    train_state: TrainState,
    data: Sequence[jax.Array],
    plan: tuple,
    key: jax.Array,
    devices: Devices,
    label: str,
    bar: tqdm,
) -> tuple[TrainState, dict[str, float]]:
    """Run one epoch in dispatches of many steps; the train state, and the epoch's loss and accuracy."""
    total, batch_size = plan[0].shape
    per_dispatch = min(-(-total // DISPATCHES_PER_EPOCH), MOST_STEPS_PER_DISPATCH)
    unused = devices.filled(batch_size) - batch_size

    def started():
        nonlocal train_state
        for first in range(0, total, per_dispatch):
            parts = [part[first : first + per_dispatch] for part in plan]
            count = len(parts[0])
            fill = [(0, per_dispatch - count), (0, unused)]  # one shape for every dispatch; only `count` steps run
            indices, mask = devices.shared([np.pad(part, fill) for part in parts], axis=1)
            train_state, sums = steps(train_state, *data, indices, mask, count, key)
            yield first, count, sums

    sums = np.zeros(3)
    for first, count, new in one_behind(started()):
        new = np.asarray(new, np.float64)[:count]
        bad = np.flatnonzero(~np.isfinite(new[:, 0]))
        if bad.size:
            raise NonFiniteLoss(
                f"fit: the loss became {new[bad[0], 0]} in {label}, step {first + bad[0] + 1} of {total}. {ADVICE}"
            )
        sums += new.sum(axis=0)
        bar.set_description(label, refresh=False)
        bar.update(count)
        bar.set_postfix({name: f"{value:.4f}" for name, value in means(train_state.loss, *sums).items()})
    return train_state, means(train_state.loss, *sums)


def _finished(history: History, run_dir: Any, holder: str | None) -> str:
    """The message of a training that was stopped: what was finished, and where it is."""
    if not history:
        return "No epoch was finished"
    holds = (
        f"; {run_dir} holds it" if run_dir is not None else f"; {holder} holds it as `train_state`" if holder else ""
    )
    return f"Epoch {len(history)} was the last that finished{holds}"


def _said(name: str, value: float) -> str:
    return f"{value:.1f} s" if name == "seconds" else f"{name.replace('_', ' ')} {value:.4f}"
