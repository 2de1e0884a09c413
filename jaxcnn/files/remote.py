"""Published files: each is fetched once into a cache, and its hash is compared each time it is used."""

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.errors import JaxcnnError
from jaxcnn.files.errors import require
from jaxcnn.files.whole import replacing

CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class Remote:
    """A file that somebody else publishes.

    Args:
      folder: the folder of the file in the cache and under a mirror: the name of a dataset, or "weights".
      file: the file's name.
      hash: the file's hash, "sha256:…" or "md5:…"; its first digits suffice where only these are known.
      urls: the addresses of the file, tried in this order; empty if no address is known.
      mebibytes: the approximate size of the file, if known.

    Raises:
      ValueError: the hash has another form, or so few digits that files of any content would have it.
    """

    folder: str
    file: str
    hash: str
    urls: tuple[str, ...]
    mebibytes: float | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("(sha256|md5):[0-9a-f]{8,64}", self.hash):
            raise ValueError(
                "Remote: `hash` must be 'sha256:' or 'md5:' and at least 8 lower-case hexadecimal digits; got "
                f"{self.hash!r}"
            )

    @property
    def place(self) -> Path:
        """The path of the file in the cache."""
        return cache() / self.folder / self.file

    def agrees(self, path: Path) -> bool:
        """Whether the file at `path` has the published hash, as far as the digits of that are known."""
        algorithm, _, digits = self.hash.partition(":")
        return hash_of_file(path, algorithm).startswith(digits)

    def found(self, path: Path) -> str:
        """Size and hash of the file at `path`, for the message that they are not the published ones."""
        return f"{path.stat().st_size:,} bytes with {hash_of_file(path, self.hash.partition(':')[0])}"


class NotObtained(JaxcnnError):
    """No address gave the published file. The room that asked for it turns this into an error of its own, with advice.

    Args:
      failures: why each address failed, as "url: reason"; empty if the file has no address.
    """

    def __init__(self, failures: tuple[str, ...]):
        super().__init__("; ".join(failures))
        self.failures = failures


def obtain(remote: Remote, *, mirror: str | None = None) -> Path:
    """The path of a published file in the cache. A file that is not there is fetched; its hash is always compared.

    The cache is the folder `JAXCNN_CACHE` if that is set, else the operating system's folder for caches. A download
    gets its final name only when its hash agrees, so a failure leaves nothing behind and the next call starts anew.

    Args:
      remote: the file to get.
      mirror: a URL that serves `<folder>/<file>`, used instead of the published addresses; by default `JAXCNN_MIRROR`
        of the environment, if set. Use https, or http only in a network that you trust: the first digits of a hash
        guard against accidents, but not against somebody who answers in place of the mirror.

    Raises:
      NotObtained: no address gave the right file.
      OSError: the disk cannot take the file; another address would not help.
      ImportError: pooch is not installed, and the file is not cached or `JAXCNN_CACHE` is not set.
    """
    target = remote.place
    if target.is_file() and remote.agrees(target):
        return target
    mirror = mirror or os.environ.get("JAXCNN_MIRROR")
    urls = (f"{mirror.rstrip('/')}/{remote.folder}/{remote.file}",) if mirror else remote.urls
    failures: tuple[str, ...] = ()
    for url in urls:
        try:
            _download(remote, url, target)
        except NotObtained as error:
            failures += error.failures
        else:
            return target
    raise NotObtained(failures)


def cache() -> Path:
    """The folder of fetched files: `JAXCNN_CACHE` if that is set, else the operating system's folder for caches."""
    folder = os.environ.get("JAXCNN_CACHE")
    return Path(folder).expanduser() if folder else Path(require("pooch", "the cache's place").os_cache("jaxcnn"))


def hash_of_file(path: Path, algorithm: str) -> str:
    """The hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(remote: Remote, url: str, target: Path) -> None:
    fetch = _downloader(remote)
    import requests  # type: ignore[import-untyped]

    print(f"Downloading {url} to {target}", file=sys.stderr, flush=True)  # because a log shows no progress bar
    with replacing(target) as temporary:
        try:
            fetch(url, str(temporary), None)
        except requests.RequestException as error:  # it is an OSError too, but not one of the disk
            raise NotObtained((f"{url}: {_reason(error)}",)) from None
        if not remote.agrees(temporary):
            raise NotObtained((f"{url}: another file, found {remote.found(temporary)}",))


def _downloader(remote: Remote) -> Any:
    """Pooch's downloader, called with (url, path, None); it shows a progress bar on a terminal, but not in a log.

    Without "identity", a server may present a .gz file as an encoding, and the file would arrive unpacked.
    """
    pooch = require("pooch", f"fetching {remote.folder}/{remote.file}")
    return pooch.HTTPDownloader(sys.stderr.isatty(), CHUNK, headers={"Accept-Encoding": "identity"})


def _reason(error: Exception) -> str:
    """The reason of a network error in a few words, without the class names that requests and urllib3 print."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error).partition(". ")[0]
