"""The entry that describes a file of ours: a format number, a description, and hashes of the arrays and of the entry.

The entry is one string, `{"format": 2, "sha256": "…", "arrays": "…", "about": {…}}`. "arrays" is the hash of all names,
dtypes, shapes and bytes; "sha256" that of the entry with its own 64 digits left out, so that no character of it can
change unnoticed. Files from before there were formats hold the description alone, and nothing to check it by.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.files.json_files import as_json

FORMAT = 2
ENTRY = re.compile(
    r'\{"format": (\d{1,9}), "sha256": "([0-9a-f]{64})", "arrays": "([0-9a-f]{64})", "about": (\{.*\})\}'
)
OLD = ("model", "history")  # every description had one of these before there were format numbers


def sealed(about: Mapping[str, Any], arrays: str) -> str:
    """The entry for a description and for arrays with this hash."""
    text = f'"arrays": "{arrays}", "about": {as_json(about)}}}'
    return f'{{"format": {FORMAT}, "sha256": "{_hash(FORMAT, text)}", {text}'


def unsealed(entry: str) -> tuple[dict[str, Any], str | None]:
    """The description in an entry, and the hash of the arrays; the hash is None in files from before there was one.

    Raises:
      ValueError: an entry that was changed after it was written, or that a newer jaxcnn wrote.
    """
    match = ENTRY.fullmatch(entry)
    if match is None:
        about = json.loads(entry)
        if isinstance(about, dict) and any(key in about for key in OLD):
            return about, None
        raise ValueError("its description is damaged")
    version, found, arrays, about = match.groups()
    if int(version) > FORMAT:
        raise ValueError(
            f"it has format {version}, and this jaxcnn knows formats up to {FORMAT}; a newer jaxcnn reads it"
        )
    if _hash(int(version), f'"arrays": "{arrays}", "about": {about}}}') != found:
        raise ValueError("its description is damaged: the SHA-256 in it is another")
    return json.loads(about), arrays


def hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of arrays: their names, dtypes, shapes and bytes, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.asarray(arrays[name], order="C")
        digest.update(json.dumps([name, str(value.dtype), value.shape]).encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _hash(version: int, text: str) -> str:
    return hashlib.sha256(f"{version} {text}".encode()).hexdigest()
