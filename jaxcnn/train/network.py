"""What training asks of a model. `train` imports no model; it is given one."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax

Tree = Any


class Network(Protocol):
    """A model as `fit`, `evaluate` and `predict` use it; `jaxcnn.Model` is one.

    Args:
      name, options: what a run folder says of it, so that it can be made again.
      input_shape: (*spatial, C) of one image.
      num_classes: how many classes it tells apart; 0 if its outputs are no logits.
      loss: the name of the loss that its logits are meant for.
      auxiliary_weight: the weight of each auxiliary classifier's loss.
    """

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Any]: ...

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def loss(self) -> str: ...

    @property
    def auxiliary_weight(self) -> float: ...

    def init(self, key: jax.Array, /) -> tuple[Tree, Tree]:
        """Fresh (params, state)."""
        ...

    def apply(
        self, params: Tree, state: Tree, x: jax.Array, *, train: bool = False, key: jax.Array | None = None
    ) -> tuple[Any, Tree]:
        """`(logits, state)`, or `((logits, auxiliary logits, …), state)` in training."""
        ...
