"""A model: a layer with a name, the shape of its input, and the meaning of its logits."""

import html
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.layers import Layer, output_shape
from jaxcnn.layers.config import brief, call, keywords
from jaxcnn.layers.layer import Tree


@dataclass(frozen=True)
class Model:
    """A network with a name.

    Args:
      name: its name in the catalogue.
      layer: what computes the logits.
      input_shape: (H, W, C) of one image, values 0 to 1.
      num_classes: how many classes it tells apart; 0 for a network whose output is no logits, such as one without its
        top.
      loss: the name of the loss its logits are meant for (`jaxcnn.train.losses`).
      options: what it was created with, so that a saved model can be created again.
      auxiliary_weight: the weight of each auxiliary classifier's loss. With such classifiers `apply(…, train=True)`
        returns the tuple (logits, auxiliary logits, …), and training minimizes the main loss plus auxiliary_weight
        times each of the others.
    """

    name: str
    layer: Layer
    input_shape: tuple[int, ...]
    num_classes: int
    loss: str = "softmax_cross_entropy"
    options: Mapping[str, Any] = field(default_factory=dict)
    auxiliary_weight: float = 0.3

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"{self.name}: `layer` must be a Layer, such as serial(…); got {brief(self.layer)}")
        shape = tuple(count(self.name, "input_shape", side) for side in self.input_shape)
        classes = _int(self.name, "num_classes", self.num_classes)
        if classes < 0:
            raise ValueError(f"{self.name}: `num_classes` must be at least 0; got {classes}")
        object.__setattr__(self, "input_shape", shape)  # as Python ints, which can be saved
        object.__setattr__(self, "num_classes", classes)

    def __repr__(self) -> str:
        """The code that makes it."""
        usual = {each.name: each.default for each in fields(self)} | {"options": {}}
        named = {name: getattr(self, name) for name in usual if name not in ("name", "layer")}
        told = {name: value for name, value in named.items() if value != usual[name]}
        return call("Model", [repr(self.name), repr(self.layer), *keywords(told)])

    def _repr_html_(self) -> str:
        """The model's summary, for a notebook."""
        import jaxcnn  # its surface: the table is made in a room above this one

        return f"<pre>{html.escape(str(jaxcnn.summary(self)))}</pre>"

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Fresh (params, state).

        Raises:
          ValueError: an output that is neither a row of `num_classes` logits per image, nor one per pixel, nor the
            single logit of two classes.
        """
        params, state = self.layer.init(key, self.input_shape)
        if self.num_classes:
            shape = output_shape(self.layer, params, state, self.input_shape)
            one_for_two = self.num_classes == 2 and shape == (1,)
            if not one_for_two and shape not in ((self.num_classes,), (*self.input_shape[:-1], self.num_classes)):
                raise ValueError(
                    f"{self.name}: `layer` must give {self.num_classes} logits per image, ({self.num_classes},), as "
                    f"`num_classes` says, or as many per pixel; for an input {self.input_shape} it gives {shape}. Do "
                    "its pools and its last layers fit? A model that gives something else has num_classes=0."
                )
        return params, state

    def apply(
        self, params: Tree, state: Tree, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> tuple[jax.Array, Tree]:
        """`(logits, state)`, x `(N, *input_shape)`. Networks that end in global pooling take other sizes as well.

        Raises:
          ValueError: an x without the batch axis, or of a shape that the layers do not take.
        """
        try:
            if jnp.ndim(x) == len(self.input_shape):
                raise ValueError(f"{self.name}: `x` lacks the batch axis; for one image write x[None]")
            if jnp.ndim(x) != len(self.input_shape) + 1:
                raise ValueError(f"{self.name}: `x` must have {len(self.input_shape) + 1} axes; got {jnp.ndim(x)}")
            return self.layer.apply(params, state, x, train=train, key=key)
        except (TypeError, ValueError) as error:
            if jnp.shape(x)[1:] != self.input_shape:
                expected = ", ".join(map(str, ("N", *self.input_shape)))
                error.add_note(f"{self.name} was made for `x` of shape ({expected}); got {jnp.shape(x)}")
            raise


def image_shape(model: str, input_size: int | Sequence[int], in_channels: int, *, least: int) -> tuple[int, int, int]:
    """(H, W, C) of a model's input; `input_size` is (H, W), or an int for a square image.

    Raises:
      ValueError: a size below `least`, which pools would reduce to nothing; channels below 1. TypeError: values that
      are no ints.
    """
    is_pair = isinstance(input_size, Sequence) and not isinstance(input_size, str)
    given: Any = input_size if is_pair else (input_size, input_size)
    sides = [_int(model, "input_size", side) for side in given]
    if len(sides) != 2:
        raise ValueError(f"{model}: `input_size` must be an int or (height, width); got {input_size!r}")
    height, width = sides
    if min(height, width) < least:
        raise ValueError(f"{model}: `input_size` must be at least {least} × {least}; got {input_size!r}")
    return height, width, count(model, "in_channels", in_channels)


def count(model: str, option: str, value: Any) -> int:
    """A positive int; ValueError or TypeError for anything else."""
    value = _int(model, option, value)
    if value < 1:
        raise ValueError(f"{model}: `{option}` must be at least 1; got {value}")
    return value


def one_of(model: str, option: str, value: Any, known: Sequence[Any]) -> Any:
    """One of some values; ValueError for anything else."""
    if value not in known:
        raise ValueError(f"{model}: `{option}` must be one of {', '.join(map(repr, known))}; got {value!r}")
    return value


def _int(model: str, option: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{model}: `{option}` must be an int{' or two' * (option == 'input_size')}; got {value!r}")
    return operator.index(value)
