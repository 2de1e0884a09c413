"""How large a packed file may say that it is, before anything of it is unpacked."""

import os

from jaxcnn.data.errors import DataError

__all__ = ["check_unpacked"]

# Real images and labels shrink by less than 20 (MNIST's by 5, its labels by 2); a bomb by 1,000, the most that deflate
# can. What is small either way may be anything.
_MOST_BYTES = 2**28
_MOST_RATIO = 100


def check_unpacked(file: str | os.PathLike[str], unpacked: int, packed: int) -> None:
    """Raise `DataError` where so many bytes out of so few are a decompression bomb."""
    if unpacked > _MOST_BYTES and unpacked > _MOST_RATIO * packed:
        raise DataError(
            file,
            f"at most {_MOST_RATIO} bytes of data out of each packed one",
            f"{unpacked:,} bytes stated by its header, out of {packed:,}",
        )
