"""The catalogue of datasets: `load("mnist")`."""

import difflib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.cifar import CIFAR10, CIFAR100, Cifar, read_cifar
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError, require
from jaxcnn.data.folder import read_image_folders
from jaxcnn.data.mnist import EMNIST_CLASSES, FASHION_MNIST, KMNIST, MNIST, Relative, read_emnist, read_relative
from jaxcnn.data.mnist_forms import DIGITS
from jaxcnn.data.places import plain
from jaxcnn.data.svhn import read_svhn
from jaxcnn.moved import moved_field

__all__ = ["Source", "describe", "load", "names"]


@dataclass(frozen=True)
class Source:
    """A dataset as the catalogue describes it.

    Args:
      name: its name for `load`.
      description: one line.
      image_shape: (H, W, C), or None where it depends on the user's files.
      sizes: (training, test) examples, or None where they depend on the user's files.
      license: terms and origin, one line.
      read: (data_dir, **options) -> Splits.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int] | None
    sizes: tuple[int, int] | None
    license: str
    read: Callable[..., Splits]

    licence = moved_field("data.Source", "licence", "license")

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword options that `load` passes on."""
        return tuple(inspect.signature(self.read).parameters)[1:]


def names() -> list[str]:
    """The datasets that `load` knows.

    Example:
      >>> names()
      ['digits', 'mnist', 'fashion_mnist', 'kmnist', 'emnist',
       'emnist_balanced', 'emnist_byclass', 'emnist_bymerge', 'emnist_letters', 'emnist_digits', 'emnist_mnist',
       'cifar10', 'cifar100', 'svhn', 'image_folder']
    """
    return list(_CATALOGUE)


def describe(name: str) -> Source:
    """The catalogue's entry of one dataset.

    Args:
      name: one of `names()`, in any case of letters, with or without hyphens: "MNIST", "Fashion-MNIST", "CIFAR-10".

    Returns:
      Its description, shapes, sizes and license.

    Raises:
      ValueError: an unknown name; the message names the closest and lists the known ones.

    Example:
      >>> describe("MNIST").image_shape, describe("mnist").sizes
      ((28, 28, 1), (60000, 10000))
    """
    if not isinstance(name, str):
        raise TypeError(f"data.load: `name` must be a string; got {name!r}")
    known = {plain(key): source for key, source in _CATALOGUE.items()}
    if plain(name) in known:
        return known[plain(name)]
    hint = "".join(f" Did you mean {known[key].name!r}?" for key in difflib.get_close_matches(plain(name), known, 1))
    raise ValueError(f"data.load: unknown dataset {name!r}; the known ones are {', '.join(_CATALOGUE)}.{hint}")


def load(name: str, *, data_dir: str | os.PathLike[str] | None = None, **options: object) -> Splits:
    """Load a dataset: from `data_dir` where one is given, else fetched once and cached.

    These files are looked for in the folder, in a subfolder of the dataset's name in any spelling, and in the folders
    that torchvision makes (`MNIST/raw`, `EMNIST/raw`):

    - `mnist`, `fashion_mnist`, `kmnist`: the four IDX files, compressed or not, also with Kaggle's names
      (`train-images.idx3-ubyte`); or `mnist.npz`, as Keras has it (see `read_npz`); or `mnist_train.csv` and
      `mnist_test.csv`, or `train.csv` and `test.csv` (see `read_csv`). Kaggle's
      table of test images has no labels and is not read: the test set is then a fifth of the training table.
    - `emnist`: the four IDX files of its split, or the archive `gzip.zip`, or `emnist-balanced-train.csv` and
      `emnist-balanced-test.csv`.
    - `cifar10`, `cifar100`: the binary version, the archive or the folder; or `cifar10.npz`. The Python version is
      not read: it is made of pickles, which can run code.
    - `svhn`: `train_32x32.mat` and `test_32x32.mat`.

    Args:
      name: one of `names()`, in any spelling.
      data_dir: an existing folder, or one of those files. Nothing is fetched then, unless a `mirror` is given.
        `image_folder` needs it (see `read_image_folders`); `digits` does not use it.
      **options: for every dataset that can be fetched, `mirror`, a URL under which `<name>/<file>` is served.
        `emnist`: `split`, one of balanced, byclass, bymerge, letters, digits, mnist; or name "emnist_letters".
        `image_folder`: `size` (H, W) in pixels, which it needs; `channels` 3 or 1; `fraction` and `seed` of the
        test set where there is no folder of its own; `skip_unreadable`, to leave out images that cannot be read.

    Returns:
      (train, test), uint8 images (N, H, W, C).

    Raises:
      ValueError: an unknown name.
      TypeError: an option that this dataset does not have, or one that it needs and did not get.
      DataError: a file is missing, damaged or mislabeled; the message says what was looked for in the folder.
      ImportError: a package of the extra `jaxcnn[data]` is missing.

    Example:
      >>> train, test = load("digits")
      >>> train.images.shape, len(test)
      ((1438, 8, 8, 1), 359)
    """
    source = describe(name)
    unknown = sorted(set(options) - set(source.options))
    if unknown:
        known = ", ".join(source.options) or "none"
        raise TypeError(f"data.load: {source.name!r} has no option {', '.join(unknown)}; its options: {known}")
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.exists():
        raise DataError(folder, "an existing data folder", "no such folder")
    return source.read(folder, **options)


