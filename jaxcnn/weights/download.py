"""Published files in a cache, checked by their hashes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from jaxcnn.data.fetch import cache, downloader, reason
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.files import replacing


@dataclass(frozen=True)
class Remote:
    """A file that others publish.

    Args:
      file: its name.
      url: where it lies; None for a file that is not known to lie anywhere, to be given by its path.
      hash: "sha256:…" or "md5:…" of it; fewer digits than the algorithm has are its first ones.
      mebibytes: about how large it is.
    """

    file: str
    url: str | None
    hash: str
    mebibytes: float


def obtain(remote: Remote, path: str | os.PathLike | None = None) -> Path:
    """The user's file if a path is given, else the cached one, fetched unless it is there; its hash checked each time.

    The cache is `JAXCNN_CACHE` where that is set, else the folder that the operating system gives caches; with
    `JAXCNN_MIRROR`, files are fetched from `<mirror>/weights/<file>` instead: by https, or by http in a network that
    you trust, since a hash of which only the first digits are known guards against accidents, not against whoever can
    answer for the mirror. A download takes its name only once the hash agrees, so a failure leaves nothing behind.

    Raises:
      FileNotFoundError: no file at `path`.
      WeightsError: another file than the published one; no download, with what to put where by hand.
      ImportError: pooch is not installed and the file is not cached.
    """
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weights file")
        if not agrees(remote, path):
            raise WeightsError(_other(remote, path))
        return path
    target = cache() / "weights" / remote.file
    if target.is_file() and agrees(remote, target):
        return target
    mirror = os.environ.get("JAXCNN_MIRROR")
    url = f"{mirror.rstrip('/')}/weights/{remote.file}" if mirror else remote.url
    if url is None:
        raise WeightsError(
            f"{remote.file} is not published at an address of its own: give its path, or put a file with {remote.hash} "
            f"at {target}"
        )
    _download(remote, url, target)
    return target


def agrees(remote: Remote, path: Path) -> bool:
    """Whether a file has the published hash, as far as its digits are known."""
    algorithm, _, digits = remote.hash.partition(":")
    return _digest(algorithm, path).startswith(digits)


def _digest(algorithm: str, path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _other(remote: Remote, path: Path) -> str:
    algorithm, _, digits = remote.hash.partition(":")
    beginning = "" if len(digits) == hashlib.new(algorithm).digest_size * 2 else " beginning with"
    size = path.stat().st_size
    return (
        f"{path}: expected the published {remote.file} of about {remote.mebibytes} MiB, {algorithm}{beginning} "
        f"{digits}; found {size:,} bytes with {_digest(algorithm, path)}"
    )


def _download(remote: Remote, url: str, target: Path) -> None:
    fetch = downloader(remote.file)
    import requests

    try:
        with replacing(target) as temporary:
            fetch(url, str(temporary), None)
            if not agrees(remote, temporary):
                raise WeightsError(f"{url}: {_other(remote, temporary).partition(': ')[2]}")
    except (requests.RequestException, OSError) as error:
        raise WeightsError(
            f"{url}: {reason(error)}. By hand: download it ({remote.mebibytes} MiB, {remote.hash}) and put it at "
            f"{target}, or give its path"
        ) from None
