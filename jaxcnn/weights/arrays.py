"""Weights from files of arrays that already lie as they do here."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.dialects import ARRAYS
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.matching import fill


def from_arrays(
    source: Mapping[str, np.ndarray] | str | os.PathLike, model: Model, *, names: Mapping[str, str] | None = None
) -> tuple[Tree, Tree]:
    """A model's (params, state) from arrays by name: kernels (*window, in, out), and bias, scale, mean, var.

    Args:
      source: `{"conv1/kernel": array, …}`, or the path of an .npz file of such arrays.
      model: with as many classes as the source. SqueezeNet goes by the names of its Caffe model ("fire2/squeeze1x1"),
        the others by those they have here.
      names: the source's name of each layer, `{"conv1": "first"}`, where they are others.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: names that are missing, unused or misshaped, listed.
      WeightsError: a damaged file, NaN or infinity among the values.
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
    found, where = (dict(source), "arrays") if isinstance(source, Mapping) else (_read(Path(source)), str(source))
    return fill(model, ARRAYS, found, names=names, order=None, where=where)


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix != ".npz":
        raise ValueError(f"from_arrays: `source` must be a dict of arrays or end in .npz; got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        with path.open("rb") as content:  # np.load would leave a damaged file open
            if not zipfile.is_zipfile(content):
                raise zipfile.BadZipFile("not a whole archive")
            content.seek(0)
            with np.load(content, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        size = path.stat().st_size
        raise WeightsError(f"{path}: expected an .npz file of arrays, found {size:,} bytes: {error}") from None
