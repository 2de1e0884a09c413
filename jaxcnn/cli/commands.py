"""The subcommands: each a set of flags and what it prints."""

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import optax
import tyro

import jaxcnn
from jaxcnn import data, train, viz, weights
from jaxcnn.data import augment
from jaxcnn.models import Model, create, names, published
from jaxcnn.train import NonFiniteLoss, TrainState
from jaxcnn.weights.files import write_json


class UsageError(Exception):
    """A flag whose value cannot be used."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What `train` does for a dataset when nothing else is asked."""

    model: str
    epochs: int
    batch_size: int
    augment: tuple[str, ...] = ()


RECIPES = {
    "digits": Recipe("digits_cnn", 60, 32, ("shift",)),
    "mnist": Recipe("mnist_cnn", 3, 128),
    "fashion_mnist": Recipe("mnist_cnn", 10, 128, ("flip",)),
    "cifar10": Recipe("cifar10_cnn", 12, 128, ("flip",)),
    "image_folder": Recipe("cats_vs_dogs_cnn", 10, 32, ("flip",)),
}
AUGMENTS = {"flip": augment.flip(), "shift": augment.shift(1), "crop": augment.crop(4), "cutout": augment.cutout(8)}


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a model and leave a run folder: metrics, curves, confusion, sample predictions, weights, checkpoint."""

    model: str | None = None
    """One of `jaxcnn models`; by default the one that suits the dataset."""
    dataset: str = "digits"
    """One of `jaxcnn datasets`; digits needs no download."""
    classes: tuple[str, ...] = ()
    """Only the images of these classes; all when not given."""
    epochs: int | None = None
    """Passes over the training images; by default as many as the dataset needs."""
    batch_size: int | None = None
    """Images per step; by default what suits the dataset."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW."""
    augment: tuple[str, ...] | None = None
    """Any of flip, shift (1 pixel), crop (after padding by 4), cutout (8 pixels); by default what suits the dataset."""
    validation: float = 0.1
    """The part of the training images kept aside to watch the training by."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's model stays: the last, when the learning rate has come down to zero, or the best by validation
    loss. A best of many on few images is luck: on the digits it makes 4 mistakes, the last 2 (means of 4 seeds)."""
    patience: int | None = None
    """Stop after this many epochs without a better validation loss; use with --keep best."""
    seed: int = 0
    """Of everything random; the same seed on the same machine gives the same run."""
    data_dir: Path | None = None
    """Where the dataset's files are; fetched into a cache when not given."""
    run_dir: Path | None = None
    """Where the run goes; by default runs/DATASET-MODEL-TIME."""
    resume: bool = False
    """Go on with the run in run_dir."""

    def __call__(self) -> int:
        recipe = RECIPES[_known("dataset", self.dataset, data.names())]
        name = _known("model", self.model or recipe.model, names())
        chosen = recipe.augment if self.augment is None else self.augment
        varied = [AUGMENTS[_known("augment", word, list(AUGMENTS))] for word in chosen]
        epochs = recipe.epochs if self.epochs is None else self.epochs
        batch_size = recipe.batch_size if self.batch_size is None else self.batch_size
        for flag, good in (
            ("--epochs", epochs > 0),
            ("--batch-size", batch_size > 0),
            ("--learning-rate", self.learning_rate > 0),
            ("--validation", 0 < self.validation < 1),
            ("--run-dir", self.run_dir is not None or not self.resume),
        ):
            if not good:
                raise UsageError(f"{flag} is out of range, or missing where it is needed; see jaxcnn train --help")
        splits = load(self.dataset, self.data_dir, create(name), self.classes)
        model = fitting(name, len(splits.train.classes))
        training, held_out = data.split(splits.train, self.validation, seed=0)
        run_dir = self.run_dir or Path("runs", f"{self.dataset}-{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
        steps = epochs * -(-len(training) // batch_size)
        print(f"{name} on {self.dataset}: {len(training):,} images, {epochs} epochs; run folder {run_dir}", flush=True)
        asked = dataclasses.asdict(self) | {
            "model": name,
            "epochs": epochs,
            "batch_size": batch_size,
            "augment": chosen,
            "data_dir": str(self.data_dir.resolve()) if self.data_dir else None,
            "run_dir": str(run_dir),
        }
        try:
            train_state, _ = train.fit(
                model,
                training,
                validation=held_out,
                epochs=epochs,
                batch_size=batch_size,
                optimizer=optax.adamw(
                    optax.cosine_onecycle_schedule(steps, self.learning_rate), weight_decay=self.weight_decay
                ),
                loss=model.loss,
                seed=self.seed,
                augment=augment.chain(*varied) if varied else None,
                callbacks=[train.EarlyStopping(patience=self.patience)] if self.patience else [],
                run_dir=run_dir,
                resume=self.resume,
            )
        except (KeyboardInterrupt, NonFiniteLoss) as stop:
            if not (run_dir / "model.safetensors").exists():
                raise
            write_json(run_dir / "command.json", asked)
            report(run_dir, splits.test)
            said = "stopped" if isinstance(stop, KeyboardInterrupt) else str(stop)
            print(f"jaxcnn: {said}; {run_dir} holds the best finished epoch, go on with --resume", flush=True)
            return 1
        if self.keep == "last":
            params, state = train_state.params, train_state.state
            weights.save(run_dir / "model.safetensors", model, params, state, classes=training.classes)
        write_json(run_dir / "command.json", asked)
        report(run_dir, splits.test)
        return 0


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Loss, accuracy and the most frequent mistakes of a run's model on its test images."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    data_dir: Path | None = None
    """Where the dataset's files are, if no longer where they were."""

    def __call__(self) -> int:
        asked = _command(self.run)
        model, _, _ = load_run(self.run)
        splits = load(asked["dataset"], self.data_dir or _path(asked["data_dir"]), model, asked["classes"])
        matrix = report(self.run, splits.test)
        off = matrix * (1 - np.eye(len(matrix), dtype=int))
        for flat in np.argsort(off, axis=None)[::-1][:5]:
            true, predicted = np.unravel_index(flat, off.shape)
            if off[true, predicted]:
                names = splits.test.classes
                print(f"  {off[true, predicted]:4d} × {names[true]} taken for {names[predicted]}")
        return 0


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classes and probabilities of image files (PNG, JPEG, …) by a run's model."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files; scaled to the model's input."""
    top: int = 3
    """How many classes are printed per image."""

    def __call__(self) -> int:
        if not self.images:
            raise UsageError("predict needs at least one image file")
        model, train_state, about = load_run(self.run)
        classes = about["classes"] or [str(i) for i in range(model.num_classes)]
        pixels = np.stack([read_image(path, model.input_shape) for path in self.images])
        for path, p in zip(self.images, train.predict(model, train_state, pixels, batch_size=32), strict=True):
            best = np.argsort(p)[::-1][: self.top]
            print(f"{path}: " + ", ".join(f"{classes[i]} {p[i]:.1%}" for i in best))
        return 0


def summary(model: Annotated[str, tyro.conf.Positional], /) -> None:
    """Print a model's table: layers, output shapes, parameters, multiply-adds, bytes.

    Args:
        model: One of `jaxcnn models`.
    """
    print(jaxcnn.summary(create(_known("model", model, names()))))


def models() -> None:
    """Print the models there are: input, parameters and multiply-adds at inference, and the accuracy others report."""
    print(f"{'model':16}  {'input':>9}  {'parameters':>11}  {'multiply-adds':>14}  published top-1")
    sources = {}
    for name in names():
        model = create(name)
        rows = [row for row in jaxcnn.summary(model).rows if not row.training_only]
        shape = "×".join(map(str, model.input_shape))
        parameters, multiply_adds = (sum(getattr(row, n) for row in rows) for n in ("parameters", "multiply_adds"))
        known = published(name)
        top1 = f"{known.top1:.2f} % {known.dataset}" if known else "—"
        print(f"{name:16}  {shape:>9}  {parameters:>11,}  {multiply_adds:>14,}  {top1}", flush=True)
        if known:
            sources[known.dataset] = known.source
    print("top-1 by " + "; by ".join(f"{source} ({dataset})" for dataset, source in sources.items()))


def datasets() -> None:
    """Print the datasets there are."""
    for name in data.names():
        source = data.describe(name)
        print(f"{name}: {source.description}")
        if source.sizes and source.image_shape:
            shape = "×".join(map(str, source.image_shape))
            print(f"    {source.sizes[0]:,} training and {source.sizes[1]:,} test images of {shape}")
        print(f"    {source.licence}")


def report(run_dir: Path, test: data.Dataset) -> np.ndarray:
    """Write the score and the pictures of a run, and print what came out; the confusion matrix."""
    scores, matrix = viz.report(run_dir, test)
    print(f"test loss {scores['loss']:.4f}, test accuracy {scores['accuracy']:.2%} on {len(test):,} images")
    print(f"{run_dir}: " + ", ".join(sorted(path.name for path in run_dir.iterdir())), flush=True)
    return matrix


def load_run(run_dir: Path) -> tuple[Model, TrainState, dict]:
    """A run's model with its weights, and what was written about them."""
    path = run_dir / "model.safetensors"
    if not path.exists():
        raise UsageError(f"{run_dir} is not a run folder: it has no model.safetensors")
    model, params, state, about = weights.load_model(path)
    return model, TrainState(params, state, loss=about["loss"]), about


def fitting(name: str, num_classes: int) -> Model:
    """The model for so many classes."""
    model = create(name)
    if model.num_classes == num_classes:
        return model
    try:
        return create(name, num_classes=num_classes)
    except TypeError:
        raise UsageError(
            f"{name} tells {model.num_classes} classes apart, but there are {num_classes}; choose some by --classes"
        ) from None


def load(dataset: str, data_dir: Path | None, model: Model, classes: Sequence[str]) -> data.Splits:
    """The dataset's splits, all or some classes; image folders are read at the model's size."""
    height, width, channels = model.input_shape
    options: dict = {}
    if dataset == "image_folder":
        if data_dir is None:
            raise UsageError("--dataset image_folder needs --data-dir: a folder with one subfolder of images per class")
        options = {"size": (height, width), "channels": channels}
    splits = data.load(dataset, data_dir=data_dir, **options)
    if splits.train.input_shape != model.input_shape:
        raise UsageError(
            f"{model.name} takes images of {model.input_shape}, but those of {dataset} are {splits.train.input_shape}"
        )
    for name in classes:
        _known("class", name, splits.train.classes)
    return data.Splits(*(part.only(*classes) for part in splits)) if classes else splits


def read_image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 of the shape (H, W, C); data.DataError if it is none."""
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    try:
        with Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image, np.uint8).reshape(shape)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise data.DataError(path, "an image", str(error)) from None


def _command(run_dir: Path) -> dict:
    path = run_dir / "command.json"
    if not path.exists():
        raise UsageError(f"{run_dir} is not a folder that `jaxcnn train` wrote: it has no command.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _known(what: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    return name
