"""How much a file may unpack to: what a header states is compared with this before anything is read."""

import jax
import numpy as np

from jaxcnn.models import Model
from jaxcnn.weights.parts import template

ALLOWANCE = 256 << 20  # bytes: a whole file of a small network, whatever it holds besides
COPIES = 16  # of the model: double precision, an optimizer's moments, a top that the model lacks


def most_bytes(file_bytes: int, model_bytes: int) -> int:
    """The most that a file of weights may hold: twice its own size, or what the model can make use of."""
    return max(2 * file_bytes, ALLOWANCE + COPIES * model_bytes)


def bytes_of(model: Model) -> int:
    """The size of a model's arrays."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(template(model)))
