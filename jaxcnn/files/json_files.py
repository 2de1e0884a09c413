"""JSON files: written whole or not at all, and read back as objects."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.whole import replacing


def as_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, NumPy's numbers included. With an indent, for people, letters beyond ASCII stay as they are."""
    return json.dumps(value, indent=indent, ensure_ascii=indent is None, default=_plain)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(as_json(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON object in a file; ValueError, which says what was found, if the file holds none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the text is not JSON, or not UTF-8
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} {str(found)[:80]!r}")
    return found


def _plain(value: Any) -> Any:
    """Numbers and lists in place of NumPy's numbers and arrays."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
