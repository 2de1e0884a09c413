"""The catalogue of datasets: `load("mnist")`."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.cifar import FOLDER, read_cifar10
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError, require
from jaxcnn.data.fetch import Remote, fetch, find, obtain
from jaxcnn.data.folder import read_image_folders
from jaxcnn.data.idx import read_idx_dataset

__all__ = ["Source", "describe", "load", "names"]


@dataclass(frozen=True)
class Source:
    """What the catalogue knows of a dataset.

    Args:
        name: what `load` calls it.
        description: one line.
        image_shape: (H, W, C), or None where it depends on the user's files.
        sizes: (training, test) examples, or None likewise.
        licence: terms and origin, one line.
        read: (data_dir, **options) -> Splits.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int] | None
    sizes: tuple[int, int] | None
    licence: str
    read: Callable[..., Splits]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword options that `load` passes on."""
        return tuple(inspect.signature(self.read).parameters)[1:]


def names() -> list[str]:
    """The datasets that `load` knows.

    >>> names()
    ['digits', 'mnist', 'fashion_mnist', 'cifar10', 'image_folder']
    """
    return list(_CATALOGUE)


def describe(name: str) -> Source:
    """What the catalogue says of one dataset.

    Args:
        name: one of `names()`.

    Returns:
        Its description, shapes, sizes and licence.

    Raises:
        ValueError: an unknown name; the message lists the known ones.

    >>> describe("mnist").image_shape, describe("mnist").sizes
    ((28, 28, 1), (60000, 10000))
    """
    if name not in _CATALOGUE:
        raise ValueError(f"unknown dataset {name!r}; the known ones are {', '.join(_CATALOGUE)}.")
    return _CATALOGUE[name]


def load(name: str, *, data_dir: str | os.PathLike[str] | None = None, **options: object) -> Splits:
    """Load a dataset: from `data_dir` where its files are there, else fetched once and cached.

    Args:
        name: one of `names()`.
        data_dir: an existing folder with the published files, in itself or in a subfolder of the dataset's name,
            compressed or not. `image_folder` needs it (see `read_image_folders`), `digits` has no use for it.
        **options: `mnist`, `fashion_mnist`, `cifar10`: `mirror`, a URL under which `<name>/<file>` is served.
            `image_folder`: `size` (H, W) in pixels, which it needs; `channels` 3 or 1; `fraction` and `seed` of the
            test set where there is no folder of its own; `skip_unreadable`, to leave out images that cannot be read.

    Returns:
        (train, test), uint8 images (N, H, W, C).

    Raises:
        ValueError: an unknown name.
        TypeError: an option that this dataset does not have, or one that it needs and did not get.
        DataError: a file is missing, damaged or mislabelled.
        ImportError: a package of the extra `jaxcnn[data]` is missing.

    >>> train, test = load("digits")
    >>> train.images.shape, len(test)
    ((1438, 8, 8, 1), 359)
    """
    source = describe(name)
    unknown = sorted(set(options) - set(source.options))
    if unknown:
        known = ", ".join(source.options) or "none"
        raise TypeError(f"dataset {name!r} has no option {', '.join(unknown)}; its options: {known}.")
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(folder, "an existing data folder", "no such folder")
    return source.read(folder, **options)


_DIGITS = tuple("0123456789")


def _digits(data_dir: Path | None) -> Splits:
    scans = require("sklearn.datasets", "the digits").load_digits()
    # 0..16 to 0..255 in integers, rounding halves up: the same bytes on every machine.
    images = ((scans.images.astype(np.int32) * 255 + 8) // 16).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    dataset = Dataset(images, scans.target.astype(np.int32), _DIGITS, "digits")
    return Splits(*split(dataset, 0.2, seed=0))


def _idx_reader(
    name: str, classes: tuple[str, ...], md5: tuple[str, str, str, str], urls: tuple[str, ...]
) -> Callable[..., Splits]:
    files = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    remotes = [
        Remote(name, file, hash, tuple(url + file for url in urls)) for file, hash in zip(files, md5, strict=True)
    ]

    def read(data_dir: Path | None, mirror: str | None = None) -> Splits:
        paths = [obtain(remote, data_dir, mirror) for remote in remotes]
        train, test = (
            read_idx_dataset(images, labels, classes=classes, size=(28, 28), name=name)
            for images, labels in (paths[:2], paths[2:])
        )
        return Splits(train, test)

    return read


_CIFAR10 = Remote(
    "cifar10",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    ),
)


def _cifar10(data_dir: Path | None, mirror: str | None = None) -> Splits:
    if data_dir is not None and data_dir.name == FOLDER:
        return read_cifar10(data_dir)
    found = find((FOLDER, _CIFAR10.file, _CIFAR10.file.removesuffix(".gz")), "cifar10", data_dir)
    return read_cifar10(found if found is not None else fetch(_CIFAR10, mirror=mirror))


def _image_folder(
    data_dir: Path | None,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    fraction: float = 0.2,
    seed: int = 0,
    skip_unreadable: bool = False,
) -> Splits:
    if data_dir is None or size is None:
        raise TypeError(
            "dataset 'image_folder' needs `data_dir`, a folder of class folders, and `size`, (H, W) in pixels."
        )
    return read_image_folders(
        data_dir, size=size, channels=channels, fraction=fraction, seed=seed, skip_unreadable=skip_unreadable
    )


_CATALOGUE = {
    source.name: source
    for source in (
        Source(
            "digits",
            "handwritten digits, real 8×8 scans; comes with scikit-learn, nothing to fetch",
            (8, 8, 1),
            (1438, 359),
            "CC BY 4.0; Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits, test part",
            _digits,
        ),
        Source(
            "mnist",
            "handwritten digits in grey",
            (28, 28, 1),
            (60_000, 10_000),
            "CC BY-SA 3.0; LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/",
            _idx_reader(
                "mnist",
                _DIGITS,
                # md5 and the mirror ossci: torchvision/datasets/mnist.py, class MNIST
                (
                    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                    "d53e105ee54ea40749a09fcbcd1e9432",
                    "9fb629c4189551a2d022fa330f9573f3",
                    "ec29112dd5afa0611ce80d1b7f02629c",
                ),
                (
                    "https://ossci-datasets.s3.amazonaws.com/mnist/",
                    "https://storage.googleapis.com/cvdf-datasets/mnist/",
                ),
            ),
        ),
        Source(
            "fashion_mnist",
            "articles of clothing in grey",
            (28, 28, 1),
            (60_000, 10_000),
            "MIT; Xiao, Rasul and Vollgraf 2017 (Zalando), https://github.com/zalandoresearch/fashion-mnist",
            _idx_reader(
                "fashion_mnist",
                (
                    "T-shirt/top",
                    "Trouser",
                    "Pullover",
                    "Dress",
                    "Coat",
                    "Sandal",
                    "Shirt",
                    "Sneaker",
                    "Bag",
                    "Ankle boot",
                ),
                # md5: the table "Get the Data" in the README of zalandoresearch/fashion-mnist
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                (
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                ),
            ),
        ),
        Source(
            "cifar10",
            "small colour photos of ten kinds of animals and vehicles",
            (32, 32, 3),
            (50_000, 10_000),
            "no licence stated; Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html",
            _cifar10,
        ),
        Source(
            "image_folder",
            "your own images, one folder per class, resized; needs a data folder and a size",
            None,
            None,
            "yours",
            _image_folder,
        ),
    )
}
