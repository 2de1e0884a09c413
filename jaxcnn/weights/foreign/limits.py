"""Bounds on the size of unpacked files. The size that a header states is compared with them before anything is read."""

import jax
import numpy as np

from jaxcnn.models import Model
from jaxcnn.weights.parts import template

ALLOWANCE = 256 << 20  # bytes; enough for a whole file of a small network
COPIES = 16  # times the model's size: double precision, an optimizer's moments, a top that the model lacks


def most_bytes(file_bytes: int, model_bytes: int) -> int:
    """The most bytes that a weights file may unpack to: twice its size, or what the model can use, if that is more."""
    return max(2 * file_bytes, ALLOWANCE + COPIES * model_bytes)


def bytes_of(model: Model) -> int:
    """The size of a model's arrays."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(template(model)))
