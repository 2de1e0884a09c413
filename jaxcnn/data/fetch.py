"""Files from the network, checked and cached."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.data.errors import DataError, require

__all__ = ["Remote", "cache", "downloader", "fetch", "reason"]

_CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class Remote:
    """A file that others publish.

    Args:
        dataset: the dataset it belongs to; also the name of its folder in the cache and under a mirror.
        file: its name.
        md5: of the whole file, 32 hexadecimal digits.
        urls: where it lies, tried in this order.
    """

    dataset: str
    file: str
    md5: str
    urls: tuple[str, ...]


def fetch(remote: Remote, *, mirror: str | None = None) -> Path:
    """Download a file into the cache unless it is there already, and check its hash either way.

    The cache is `JAXCNN_CACHE` where that is set, else the folder that the operating system gives caches. A download
    goes to a temporary file that takes its name only once the hash agrees, so a failure leaves nothing behind and the
    next call starts anew.

    Args:
        remote: which file.
        mirror: a URL under which `<dataset>/<file>` is served, used in place of the published addresses; by default
            the environment's `JAXCNN_MIRROR`, if set.

    Returns:
        Path of the cached file.

    Raises:
        DataError: no address gave the right file; the message says what each one gave.
        ImportError: pooch is not installed.
    """
    pooch = require("pooch", f"fetching {remote.dataset}")
    import requests  # type: ignore[import-untyped]

    folder = cache() / remote.dataset
    mirror = mirror or os.environ.get("JAXCNN_MIRROR")
    urls = (f"{mirror.rstrip('/')}/{remote.dataset}/{remote.file}",) if mirror else remote.urls

    found = []
    for url in urls:
        try:
            return Path(
                pooch.retrieve(url, f"md5:{remote.md5}", remote.file, folder, downloader=downloader(remote.file))
            )
        except (requests.RequestException, ValueError) as error:  # pooch raises ValueError for another hash
            found.append(f"{url}: {reason(error)}")
        except OSError as error:  # of the disk, which another address would not mend
            raise DataError(folder / remote.file, "to be able to write it", str(error)) from None
    raise DataError(
        folder / remote.file,
        f"a file with md5 {remote.md5} from the network",
        "; ".join(found) + f". A copy of {remote.file} in a data folder would be read in its place",
    )


def cache() -> Path:
    """The folder of fetched files: `JAXCNN_CACHE` where that is set, else where the operating system has caches."""
    folder = os.environ.get("JAXCNN_CACHE")
    return Path(folder).expanduser() if folder else Path(require("pooch", "the cache's place").os_cache("jaxcnn"))


def downloader(file: str) -> Any:
    """Pooch's, for this file: called with (url, path, None), it writes what the address serves.

    A bar on a terminal, silence in a log. Without "identity" a server may call the .gz file an encoding, and it would
    arrive unpacked.
    """
    pooch = require("pooch", f"fetching {file}")
    return pooch.HTTPDownloader(sys.stderr.isatty(), _CHUNK, headers={"Accept-Encoding": "identity"})


def reason(error: Exception) -> str:
    """A network error in a few words, without the chain of classes that requests and urllib3 print."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error).partition(". ")[0]  # pooch goes on to guess at the cause
