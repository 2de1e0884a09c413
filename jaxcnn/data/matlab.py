"""Arrays of numbers out of MATLAB's level 5 files.

SciPy reads all of that format, but a damaged file crashes SciPy's reader, and Python with it (SciPy 1.17). This reader
knows what datasets need: full real arrays, little-endian, compressed or not.

Source: "MAT-File Format", The MathWorks, chapter 1: a header of 128 bytes, then elements of (type, length, data), each
padded to 8 bytes; an array is an element whose data are elements again: flags, dimensions, name, values.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxcnn.data.bounds import check_unpacked
from jaxcnn.data.errors import DataError

__all__ = ["read_matlab"]

_HEADER = 128  # bytes; the last four are the version, 1.0, and "IM" where the numbers are little-endian
_LEVEL_5 = b"\x00\x01IM"
_ARRAY, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_COMPLEX = 0x0800


class _Malformed(Exception):
    """An element that breaks the format; the message says how."""


def read_matlab(file: Path) -> dict[str, np.ndarray]:
    """Read the arrays of numbers in a file, by name; cells, structs and other objects are passed over.

    Raises:
      DataError: no such file, another version of the format, damaged data, or more unpacked bytes than real data have.
    """
    try:
        content = memoryview(file.read_bytes())
    except OSError as error:
        raise DataError(file, "a readable MATLAB file", error.strerror or str(error)) from None
    if content[_HEADER - 4 : _HEADER] != _LEVEL_5:
        found = bytes(content[:40]).decode("ascii", "replace").strip() or "an empty file"
        raise DataError(file, "a MATLAB file of level 5, little-endian", found)
    arrays = {}
    try:
        for kind, data in _elements(content[_HEADER:]):
            if kind == _COMPRESSED:
                kind, data = _unpacked(data, file)
            if kind == _ARRAY and (named := _array(data)) is not None:
                arrays[named[0]] = named[1]
    except (_Malformed, zlib.error, struct.error) as error:
        raise DataError(file, "a whole MATLAB file", f"damaged data ({error})") from None
    return arrays


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The elements in `content`, each as (type, data)."""
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from("<II", content, at)
        if kind >> 16:  # a short element has type and length in four bytes, and its data in the next four
            kind, length, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + length if kind == _COMPRESSED else start + length + -length % 8
        if start + length > min(end, len(content)):
            raise _Malformed(f"an element of {length:,} bytes where {len(content) - start:,} are left")
        yield kind, content[start : start + length]
        at = end


def _unpacked(data: memoryview, file: Path) -> tuple[int, memoryview]:
    """The element inside a compressed one. Its length is checked before the rest is unpacked."""
    unpack = zlib.decompressobj()
    head = unpack.decompress(data, 8)
    if len(head) < 8:
        raise _Malformed("an empty element")
    kind, length = struct.unpack("<II", head)
    check_unpacked(file, length, len(data))
    body = unpack.decompress(unpack.unconsumed_tail, length + 1)
    if len(body) != length:
        raise _Malformed(f"an element of {length:,} bytes that holds {'more' if len(body) > length else len(body)}")
    return kind, memoryview(body)


def _array(data: memoryview) -> tuple[str, np.ndarray] | None:
    parts = list(_elements(data))
    if len(parts) < 4:
        return None  # a cell, a struct or an object
    (_, flags), (_, axes), (_, name), (kind, values) = parts[:4]
    if kind not in _NUMBERS or len(flags) < 4 or struct.unpack_from("<I", flags)[0] & _COMPLEX:
        return None
    if len(axes) % 4 or len(axes) > 4 * 32:
        raise _Malformed(f"dimensions in {len(axes)} bytes")
    shape, dtype = tuple(int(n) for n in np.frombuffer(axes, "<i4")), np.dtype(_NUMBERS[kind])
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(values):
        raise _Malformed(f"{len(values):,} bytes for an array {shape} of {dtype}")
    return bytes(name).decode("ascii", "replace"), np.frombuffer(values, dtype).reshape(shape, order="F")
