"""The CIFAR-10 binary version: an archive of six files of 3,073-byte records.

Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version": one label byte, then 1,024 red, 1,024 green and
1,024 blue bytes, each plane row by row.
"""

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.errors import DataError, check_labels

__all__ = ["read_cifar10"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"  # of the six files, inside the archive as well
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
_RECORD = 1 + 3 * 32 * 32  # bytes
_RECORDS_PER_FILE = 10_000


def read_cifar10(source: Path) -> Splits:
    """Read CIFAR-10 from its archive, or from the folder of its six files.

    The archive is read in memory, never unpacked onto the disk, so no path inside it can reach outside.

    Args:
        source: the file `cifar-10-binary.tar.gz`, or an unpacked folder `cifar-10-batches-bin`. Files may hold fewer
            than the official 10,000 records each.

    Returns:
        Images (N, 32, 32, 3): the five training files in order, and the test file.

    Raises:
        DataError: a file is missing, damaged, no whole number of records, or holds a label above 9.
    """
    if source.is_dir():
        return _splits(lambda name: _read_file(source / name), source)
    try:
        with tarfile.open(source) as archive:
            return _splits(lambda name: _read_member(archive, f"{FOLDER}/{name}", source), source)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(source, "a whole tar archive", f"damaged data ({error})") from None
    except OSError as error:  # also gzip.BadGzipFile
        raise DataError(source, "a readable tar archive", error.strerror or str(error)) from None


def _splits(read: Callable[[str], bytes], source: Path) -> Splits:
    train = [_records(read(name), source / name) for name in TRAIN_FILES]
    images, labels = zip(*train, strict=True)
    test_images, test_labels = _records(read(TEST_FILE), source / TEST_FILE)
    return Splits(
        Dataset(np.concatenate(images), np.concatenate(labels), CLASSES, "cifar10"),
        Dataset(test_images, test_labels, CLASSES, "cifar10"),
    )


def _records(data: bytes, file: Path) -> tuple[np.ndarray, np.ndarray]:
    most = _RECORDS_PER_FILE * _RECORD
    if len(data) == 0 or len(data) % _RECORD:
        found = f"{len(data):,} bytes" if len(data) <= most else f"more than {most:,} bytes"
        raise DataError(file, f"1 to {_RECORDS_PER_FILE:,} records of {_RECORD:,} bytes", found)
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0]
    check_labels(labels, len(CLASSES), file)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)  # (N, C, H, W)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


# Both readers take one byte more than the official size at most: that is no whole number of records, so `_records` sees
# an oversize file without its being read.
_LIMIT = _RECORDS_PER_FILE * _RECORD + 1


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT)
    except OSError as error:
        raise DataError(path, "a readable CIFAR-10 binary file", error.strerror or str(error)) from None


def _read_member(archive: tarfile.TarFile, name: str, source: Path) -> bytes:
    try:
        member = archive.extractfile(name)
    except KeyError:
        member = None
    if member is None:  # absent, or a folder or device of that name
        raise DataError(source, f"a file {name} in the archive", ", ".join(archive.getnames()) or "an empty archive")
    with member:
        return member.read(_LIMIT)
