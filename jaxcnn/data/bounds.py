"""A bound on the unpacked size that a packed file states, checked before it is unpacked."""

import os

from jaxcnn.data.errors import DataError

__all__ = ["check_unpacked"]

# Compression shrinks real images and labels by a factor below 20 (MNIST's images by 5, its labels by 2), and a
# decompression bomb by 1,000, the most that deflate can. Data below `_MOST_BYTES` may have any ratio.
_MOST_BYTES = 2**28
_MOST_RATIO = 100


def check_unpacked(file: str | os.PathLike[str], unpacked: int, packed: int) -> None:
    """Raise `DataError` where `unpacked` bytes out of `packed` ones must be a decompression bomb."""
    if unpacked > _MOST_BYTES and unpacked > _MOST_RATIO * packed:
        raise DataError(
            file,
            f"at most {_MOST_RATIO} bytes of data out of each packed one",
            f"{unpacked:,} bytes stated by its header, out of {packed:,}",
        )
