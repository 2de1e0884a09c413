"""Parameters and state of models: saved in files, read from other libraries, and published by others.

saved.py         our own files: save, load, describe, load_model; settings/ compares the layers they were written for
parts.py         the layers of a model that hold arrays
foreign/         other libraries' files and models, read; PyTorch's, written
zoo.py           published weights; published.py lists them, preprocessing.py is what images go through before them
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
