"""The entry in the metadata of our files: a format number, a description, and the hashes that show a later change.

An entry is one string, `{"format": 2, "sha256": "…", "arrays": "…", "about": {…}}`. "arrays" is the hash of the names,
dtypes, shapes and bytes of all arrays; "sha256" is the hash of the entry without these 64 digits, so that a change of
any character is noticed. Files that are older than format numbers hold only the description, which nothing can check.
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
OLD = ("model", "history")  # every description that is older than format numbers has one of these keys


def sealed(about: Mapping[str, Any], arrays: str) -> str:
    """The entry that holds a description, and the hash of the arrays that the description belongs to."""
    text = f'"arrays": "{arrays}", "about": {as_json(about)}}}'
    return f'{{"format": {FORMAT}, "sha256": "{_hash(FORMAT, text)}", {text}'


def unsealed(entry: str) -> tuple[dict[str, Any], str | None]:
    """The description and the hash of the arrays in an entry; the hash is None in a file older than format numbers.

    Raises:
      ValueError: the entry was changed after it was written, or a newer jaxcnn wrote it.
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
        raise ValueError("its description is damaged: it does not have the SHA-256 that the file states")
    return json.loads(about), arrays


def hash_of(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of the names, dtypes, shapes and bytes of arrays; their order in the dict does not matter."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.asarray(arrays[name], order="C")
        digest.update(json.dumps([name, str(value.dtype), value.shape]).encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _hash(version: int, text: str) -> str:
    return hashlib.sha256(f"{version} {text}".encode()).hexdigest()
