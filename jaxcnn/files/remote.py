"""Published files: each is downloaded once into one cache, and its hash is checked at every use."""

import hashlib
import os
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
    """A file on the internet, with the hash that its publisher gives.

    Args:
      folder: the name of its folder in the cache and under a mirror: a dataset's, or "weights".
      file: the name of the file.
      hash: "sha256:…" or "md5:…" of the file. If there are fewer digits than the algorithm gives, they are the first.
      urls: its addresses, tried in this order; empty if no address is known.
      mebibytes: its approximate size, if that is known.
    """

    folder: str
    file: str
    hash: str
    urls: tuple[str, ...]
    mebibytes: float | None = None

    @property
    def place(self) -> Path:
        """The path of the file in the cache."""
        return cache() / self.folder / self.file

    def agrees(self, path: Path) -> bool:
        """Whether a file has the published hash, as far as its digits are known."""
        algorithm, _, digits = self.hash.partition(":")
        return hash_of_file(path, algorithm).startswith(digits)

    def found(self, path: Path) -> str:
        """What stands at `path` instead, for a message."""
        return f"{path.stat().st_size:,} bytes with {hash_of_file(path, self.hash.partition(':')[0])}"


class NotObtained(JaxcnnError):
    """No address gave the published file. The room that asked turns this into its own error, with advice.

    Args:
      failures: "url: reason" for each address that was tried; empty if there was no address.
    """

    def __init__(self, failures: tuple[str, ...]):
        super().__init__("; ".join(failures))
        self.failures = failures


def obtain(remote: Remote, *, mirror: str | None = None) -> Path:
    """The path of the cached file. It is downloaded if it is not there yet, and its hash is checked in any case.

    The cache is `JAXCNN_CACHE` where that is set, else the folder that the operating system gives caches. A download
    takes its name only once the hash agrees, so a failure leaves nothing behind and the next call starts anew.

    Args:
      remote: which file.
      mirror: a URL under which `<folder>/<file>` is served, used in place of the published addresses; by default the
        environment's `JAXCNN_MIRROR`, if set. By https, or by http in a network that you trust: a hash of which only
        the first digits are known guards against accidents, not against whoever can answer for the mirror.

    Raises:
      NotObtained: no address gave the right file.
      OSError: the disk failed, so that another address would not help.
      ImportError: pooch is not installed and the file is not cached.
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
    """The folder of fetched files: `JAXCNN_CACHE` where that is set, else where the operating system has caches."""
    folder = os.environ.get("JAXCNN_CACHE")
    return Path(folder).expanduser() if folder else Path(require("pooch", "the cache's place").os_cache("jaxcnn"))


def hash_of_file(path: Path, algorithm: str) -> str:
    """The hash of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(remote: Remote, url: str, target: Path) -> None:
    fetch = _downloader(remote)
    import requests  # type: ignore[import-untyped]

    print(f"Downloading {url} to {target}", file=sys.stderr, flush=True)  # a log has no bar
    with replacing(target) as temporary:
        try:
            fetch(url, str(temporary), None)
        except requests.RequestException as error:  # here, since it is an OSError too, but not one of the disk
            raise NotObtained((f"{url}: {_reason(error)}",)) from None
        if not remote.agrees(temporary):
            raise NotObtained((f"{url}: another file, found {remote.found(temporary)}",))


def _downloader(remote: Remote) -> Any:
    """Pooch's downloader, called with (url, path, None). It shows a progress bar on a terminal and none in a log.

    The header asks for "identity": else a server may send a .gz file as an encoding, and it would arrive unpacked.
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