def _digits(data_dir: Path | None) -> Splits:
    scans = require("sklearn.datasets", "the digits").load_digits()
    # 0..16 to 0..255 in integers, rounding halves up: the same bytes on every machine.
    images = ((scans.images.astype(np.int32) * 255 + 8) // 16).astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    dataset = Dataset(images, scans.target.astype(np.int32), DIGITS, "digits")
    return Splits(*split(dataset, 0.2, seed=0))


def _relative(relative: Relative) -> Callable[..., Splits]:
    def read(data_dir: Path | None, mirror: str | None = None) -> Splits:
        return read_relative(relative, data_dir, mirror)

    return read


def _emnist(data_dir: Path | None, split: str = "balanced", mirror: str | None = None) -> Splits:
    return read_emnist(split, data_dir, mirror)


def _emnist_part(part: str) -> Callable[..., Splits]:
    def read(data_dir: Path | None, mirror: str | None = None) -> Splits:
        return read_emnist(part, data_dir, mirror)

    return read


def _cifar(cifar: Cifar) -> Callable[..., Splits]:
    def read(data_dir: Path | None, mirror: str | None = None) -> Splits:
        return read_cifar(cifar, data_dir, mirror)

    return read


def _svhn(data_dir: Path | None, mirror: str | None = None) -> Splits:
    return read_svhn(data_dir, mirror)


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
            "data.load: 'image_folder' needs `data_dir`, a folder of class folders, and `size`, (H, W) in pixels"
        )
    return read_image_folders(
        data_dir, size=size, channels=channels, fraction=fraction, seed=seed, skip_unreadable=skip_unreadable
    )


_EMNIST_LICENSE = (
    "no license stated; Cohen et al. 2017 from NIST Special Database 19, "
    "https://www.nist.gov/itl/products-and-services/emnist-dataset"
)
# What is in each part, and how many images there are to train and to test.
_EMNIST_PARTS = {
    "balanced": ("letters and digits, as many of each; letters that look alike in both cases are one", 112_800, 18_800),
    "byclass": ("letters and digits, upper and lower case apart", 697_932, 116_323),
    "bymerge": ("letters and digits; letters that look alike in both cases are one", 697_932, 116_323),
    "letters": ("letters, upper and lower case as one", 124_800, 20_800),
    "digits": ("digits", 240_000, 40_000),
    "mnist": ("digits, as many as MNIST has", 60_000, 10_000),
}

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
            "handwritten digits in gray",
            (28, 28, 1),
            (60_000, 10_000),
            "CC BY-SA 3.0; LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/",
            _relative(MNIST),
        ),
        Source(
            "fashion_mnist",
            "articles of clothing in gray",
            (28, 28, 1),
            (60_000, 10_000),
            "MIT; Xiao, Rasul and Vollgraf 2017 (Zalando), https://github.com/zalandoresearch/fashion-mnist",
            _relative(FASHION_MNIST),
        ),
        Source(
            "kmnist",
            "ten characters of old Japanese handwriting in gray",
            (28, 28, 1),
            (60_000, 10_000),
            'CC BY-SA 4.0; Clanuwat et al. 2018, "Kuzushiji-MNIST", https://github.com/rois-codh/kmnist',
            _relative(KMNIST),
        ),
        Source(
            "emnist",
            "handwritten letters and digits in gray, 47 classes: the same as emnist_balanced",
            (28, 28, 1),
            _EMNIST_PARTS["balanced"][1:],
            _EMNIST_LICENSE,
            _emnist,
        ),
        *(
            Source(
                f"emnist_{part}",
                f"handwritten {what}; {len(EMNIST_CLASSES[part])} classes, in gray",
                (28, 28, 1),
                (training, test),
                _EMNIST_LICENSE,
                _emnist_part(part),
            )
            for part, (what, training, test) in _EMNIST_PARTS.items()
        ),
        Source(
            "cifar10",
            "small color photos of ten kinds of animals and vehicles",
            (32, 32, 3),
            (50_000, 10_000),
            "no license stated; Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html",
            _cifar(CIFAR10),
        ),
        Source(
            "cifar100",
            "small color photos of a hundred kinds of things, by their fine labels",
            (32, 32, 3),
            (50_000, 10_000),
            "no license stated; Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html",
            _cifar(CIFAR100),
        ),
        Source(
            "svhn",
            "house numbers from street photos, one digit in the middle",
            (32, 32, 3),
            (73_257, 26_032),
            "for non-commercial use; Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/",
            _svhn,
        ),
        Source(
            "image_folder",
            "your own images in a data folder, one folder per class, resized to one size",
            None,
            None,
            "yours",
            _image_folder,
        ),
    )
}
