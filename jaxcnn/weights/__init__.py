"""Parameters and state of models: in our own files, in those of other libraries, and published ones.

saved.py         our own files: save, load, describe, load_model; settings/ compares the settings of a file's layers
parts.py         the layers of a model that hold arrays
foreign/         reads files and models of other libraries, and writes those of PyTorch
zoo.py           published weights; published.py lists them, and preprocessing.py prepares images for them
"""

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.remote import Remote
from jaxcnn.moved import moved
from jaxcnn.weights.foreign.correspondence import Mismatch
from jaxcnn.weights.foreign.keras import from_keras
from jaxcnn.weights.foreign.matching import explain
from jaxcnn.weights.foreign.npz import from_arrays
from jaxcnn.weights.foreign.pytorch import from_torch, to_torch
from jaxcnn.weights.preprocessing import Preprocessing
from jaxcnn.weights.published import Published
from jaxcnn.weights.saved import describe, load, load_model, save
from jaxcnn.weights.zoo import Pretrained, class_names, pretrained, pretrained_names

__all__ = [
    "Mismatch",
    "Preprocessing",
    "Pretrained",
    "Published",
    "Remote",
    "WeightsError",
    "class_names",
    "describe",
    "explain",
    "from_arrays",
    "from_keras",
    "from_torch",
    "load",
    "load_model",
    "pretrained",
    "pretrained_names",
    "save",
    "to_torch",
]

__getattr__ = moved(__name__, {"labels": "jaxcnn.weights.class_names"})
