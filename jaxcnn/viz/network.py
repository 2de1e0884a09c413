"""What pictures are given: a model, or a layer with the shape of its input."""

from typing import Any

from jaxcnn.layers import Layer
from jaxcnn.models import Model


def layer_of(op: str, model: Any) -> Layer:
    """The layer of a model, or the layer itself; TypeError for anything else."""
    layer = model.layer if isinstance(model, Model) else model
    if not isinstance(layer, Layer):
        raise TypeError(f"{op}: `model` must be a Model or a Layer; got {model!r}")
    return layer


def input_shape_of(op: str, model: Model | Layer, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape that is given, or else the model's own; ValueError for a layer without one."""
    shape = given or getattr(model, "input_shape", None)
    if shape is None:
        raise ValueError(f"{op}: `input_shape` must be given for a Layer; only a Model knows its own")
    return tuple(shape)
