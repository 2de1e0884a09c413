"""MNIST and its relatives: gray images of 28×28 by name, from the user's folder or the network."""

from dataclasses import dataclass
from pathlib import Path

from jaxcnn.data.dataset import Splits
from jaxcnn.data.errors import DataError
from jaxcnn.data.fetch import fetch
from jaxcnn.data.mnist_forms import DIGITS, Idx, Parts
from jaxcnn.data.places import Place, plain
from jaxcnn.files.remote import Remote, hash_of_file

__all__ = ["EMNIST_CLASSES", "FASHION_MNIST", "KMNIST", "MNIST", "Relative", "read_emnist", "read_relative"]

# Training images and labels, test images and labels.
_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]

_UPPER, _LOWER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), tuple("abcdefghijklmnopqrstuvwxyz")
# "Merged": letters whose two cases look alike are one class. Cohen et al. 2017, arXiv:1702.05373, table II.
EMNIST_CLASSES = {
    "balanced": DIGITS + _UPPER + tuple("abdefghnqrt"),
    "byclass": DIGITS + _UPPER + _LOWER,
    "bymerge": DIGITS + _UPPER + tuple("abdefghnqrt"),
    "letters": _LOWER,
    "digits": DIGITS,
    "mnist": DIGITS,
}
_EMNIST = Remote(
    "emnist",
    "gzip.zip",
    "md5:58c8d27c78d21e728a6bc7b3cc06412e",  # torchvision/datasets/mnist.py, class EMNIST
    ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",),
)


@dataclass(frozen=True)
class Relative:
    """A dataset of four IDX files that have the names of MNIST's.

    Args:
      name: the dataset's name.
      classes: one name per label.
      md5: hashes of the four compressed files, in the order of `_FILES`.
      urls: folders that serve the files.
    """

    name: str
    classes: tuple[str, ...]
    md5: tuple[str, str, str, str]
    urls: tuple[str, ...]

    def remotes(self) -> list[Remote]:
        """The four files."""
        files = zip(_FILES, self.md5, strict=True)
        return [
            Remote(self.name, f"{file}.gz", f"md5:{md5}", tuple(f"{url}{file}.gz" for url in self.urls))
            for file, md5 in files
        ]


MNIST = Relative(
    "mnist",
    DIGITS,
    # md5 and the mirror ossci: torchvision/datasets/mnist.py, class MNIST
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
)
FASHION_MNIST = Relative(
    "fashion_mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
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
)
KMNIST = Relative(
    "kmnist",
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    # classes, md5 and address: torchvision/datasets/mnist.py, class KMNIST
    (
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
)
# The dataset of a compressed file, by its md5: the files of these three datasets have the same names.
_OWNERS = {md5: relative.name for relative in (MNIST, FASHION_MNIST, KMNIST) for md5 in relative.md5}


def read_relative(relative: Relative, data_dir: Path | None, mirror: str | None) -> Splits:
    """Read MNIST or another dataset whose files have the same names.

    Args:
      relative: the dataset.
      data_dir: the user's folder or file, or None to fetch the files.
      mirror: see `fetch`. With a folder and a mirror, files that the folder lacks are fetched.

    Returns:
      (train, test), images (N, 28, 28, 1).

    Raises:
      DataError: files are missing, damaged, of another dataset, or of different counts.
    """
    parts = Parts(relative.name, relative.classes)
    remotes = relative.remotes()
    if data_dir is None:
        return parts.read([Idx(fetch(remote, mirror=mirror)) for remote in remotes])
    place = Place(data_dir, relative.name)
    found = [place.find(*_variants(file)) for file in _FILES]
    if None in found and mirror is None:
        return parts.read_tables(place, _FILES, found)
    for path in found:
        _check_owner(path, relative.name)
    return parts.read([Idx(path or fetch(remote, mirror=mirror)) for path, remote in zip(found, remotes, strict=True)])


def read_emnist(part: str, data_dir: Path | None, mirror: str | None) -> Splits:
    """Read one part of EMNIST, upright: the published images are transposed.

    Args:
      part: one of `EMNIST_CLASSES`.
      data_dir: the user's folder or file, or None to fetch the archive of all parts.
      mirror: see `fetch`.

    Returns:
      (train, test), images (N, 28, 28, 1), labels from 0 (the published labels of the letters begin at 1).

    Raises:
      ValueError: no such part.
      DataError: files are missing, damaged, or of different counts.
    """
    if part not in EMNIST_CLASSES:
        raise ValueError(f"data.load: `split` must be one of {', '.join(EMNIST_CLASSES)}; got {part!r}")
    parts = Parts(f"emnist_{part}", EMNIST_CLASSES[part], transposed=True, first_label=int(part == "letters"))
    files = [
        file.replace("train-", f"emnist-{part}-train-").replace("t10k-", f"emnist-{part}-test-") for file in _FILES
    ]
    archive = None
    if data_dir is not None:
        place = Place(data_dir, "emnist")
        found = [place.find(*_variants(file)) for file in files]
        if None not in found:
            return parts.read([Idx(path) for path in found if path])
        archive = place.find("gzip.zip", "emnist.zip", "EMNIST.zip")
        if archive is None and mirror is None:
            return parts.read_tables(place, files, found)
    archive = archive or fetch(_EMNIST, mirror=mirror)
    return parts.read([Idx(archive, f"{file}.gz") for file in files])


def _variants(file: str) -> list[str]:
    """The names that one file may have: Kaggle writes a dot in place of a hyphen."""
    dotted = file.replace("-idx", ".idx")
    return [f"{file}.gz", file, f"{dotted}.gz", dotted]


def _check_owner(path: Path | None, name: str) -> None:
    """Raise `DataError` where a file's place or content says that it belongs to a dataset with the same file names."""
    if path is None:
        return
    folder = path.parent.parent if path.parent.name in ("raw", "gzip") else path.parent
    owner = next((other for other in set(_OWNERS.values()) if plain(other) == plain(folder.name)), name)
    if path.suffix == ".gz":
        owner = _OWNERS.get(hash_of_file(path, "md5"), owner)
    if owner != name:
        raise DataError(path, f"a file of {name}", f"one of {owner}, whose files have the same names")
