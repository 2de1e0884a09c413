"""Nested dicts of arrays in safetensors files, checked against the names, shapes and dtypes that are expected."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.flax import save_file

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.first_bytes import first_bytes
from jaxcnn.files.seal import hash_of, sealed, unsealed
from jaxcnn.files.trees import differences, flatten
from jaxcnn.files.whole import replacing

ENTRY = "jaxcnn"  # in a file's metadata


def write(path: str | os.PathLike, tree: Any, metadata: dict[str, Any]) -> None:
    """Write the leaves of a tree, and metadata as JSON, into one file, whole or not at all; equal trees, equal bytes.

    The file holds a hash of its whole content, which `read` checks. Random keys (some optimizers hold one) are written
    as the integers they are made of.

    Raises:
      OSError: the disk is full, or the folder cannot be written to; the message names the file.
    """
    arrays = {name: jax.numpy.asarray(_without_key(leaf)) for name, leaf in flatten(tree).items()}
    # a single entry, since safetensors writes several in random order
    about = {ENTRY: sealed(metadata, hash_of({name: np.asarray(value) for name, value in arrays.items()}))}
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata=about)
        except SafetensorError as error:
            if number := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise


def read(path: str | os.PathLike, template: Any) -> Any:
    """The tree of `template` (arrays or shapes) with the values of the file.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: the file was not written by `write`, was cut short or changed since, or comes from a newer jaxcnn;
        or its names, shapes or dtypes differ from those of the template.
    """
    path = Path(path)
    expected = flatten(template)
    shapes = {name: jax.eval_shape(_without_key, leaf) for name, leaf in expected.items()}
    with opened(path, "flax") as file:
        ours = ENTRY in (file.metadata() or {})
        written = _about(file, path)[1] if ours else None  # checked first, since a newer format may have other arrays
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: f"{part.get_dtype()}{part.get_shape()}" for name, part in slices.items()}
        complaints = differences({name: _written(leaf) for name, leaf in shapes.items()}, found)
        if complaints:
            raise WeightsError(f"{path}: the arrays do not fit the model; {'; '.join(complaints[:8])}")
        if not ours:
            _about(file, path)
        arrays = {name: file.get_tensor(name) for name in expected}
    if written is not None and written != hash_of({name: np.asarray(value) for name, value in arrays.items()}):
        raise WeightsError(f"{path}: the file is damaged: its arrays have another SHA-256 than when it was written")
    leaves = [_as(leaf, arrays[name]) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def check_finite(name: str, value: Any, where: str | os.PathLike) -> None:
    """Raise a WeightsError if an array holds NaN or infinity; it says which array, and how many such values."""
    bad = value.size - int(np.count_nonzero(np.isfinite(np.asarray(value))))
    if bad:
        raise WeightsError(f"{where}: {name} holds NaN or infinity in {bad:,} of {value.size:,} values")


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The metadata that `write` put into a file; WeightsError if another program wrote it, or if it was changed."""
    with opened(path, "numpy") as file:
        return _about(file, path)[0]


def _about(file: Any, path: str | os.PathLike) -> tuple[dict[str, Any], str | None]:
    found = file.metadata() or {}
    if ENTRY not in found:
        raise WeightsError(f"{path}: expected a file that jaxcnn wrote, found the metadata {str(found)[:200]}")
    try:
        return unsealed(found[ENTRY])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: expected a file that jaxcnn wrote, but {error}") from None


@contextlib.contextmanager
def opened(path: str | os.PathLike, framework: str) -> Iterator[Any]:
    path = Path(path)
    first_bytes(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        size = path.stat().st_size
        raise WeightsError(f"{path}: expected a safetensors file, found {size} bytes: {error}") from None


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_key(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as(leaf: Any, value: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else value


def _written(leaf: jax.ShapeDtypeStruct) -> str:
    """An array's dtype and shape as safetensors writes them: float32 (3, 2) is F32[3, 2]."""
    name = str(leaf.dtype)
    kind = {"bool": "BOOL", "bfloat16": "BF16"}.get(name, f"{name[0].upper()}{leaf.dtype.itemsize * 8}")
    return f"{kind}{list(leaf.shape)}"
