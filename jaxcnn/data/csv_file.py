"""Images in a table: one row per image, its label and its pixels, as Kaggle and others publish MNIST and EMNIST."""

import math
import os
from pathlib import Path
from typing import TextIO

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.errors import DataError, check_labels

__all__ = ["read_csv"]

_LABEL = ("label", "class", "target", "y", "digit")  # names of the column of labels in a header
_LONGEST_LINE = 1 << 20  # characters


def read_csv(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int, int] | None = None,
    classes: tuple[str, ...] | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a CSV file of labeled images.

    Args:
      path: the file, comma-separated; a row is a label and the pixels of an image, row by row, 0 to 255. With a
        header the label may stand in any column called `label`, `class` or `target`; without one it is the first.
      shape: (H, W, C) of an image; by default a square, gray or of three colors, by the number of columns.
      classes: one name per label; by default the numbers of the labels.
      name: the dataset's name, by default the file's.

    Returns:
      Images uint8 (N, H, W, C).

    Raises:
      DataError: no such file, no labels, rows of other lengths, or values that are no pixels; the message says which.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "made.csv")
      ...     count = file.write_text("label,pixel0,pixel1,pixel2,pixel3\\n2,0,255,7,0\\n0,1,2,3,4\\n")
      ...     made = read_csv(file)
      >>> made.labels.tolist(), made.images[0, :, :, 0].tolist()
      ([2, 0], [[0, 255], [7, 0]])
    """
    file = Path(path)
    try:
        with file.open(encoding="utf-8-sig") as text:
            table, header = _table(text, file)
    except UnicodeDecodeError:
        raise DataError(file, "a CSV file", "bytes that are no text") from None
    except OSError as error:
        raise DataError(file, "a readable CSV file", error.strerror or str(error)) from None
    column = _label_column(header, table.shape[1], shape, file)
    labels = table[:, column]
    pixels = np.delete(table, column, axis=1)
    height, width, channels = shape or _square(pixels.shape[1], file)
    if pixels.shape[1] != height * width * channels:
        wanted = f"a label and {height * width * channels:,} pixels in each row"
        raise DataError(file, wanted, f"{table.shape[1]:,} columns")
    names = classes or tuple(map(str, range(int(labels.max()) + 1)))
    check_labels(labels, len(names), file)
    return Dataset(pixels.reshape(-1, height, width, channels), labels, names, name or file.stem)


def lacks_labels(path: Path) -> bool:
    """Whether the header names no column of labels, as in Kaggle's tables of test images."""
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        header = _words(text.readline(_LONGEST_LINE))
    return "pixel" in header[0] and not set(header) & set(_LABEL)


def _words(line: str) -> list[str]:
    return [word.strip().strip("\"'").lower() for word in line.split(",")]


def _table(text: TextIO, file: Path) -> tuple[np.ndarray, list[str]]:
    """All rows as bytes, and the words of the header, or no words where there is no header."""
    first = text.readline(_LONGEST_LINE)
    if not first.strip():
        raise DataError(file, "a CSV file of images", "an empty file" if not first else "an empty first line")
    words = _words(first)
    header = [] if all(_is_number(word) for word in words) else words
    if not header:
        text.seek(0)
    start = text.tell()
    if not text.readline(_LONGEST_LINE).strip():
        raise DataError(file, "a row for each image", "a header alone")
    text.seek(start)
    try:
        return np.loadtxt(text, np.uint8, delimiter=",", ndmin=2), header
    except ValueError as error:
        text.seek(start)
        values = _whole_floats(text)
        if values is None:
            raise DataError(file, "a label and pixels of 0 to 255 in each row", str(error).partition(";")[0]) from None
        return values, header


def _whole_floats(text: TextIO) -> np.ndarray | None:
    """Rows whose bytes are written as floats, such as 255.0; None if a value is not a whole number of 0 to 255."""
    try:
        values = np.loadtxt(text, np.float32, delimiter=",", ndmin=2)
    except ValueError:
        return None
    good = (values >= 0) & (values <= 255) & (values == np.floor(values))
    return values.astype(np.uint8) if good.all() else None


def _label_column(header: list[str], columns: int, shape: tuple[int, int, int] | None, file: Path) -> int:
    named = [i for i, word in enumerate(header) if word in _LABEL]
    if header and len(header) != columns:
        raise DataError(file, f"{len(header):,} columns, as in its header", f"{columns:,}")
    if named:
        return named[0]
    if (header and "pixel" in header[0]) or columns == (math.prod(shape) if shape else -1):
        raise DataError(file, "a column of labels, called `label`", f"{columns:,} columns of pixels alone")
    return 0


def _square(pixels: int, file: Path) -> tuple[int, int, int]:
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side and side * side * channels == pixels:
            return side, side, channels
    raise DataError(file, "a label and the pixels of a square image in each row", f"{pixels:,} pixels: give `shape`")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
