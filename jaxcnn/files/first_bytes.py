"""The first bytes of a file, which tell what it is; its name may be wrong."""

from pathlib import Path

from jaxcnn.files.errors import WeightsError

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
POINTER = b"version https://git-lfs"


def first_bytes(path: Path) -> bytes:
    """The first bytes of a weights file, enough to compare with the constants above.

    Raises:
      FileNotFoundError: there is no such file.
      WeightsError: Git LFS left a pointer in place of the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    with path.open("rb") as file:
        found = file.read(len(POINTER))
    if found == POINTER:
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the file itself; `git lfs pull` in its repository fetches the file"
        )
    return found
