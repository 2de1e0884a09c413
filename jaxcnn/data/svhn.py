"""SVHN, street view house numbers: digits cut out of photos, in two MATLAB files.

Source: http://ufldl.stanford.edu/housenumbers/, "Format 2: Cropped Digits": X (32, 32, 3, N), y (N, 1), the digit 0 is
labelled 10.
"""

from pathlib import Path

import numpy as np

from jaxcnn.data.bounds import check_unpacked
from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.errors import DataError, check_labels, require
from jaxcnn.data.fetch import Remote, fetch
from jaxcnn.data.places import Place

__all__ = ["read_svhn"]

_MOST_IMAGES = 1_000_000
# md5: torchvision/datasets/svhn.py
_REMOTES = tuple(
    Remote("svhn", file, md5, (f"http://ufldl.stanford.edu/housenumbers/{file}",))
    for file, md5 in (
        ("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
    )
)


def read_svhn(data_dir: Path | None, mirror: str | None) -> Splits:
    """SVHN from the user's folder, else fetched; the arguments are those of `read_relative`."""
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
    matlab = require("scipy.io", "reading MATLAB's files of SVHN")
    try:
        sizes = {name: shape for name, shape, _ in matlab.whosmat(file)}
        shape = sizes.get("X", ())
        if shape[:3] != (32, 32, 3) or len(shape) != 4 or shape[3] > _MOST_IMAGES:
            raise DataError(file, "an array X (32, 32, 3, N)", f"arrays {sizes}")
        check_unpacked(file, int(np.prod(shape)), file.stat().st_size)
        arrays = matlab.loadmat(file, variable_names=["X", "y"])
    except DataError:
        raise
    except OSError as error:
        raise DataError(file, "a readable MATLAB file", error.strerror or str(error)) from None
    except Exception as error:  # the reader raises what it stumbles on
        raise DataError(file, "a whole MATLAB file", f"damaged data ({type(error).__name__}: {error})") from None
    images, labels = arrays["X"], np.ravel(arrays.get("y", ()))
    if images.dtype != np.uint8 or len(labels) != images.shape[3]:
        raise DataError(
            file, f"{images.shape[3]:,} labels y and images X of uint8", f"{len(labels):,} and {images.dtype}"
        )
    labels = np.where(labels == 10, 0, labels.astype(np.int32))
    check_labels(labels, 10, file)
    return Dataset(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels, tuple("0123456789"), "svhn")
