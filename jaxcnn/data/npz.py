"""NumPy's `.npz`: a training and a test set in one file, as Keras and many others publish them."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from jaxcnn.data.bounds import check_unpacked
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError, check_labels
from jaxcnn.data.idx import Check

__all__ = ["read_npz", "read_npz_array"]

# Names of the arrays, in any case: x_train, X_train, train_images, train_x, …
_IMAGES, _LABELS = ("x", "images", "image", "data"), ("y", "labels", "label", "targets", "target")
_TRAIN, _TEST = ("train", "training"), ("test", "testing")


def read_npz(
    path: str | os.PathLike[str],
    *,
    classes: tuple[str, ...] | None = None,
    name: str | None = None,
    fraction: float = 0.2,
    seed: int = 0,
) -> Splits:
    """Read images and labels from an `.npz` file; nothing is unpickled.

    Args:
      path: the file. Its arrays are `x_train`, `y_train`, `x_test`, `y_test`, or `train_images`, `train_labels`, … in
        any case and order of words; or only `x` and `y` (`images`, `labels`), which are divided.
      classes: one name per label; by default the numbers of the labels.
      name: the dataset's name, by default the file's.
      fraction: share of each class for the test set, where the file has none.
      seed: the seed of that division.

    Returns:
      (train, test), images (N, H, W, C) of uint8; C is 1 where the file has (N, H, W).

    Raises:
      DataError: no such file, damaged, larger than a real one can be, without such arrays, or with images that are
        not uint8 or integers of 0 to 255.
      ValueError: a bad fraction or seed.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "made.npz")
      ...     images = np.zeros((4, 8, 8), np.uint8)
      ...     np.savez(file, x_train=images, y_train=[0, 1, 2, 1], x_test=images[:1], y_test=[0])
      ...     read_npz(file).train
      <Dataset 'made': 4 images (8, 8, 1), 3 classes>
    """
    file = Path(path)
    with _opened(file) as archive:
        parts = _parts(archive, file)
    count = len(classes) if classes else max(int(labels.max(initial=0)) for _, labels in parts) + 1
    for _, labels in parts:
        check_labels(labels, count, file)
    names = classes or tuple(map(str, range(count)))
    datasets = [Dataset(images, labels, names, name or file.stem) for images, labels in parts]
    if len(datasets) == 1:
        return Splits(*split(datasets[0], fraction, seed=seed))
    return Splits(*datasets)


def read_npz_array(file: Path, check: Check) -> np.ndarray:
    """Read the only array of a file; `check` may refuse its dtype and shape by a DataError."""
    with _opened(file) as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise DataError(file, "one array", f"{len(members):,}")
        return _array(archive, members[0], file, check)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive; every error while it is open becomes a DataError."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except DataError:
        raise
    except OSError as error:
        raise DataError(file, "a readable .npz file", error.strerror or str(error)) from None
    except Exception as error:  # on damaged data zipfile and NumPy raise exceptions of many types
        raise DataError(file, "a whole .npz file of NumPy", f"damaged data ({error})") from None


def _parts(archive: zipfile.ZipFile, file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(images, labels) of the training and the test set, or of the only one."""
    members = {info.filename.removesuffix(".npy").lower(): info for info in archive.infolist()}
    keys = [(_key(members, _IMAGES, part), _key(members, _LABELS, part)) for part in (_TRAIN, _TEST)]
    if not all(images and labels for images, labels in keys):
        keys = [(_key(members, _IMAGES, ()), _key(members, _LABELS, ()))]
    if not all(keys[0]):
        names = ", ".join(list(members)[:10]) + (", …" if len(members) > 10 else "")
        raise DataError(file, "arrays called x_train, y_train, x_test, y_test, or x, y", names or "no arrays")
    parts = []
    for images_key, labels_key in keys:
        images = _images(_array(archive, members[images_key], file, _looks_like_images(file, images_key)), file)
        labels = _labels(_array(archive, members[labels_key], file), file, labels_key)
        if len(images) != len(labels):
            raise DataError(file, f"{len(images):,} labels in {labels_key}, one per image", f"{len(labels):,}")
        parts.append((images, labels))
    if len({images.shape[1:] for images, _ in parts}) > 1:
        raise DataError(file, "training and test images of one size", " and ".join(str(x.shape) for x, _ in parts))
    return parts


def _key(members: dict[str, zipfile.ZipInfo], kinds: tuple[str, ...], parts: tuple[str, ...]) -> str:
    """The array's name that has a word of `kinds` and, where `parts` are given, one of `parts`; "" if none has."""
    for name in members:
        words = name.replace("-", "_").split("_")
        if len(words) == 1 + bool(parts) and set(words) & set(kinds) and (not parts or set(words) & set(parts)):
            return name
    return ""


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path, check: Check | None = None) -> np.ndarray:
    """Read one array. The size in its header is compared with the bytes in the archive before memory is taken."""
    with archive.open(info) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            raise DataError(
                file, f"numbers in {info.filename}", "Python objects, which could run code when they are read"
            )
        if check is not None:
            check(dtype, shape)
        size = math.prod(shape) * dtype.itemsize
        left = info.file_size - stream.tell()
        if size != left:
            raise DataError(file, f"{size:,} bytes for the shape {shape} of {info.filename}", f"{max(left, 0):,}")
        check_unpacked(file, size, info.compress_size)
        body = bytearray(stream.read(size + 1))  # one more, so that the archive's CRC is checked
    if len(body) != size:
        raise DataError(file, f"{size:,} bytes for the shape {shape} of {info.filename}", f"{len(body):,}")
    return np.ndarray(shape, dtype, body, order="F" if fortran else "C")


def _looks_like_images(file: Path, key: str) -> Check:
    def check(dtype: np.dtype, shape: tuple[int, ...]) -> None:
        if not np.issubdtype(dtype, np.integer):
            cure = "; (images * 255).round().astype(np.uint8) makes them of 0 to 1" if dtype.kind == "f" else ""
            raise DataError(file, f"images of uint8 in {key}", f"{dtype}{cure}")
        if len(shape) not in (3, 4) or 0 in shape:
            raise DataError(file, f"images (N, H, W) or (N, H, W, C) in {key}", f"shape {shape}")
        if len(shape) == 4 and shape[-1] not in (1, 3, 4) and shape[1] in (1, 3):
            raise DataError(
                file, f"images (N, H, W, C) in {key}", f"shape {shape}, channels first: images.transpose(0, 2, 3, 1)"
            )

    return check


def _images(images: np.ndarray, file: Path) -> np.ndarray:
    if images.dtype != np.uint8 and not 0 <= images.min() <= images.max() <= 255:
        raise DataError(file, "pixels of 0 to 255", f"{images.min()} to {images.max()}")
    images = images[..., None] if images.ndim == 3 else images
    return np.ascontiguousarray(images, np.uint8)


def _labels(labels: np.ndarray, file: Path, key: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:  # as in Keras' CIFAR-10
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        cure = "; labels.argmax(axis=1) makes them of one-hot rows" if labels.ndim == 2 else ""
        raise DataError(file, f"integers (N,) in {key}", f"{labels.dtype} {labels.shape}{cure}")
    return labels
