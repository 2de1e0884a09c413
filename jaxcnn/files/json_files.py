"""JSON files, which are written whole or not at all and hold one object each."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.whole import replacing


def as_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON, NumPy's numbers and arrays included; with an `indent`, letters outside ASCII are not escaped."""
    return json.dumps(value, indent=indent, ensure_ascii=indent is None, default=_plain)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` to a file as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(as_json(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON object in a file; if there is none, a ValueError whose message is what was found instead."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # the bytes are no UTF-8, or the text is no JSON
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} {str(found)[:80]!r}")
    return found


def _plain(value: Any) -> Any:
    """Python's numbers and lists in place of NumPy's numbers and arrays, which data frames and labels consist of."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
