"""Weights from arrays in our own layout: dicts, or .npz files."""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.first_bytes import first_bytes
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.dialects import ARRAYS
from jaxcnn.weights.foreign.limits import bytes_of, most_bytes
from jaxcnn.weights.foreign.matching import fill

MEMBERS = 10_000  # the most arrays in a file
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def from_arrays(
    source: Mapping[str, np.ndarray] | str | os.PathLike, model: Model, *, names: Mapping[str, str] | None = None
) -> tuple[Tree, Tree]:
    """Make a model's (params, state) from arrays by name: kernels (*window, in, out), and bias, scale, mean, var.

    Args:
      source: `{"conv1/kernel": array, …}`, or the path of an .npz file of such arrays.
      model: a model with as many classes as the source. The layers of SqueezeNet must have the names of its Caffe model
        ("fire2/squeeze1x1"), those of other models the names that they have here.
      names: the source's name of each layer, `{"conv1": "first"}`, where its names are different.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: missing, unused or misshaped names; the error lists them.
      WeightsError: a damaged file, or NaN or infinity among the values.
      FileNotFoundError: no such file. ValueError: `names` that do not name every layer.

    Example:
      >>> import jax
      >>> from jaxcnn import models
      >>> model = models.create("zero_one", filters=2)
      >>> shapes = {"conv1": (3, 3, 1, 2), "dense1": (338, 100), "dense2": (100, 2)}
      >>> source = {f"{name}/kernel": np.ones(shape) for name, shape in shapes.items()}
      >>> source |= {f"{name}/bias": np.zeros(shape[-1]) for name, shape in shapes.items()}
      >>> params, state = from_arrays(source, model)
      >>> sorted(params)
      ['conv1', 'dense1', 'dense2']
    """
    if isinstance(source, Mapping):
        return fill(model, ARRAYS, dict(source), names=names, order=None, where="arrays")
    found = _read(Path(source), bytes_of(model))
    return fill(model, ARRAYS, found, names=names, order=None, where=str(source))


def _read(path: Path, model_bytes: int) -> dict[str, np.ndarray]:
    if path.suffix != ".npz":
        raise ValueError(f"from_arrays: `source` must be a dict of arrays or end in .npz; got {path}")
    first_bytes(path)
    size = path.stat().st_size
    limit = most_bytes(size, model_bytes)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stated = sum(member.file_size for member in members)
            if stated > limit or len(members) > MEMBERS:
                raise ValueError(f"its {len(members):,} arrays state {stated:,} bytes, more than the model can use")
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise many kinds of errors
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(f"{path}: expected an .npz file of arrays, found {size:,} bytes: {said}") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array; refuse one whose header states another number of values than the file holds."""
    with archive.open(member) as file:
        content = file.read(member.file_size + 1)
    buffer = io.BytesIO(content)
    version = np.lib.format.read_magic(buffer)
    if version not in HEADERS:
        raise ValueError(f"{member.filename} is of the unknown version {version}")
    shape, in_columns, dtype = HEADERS[version](buffer)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, which are read with allow_pickle=True only")
    if math.prod(shape) * dtype.itemsize != len(content) - buffer.tell() or min(shape, default=0) < 0:
        raise ValueError(f"{member.filename} states {shape} values of {dtype}, and holds {len(content):,} bytes")
    values = np.frombuffer(content, dtype, math.prod(shape), buffer.tell())
    return values.reshape(shape[::-1]).T if in_columns else values.reshape(shape)
