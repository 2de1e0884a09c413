"""Receptive fields in numbers: which pixels a unit of a layer can see."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.inspect.box_rules import NOTHING, Boxes
from jaxcnn.inspect.boxes import boxes_of
from jaxcnn.layers import Layer
from jaxcnn.layers.given import input_shape_of, layer_of, template
from jaxcnn.models import Model
from jaxcnn.models.surgery import features

Unit = int | Sequence[int]


@dataclass(frozen=True)
class Field:
    """The regular grid of a layer's receptive fields, in pixels: unit u sees [start + stride·u, … + size) of an axis.

    Args:
      size: how many pixels one unit spans.
      stride: the distance from one unit's field to the next; 0 if all units see the same pixels.
      start: the first pixel of the first unit's field; below 0 if it begins in the padding.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    start: tuple[int, ...]

    def box(self, unit: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(first, end) per spatial axis of what a unit would see if the padding were more of the image."""
        units = unit or (0,) * len(self.size)
        firsts = [a + s * u for a, s, u in zip(self.start, self.stride, units, strict=True)]
        return tuple((first, first + size) for first, size in zip(firsts, self.size, strict=True))


def field_of_view(model: Model | Layer, layer: str, *, input_shape: tuple[int, ...] | None = None) -> Field:
    """Size, stride and start of a layer's receptive fields, from the geometry of the layers before it.

    Over a window of k taps, dilation δ, stride s and padding p, size += δ·(k − 1)·stride, start −= p·stride and
    stride ·= s. Where branches or a residual block join, a unit sees the smallest box around what each of them sees.

    Args:
      model: a `Model`, or a `Layer` together with its input_shape.
      layer: the path of a layer, as in `models.features`.
      input_shape: (*spatial, C), by default that of the model. Padding "SAME", dense layers and global pools depend
        on it.

    Returns:
      A `Field`. Where all units see the whole image (dense layers, global pools) its stride is 0.

    Raises:
      ValueError: no such layer; no input_shape; units that do not see boxes of one size in even steps, such as those of
        a transposed convolution (use `pixels_seen`); a layer with a primitive that has no rule in `box_rules.py`.
      TypeError: neither a Model nor a Layer.

    Example:
      >>> from jaxcnn import models
      >>> field_of_view(models.create("lenet5"), "max_pool2")
      Field(size=(16, 16), stride=(4, 4), start=(-2, -2))

    Source: Araujo, Norris, Sim, Computing receptive fields of convolutional neural networks (Distill, 2019).
    """
    edges, shape = looked("field_of_view", model, layer, input_shape)
    field = grid_of(edges, shape)
    if field is None:
        raise ValueError(
            f"field_of_view: `layer` {layer!r} has no single size and stride: its units do not see boxes of one "
            "size in even steps; `pixels_seen` tells what one of them sees"
        )
    return field


def pixels_seen(
    model: Model | Layer, layer: str, unit: Unit | None = None, *, input_shape: tuple[int, ...] | None = None
) -> tuple[slice, ...]:
    """The smallest box of the image with all pixels that a unit depends on, in any of its channels.

    It is the unit's box of `field_of_view`, without pixels outside of the image or that strides skip on the way.

    Args:
      model, layer, input_shape: as in `field_of_view`.
      unit: the unit's position in the layer's output, one int per spatial axis; by default the middle. Units of a dense
        layer have no position: give ().

    Returns:
      A slice of the image per spatial axis; empty for a unit that sees padding only.

    Raises:
      ValueError, TypeError: as `field_of_view`, except that units need not see boxes in even steps; a unit that does
        not exist.

    Example:
      >>> from jaxcnn import models
      >>> pixels_seen(models.create("lenet5"), "max_pool2", (0, 4))
      (slice(0, 14, None), slice(14, 28, None))
    """
    edges, shape = looked("pixels_seen", model, layer, input_shape)
    return box_of(edges, unit_of("pixels_seen", unit, positions_of(edges, shape)))


# ---------------------------------------------------------------------------------------------------------------------


def looked(op: str, model: Any, layer: str, input_shape: Sequence[int] | None) -> tuple[Boxes, tuple[int, ...]]:
    """The boxes of the layer's output, and the shape of the input; `op` is the function's name, for messages."""
    whole = layer_of(op, model)
    argument = "image" if op == "receptive_field" else "input_shape"
    shape = input_shape_of(op, model, input_shape, argument)
    params, state = template(whole, shape)
    edges = boxes_of(*features(whole, params, state, until=layer), shape)
    if len(edges.shape) != len(shape) + 1 and any((edge != edge.flat[0]).any() for edge in edges.seen):
        raise ValueError(
            f"{op}: `layer` {layer!r} has units of different views without positions, {edges.shape[1:]}; ask for "
            "the layer before it"
        )
    return edges, shape


def positions_of(edges: Boxes, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many units the layer has on each spatial axis; () if they have no positions."""
    return edges.shape[1:-1] if len(edges.shape) == len(shape) + 1 else ()


def unit_of(op: str, unit: Unit | None, positions: tuple[int, ...]) -> tuple[int, ...]:
    """The unit's position, by default the middle."""
    if unit is None:
        return tuple(n // 2 for n in positions)
    at = tuple(map(operator.index, unit if isinstance(unit, Sequence) else (unit,)))
    if len(at) != len(positions) or not all(0 <= u < n for u, n in zip(at, positions, strict=False)):
        there = f"0 to {tuple(n - 1 for n in positions)}" if positions else "(), for its units have no positions"
        raise ValueError(f"{op}: `unit` must be one of the layer's, {there}; got {unit!r}")
    return at


def box_of(edges: Boxes, unit: tuple[int, ...]) -> tuple[slice, ...]:
    """The pixels that a unit sees in any of its channels."""
    ends = [int(edge[0][unit].min()) for edge in edges.seen]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return tuple(slice(first, 1 - minus_last) if first < NOTHING else slice(0, 0) for first, minus_last in pairs)


def grid_of(edges: Boxes, shape: tuple[int, ...]) -> Field | None:
    """The `Field`, if the units are on a regular grid or all see the same pixels; else None."""
    rows = []
    for axis in range(len(shape) - 1):
        row = None
        if positions_of(edges, shape):
            first, minus_last = (edge[0].min(axis=-1) for edge in edges.wide[2 * axis : 2 * axis + 2])
            row = _regular(first, minus_last, axis, edges.step)
        first, minus_last = edges.seen[2 * axis : 2 * axis + 2]
        if row is None and (first == first.flat[0]).all() and (minus_last == minus_last.flat[0]).all():
            row = (int(1 - minus_last.flat[0] - first.flat[0]), 0, int(first.flat[0]))
        if row is None:
            return None
        rows.append(row)
    size, stride, start = zip(*rows, strict=True)
    return Field(size, stride, start)


def _regular(first: np.ndarray, minus_last: np.ndarray, axis: int, step: tuple[int, ...]) -> tuple | None:
    """(size, stride, start) on an axis, if the edges are start + stride·u and the size is that of all."""
    n = first.shape[axis]
    line = np.moveaxis(first, axis, 0).reshape(n, -1)[:, 0]
    stride = int(line[1] - line[0]) if n > 1 else step[axis]
    expected = (line[0] + stride * np.arange(n)).reshape(-1, *(1,) * (first.ndim - 1 - axis))
    size = 1 - minus_last - first
    if (first != expected).any() or (size != size.flat[0]).any() or size.flat[0] < 1:
        return None
    return int(size.flat[0]), stride, int(line[0])
