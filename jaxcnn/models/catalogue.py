"""The catalogue: every model by its name."""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.models import lectures
from jaxcnn.models.alexnets import alexnet
from jaxcnn.models.googlenets import googlenet
from jaxcnn.models.mobilenets import mobilenet_v2
from jaxcnn.models.model import Model
from jaxcnn.models.resnets import (
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from jaxcnn.models.squeezenets import squeezenet1_1
from jaxcnn.models.vggs import vgg11, vgg13, vgg16, vgg19

MODELS: dict[str, Callable[..., Model]] = {
    "digits_cnn": lectures.digits_cnn,
    "lenet5": lectures.lenet5,
    "mnist_cnn": lectures.mnist_cnn,
    "mnist_baseline": lectures.mnist_baseline,
    "zero_one": lectures.zero_one,
    "cifar10_cnn": lectures.cifar10_cnn,
    "cats_vs_dogs_cnn": lectures.cats_vs_dogs_cnn,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "alexnet": alexnet,
    "squeezenet1_1": squeezenet1_1,
    "googlenet": googlenet,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "mobilenet_v2": mobilenet_v2,
}


@dataclass(frozen=True)
class Accuracy:
    """The accuracy that others report for a network of this form: the share of test images whose top class is right.

    Args:
      top1: the accuracy in percent.
      dataset: "ImageNet-1k" (the 50,000 validation images, one central crop of 224×224) or "CIFAR-10" (the 10,000 test
        images).
      source: who reports it.
    """

    top1: float
    dataset: str
    source: str


def _imagenet(top1: float) -> Accuracy:
    return Accuracy(top1, "ImageNet-1k", "torchvision, weights IMAGENET1K_V1")


def _cifar10(top1: float) -> Accuracy:
    return Accuracy(top1, "CIFAR-10", "He et al. (2015), table 6")


PUBLISHED: dict[str, Accuracy] = {
    "resnet20": _cifar10(91.25),
    "resnet32": _cifar10(92.49),
    "resnet44": _cifar10(92.83),
    "resnet56": _cifar10(93.03),
    "resnet110": _cifar10(93.57),
    "alexnet": _imagenet(56.522),
    "squeezenet1_1": _imagenet(58.178),
    "googlenet": _imagenet(69.778),
    "vgg11": _imagenet(69.020),
    "vgg13": _imagenet(69.928),
    "vgg16": _imagenet(71.592),
    "vgg19": _imagenet(72.376),
    "resnet18": _imagenet(69.758),
    "resnet34": _imagenet(73.314),
    "resnet50": _imagenet(76.130),
    "resnet101": _imagenet(77.374),
    "resnet152": _imagenet(78.312),
    "mobilenet_v2": _imagenet(71.878),
}


def names() -> list[str]:
    """The names that `create` knows.

    Example:
      >>> "lenet5" in names()
      True
    """
    return list(MODELS)


def published(name: str) -> Accuracy | None:
    """The published accuracy of a model in its usual form; None if there is none.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> published("resnet50").top1
      76.13
    """
    _known("published", name)
    return PUBLISHED.get(name)


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
    _known("create", name)
    known = list(inspect.signature(MODELS[name]).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(f"models.create: {name} has no option {', '.join(unknown)}; its options are {', '.join(known)}")
    options = {option: _plain(value) for option, value in options.items()}
    model = MODELS[name](**options)
    if not isinstance(model, Model):
        raise TypeError(f"models.create: {name} must return a Model; got {type(model).__name__}")
    return dataclasses.replace(model, name=name, options=options)


def register(make: Callable[..., Model]) -> Callable[..., Model]:
    """Add a network of your own to the catalogue, under the name of its function; as a decorator, `@models.register`.

    Then `create`, `weights.load_model` and functions that use them know it in this process. A file of weights holds the
    name and the options, so whoever loads it must register the function, too.

    Args:
      make: a function with keyword options that can be written to JSON; it returns a `Model`.

    Returns:
      The function itself.

    Raises:
      TypeError: not a function with a name. ValueError: another network has this name.

    Example:
      >>> from jaxcnn.layers import Dense, Flatten, serial
      >>> @register
      ... def two_layers(*, units=32, num_classes=10):
      ...     return Model("two_layers", serial(Flatten(), Dense(units), Dense(num_classes)), (8, 8, 1), num_classes)
      >>> create("two_layers", units=16).layer
      serial(Flatten(), Dense(16), Dense(10))
      >>> _ = MODELS.pop("two_layers")
    """
    name = getattr(make, "__name__", "")
    if not callable(make) or not name.isidentifier():
        raise TypeError(f"models.register: `make` must be a function with a name of its own; got {make!r}")
    if MODELS.get(name, make) is not make:
        raise ValueError(f"models.register: there is another network with the name {name!r}; give this one another")
    MODELS[name] = make
    return make


def _plain(value: Any) -> Any:
    """An option with NumPy numbers as Python numbers, because options are saved with the weights."""
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _known(function: str, name: str) -> None:
    if name not in MODELS:
        plain = {re.sub(r"[^a-z0-9]", "", each): each for each in MODELS}
        close = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", str(name).lower()), plain, n=1, cutoff=0.8)
        meant = f"did you mean {plain[close[0]]!r}? Known" if close else "known"
        raise ValueError(f"models.{function}: unknown model {name!r}; {meant} are {', '.join(MODELS)}")
