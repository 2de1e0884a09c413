"""Files that are either whole or not there."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

MARK = ".writing-"  # in the names of temporary files, by which those of a killed process are found


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`; it is renamed to `path` when the block succeeds and removed when it fails.

    The content is on the disk before the file is renamed, so a power failure leaves either the old file or the new one.
    A process that is killed leaves a file `.name.writing-….suffix`, which `remove_temporaries` removes.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with replacing(Path(folder) / "note.txt") as temporary:
      ...         _ = temporary.write_text("whole")
      ...     os.listdir(folder)
      ['note.txt']
    """
    path = Path(path)
    # The name is chosen before the file is made, so that a Ctrl-C in between cannot leave a file that is not removed.
    temporary = path.parent / f".{path.stem}{MARK}{secrets.token_hex(4)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        permissions = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(permissions)  # a writer may have replaced the file by one that only its owner can read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None or MARK in str(error.filename):  # the error may name no file or the temporary one
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # say, without a folder: the first error is the one to show
            temporary.unlink()


def remove_temporaries(folder: str | os.PathLike) -> list[Path]:
    """Remove the files that killed writers left in a folder, and return their paths; nobody may be writing to it.

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
    """Write a folder, and so the new name in it, to the disk; not every system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
