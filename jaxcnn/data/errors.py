"""What is said when a dataset is wrong; `DataError` and `require` are those of all rooms."""

import os
import sys

import numpy as np

from jaxcnn.files.errors import DataError, require

__all__ = ["DataError", "check_labels", "require", "tell"]


def check_labels(labels: np.ndarray, count: int, file: str | os.PathLike[str]) -> None:
    """Raise `DataError` naming the file where a label has no class."""
    outside = np.flatnonzero((labels < 0) | (labels >= count))
    if outside.size:
        found = f"label {labels[outside[0]]} at position {outside[0]:,}"
        raise DataError(file, f"labels 0 to {count - 1}", found)


def tell(message: str) -> None:
    """Say what is left out of the user's files: one line on the terminal, beside the progress bar."""
    print(message, file=sys.stderr, flush=True)
