"""How much a file may unpack to; the size that its header states is checked against this before anything is read."""

import jax
import numpy as np

from jaxcnn.models import Model
from jaxcnn.weights.parts import template

ALLOWANCE = 256 << 20  # bytes that every file may unpack to, whatever it holds
COPIES = 16  # of the model: room for double precision, an optimizer's moments and a top that the model lacks


def most_bytes(file_bytes: int, model_bytes: int) -> int:
    """The most bytes that a file of weights may unpack to: twice its size, or what the model needs if that is more."""
    return max(2 * file_bytes, ALLOWANCE + COPIES * model_bytes)


def bytes_of(model: Model) -> int:
    """The size of a model's arrays, in bytes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(template(model)))
