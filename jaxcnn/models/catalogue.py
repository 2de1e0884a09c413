"""Every model by name."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from jaxcnn.models import lectures
from jaxcnn.models.model import Model

MODELS: dict[str, Callable[..., Model]] = {
    "digits_cnn": lectures.digits_cnn,
    "lenet5": lectures.lenet5,
    "mnist_cnn": lectures.mnist_cnn,
    "mnist_baseline": lectures.mnist_baseline,
    "zero_one": lectures.zero_one,
    "cifar10_cnn": lectures.cifar10_cnn,
    "cats_vs_dogs_cnn": lectures.cats_vs_dogs_cnn,
}


def names() -> list[str]:
    """The names that `create` knows.

    Example:
      >>> "lenet5" in names()
      True
    """
    return list(MODELS)


def create(name: str, **options: Any) -> Model:
    """A model by name.

    Args:
      name: one of `names()`.
      **options: that model's own, such as `num_classes`; see its function in `jaxcnn.models`.

    Returns:
      A `Model`: `init(key)` gives its parameters, `apply` its logits.

    Raises:
      ValueError: an unknown name. TypeError: an option that the model does not have.

    Example:
      >>> create("lenet5", classic=True).input_shape
      (28, 28, 1)
    """
    if name not in MODELS:
        raise ValueError(f"models.create: unknown model {name!r}; known are {', '.join(MODELS)}")
    known = list(inspect.signature(MODELS[name]).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(f"models.create: {name} has no option {', '.join(unknown)}; its options are {', '.join(known)}")
    return dataclasses.replace(MODELS[name](**options), options=options)
