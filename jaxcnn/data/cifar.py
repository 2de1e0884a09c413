"""The binary versions of CIFAR-10 and CIFAR-100: files of records, in an archive or unpacked.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version": one label byte (CIFAR-100: that of the coarse
label, then that of the fine one), then 1,024 red, 1,024 green and 1,024 blue bytes, each plane row by row.
"""

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.errors import DataError, check_labels
from jaxcnn.data.fetch import fetch
from jaxcnn.data.npz import read_npz
from jaxcnn.data.places import Place
from jaxcnn.files.remote import Remote

__all__ = ["CIFAR10", "CIFAR100", "Cifar", "read_cifar", "read_cifar10", "read_cifar100"]

_PIXELS = 3 * 32 * 32  # bytes of an image


@dataclass(frozen=True)
class Cifar:
    """CIFAR-10 or CIFAR-100.

    Args:
      name: the dataset's name.
      classes: one name per label.
      folder: the folder of the files, on the disk and inside the archive.
      train_files: names of the training files, in order.
      test_file: name of the test file.
      records: the most records that a file holds.
      label_bytes: bytes before each image; the last of them is the label.
      python_folder: the folder of the version that is made of pickles.
      remote: the published archive.
    """

    name: str
    classes: tuple[str, ...]
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    records: int
    label_bytes: int
    python_folder: str
    remote: Remote


CIFAR10 = Cifar(
    "cifar10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar-10-batches-bin",
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    10_000,
    1,
    "cifar-10-batches-py",
    Remote(
        "cifar10",
        "cifar-10-binary.tar.gz",
        "md5:c32a1d4ab5d03f1284b67883e8d87530",
        (
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
        ),
    ),
)
# fine_label_names.txt of the archive
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree
wolf woman worm
"""
CIFAR100 = Cifar(
    "cifar100",
    tuple(_FINE.split()),
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    50_000,
    2,
    "cifar-100-python",
    Remote(
        "cifar100",
        "cifar-100-binary.tar.gz",
        "md5:03b5dce01913d631647c71ecec9e9cb8",
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
    ),
)


def read_cifar10(source: str | os.PathLike[str]) -> Splits:
    """Read CIFAR-10 from its archive, or from the folder of its six files.

    The archive is read in memory, never unpacked onto the disk, so no path inside it can reach outside.

    Args:
      source: the file `cifar-10-binary.tar.gz`, or an unpacked folder `cifar-10-batches-bin`. Files may hold fewer
        than the official 10,000 records each.

    Returns:
      Images (N, 32, 32, 3): the five training files in order, and the test file.

    Raises:
      DataError: a file is missing, damaged, no whole number of records, or holds a label above 9; or the source is
        the version made of pickles, which is not read.
    """
    return _read(CIFAR10, Path(source))


def read_cifar100(source: str | os.PathLike[str]) -> Splits:
    """Read CIFAR-100 with its 100 fine labels from its archive, or from the folder of its two files.

    Args:
      source: the file `cifar-100-binary.tar.gz`, or an unpacked folder `cifar-100-binary`.

    Returns:
      Images (N, 32, 32, 3).

    Raises:
      DataError: as `read_cifar10`.
    """
    return _read(CIFAR100, Path(source))


def read_cifar(cifar: Cifar, data_dir: Path | None, mirror: str | None) -> Splits:
    """Read CIFAR-10 or CIFAR-100 from the user's folder or file, or fetch it; arguments as in `read_relative`."""
    if data_dir is None:
        return _read(cifar, fetch(cifar.remote, mirror=mirror))
    if data_dir.is_file() and data_dir.suffix != ".npz":
        return _read(cifar, data_dir)
    place = Place(data_dir, cifar.name)
    found = place.find_folder(cifar.folder, cifar.test_file)
    found = found or place.find(cifar.remote.file, cifar.remote.file.removesuffix(".gz"))
    if found is None and (npz := place.find_npz()):
        return Splits(*(_checked(cifar, part, npz) for part in read_npz(npz, classes=cifar.classes, name=cifar.name)))
    if found is None and mirror is None:
        pickles = place.find(f"{cifar.python_folder}.tar.gz", *_python_archives(cifar))
        pickles = pickles or next(
            (f / cifar.python_folder for f in place.folders() if (f / cifar.python_folder).is_dir()), None
        )
        if pickles is not None or _holds_pickles(data_dir):
            raise _pickles(cifar, pickles or data_dir)
        raise place.nothing(f"{cifar.folder}/ with {cifar.test_file}; or {cifar.remote.file}; or {cifar.name}.npz")
    return _read(cifar, found or fetch(cifar.remote, mirror=mirror))


