"""Files that are either whole or not there."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

MARK = ".writing-"  # in the names of temporary files, so that those of a killed process can be told


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    The content is on the disk before it takes the name, so that a power failure leaves the old file or the new one. A
    process that is killed leaves a file `.name.writing-….suffix`; `remove_temporaries` takes it away.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with replacing(Path(folder) / "note.txt") as temporary:
      ...         _ = temporary.write_text("whole")
      ...     os.listdir(folder)
      ['note.txt']
    """
    path = Path(path)
    # named before it is there: a Ctrl-C between the two must not leave a file whose name nobody knows
    temporary = path.parent / f".{path.stem}{MARK}{secrets.token_hex(4)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        permissions = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(permissions)  # a writer may have put a file of its own in its place, for its owner alone
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None or MARK in str(error.filename):  # a full disk names no file, others the temporary one
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # a folder that could not be made, say; the first error is the one to see
            temporary.unlink()


def remove_temporaries(folder: str | os.PathLike) -> list[Path]:
    """Remove what killed writers left in a folder that nobody else is writing to; the paths that are gone.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     (Path(folder) / ".note.writing-a1b2.txt").touch()
      ...     [path.name for path in remove_temporaries(folder)]
      ['.note.writing-a1b2.txt']
    """
    found = sorted(path for path in Path(folder).glob(f".*{MARK}*") if path.is_file())
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _sync_folder(folder: Path) -> None:
    """The new name on the disk as well, where the system can do that for a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
