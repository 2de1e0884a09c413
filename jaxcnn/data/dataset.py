"""Labeled images in memory, and how a set of them is divided into two."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.shuffle import permutation

__all__ = ["Dataset", "Splits", "split"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images and the class of each.

    Args:
      images: uint8 (N, H, W, C), 0 to 255.
      labels: integers (N,), 0 to len(classes) − 1; kept as int32.
      classes: one name per label.
      name: the set's name in messages and reports.

    Raises:
      TypeError: images or labels are not NumPy arrays of those dtypes.
      ValueError: axes, counts, labels or class names do not fit together.

    Example:
      >>> tiny = Dataset(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1]), ("cat", "dog"), "pets")
      >>> len(tiny), tiny.input_shape, len(tiny[1:]), tiny.only("dog").labels.tolist()
      (3, (8, 8, 1), 2, [0, 0])
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        images, labels, classes = self.images, self.labels, self.classes
        where = f"Dataset {self.name!r}"
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            scaled = getattr(images, "dtype", None) is not None and "float" in str(images.dtype)
            cure = "; floats of 0 to 1 become it by (images * 255).round().astype(np.uint8)" if scaled else ""
            raise TypeError(f"{where}: `images` must be a uint8 NumPy array; got {kind(images)}{cure}")
        if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"{where}: `labels` must be a NumPy array of integers; got {kind(labels)}")
        if images.ndim != 4:
            cure = "; gray images get their last axis by images[..., None]" if images.ndim == 3 else ""
            raise ValueError(f"{where}: `images` must have the axes (N, H, W, C); got shape {images.shape}{cure}")
        if labels.shape != images.shape[:1]:
            column = labels.shape == (len(images), 1)
            cure = "; labels[:, 0] makes a row of the column" if column else ""
            shapes = f"images {images.shape}, labels {labels.shape}"
            raise ValueError(f"{where}: `labels` must be one per image, (N,); {shapes}{cure}")
        if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
            raise TypeError(f"{where}: `classes` must be a tuple of strings; got {classes!r}")
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"{where}: `classes` must be different names, at least one; got {classes}")
        outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if outside.size:
            at = outside[0]
            raise ValueError(
                f"{where}: `labels` must be 0 to {len(classes) - 1} for {len(classes)} classes; "
                f"got {labels[at]} at position {at}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"<Dataset {self.name!r}: {len(self)} images {self.input_shape}, {len(self.classes)} classes>"

    def __getitem__(self, index: Any) -> "Dataset":
        """The examples at a slice, an array of positions or a boolean mask."""
        if not isinstance(index, slice):
            positions = np.asarray(index, int) if isinstance(index, list) and not index else np.asarray(index)
            if positions.ndim != 1 or not (positions.dtype == bool or np.issubdtype(positions.dtype, np.integer)):
                # `for example in dataset` ends here, too: without this error it would seem to loop over examples.
                raise TypeError(
                    f"Dataset {self.name!r}: the index must be a slice, positions or a mask; got {index!r}. "
                    "One example is `dataset[i:i + 1]`, or `dataset.images[i], dataset.labels[i]`."
                )
            index = positions
        return replace(self, images=self.images[index], labels=self.labels[index])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def only(self, *class_names: str) -> "Dataset":
        """The examples of some classes, labeled 0 to k − 1 in the order the names are given.

        Args:
          *class_names: names out of `classes`, at least one, none twice.

        Returns:
          The examples of these classes, in the dataset's order.

        Raises:
          ValueError: no name, a name twice, or an unknown one.
        """
        unknown = [name for name in class_names if name not in self.classes]
        if unknown or not class_names or len(set(class_names)) != len(class_names):
            raise ValueError(
                f"Dataset {self.name!r}: `only` takes different names out of {', '.join(self.classes)}; "
                f"got {class_names}"
            )
        relabel = np.full(len(self.classes), -1, np.int32)
        for label, name in enumerate(class_names):
            relabel[self.classes.index(name)] = label
        labels = relabel[self.labels]
        return Dataset(self.images[labels >= 0], labels[labels >= 0], class_names, self.name)


class Splits(NamedTuple):
    """A training set and a test set."""

    train: Dataset
    test: Dataset


def split(dataset: Dataset, fraction: float, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Divide a dataset in two, every class by the same fraction.

    Args:
      dataset: the examples.
      fraction: share of each class that goes into the second part, above 0 and below 1, rounded to whole examples.
      seed: decides which examples go there; at least 0.

    Returns:
      (rest, part), both in the dataset's order.

    Raises:
      TypeError: `dataset` is no Dataset.
      ValueError: the fraction is out of range, or leaves one of the two parts without examples.

    Example:
      >>> pets = Dataset(np.zeros((20, 2, 2, 1), np.uint8), np.arange(20) % 2, ("cat", "dog"), "pets")
      >>> rest, part = split(pets, 0.2)
      >>> len(rest), np.bincount(part.labels).tolist()
      (16, [2, 2])
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"split: `dataset` must be a Dataset; got {kind(dataset)}. "
            "Make one by Dataset(images, labels, classes, name)."
        )
    in_part = part_of(dataset.labels, len(dataset.classes), fraction, seed)
    check_sides(in_part, fraction, dataset.name)
    return dataset[~in_part], dataset[in_part]


def part_of(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """Which examples `split` puts into the second part, given their labels: bool (N,)."""
    if not 0 < fraction < 1:
        raise ValueError(f"split: `fraction` must lie between 0 and 1; got {fraction}")
    in_part = np.zeros(len(labels), bool)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        count = int(len(members) * fraction + 0.5)
        in_part[members[permutation(len(members), seed, label)[:count]]] = True
    return in_part


def check_sides(in_part: np.ndarray, fraction: float, name: str) -> None:
    """Raise `ValueError` where one of the two sides of `split` has no example."""
    if in_part.all() or not in_part.any():
        raise ValueError(
            f"split: `fraction` {fraction} of {name!r} puts {in_part.sum()} of {len(in_part)} examples in the part; "
            "both sides need at least one: a fraction of a class is rounded to whole examples"
        )


def kind(value: object) -> str:
    """The type of a value and, if it has one, its dtype, for messages."""
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ + (f" of {dtype}" if dtype is not None else "")
