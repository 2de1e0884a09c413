"""Networks by name."""

from jaxcnn.models.catalogue import create, names
from jaxcnn.models.lectures import (
    cats_vs_dogs_cnn,
    cifar10_cnn,
    digits_cnn,
    lenet5,
    mnist_baseline,
    mnist_cnn,
    zero_one,
)
from jaxcnn.models.model import Model

__all__ = [
    "Model",
    "cats_vs_dogs_cnn",
    "cifar10_cnn",
    "create",
    "digits_cnn",
    "lenet5",
    "mnist_baseline",
    "mnist_cnn",
    "names",
    "zero_one",
]
