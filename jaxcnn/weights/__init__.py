"""Parameters and state: on disk, from other libraries, and published ones."""

from jaxcnn.files.errors import WeightsError
from jaxcnn.weights.arrays import from_arrays
from jaxcnn.weights.correspondence import Mismatch
from jaxcnn.weights.keras import from_keras
from jaxcnn.weights.matching import explain
from jaxcnn.weights.saved import describe, load, load_model, save
from jaxcnn.weights.preprocessing import Preprocessing
from jaxcnn.weights.pretrained import Pretrained, labels, pretrained, pretrained_names
from jaxcnn.weights.published import Published
from jaxcnn.weights.pytorch import from_torch, to_torch

__all__ = [
    "Mismatch",
    "Preprocessing",
    "Pretrained",
    "Published",
    "WeightsError",
    "describe",
    "explain",
    "from_arrays",
    "from_keras",
    "from_torch",
    "labels",
    "load",
    "load_model",
    "pretrained",
    "pretrained_names",
    "save",
    "to_torch",
]
