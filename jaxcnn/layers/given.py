"""What functions over networks are given: a model, or a layer and the shape of its input."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxcnn.layers.config import brief
from jaxcnn.layers.layer import Layer, Tree


def check_layer(op: str, layer: Any) -> None:
    """TypeError for what is no layer."""
    if not isinstance(layer, Layer):
        raise TypeError(f"{op}: `layer` must be a Layer; got {brief(layer)}")


def layer_of(op: str, model: Any) -> Layer:
    """The layer of a model, or the layer itself; TypeError for anything else."""
    layer = model if isinstance(model, Layer) else getattr(model, "layer", None)
    if not isinstance(layer, Layer):
        raise TypeError(f"{op}: `model` must be a Model or a Layer; got {brief(model)}")
    return layer


def input_shape_of(op: str, model: Any, given: Sequence[int] | None, argument: str = "input_shape") -> tuple[int, ...]:
    """The shape that is given, or else the model's own; ValueError for a layer without one."""
    shape = given or getattr(model, "input_shape", None)
    if shape is None:
        raise ValueError(f"{op}: `{argument}` must be given for a Layer; only a Model knows its own")
    return tuple(shape)


def template(model: Any, input_shape: tuple[int, ...] | None = None) -> tuple[Tree, Tree]:
    """Shapes and dtypes of the (params, state) of a model, or of a layer for an `input_shape`; nothing is computed."""
    key = jax.random.key(0)
    if input_shape is None:
        return jax.eval_shape(model.init, key)
    return jax.eval_shape(lambda key: layer_of("template", model).init(key, input_shape), key)
