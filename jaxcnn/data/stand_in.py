"""The embedded digits in place of a dataset whose files are missing, so that a lesson runs anywhere."""

import inspect
import os
from typing import Any

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.errors import DataError, require
from jaxcnn.data.sources import describe, load

__all__ = ["load_or_digits"]


def load_or_digits(name: str, *, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Splits:
    """Load a dataset or, where its files are neither there nor can be fetched, the digits in its shape.

    For notebooks and examples, which then run anywhere. A result on the digits says nothing about the dataset: a
    printed line says which of the two it is, and so does `splits.train.name`.

    Args:
      name: as for `load`.
      data_dir: as for `load`; without it the environment's `JAXCNN_DATA_DIR`, if set. `image_folder` needs it here.
      **options: as for `load`.

    Returns:
      (train, test) of that dataset, or of `digits`, resized to (H, W, C) of that dataset. With `JAXCNN_SMALL` in the
      environment it is always the digits: small runs open no files and no connections.

    Raises:
      ValueError, TypeError, ImportError: as `load`. A DataError of `load` is printed, not raised.

    Example:
      >>> splits = load_or_digits("mnist", data_dir="no/such/folder")
      no/such/folder: expected an existing data folder; found no such folder
      In place of mnist: the embedded digits, resized from 8×8×1 to 28×28×1.
      >>> splits.train
      <Dataset 'digits': 1438 images (28, 28, 1), 10 classes>
    """
    if name == "digits":
        return load(name, data_dir=data_dir, **options)
    source = describe(name)
    if source.image_shape is None and (data_dir is None or "size" not in options):
        raise TypeError(
            f"load_or_digits: {name!r} needs `data_dir`, a folder of class folders, and `size`, (H, W) in pixels"
        )
    if source.image_shape is not None and data_dir is None:
        data_dir = os.environ.get("JAXCNN_DATA_DIR") or None
    if "JAXCNN_SMALL" in os.environ:
        inspect.signature(source.read).bind(data_dir, **options)  # so that a small run finds a wrong option, too
        print("JAXCNN_SMALL is set")
    else:
        try:
            return load(name, data_dir=data_dir, **options)
        except DataError as error:
            print(error)
    return _digits_like(name, **options)


def _digits_like(name: str, **options: Any) -> Splits:
    """The digits in the shape that `load(name, **options)` gives."""
    digits = load("digits")
    old = digits.train.input_shape
    new = describe(name).image_shape or (*options["size"], options.get("channels", 3))
    print(f"In place of {name}: the embedded digits, resized from {_by(old)} to {_by(new)}.")
    return Splits(*(_resized(part, new) for part in digits))


def _resized(dataset: Dataset, shape: tuple[int, int, int]) -> Dataset:
    """The images resized bilinearly, their one channel repeated."""
    image = require("PIL.Image", "resizing the digits")
    height, width, channels = shape
    scans = [
        image.fromarray(scan).resize((width, height), image.Resampling.BILINEAR) for scan in dataset.images[..., 0]
    ]
    gray = np.stack([np.asarray(scan) for scan in scans])[..., None]  # (N, H, W, 1)
    return Dataset(np.repeat(gray, channels, axis=-1), dataset.labels, dataset.classes, dataset.name)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
