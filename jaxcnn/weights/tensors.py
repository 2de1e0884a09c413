"""Nested dicts of arrays as safetensors files: a flat table of names, checked against what is expected."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.flax import load_file, save_file

from jaxcnn.weights.files import replacing


class WeightsError(ValueError):
    """A weights file that is not what it should be; names the file, what was expected and what was found."""


def flatten(tree: Any) -> dict[str, jax.Array]:
    """`{"params/conv1/kernel": array}`: each leaf under the names on its way, joined by slashes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(_name(entry) for entry in path): leaf for path, leaf in leaves}


def _name(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def write(path: str | os.PathLike, tree: Any, metadata: Mapping[str, Any]) -> None:
    """All leaves of a tree, and metadata as JSON, in one file; written whole or not at all."""
    with replacing(path) as temporary:
        save_file(
            {name: jax.numpy.asarray(leaf) for name, leaf in flatten(tree).items()},
            temporary,
            metadata={name: json.dumps(value) for name, value in metadata.items()},
        )


def read(path: str | os.PathLike, template: Any) -> Any:
    """The tree of `template` (arrays or shapes) with the values of the file.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: not a safetensors file, truncated, or names, shapes, dtypes that differ from the template's.
    """
    path = Path(path)
    metadata(path)  # refuses what is not a whole safetensors file
    found = load_file(path)
    expected = flatten(template)
    complaints = [
        f"{len(names)} {what}: {', '.join(sorted(names)[:5])}{', …' if len(names) > 5 else ''}"
        for what, names in (("missing", expected.keys() - found.keys()), ("unknown", found.keys() - expected.keys()))
        if names
    ]
    complaints += [
        f"{name} expects {leaf.dtype}{list(leaf.shape)} but has {found[name].dtype}{list(found[name].shape)}"
        for name, leaf in expected.items()
        if name in found and (found[name].shape != np.shape(leaf) or found[name].dtype != leaf.dtype)
    ]
    if complaints:
        raise WeightsError(f"{path}: the arrays do not fit the model; {'; '.join(complaints[:8])}")
    return jax.tree.unflatten(jax.tree.structure(template), [found[name] for name in expected])


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The metadata that `write` put into the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: json.loads(value) for name, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError) as error:
        size = path.stat().st_size
        raise WeightsError(f"{path}: expected a safetensors file, found {size} bytes that are not one ({error})") from None
