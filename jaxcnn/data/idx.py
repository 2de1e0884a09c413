"""The IDX format of MNIST and its relatives.

Source: the format's description on http://yann.lecun.com/exdb/mnist/ :
two zero bytes, a dtype code, the number of axes, each axis' length as big-endian int32, then the values, big-endian.
"""

import gzip
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np

from jaxcnn.data.bounds import check_unpacked
from jaxcnn.data.errors import DataError

__all__ = ["read_idx", "read_idx_stream"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_MOST_AXES = 32  # what every NumPy can hold
_CHUNK = 1 << 20  # bytes

Check: TypeAlias = Callable[[np.dtype, tuple[int, ...]], None]


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, gzip-compressed or not, whatever its name.

    Args:
      path: the file.

    Returns:
      The array, in the shape and dtype that the header states.

    Raises:
      DataError: no such file, a wrong magic number, a length other than the header's, or damaged gzip data.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "labels-idx1-ubyte")
      ...     count = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
      ...     read_idx(file)
      array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return read_idx_stream(stream, os.fstat(stream.fileno()).st_size, path)
    except OSError as error:
        raise DataError(path, "a readable IDX file", error.strerror or str(error)) from None


def read_idx_stream(stream: IO[bytes], length: int, file: Path, check: Check | None = None) -> np.ndarray:
    """Read an open IDX file of `length` bytes; `check` may refuse its dtype and shape by a DataError."""
    try:
        compressed = stream.read(2) == _GZIP_MAGIC
        stream.seek(0)
        if not compressed:
            return _read(stream, length, file, check, packed=False)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return _read(unpacked, length, file, check, packed=True)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(file, "whole gzip data", f"damaged data ({error})") from None


def _read(
    stream: IO[bytes] | gzip.GzipFile, length: int, file: Path, check: Check | None, *, packed: bool
) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise DataError(file, "an IDX magic number such as 00 00 08 03", magic.hex(" ") or "an empty file")
    dtype, rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    if rank > _MOST_AXES:
        raise DataError(file, f"at most {_MOST_AXES} axes", f"{rank} axes in its header")
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise DataError(file, f"{rank} axis lengths after the magic number", f"{len(header)} bytes")
    shape = tuple(int(axis) for axis in np.frombuffer(header, ">u4"))
    if check is not None:
        check(dtype.newbyteorder("="), shape)
    size = math.prod(shape) * dtype.itemsize
    if packed:
        check_unpacked(file, size, length)

    # Reading one byte more than stated finds trailing data, and reaches the end, where gzip checks its CRC. Reading in
    # chunks takes memory for the bytes that are there, whatever size a damaged header states.
    body = bytearray()
    while len(body) <= size and (chunk := stream.read(min(_CHUNK, size + 1 - len(body)))):
        body += chunk
    if len(body) != size:
        found = "more" if len(body) > size else f"{len(body):,} bytes"
        raise DataError(file, f"{size:,} bytes of values for the shape {shape} in its header", found)
    try:
        values = np.ndarray(shape, dtype, body)
    except ValueError:  # an axis of 0 beside others whose product is larger than an array can be
        raise DataError(file, "a shape that an array can have", f"{shape} in its header") from None
    return values.astype(dtype.newbyteorder("="), copy=False)