def _checked(cifar: Cifar, part: Dataset, file: Path) -> Dataset:
    if part.input_shape != (32, 32, 3):
        raise DataError(file, "images of 32×32, three colors", f"images {part.input_shape}")
    return part


# ---- the version made of pickles


def _python_archives(cifar: Cifar) -> tuple[str, ...]:
    name = cifar.remote.file.replace("binary", "python")
    return name, name.removesuffix(".gz")


def _holds_pickles(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("batches.meta", "data_batch_1", "meta")) and not any(
        folder.glob("*.bin")
    )


def _pickles(cifar: Cifar, source: Path) -> DataError:
    return DataError(
        source,
        f"the binary version of {cifar.name}, {cifar.remote.file}",
        "the Python version, which is made of pickles: they can run code when they are read, so they are not. "
        f"Get {cifar.remote.urls[0]}",
    )


# ---- archive, folder, records


def _read(cifar: Cifar, source: Path) -> Splits:
    if source.is_dir():
        if _holds_pickles(source):
            raise _pickles(cifar, source)
        return _splits(cifar, lambda name: _read_file(source / name, _limit(cifar)), source)
    try:
        with tarfile.open(source) as archive:
            return _splits(cifar, lambda name: _read_member(cifar, archive, name, source), source)
    except DataError:
        raise
    except OSError as error:  # also gzip.BadGzipFile
        raise DataError(source, "a readable tar archive", error.strerror or str(error)) from None
    except Exception as error:  # TarError, EOFError, zlib.error; RecursionError of links in a circle
        raise DataError(source, "a whole tar archive", f"damaged data ({error})") from None


def _splits(cifar: Cifar, read: Callable[[str], bytes], source: Path) -> Splits:
    train = [_records(cifar, read(name), source / name) for name in cifar.train_files]
    images, labels = zip(*train, strict=True)
    test_images, test_labels = _records(cifar, read(cifar.test_file), source / cifar.test_file)
    return Splits(
        Dataset(np.concatenate(images), np.concatenate(labels), cifar.classes, cifar.name),
        Dataset(test_images, test_labels, cifar.classes, cifar.name),
    )


def _records(cifar: Cifar, data: bytes, file: Path) -> tuple[np.ndarray, np.ndarray]:
    record = cifar.label_bytes + _PIXELS
    most = cifar.records * record
    if len(data) == 0 or len(data) % record:
        found = f"{len(data):,} bytes" if len(data) <= most else f"more than {most:,} bytes"
        raise DataError(file, f"1 to {cifar.records:,} records of {record:,} bytes", found)
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    labels = records[:, cifar.label_bytes - 1]
    check_labels(labels, len(cifar.classes), file)
    planes = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32)  # (N, C, H, W)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def _limit(cifar: Cifar) -> int:
    """The most bytes that are read of a file: one more than the official size.

    That is no whole number of records, so `_records` refuses a file that is too large without reading all of it.
    """
    return cifar.records * (cifar.label_bytes + _PIXELS) + 1


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise DataError(path, "a readable binary file of CIFAR", error.strerror or str(error)) from None


def _read_member(cifar: Cifar, archive: tarfile.TarFile, name: str, source: Path) -> bytes:
    try:
        member = archive.extractfile(f"{cifar.folder}/{name}")
    except KeyError:
        member = None
    if member is None:  # absent, or a folder or device of that name
        names = archive.getnames()
        if any(path.startswith(cifar.python_folder) for path in names):
            raise _pickles(cifar, source)
        found = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")
        raise DataError(source, f"a file {cifar.folder}/{name} in the archive", found or "an empty archive")
    with member:
        return member.read(_limit(cifar))
