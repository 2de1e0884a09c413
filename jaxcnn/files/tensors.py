"""Trees of arrays in safetensors files: a flat table of names, which is compared with what is expected."""

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

ENTRY = "jaxcnn"  # the key in a file's metadata


def write(path: str | os.PathLike, tree: Any, metadata: dict[str, Any]) -> None:
    """Write all leaves of a tree, and metadata as JSON, to one file, whole or not at all. Equal trees give equal bytes.

    The file also holds a hash of its content, which `read` compares. Random keys, which some optimizers hold, are
    written as the integers they are made of.

    Raises:
      OSError: the disk is full, or the folder cannot be written to; the error names the file.
    """
    arrays = {name: jax.numpy.asarray(_without_key(leaf)) for name, leaf in flatten(tree).items()}
    # a single entry, because safetensors writes several in random order
    about = {ENTRY: sealed(metadata, hash_of({name: np.asarray(value) for name, value in arrays.items()}))}
    with replacing(path) as temporary:
        try:
            save_file(arrays, temporary, metadata=about)
        except SafetensorError as error:
            if number := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise


def read(path: str | os.PathLike, template: Any) -> Any:
    """Read a file into a tree with the structure of `template`, a tree of arrays or shapes.

    Raises:
      FileNotFoundError: there is no such file.
      WeightsError: `write` did not write the file; it was truncated or changed since; a newer jaxcnn wrote it; or its
        names, shapes or dtypes are not those of the template.
    """
    path = Path(path)
    expected = flatten(template)
    shapes = {name: jax.eval_shape(_without_key, leaf) for name, leaf in expected.items()}
    with opened(path, "flax") as file:
        ours = ENTRY in (file.metadata() or {})
        written = _about(file, path)[1] if ours else None  # before the arrays: a newer format may have others
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        found = {name: f"{part.get_dtype()}{part.get_shape()}" for name, part in slices.items()}
        complaints = differences({name: _written(leaf) for name, leaf in shapes.items()}, found)
        if complaints:
            raise WeightsError(f"{path}: the arrays do not fit the model; {'; '.join(complaints[:8])}")
        if not ours:
            _about(file, path)
        arrays = {name: file.get_tensor(name) for name in expected}
    if written is not None and written != hash_of({name: np.asarray(value) for name, value in arrays.items()}):
        raise WeightsError(f"{path}: the file is damaged: its arrays do not have the SHA-256 that the file states")
    leaves = [_as(leaf, arrays[name]) for name, leaf in expected.items()]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def check_finite(name: str, value: Any, where: str | os.PathLike) -> None:
    """Refuse an array that holds NaN or infinity, with a WeightsError that names it and counts these values."""
    bad = value.size - int(np.count_nonzero(np.isfinite(np.asarray(value))))
    if bad:
        raise WeightsError(f"{where}: {name} holds NaN or infinity in {bad:,} of {value.size:,} values")


def metadata(path: str | os.PathLike) -> dict[str, Any]:
    """The metadata that `write` put into a file; WeightsError if they are not ours, were changed or are too new."""
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
    """An open safetensors file whose arrays are those of `framework`; WeightsError if it is not such a file."""
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
    """The dtype and shape of an array in the words of safetensors, in which float32 (3, 2) is F32[3, 2]."""
    name = str(leaf.dtype)
    kind = {"bool": "BOOL", "bfloat16": "BF16"}.get(name, f"{name[0].upper()}{leaf.dtype.itemsize * 8}")
    return f"{kind}{list(leaf.shape)}"
