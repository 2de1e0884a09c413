"""JSON, written whole or not at all, and read back as an object."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.whole import replacing


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON in which NumPy's numbers are numbers; for people, indented and with letters as they are."""
    return json.dumps(value, indent=indent, ensure_ascii=indent is None, default=_plain)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """`value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(as_json(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON object in a file; ValueError that says what was found where there is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} {str(found)[:80]!r}")
    return found


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, as data frames and labels give them, as numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
