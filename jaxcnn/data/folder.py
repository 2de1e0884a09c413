"""Photos in folders: one folder per class."""

import math
import os
from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits, check_sides, part_of
from jaxcnn.data.errors import DataError, require, tell
from jaxcnn.data.folder_layouts import Labeled, class_images, labeled_parts
from jaxcnn.files.images import check_size, read_image

__all__ = ["read_image_folder", "read_image_folders"]

_NAMED = 10  # the most unreadable images that a message names


def read_image_folders(
    folder: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    channels: int = 3,
    fraction: float = 0.2,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Splits:
    """Read a training and a test set of images in class folders; without a test set, divide by seed.

    Args:
      folder: a folder of class folders; or of a training set of class folders, with or without a test or validation
        set beside it. Usual names are known in any case: `train`, `training`, `training_set`, `seg_train`; `test`,
        `testing`; `val`, `valid`, `validation`. Of a test and a validation set, the test set is read; a set without
        labels is left out. All of it may lie in one more folder, and file names such as `cat.0.jpg` may stand in
        place of class folders.
      size: (H, W) in pixels that every image is resized to.
      channels: 3 for color, 1 for gray.
      fraction: share of each class for the test set, where the folder has no test set.
      seed: the seed of that division.
      skip_unreadable: leave out images that cannot be read, and say which, in place of an error.

    Returns:
      Images (N, H, W, channels), labels in the alphabetical order of the class folders.

    Raises:
      DataError: as `read_image_folder`; or fewer than two classes, or two sets of different classes.
      ValueError: a bad size, number of channels, fraction or seed.
    """
    require("PIL.Image", "reading image folders")
    folder = Path(folder)
    shape = check_size("image_folder", size, channels)
    train, test = labeled_parts(folder)
    name = folder.resolve().name
    if test is not None:
        return Splits(*_read((train, test), shape, name, skip_unreadable))
    # Divide before reading, so that each image is read into its place in one of the two arrays and none is copied.
    in_part = part_of(np.array(train.labels), len(train.classes), fraction, seed)
    sides = tuple(_chosen(train, np.flatnonzero(mask)) for mask in (~in_part, in_part))
    splits = Splits(*_read(sides, shape, name, skip_unreadable))
    check_sides(in_part, fraction, name)  # last, so that an error about damaged files comes first
    return splits


def read_image_folder(
    folder: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    channels: int = 3,
    name: str | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """Read images in one folder per class; the names of the folders are the classes.

    Args:
      folder: the folder of the class folders, or a folder around it. Images may lie deeper inside a class folder.
        Hidden files, and files whose suffix is not that of an image, are passed over.
      size: (H, W) in pixels that every image is resized to, bilinearly and without keeping its proportions.
      channels: 3 for color, 1 for gray.
      name: the dataset's name, by default the folder's.
      skip_unreadable: leave out images that cannot be read, and say which, in place of an error.

    Returns:
      Images (N, H, W, channels) as `read_image` reads them, labels in the alphabetical order of the class folders.

    Raises:
      DataError: no class folders, one without images, or images that cannot be read; the message names them.
      ValueError: a bad size or number of channels.
      ImportError: Pillow is not installed.
    """
    require("PIL.Image", "reading image folders")
    folder = Path(folder)
    shape = check_size("image_folder", size, channels)
    return _read((class_images(folder),), shape, name or folder.resolve().name, skip_unreadable)[0]


def _chosen(part: Labeled, positions: np.ndarray) -> Labeled:
    return part._replace(files=[part.files[i] for i in positions], labels=[part.labels[i] for i in positions])


def _read(parts: tuple[Labeled, ...], shape: tuple[int, int, int], name: str, skip_unreadable: bool) -> list[Dataset]:
    """The images of all parts. One error lists all images that cannot be read."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    count = sum(len(part.files) for part in parts)
    datasets, failures = [], []
    with tqdm(total=count, desc=name, unit="image", disable=None) as bar:
        for part in parts:
            images = _room(part, shape)
            labels: list[int] = []
            for file, label in zip(part.files, part.labels, strict=True):
                try:
                    images[len(labels)] = read_image(file, shape)
                    labels.append(label)
                except DataError as error:
                    failures.append(error)
                bar.update()
            datasets.append(Dataset(images[: len(labels)], np.array(labels, np.int32), part.classes, name))
    if failures and not skip_unreadable:
        raise _unreadable(failures, parts[0].folder, count)
    if failures:
        names = _named(failures, parts[0].folder)
        tell(f"{parts[0].folder}: {len(failures):,} of {count:,} images cannot be read, and are left out: {names}")
        for part, dataset in zip(parts, datasets, strict=True):
            bare = [part.classes[label] for label in set(part.labels) - set(dataset.labels.tolist())]
            if bare:
                raise DataError(part.folder, "at least one readable image per class", f"none in {', '.join(bare)}")
    return datasets


def _room(part: Labeled, shape: tuple[int, int, int]) -> np.ndarray:
    """An array for the images of a part."""
    try:
        return np.empty((len(part.files), *shape), np.uint8)
    except (MemoryError, ValueError):  # ValueError: more than an array can have
        gigabytes = len(part.files) * math.prod(shape) / 1e9
        found = f"{len(part.files):,} of {shape}, {gigabytes:,.0f} GB: choose a smaller size or fewer images"
        raise DataError(part.folder, "images that fit into memory", found) from None


def _unreadable(failures: list[DataError], folder: Path, count: int) -> DataError:
    cure = "The option skip_unreadable leaves such images out"
    if len(failures) == 1:
        only = failures[0]
        return DataError(only.file, only.expected, f"{only.found}. {cure}")
    found = f"{len(failures):,} of {count:,} that are not: {_named(failures, folder)}. {cure}"
    return DataError(folder, "readable images", found)


def _named(failures: list[DataError], folder: Path) -> str:
    """The first of the unreadable images, each with the reason."""
    shown = "; ".join(f"{os.path.relpath(error.file, folder)} ({error.found})" for error in failures[:_NAMED])
    return shown + (f"; and {len(failures) - _NAMED:,} more" if len(failures) > _NAMED else "")
