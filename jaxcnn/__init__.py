"""jaxcnn: convolutional networks for JAX on hand-written sliding-window primitives.

ops         convolution and pooling: numbers and their derivatives
textbook    the operations as a lecture defines them, slow on purpose
layers      parameters: (init, apply) pairs, and how they are put together
models      networks by name
data        images: sources, batches, augmentation
train       fit, evaluate, predict
population  many models or many gradients at once
weights     parameters on disk
inspect     networks in numbers: tables, receptive fields, saliency
viz         pictures
"""

import importlib
from typing import Any

from jaxcnn import data, inspect, layers, models, ops, population, textbook, train, weights
from jaxcnn.errors import JaxcnnError
from jaxcnn.inspect import summary
from jaxcnn.layers import Layer
from jaxcnn.models import Model

__version__ = "0.1.0"

__all__ = [
    "JaxcnnError",
    "Layer",
    "Model",
    "data",
    "inspect",
    "layers",
    "models",
    "ops",
    "population",
    "summary",
    "textbook",
    "train",
    "weights",
]


def __getattr__(name: str) -> Any:
    """`jaxcnn.viz` at its first use, since it needs matplotlib, of the extra `plots`."""
    if name == "viz":
        return importlib.import_module("jaxcnn.viz")
    raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")
