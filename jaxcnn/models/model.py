"""A model: a layer that knows its name, what it takes in and what its logits mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree


@dataclass(frozen=True)
class Model:
    """A network with a name.

    Args:
      name: its name in the catalogue.
      layer: what computes the logits.
      input_shape: (H, W, C) of one image, values 0 to 1.
      num_classes: how many classes it tells apart.
      loss: the name of the loss its logits are meant for (`jaxcnn.train.losses`).
      options: what it was created with, so that a saved model can be created again.
    """

    name: str
    layer: Layer
    input_shape: tuple[int, ...]
    num_classes: int
    loss: str = "softmax_cross_entropy"
    options: Mapping[str, Any] = field(default_factory=dict)

    def init(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Fresh (params, state); compiled as one, since a draw at a time compiles once per shape."""
        return jax.jit(self.layer.init, static_argnums=1)(key, self.input_shape)

    @property
    def apply(self) -> Callable[..., tuple[jax.Array, Tree]]:
        """`(params, state, x, *, train=False, key=None) -> (logits, state)`, x `(N, *input_shape)`."""
        return self.layer.apply
