"""The IDX format of MNIST and its relatives.

Source: the format's description on http://yann.lecun.com/exdb/mnist/ :
two zero bytes, a dtype code, the number of axes, each axis' length as big-endian int32, then the values, big-endian.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.errors import DataError, check_labels

__all__ = ["read_idx", "read_idx_dataset"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_CHUNK = 1 << 20  # bytes


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, gzip-compressed or not, whatever its name.

    Args:
        path: the file.

    Returns:
        The array, in the shape and the type that the header states.

    Raises:
        DataError: no such file, a wrong magic number, a length other than the header's, or damaged gzip data.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels-idx1-ubyte")
    ...     count = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(file)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as plain:
            compressed = plain.read(2) == _GZIP_MAGIC
            plain.seek(0)
            if not compressed:
                return _read(plain, path)
            with gzip.GzipFile(fileobj=plain) as stream:
                return _read(stream, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, "whole gzip data", f"damaged data ({error})") from None
    except OSError as error:
        raise DataError(path, "a readable IDX file", error.strerror or str(error)) from None


def _read(stream: BinaryIO | gzip.GzipFile, path: Path) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise DataError(path, "an IDX magic number such as 00 00 08 03", magic.hex(" ") or "an empty file")
    dtype, rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise DataError(path, f"{rank} axis lengths after the magic number", f"{len(header)} bytes")
    shape = tuple(int(length) for length in np.frombuffer(header, ">u4"))
    size = math.prod(shape) * dtype.itemsize

    # One byte more than stated is enough to see trailing data, and reaches the end where gzip checks its CRC. Read in
    # chunks, so that neither a made-up header nor a gzip bomb decides how much memory is taken.
    body = bytearray()
    while len(body) <= size and (chunk := stream.read(min(_CHUNK, size + 1 - len(body)))):
        body += chunk
    if len(body) != size:
        found = "more" if len(body) > size else f"{len(body):,} bytes"
        raise DataError(path, f"{size:,} bytes of values for the shape {shape} in its header", found)
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_idx_dataset(
    images: Path, labels: Path, *, classes: tuple[str, ...], size: tuple[int, int], name: str
) -> Dataset:
    """Read a file of grey images and the file of their labels.

    Args:
        images: IDX file of uint8 (N, H, W).
        labels: IDX file of uint8 (N,).
        classes: one name per label.
        size: (H, W) that the images must have, in pixels.
        name: the dataset's name.

    Returns:
        The dataset, images (N, H, W, 1).

    Raises:
        DataError: a damaged file, images of another size, another number of labels, or a label with no class.
    """
    pixels, targets = read_idx(images), read_idx(labels)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != size:
        raise DataError(images, f"uint8 images (N, {size[0]}, {size[1]})", f"{pixels.dtype} {pixels.shape}")
    if targets.dtype != np.uint8 or targets.ndim != 1:
        raise DataError(labels, "uint8 labels (N,)", f"{targets.dtype} {targets.shape}")
    if len(targets) != len(pixels):
        raise DataError(labels, f"{len(pixels):,} labels, one per image of {images.name}", f"{len(targets):,}")
    check_labels(targets, len(classes), labels)
    return Dataset(pixels[..., None], targets, classes, name)
