"""Weights from Keras."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.dialects import KERAS
from jaxcnn.weights.keras_files import read
from jaxcnn.weights.matching import fill


def from_keras(source: Any, model: Model, *, names: Mapping[str, str] | None = None) -> tuple[Tree, Tree]:
    """A model's (params, state) from a Keras model or its file.

    Every array of the source is used exactly once and every array of the model filled exactly once;
    `explain(model, "keras")` shows which goes where. A convolution's bias in front of a batch norm, which the
    networks here do not have, is subtracted from the norm's running mean.

    Args:
      source: a live Keras model, or the path of a .keras, .h5 (whole model or weights, Keras 2 or 3) or .weights.h5
        file. Files need h5py, and no Keras.
      model: with as many classes as the source. VGG, ResNet and MobileNetV2 go by the names of `keras.applications`;
        the last two are other networks there in small ways: create them with `form="keras"`.
      names: for networks of another make, Keras' name of each layer: `{"conv1": "block1_conv1"}`. Without it, their
        layers correspond in order, as those of a `keras.Sequential` do.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: names that are missing, unused or misshaped, listed.
      WeightsError: a damaged file, NaN or infinity among the values, other numbers of layers.
      FileNotFoundError: no such file. ImportError: a file without h5py. TypeError: a source of another kind.
      ValueError: `names` that do not name every layer.
    """
    arrays, order, where = read(source)
    return fill(model, KERAS, arrays, names=names, order=order, where=where)
