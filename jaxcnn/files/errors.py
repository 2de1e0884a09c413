"""Errors about files, and the error about a package that is not installed."""

import importlib
import os
from types import ModuleType

from jaxcnn.errors import JaxcnnError


class WeightsError(JaxcnnError, ValueError):
    """A weights file is damaged, does not fit, or cannot be obtained; the message names the file and what is wrong."""


class DataError(JaxcnnError):
    """A data file is missing, damaged or not what it should be.

    Args:
      file: the file or folder concerned.
      expected: what should have been there.
      found: what was there.

    Example:
      >>> print(DataError("labels.gz", "labels 0 to 9", "label 12 at position 3"))
      labels.gz: expected labels 0 to 9; found label 12 at position 3
    """

    def __init__(self, file: str | os.PathLike[str], expected: str, found: str):
        super().__init__(file, expected, found)
        self.file, self.expected, self.found = str(file), expected, found

    def __str__(self) -> str:
        text = f"{self.file}: expected {self.expected}; found {self.found}"
        # A terminal must be able to show the message, but names and contents of files may hold control characters.
        return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional module; if its package is not installed, say which extra brings it.

    Args:
      module: the dotted name to import, such as `"sklearn.datasets"`.
      purpose: what needs the module, for the message.

    Returns:
      The module.

    Raises:
      ImportError: the package is not installed; the message has the `pip install` that installs it.

    Example:
      >>> require("json", "this example").__name__
      'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is installed, but a dependency of it is not: that error says more than ours
        raise ImportError(
            f"{purpose} needs the package `{package}`, which is not installed: pip install 'jaxcnn[data]'", name=package
        ) from None
