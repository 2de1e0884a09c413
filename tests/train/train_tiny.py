"""Models and data that compile in a moment, shared by the tests of training."""

import jax
import numpy as np

from jaxcnn import data
from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Relu, serial
from jaxcnn.models import Model

LINEAR = Model("linear", serial(Flatten(), Dense(10)), (8, 8, 1), 10)
CONV = Model("conv", serial(Conv(2, 3, stride=2), Relu(), Flatten(), Dense(10)), (8, 8, 1), 10)
# What a run has to carry along, running statistics and keys for dropout, without the compile time of a convolution.
WHOLE = Model("whole", serial(Flatten(), BatchNorm(), Dropout(0.2), Dense(10)), (8, 8, 1), 10)
DIGITS = data.load("digits")


def assert_same_bits(actual, expected) -> None:
    """Two trees equal in structure and in every bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


def differs(a, b) -> bool:
    """Whether any leaf of two trees differs."""
    return any(np.any(np.asarray(x) != np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def but_seconds(history) -> list[dict[str, float]]:
    """The rows of a history without the one column that a clock decides."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]
