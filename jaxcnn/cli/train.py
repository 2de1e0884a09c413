"""`jaxcnn train`: a run from the flags to the report, stopped or not."""

import contextlib
import datetime
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optax

from jaxcnn import data, train, weights
from jaxcnn.cli import accelerators, run, settings
from jaxcnn.cli.arguments import MOST, Parser, devices, number, one_of, path, size, whole
from jaxcnn.cli.evaluate import report
from jaxcnn.cli.exit_codes import DONE, FAILED, INTERRUPTED, TERMINATED
from jaxcnn.cli.recipes import AUGMENTS, fitting, images, with_validation
from jaxcnn.cli.settings import Settings
from jaxcnn.cli.wording import NONE, UsageError, own_words, plural
from jaxcnn.data import augment
from jaxcnn.models import Model, create, names

HELP = "Train a model and leave a run folder: metrics, curves, confusion, sample predictions, weights, checkpoint."


def arguments(parser: Parser) -> None:
    """The flags of `train`."""
    add = parser.add_argument
    suits = "by default what suits the dataset"
    add("--model", metavar="MODEL", type=one_of("model", names()), help=f"one of jaxcnn models; {suits}")
    add(
        "--dataset",
        metavar="DATASET",
        type=one_of("dataset", data.names()),
        help="one of jaxcnn datasets; by default digits, which needs no download",
    )
    add("--classes", metavar="CLASS", nargs="+", help="only the images of these classes; all when not given")
    add(
        "--size",
        metavar="N",
        type=size,
        help="of an image folder: the pixels that its images are resized to, N×N or HEIGHTxWIDTH; by default what the "
        "model was made for",
    )
    add("--epochs", metavar="N", type=whole(1), help=f"passes over the training images; {suits}")
    add("--batch-size", metavar="N", type=whole(1), help=f"images per step; {suits}")
    add(
        "--learning-rate",
        metavar="RATE",
        type=number(above=0),
        help="peak of the one-cycle schedule of AdamW; by default 0.002",
    )
    add("--weight-decay", metavar="RATE", type=number(least=0), help="of AdamW; by default 0.01")
    add(
        "--augment",
        metavar="WORD",
        nargs="*",
        type=one_of("augment", [*AUGMENTS, NONE]),
        help=f"any of flip, shift (1 pixel), crop (after padding by 4), cutout (8 pixels), or none; {suits}",
    )
    add(
        "--validation",
        metavar="PART",
        type=number(least=0, below=1),
        help="the part of the training images kept aside to watch the training by, 0 for none; by default 0.1",
    )
    add(
        "--keep",
        metavar="last|best",
        type=one_of("choice", ["last", "best"]),
        help="which epoch's model stays: by default the last, when the learning rate has come down to zero, or the "
        "best by validation loss. A best of many on few images is luck: on the digits it makes 4 mistakes, the last 2 "
        "(means of 4 seeds)",
    )
    add(
        "--patience",
        metavar="N",
        type=whole(1),
        help="with --keep best: stop after this many epochs without a better validation loss",
    )
    add(
        "--seed",
        metavar="N",
        type=whole(0),
        help="of everything random, by default 0; the same seed on the same machine gives the same run",
    )
    add(
        "--skip-unreadable", action="store_true", help="leave out images of a folder that cannot be read, and name them"
    )
    add(
        "--devices",
        metavar="all|N",
        type=devices,
        help="how many devices share each batch; by default all GPUs or TPUs that JAX has here. The result is that of "
        "one, but for rounding",
    )
    add(
        "--data-dir",
        metavar="FOLDER",
        type=path,
        help="where the dataset's files are; fetched into a cache when not given",
    )
    add("--run-dir", metavar="RUN", type=path, help="where the run goes; by default runs/DATASET-MODEL-TIME")
    add(
        "--resume",
        metavar="RUN",
        nargs="?",
        const=True,
        type=path,
        help="go on with this run (or that of --run-dir) as it began; only --epochs, --devices and "
        "--data-dir may be others. With --run-dir a run that has not begun is begun, so that one command serves until "
        "all is done",
    )


