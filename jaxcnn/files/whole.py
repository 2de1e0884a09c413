"""Files that are either whole or not there."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

MARK = ".writing-"  # part of each temporary name, by which the files of a killed process are found


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It is renamed to `path` if the block succeeds, and removed if it fails.

    The content is synced to the disk before the renaming, so a power failure leaves either the old file or the new
    one. A process that is killed leaves a file `.name.writing-….suffix`; `remove_temporaries` takes it away.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with replacing(Path(folder) / "note.txt") as temporary:
      ...         _ = temporary.write_text("whole")
      ...     os.listdir(folder)
      ['note.txt']
    """
    path = Path(path)
    # chosen before the file exists: after a Ctrl-C in between, no file of unknown name is left
    temporary = path.parent / f".{path.stem}{MARK}{secrets.token_hex(4)}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        permissions = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(permissions)  # a writer may have replaced the file by one that only its owner may read
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        # The error of a full disk names no file; other errors name the temporary one.
        if error.filename is None or MARK in str(error.filename):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # if removing fails too, the first error is the one to show
            temporary.unlink()


def remove_temporaries(folder: str | os.PathLike) -> list[Path]:
    """Remove the temporary files of killed writers from a folder that nobody else writes to; return their paths.

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
    """Sync a folder, so that the new name is on the disk too; some systems cannot do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
