"""SVHN, street view house numbers: digits cut out of photos, in two MATLAB files.

Source: http://ufldl.stanford.edu/housenumbers/, "Format 2: Cropped Digits": X (32, 32, 3, N), y (N, 1), the digit 0 is
labeled 10.
"""

from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.errors import DataError
from jaxcnn.data.fetch import fetch
from jaxcnn.data.matlab import read_matlab
from jaxcnn.data.mnist_forms import DIGITS
from jaxcnn.data.places import Place
from jaxcnn.files.remote import Remote

__all__ = ["read_svhn"]

# md5: torchvision/datasets/svhn.py
_REMOTES = tuple(
    Remote("svhn", file, f"md5:{md5}", (f"http://ufldl.stanford.edu/housenumbers/{file}",))
    for file, md5 in (
        ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    )
)


def read_svhn(data_dir: Path | None, mirror: str | None) -> Splits:
    """Read SVHN from the user's folder, or fetch it; arguments as in `read_relative`."""
    found: list[Path | None] = [None, None]
    if data_dir is not None:
        place = Place(data_dir, "svhn")
        found = [place.find(remote.file) for remote in _REMOTES]
        if None in found and mirror is None:
            missing = [remote.file for remote, path in zip(_REMOTES, found, strict=True) if path is None]
            raise place.nothing(", ".join(missing))
    paths = [path or fetch(remote, mirror=mirror) for path, remote in zip(found, _REMOTES, strict=True)]
    return Splits(*(_part(path) for path in paths))


def _part(file: Path) -> Dataset:
    arrays = read_matlab(file)
    images, labels = arrays.get("X", np.empty(0)), np.ravel(arrays.get("y", np.empty(0)))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3) or not images.size:
        found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
        raise DataError(file, "an array X (32, 32, 3, N) of uint8", found or "no arrays of numbers")
    if len(labels) != images.shape[3]:
        raise DataError(file, f"{images.shape[3]:,} labels in y, one per image", f"{len(labels):,}")
    if not np.isin(labels, range(11)).all():
        raise DataError(file, "labels 1 to 10", f"{labels.min()} to {labels.max()}")
    digits = np.where(labels == 10, 0, labels).astype(np.int32)
    return Dataset(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits, DIGITS, "svhn")
