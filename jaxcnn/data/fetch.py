"""Files of datasets from the network."""

from pathlib import Path

from jaxcnn.data.errors import DataError
from jaxcnn.files.remote import NotObtained, Remote, obtain

__all__ = ["fetch"]


def fetch(remote: Remote, *, mirror: str | None = None) -> Path:
    """The cached file of a dataset, fetched unless it is there; see `obtain` of `jaxcnn/files/remote.py`.

    Raises:
      DataError: no address gave the right file; the message says what each one gave.
      ImportError: pooch is not installed and the file is not cached.
    """
    try:
        return obtain(remote, mirror=mirror)
    except NotObtained as error:
        raise DataError(
            remote.place,
            f"a file with {remote.hash.replace(':', ' ')} from the network",
            f"{error}. A copy of {remote.file} in a data folder would be read in its place",
        ) from None
    except OSError as error:
        raise DataError(remote.place, "to be able to write it", str(error)) from None
