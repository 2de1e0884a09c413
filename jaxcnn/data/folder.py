"""Photos in folders: one folder per class."""

from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError, require
from jaxcnn.data.images import check_size, read_image

__all__ = ["read_image_folder", "read_image_folders"]

HELD_OUT = ("test", "validation", "val")  # the first that exists beside train/
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_image_folders(
    folder: Path, *, size: tuple[int, int], channels: int = 3, fraction: float = 0.2, seed: int = 0
) -> Splits:
    """Read a training and a test set, either of their own or divided by seed.

    Args:
        folder: holds `train/` and one of `test/`, `validation/` and `val/` (the first of these is taken), each with one
            folder per class; or the class folders themselves.
        size: (H, W) in pixels that every image is resized to.
        channels: 3 for colour, 1 for grey.
        fraction: share of each class for the test set, where there is no folder of its own.
        seed: of that division.

    Returns:
        Images (N, H, W, channels), labels in the alphabetical order of the class folders.

    Raises:
        DataError: as `read_image_folder`; or the two sets have different classes, or the second is missing.
        ValueError: a bad size, number of channels, fraction or seed.
    """
    if not (folder / "train").is_dir():
        return Splits(*split(read_image_folder(folder, size=size, channels=channels), fraction, seed=seed))
    held_out = next((folder / name for name in HELD_OUT if (folder / name).is_dir()), None)
    if held_out is None:
        raise DataError(folder, f"one of {', '.join(f'{name}/' for name in HELD_OUT)} beside train/", "none")
    train_classes, test_classes = _class_names(folder / "train"), _class_names(held_out)
    if test_classes != train_classes:
        raise DataError(held_out, f"the classes of train/, {', '.join(train_classes)}", ", ".join(test_classes))
    return Splits(
        read_image_folder(folder / "train", size=size, channels=channels, name=folder.name),
        read_image_folder(held_out, size=size, channels=channels, name=folder.name),
    )


def read_image_folder(folder: Path, *, size: tuple[int, int], channels: int = 3, name: str | None = None) -> Dataset:
    """Read one folder per class; the folders' names are the classes.

    Args:
        folder: holds the class folders. Files that are no images by their suffix, and hidden ones, are passed over.
        size: (H, W) in pixels that every image is resized to, bilinearly and without keeping its proportions.
        channels: 3 for colour, 1 for grey.
        name: the dataset's name, by default the folder's.

    Returns:
        Images (N, H, W, channels), labels in the alphabetical order of the class folders.

    Raises:
        DataError: no class folders, one without images, or an image that cannot be read; the message names it.
        ValueError: a bad size or number of channels.
        ImportError: Pillow is not installed.
    """
    shape = check_size("image_folder", size, channels)
    require("PIL.Image", "reading image folders")
    from tqdm import tqdm  # type: ignore[import-untyped]

    classes = _class_names(folder)
    files, labels = [], []
    for label, class_name in enumerate(classes):
        members = sorted(file for file in (folder / class_name).iterdir() if _is_image(file))
        if not members:
            raise DataError(folder / class_name, "at least one image", "none")
        files += members
        labels += [label] * len(members)
    images = np.empty((len(files), *shape), np.uint8)
    for i, file in enumerate(tqdm(files, desc=folder.name, unit="image", disable=None)):
        images[i] = read_image(file, shape)
    return Dataset(images, np.array(labels, np.int32), classes, name or folder.name)


def _class_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(folder, "a folder with one folder per class", "no such folder")
    classes = tuple(sorted(sub.name for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith(".")))
    if not classes:
        raise DataError(folder, "one folder per class", "no folders")
    return classes


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()