def command(given: Mapping[str, Any]) -> int:
    """Train with the given flags; 0, or 1 if the training did not reach its end."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if NONE in given.get("augment", ()):
        if len(given["augment"]) > 1:
            raise UsageError(f"--augment {NONE} stands alone; got {' '.join(given['augment'])}")
        given["augment"] = ()
    run_dir, asked, finished = _place(given)
    shape = data.describe(asked.dataset).image_shape or asked.shape
    accelerators.mesh(asked.devices)
    fitting(asked.model, shape, create(asked.model).num_classes)  # an error before anything is read
    splits = images(asked.dataset, asked.data_dir, shape, asked.classes, skip_unreadable=asked.skip_unreadable)
    model = fitting(asked.model, splits.train.input_shape, len(splits.train.classes))
    training, held_out = with_validation(splits.train, asked.validation)
    if (steps := _steps(asked, training)) > MOST:
        raise UsageError(f"--epochs {asked.epochs} takes {steps:,} steps, more than the {MOST:,} that can be counted")
    print(
        f"{asked.model} on {asked.dataset}: {plural(len(training), 'image')}, {plural(asked.epochs, 'epoch')}; "
        f"run folder {run_dir}" + (f", {plural(finished, 'epoch')} done" if finished else ""),
        flush=True,
    )
    settings.write(run_dir, asked)
    try:
        with _ended_by_sigterm():
            train_state = _trained(model, training, held_out, asked, run_dir)
    except (KeyboardInterrupt, train.NonFiniteLoss) as stop:
        _tell_of(stop, asked, run_dir, splits.test)
        return TERMINATED if "TERM" in stop.args else INTERRUPTED if isinstance(stop, KeyboardInterrupt) else FAILED
    if asked.keep == "last":
        _save(run_dir, model, train_state, training)
    _, written = report(run_dir, splits.test, accelerators.mesh(asked.devices))
    return DONE if written else FAILED


# ---------------------------------------------------------------------------------------------------------------------


def _place(given: Mapping[str, Any]) -> tuple[Path, Settings, int]:
    """The run folder, all settings, and how many epochs are finished."""
    resume = given.get("resume")
    if resume is True:
        resume = given.get("run_dir")
        if resume is None:
            raise UsageError("--resume needs the run folder: jaxcnn train --resume RUN")
    elif resume is not None and given.get("run_dir", resume) != resume:
        raise UsageError(f"--resume {resume} and --run-dir {given['run_dir']} are two folders; give one")
    for folder, flag in ((resume, "--resume"), (given.get("run_dir"), "--run-dir")):
        if folder is not None and folder.exists() and not folder.is_dir():
            beside = run.is_begun(folder.parent)
            hint = f"; did you mean {shlex.quote(str(folder.parent))}?" if beside else ""
            raise UsageError(f"{flag} is a run's folder, and {folder} is a file{hint}")
    if resume is None:
        asked = settings.settings(given)
        usual = Path("runs", f"{asked.dataset}-{asked.model}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
        run_dir = given.get("run_dir", usual)
        if run.is_begun(run_dir):
            raise FileExistsError(
                f"{run_dir} holds a run already; {run.go_on_by(run_dir)} goes on with it, another --run-dir begins anew"
            )
        return run_dir, asked, 0
    if (resume / settings.FILE).exists():
        finished = run.finished_epochs(resume)
        asked = settings.gone_on_with(settings.read(resume), given, resume, finished)
        if run.is_begun(resume):
            config = resume / "config.json"
            if "model" not in settings.read_json(config):  # an error about the file should name it
                raise data.DataError(config, "what was asked of the training", "no model")
        else:
            print(f"{resume} has no checkpoint yet: begun anew", flush=True)
        return resume, asked, finished
    if run.is_begun(resume):
        raise UsageError(
            f"{resume} was not written by `jaxcnn train`: it has no {settings.FILE}, which says of what data"
        )
    if not given.keys() - {"resume"}:
        begin = f"jaxcnn train --run-dir {shlex.quote(str(resume))}"
        raise UsageError(f"{resume} holds no run to go on with; {begin} begins one")
    print(f"{resume} holds no run yet: begun anew", flush=True)
    return resume, settings.settings(given), 0


def _steps(asked: Settings, training: data.Dataset) -> int:
    return asked.epochs * -(-len(training) // asked.batch_size)


def _trained(
    model: Model, training: data.Dataset, held_out: data.Dataset | None, asked: Settings, run_dir: Path
) -> train.TrainState:
    batch_size = min(asked.batch_size, len(training))
    if batch_size < asked.batch_size:
        print(f"a batch of {asked.batch_size:,} is more than there are images: each step takes all {batch_size:,}")
    # With fewer than 4 steps, a warm-up of 30 % has no step, and the oldest optax would divide by 0.
    steps = max(_steps(asked, training), 4)
    callbacks: list[train.Callback] = []
    if asked.patience:
        callbacks.append(train.EarlyStopping(patience=asked.patience))
    if asked.keep == "last":  # `fit` writes the best: what is there must be the last one also when the run is killed
        callbacks.append(lambda epoch: _save(run_dir, model, epoch.train_state, training))
    varied = [AUGMENTS[word] for word in asked.augment]
    train_state, _ = train.fit(
        model,
        training,
        validation=held_out,
        epochs=asked.epochs,
        batch_size=batch_size,
        optimizer=optax.adamw(
            optax.cosine_onecycle_schedule(steps, asked.learning_rate), weight_decay=asked.weight_decay
        ),
        loss=model.loss,
        seed=asked.seed,
        augment=augment.chain(*varied) if varied else None,
        mesh=accelerators.mesh(asked.devices),
        callbacks=callbacks,
        run_dir=run_dir,
        resume=run.is_begun(run_dir),
    )
    return train_state


def _save(run_dir: Path, model: Model, train_state: train.TrainState, training: data.Dataset) -> None:
    weights.save(run_dir / run.MODEL, model, train_state.params, train_state.state, classes=training.classes)


def _tell_of(stop: BaseException, asked: Settings, run_dir: Path, test: data.Dataset) -> None:
    """Print how far a stopped training came, and the command that resumes it."""
    finished = run.finished_epochs(run_dir)
    by_hand = isinstance(stop, KeyboardInterrupt)
    if by_hand:
        print(file=sys.stderr)  # a new line after ^C and the rest of the progress bar
    if finished:
        report(run_dir, test, accelerators.mesh(asked.devices))
    if by_hand:
        where = f"after epoch {finished} of {asked.epochs}" if finished else "before an epoch was finished"
        print(f"jaxcnn: stopped {where}; to go on: {run.go_on_by(run_dir)}", file=sys.stderr, flush=True)
        return
    where = f"{run_dir} keeps epoch {finished}" if finished else f"no epoch was finished, {run_dir} has no model"
    anew = settings.as_command(Settings(**(vars(asked) | {"learning_rate": asked.learning_rate / 10})))
    print(
        f"jaxcnn: {own_words(str(stop)).removeprefix('fit: ').partition('. ')[0]}; {where}. "
        f"Lower the learning rate: {anew}, or look for bad pixels or labels",
        file=sys.stderr,
        flush=True,
    )


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM stops the training as Ctrl-C does."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt("TERM")

    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
