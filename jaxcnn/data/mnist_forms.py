"""The forms in which MNIST and its relatives come: IDX files, bare or in a zip archive, one `.npz`, or CSV tables."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jaxcnn.data.csv_file import lacks_labels, read_csv
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError, check_labels, tell
from jaxcnn.data.idx import Check, read_idx_stream
from jaxcnn.data.npz import read_npz, read_npz_array
from jaxcnn.data.places import Place, plain

__all__ = ["DIGITS", "Idx", "Parts"]

DIGITS = tuple("0123456789")
_SIZE = (28, 28)
_MOST_IMAGES = 1_000_000  # EMNIST byclass, the largest, has 814,255 in both parts


@dataclass(frozen=True)
class Idx:
    """An IDX file, or one in a zip archive."""

    path: Path
    member: str = ""

    @property
    def file(self) -> Path:
        """The file's name in messages."""
        return self.path / self.member

    def read(self, check: Check) -> np.ndarray:
        file = self.file
        try:
            if not self.member:
                with self.path.open("rb") as stream:
                    return read_idx_stream(stream, os.fstat(stream.fileno()).st_size, file, check)
            with zipfile.ZipFile(self.path) as archive:
                info = next((info for info in archive.infolist() if Path(info.filename).name == self.member), None)
                if info is None:
                    raise DataError(self.path, f"a file {self.member} in the archive", "none of that name")
                with archive.open(info) as packed:
                    return read_idx_stream(packed, info.compress_size, file, check)
        except DataError:
            raise
        except OSError as error:
            raise DataError(file, "a readable IDX file", error.strerror or str(error)) from None
        except Exception as error:  # zipfile raises what it stumbles on
            raise DataError(file, "a whole zip archive", f"damaged data ({error})") from None


@dataclass(frozen=True)
class Npz:
    """An .npz file of one array."""

    file: Path

    def read(self, check: Check) -> np.ndarray:
        return read_npz_array(self.file, check)


@dataclass(frozen=True)
class Parts:
    """How the files of one dataset become its training and its test set."""

    name: str
    classes: tuple[str, ...]
    transposed: bool = False
    first_label: int = 0

    def read(self, files: Sequence[Idx | Npz]) -> Splits:
        """The two sets, from four files: training images, training labels, test images, test labels."""
        return Splits(*(self._pair(images, labels) for images, labels in (files[:2], files[2:])))

    def _pair(self, images: Idx | Npz, labels: Idx | Npz) -> Dataset:
        def images_fit(dtype: np.dtype, shape: tuple[int, ...]) -> None:
            if dtype != np.uint8 or shape[1:] != _SIZE or not 0 < shape[0] <= _MOST_IMAGES:
                raise DataError(images.file, f"uint8 images (N, {_SIZE[0]}, {_SIZE[1]})", f"{dtype} {shape}")

        def labels_fit(dtype: np.dtype, shape: tuple[int, ...]) -> None:
            if dtype != np.uint8 or len(shape) != 1 or shape[0] > _MOST_IMAGES:
                raise DataError(labels.file, "uint8 labels (N,)", f"{dtype} {shape}")

        pixels, targets = images.read(images_fit), labels.read(labels_fit)
        if len(targets) != len(pixels):
            wanted = f"{len(pixels):,} labels, one per image of {images.file.name}"
            raise DataError(labels.file, wanted, f"{len(targets):,}")
        return self._dataset(pixels[..., None], targets, labels.file)

    def read_tables(self, place: Place, files: Sequence[str], found: Sequence[Path | None]) -> Splits:
        """The two sets from an .npz or from CSV files, where IDX files are missing; else an error that lists those."""
        # EMNIST is not published as an .npz, so nobody says whether the images of one are upright.
        npz = None if self.transposed else place.find_npz()
        if npz is not None:
            return Splits(*(self._checked(part, npz) for part in read_npz(npz, name=self.name)))
        # The authors of KMNIST publish these .npz files beside the IDX files.
        arrays = [
            place.find(f"{self.name}-{part}-{kind}.npz") for part in ("train", "test") for kind in ("imgs", "labels")
        ]
        if None not in arrays:
            return self.read([Npz(path) for path in arrays if path])
        train, test = (place.find_like(".csv", partial(self._is_table, part)) for part in ("train", "test"))
        if train is not None:
            return self._read_csv(train, test if test != train else None)
        missing = [file for file, path in zip(files, found, strict=True) if path is None]
        wanted = ", ".join(missing) + " (also .gz)"
        if len(missing) == len(files):
            wanted += "" if self.transposed else f"; or {self.name}.npz"
            wanted += f"; or {self.name}_train.csv and {self.name}_test.csv"
        raise place.nothing(wanted)

    def _is_table(self, part: str, path: Path) -> bool:
        """Whether a table's name is mnist_train or the like; Kaggle calls MNIST's tables "train" and "test"."""
        stem, folder = plain(path.stem), plain(path.parent.name)
        bare = folder == plain(self.name) or (self.name == "mnist" and "mnist" not in folder)
        return stem == plain(self.name) + part or (stem == part and bare)

    def _read_csv(self, train: Path, test: Path | None) -> Splits:
        shape = (*_SIZE, 1)
        training = self._checked(read_csv(train, shape=shape), train)
        if test is not None and not lacks_labels(test):
            return Splits(training, self._checked(read_csv(test, shape=shape), test))
        without = f"{test} has no labels" if test else "there is no table of test images"
        tell(f"{train}: the test set is a fifth of it, for {without}")
        return Splits(*split(training, 0.2, seed=0))

    def _checked(self, part: Dataset, file: Path) -> Dataset:
        if part.input_shape != (*_SIZE, 1):
            raise DataError(file, f"images of {_SIZE[0]}×{_SIZE[1]}, gray", f"images {part.input_shape}")
        return self._dataset(part.images, part.labels, file)

    def _dataset(self, images: np.ndarray, labels: np.ndarray, file: Path) -> Dataset:
        """The dataset of images turned upright and labels that begin at 0."""
        if self.transposed:
            images = np.ascontiguousarray(images.swapaxes(1, 2))
        if self.first_label:
            below = np.flatnonzero(labels < self.first_label)
            if below.size:
                raise DataError(
                    file, f"labels from {self.first_label}", f"label {labels[below[0]]} at position {below[0]:,}"
                )
            labels = labels - self.first_label
        check_labels(labels, len(self.classes), file)
        return Dataset(images, labels, self.classes, self.name)
