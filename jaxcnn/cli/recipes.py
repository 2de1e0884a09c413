"""The defaults of `train` for each dataset, the model that fits it, and how its images are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxcnn import data
from jaxcnn.cli.wording import UsageError, known, plural, size_of
from jaxcnn.data import augment
from jaxcnn.models import Model, create


@dataclass(frozen=True)
class Recipe:
    """The default settings for a dataset.

    Args:
      model: a name of the catalogue.
      epochs, batch_size: of the training.
      augment: names in `AUGMENTS`.
      size: the size that images are resized to; None if all images of the dataset have one size.
    """

    model: str
    epochs: int
    batch_size: int
    augment: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


RECIPES = {
    "digits": Recipe("digits_cnn", 60, 32, ("shift",)),
    "mnist": Recipe("mnist_cnn", 3, 128),
    "fashion_mnist": Recipe("mnist_cnn", 10, 128, ("flip",)),
    "kmnist": Recipe("mnist_cnn", 10, 128),
    **{name: Recipe("mnist_cnn", 5, 128) for name in data.names() if name.startswith("emnist")},
    "svhn": Recipe("cifar10_cnn", 6, 128),
    "cifar10": Recipe("cifar10_cnn", 12, 128, ("flip",)),
    "cifar100": Recipe("cifar10_cnn", 30, 128, ("flip",)),
    # A model without batch norm, whose statistics need more than a few photos, and for any number of classes.
    "image_folder": Recipe("cifar10_cnn", 10, 32, ("flip",), (64, 64)),
}
AUGMENTS = {"flip": augment.flip(), "shift": augment.shift(1), "crop": augment.crop(4), "cutout": augment.cutout(8)}


def images(
    dataset: str,
    data_dir: Path | None,
    shape: Sequence[int],
    classes: Sequence[str],
    *,
    skip_unreadable: bool = False,
) -> data.Splits:
    """The dataset's splits, all or some classes; image folders are read as (H, W, C)."""
    options: dict = {}
    if dataset == "image_folder":
        if data_dir is None:
            raise UsageError("--dataset image_folder needs --data-dir: a folder with one subfolder of images per class")
        height, width, channels = shape
        options = {"size": (height, width), "channels": channels, "skip_unreadable": skip_unreadable}
    splits = data.load(dataset, data_dir=data_dir, **options)
    for name in classes:
        known("class", name, splits.train.classes)
    if len(set(classes)) == 1:
        raise UsageError(f"--classes must name at least two; got {classes[0]} alone")
    return data.Splits(*(part.only(*dict.fromkeys(classes)) for part in splits)) if classes else splits


def fitting(name: str, shape: Sequence[int], num_classes: int) -> Model:
    """A model of the catalogue, made for images (H, W, C) and so many classes; UsageError if it cannot be."""
    model = create(name)
    options: dict = {}
    if tuple(shape[:2]) != model.input_shape[:2]:
        options["input_size"] = shape[0] if shape[0] == shape[1] else tuple(shape[:2])
    if shape[2] != model.input_shape[2]:
        options["in_channels"] = shape[2]
    try:
        model = create(name, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name} takes images of {size_of(model.input_shape)}, and cannot be made for {size_of(shape)}: "
            f"{str(error).partition('; got')[0].partition(': ')[2].replace('`input_size`', 'the size')}"
        ) from None
    if model.num_classes != num_classes:
        try:
            model = create(name, **options, num_classes=num_classes)
        except TypeError:
            raise UsageError(
                f"{name} tells {model.num_classes} classes apart, and there are {num_classes}; "
                f"--model {RECIPES['image_folder'].model} takes any number"
            ) from None
    return model


def with_validation(training: data.Dataset, fraction: float) -> tuple[data.Dataset, data.Dataset | None]:
    """The images to train with, and the images for validation."""
    if not fraction:
        return training, None
    try:
        return data.split(training, fraction, seed=0)
    except ValueError:
        raise UsageError(
            f"--validation {fraction:g} leaves no image on one side of {plural(len(training), 'image')}; "
            "--validation 0 trains with all of them"
        ) from None
