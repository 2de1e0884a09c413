"""Weights from Keras."""

import warnings
from collections.abc import Mapping
from typing import Any

from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.dialects import KERAS
from jaxcnn.weights.foreign.keras.check import differences
from jaxcnn.weights.foreign.keras.contents import read
from jaxcnn.weights.foreign.matching import fill


def from_keras(source: Any, model: Model, *, names: Mapping[str, str] | None = None) -> tuple[Tree, Tree]:
    """A model's (params, state) from a Keras model or its file.

    Every array of the source is used exactly once and every array of the model filled exactly once;
    `explain(model, "keras")` shows which goes where. A convolution's bias in front of a batch norm, which the
    networks here do not have, is subtracted from the norm's running mean.

    The source's configuration is compared step by step with what the model computes: epsilon, strides, padding,
    dilation, groups, activations, pools, sums, the shape of the input where it is flattened. A softmax or sigmoid at
    the end may be missing, since models here give logits. Files of weights alone (.weights.h5) have no configuration,
    so of those only the arrays are checked.

    Args:
      source: a live Keras model, or the path of a .keras, .h5 (whole model or weights, Keras 2 or 3) or .weights.h5
        file; its first bytes tell which. Files need h5py, and no Keras; they are read by another process,
        which costs about half a second, with bounds on time and size, and nothing outside of the file is read.
      model: with as many classes as the source. VGG, ResNet and MobileNetV2 go by the names of `keras.applications`;
        the last two are other networks there in small ways: create them with `form="keras"`.
      names: for networks of another make, Keras' name of each layer: `{"conv1": "block1_conv1"}`. Without it, their
        layers correspond in order, as those of a `keras.Sequential` do.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: names that are missing, unused or misshaped, listed.
      WeightsError: a damaged file, NaN or infinity among the values, other numbers of layers; layers that compute
        something else than the model's, with both values.
      FileNotFoundError: no such file. ImportError: a file without h5py. TypeError: a source of another kind.
      ValueError: `names` that do not name every layer.

    Warns about what cannot be compared: a `Lambda`, a model of a class of its own, images that the file's first layer
    scales itself.
    """
    found = read(source, model)

    def check(names: Mapping[str, str]) -> None:
        for doubt in differences(found, model, names):
            warnings.warn(f"from_keras: {found.where}: {doubt}", stacklevel=4)

    return fill(model, KERAS, found.arrays, names=names, order=found.order, where=found.where, check=check)
