"""The receptive field: which pixels a unit of a layer can see."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from jaxcnn.layers import Layer
from jaxcnn.layers.given import input_shape_of, layer_of, template
from jaxcnn.models import Model
from jaxcnn.models.surgery import features
from jaxcnn.viz.network import check_rank
from jaxcnn.viz.sight import sight
from jaxcnn.viz.sight_rules import NOTHING, Sight
from jaxcnn.viz.style import BLUE, ORANGE, VERMILION, draw_image, figure

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
        a transposed convolution (use `pixels_seen`); a layer with a primitive that has no rule in `sight_rules.py`.
      TypeError: neither a Model nor a Layer.

    Example:
      >>> from jaxcnn import models
      >>> field_of_view(models.create("lenet5"), "max_pool2")
      Field(size=(16, 16), stride=(4, 4), start=(-2, -2))

    Source: Araujo, Norris, Sim, Computing receptive fields of convolutional neural networks (Distill, 2019).
    """
    edges, shape = _look("field_of_view", model, layer, input_shape)
    field = _grid(edges, shape)
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
    edges, shape = _look("pixels_seen", model, layer, input_shape)
    return _box(edges, _unit("pixels_seen", unit, _positions(edges, shape)))


def receptive_field(model: Model | Layer, layer: str, *, unit: Unit | None = None, image: Any | None = None) -> Figure:
    """A picture of the input with the pixels that a unit sees, beside the unit's place in the layer's output.

    Args:
      model: a `Model`; a `Layer` needs an image.
      layer, unit: as in `pixels_seen`.
      image: (H, W, C), uint8 or floating of 0 to 1, to draw on; by default a grid of pixels.

    Returns:
      A figure with two axes, image and layer; only the image if the layer's units have no positions. Pixels that the
      unit does not see are faded. A dashed box is what it would see if padding were part of the image, a dotted box is
      what the next unit sees.

    Raises:
      ValueError, TypeError: as `pixels_seen`; an input that is no image.
    """
    check_rank("receptive_field", model, instead=": `field_of_view` and `pixels_seen` tell what a unit sees")
    if image is not None:
        image = np.asarray(image)
    edges, shape = _look("receptive_field", model, layer, None if image is None else image.shape)
    if len(shape) != 3:
        raise ValueError(f"receptive_field: `model` must take images (H, W, C); got an input of {shape}")
    positions = _positions(edges, shape)
    at = _unit("receptive_field", unit, positions)
    seen, field = _box(edges, at), _grid(edges, shape)
    fig, axes = figure(1, 2 if positions else 1, (9.6, 5.7) if positions else (5.2, 6))
    ax = axes[0, 0]
    _draw_input(ax, image, shape)
    _draw_box(ax, seen, "what it sees", color=VERMILION, rest=shape)
    if field is not None and positions:
        after = (*at[:-1], at[-1] + 1)
        if after[-1] < positions[-1]:
            on = field.stride[-1]
            label = f"what the next unit sees, {on} pixel{'' if on == 1 else 's'} on"
            _draw_box(ax, _box(edges, after), label, color=BLUE, linestyle=":", zorder=4)
        _draw_padding(ax, field.box(at), shape)
    if positions:
        _draw_cells(axes[0, 1], positions)
        _draw_box(axes[0, 1], [slice(u, u + 1) for u in at], None, color=VERMILION, rest=positions)
        title = f"{layer}, {positions[0]} × {positions[1]} units"
        axes[0, 1].set(title=title, xlabel="column (units)", ylabel="row (units)")
    height, width = (s.stop - s.start for s in seen)
    which = f"Unit {at} of {layer}" if positions else f"Each unit of {layer}"
    fig.suptitle(f"{which} sees {height} × {width} of {shape[0]} × {shape[1]} pixels", fontsize="large")
    fig.legend(loc="outside lower center", ncols=3, frameon=False)
    return fig


# ---------------------------------------------------------------------------------------------------------------------


def _look(op: str, model: Any, layer: str, input_shape: Sequence[int] | None) -> tuple[Sight, tuple[int, ...]]:
    """The edges of the layer's output, and the shape of the input."""
    whole = layer_of(op, model)
    argument = "image" if op == "receptive_field" else "input_shape"
    shape = input_shape_of(op, model, input_shape, argument)
    params, state = template(whole, shape)
    edges = sight(*features(whole, params, state, until=layer), shape)
    if len(edges.shape) != len(shape) + 1 and any((edge != edge.flat[0]).any() for edge in edges.seen):
        raise ValueError(
            f"{op}: `layer` {layer!r} has units of different views without positions, {edges.shape[1:]}; ask for "
            "the layer before it"
        )
    return edges, shape


def _positions(edges: Sight, shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many units the layer has on each spatial axis; () if they have no positions."""
    return edges.shape[1:-1] if len(edges.shape) == len(shape) + 1 else ()


def _unit(op: str, unit: Unit | None, positions: tuple[int, ...]) -> tuple[int, ...]:
    if unit is None:
        return tuple(n // 2 for n in positions)
    at = tuple(map(operator.index, unit if isinstance(unit, Sequence) else (unit,)))
    if len(at) != len(positions) or not all(0 <= u < n for u, n in zip(at, positions, strict=False)):
        there = f"0 to {tuple(n - 1 for n in positions)}" if positions else "(), for its units have no positions"
        raise ValueError(f"{op}: `unit` must be one of the layer's, {there}; got {unit!r}")
    return at


def _box(edges: Sight, unit: tuple[int, ...]) -> tuple[slice, ...]:
    ends = [int(edge[0][unit].min()) for edge in edges.seen]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return tuple(slice(first, 1 - minus_last) if first < NOTHING else slice(0, 0) for first, minus_last in pairs)


def _grid(edges: Sight, shape: tuple[int, ...]) -> Field | None:
    """The `Field`, if the units are on a regular grid or all see the same pixels; else None."""
    rows = []
    for axis in range(len(shape) - 1):
        row = None
        if _positions(edges, shape):
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


# ---------------------------------------------------------------------------------------------------------------------


def _draw_input(ax: Axes, image: np.ndarray | None, shape: tuple[int, ...]) -> None:
    if image is None:
        _draw_cells(ax, shape[:2])
    else:
        draw_image(ax, image)
    ax.grid(False)
    ax.set(title=f"input, {shape[0]} × {shape[1]} pixels", xlabel="column (pixels)", ylabel="row (pixels)")


def _draw_cells(ax: Axes, size: tuple[int, ...]) -> None:
    """A grid with one cell per position; only its border if there are too many cells to see."""
    ax.imshow(np.full(size, 0.87), cmap="gray", vmin=0, vmax=1)
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if max(size) <= 64:
        ax.vlines(np.arange(size[1] + 1) - 0.5, -0.5, size[0] - 0.5, color="#AAAAAA", linewidth=0.6)
        ax.hlines(np.arange(size[0] + 1) - 0.5, -0.5, size[1] - 0.5, color="#AAAAAA", linewidth=0.6)


def _draw_box(
    ax: Axes,
    box: Sequence[slice],
    label: str | None,
    *,
    color: str,
    linestyle: str = "-",
    zorder: int = 5,
    rest: tuple[int, ...] | None = None,
) -> None:
    """A frame with a white edge, to be seen on any picture; positions outside of it fade."""
    rows, columns = box
    if rest is not None:
        outside = np.ones((*rest[:2], 4))
        outside[..., 3] = 0.65
        outside[rows, columns, 3] = 0
        ax.imshow(outside)
    frame = Rectangle((columns.start - 0.5, rows.start - 0.5), columns.stop - columns.start, rows.stop - rows.start)
    frame.set(label=label, fill=False, edgecolor=color, linestyle=linestyle, linewidth=2.5, zorder=zorder)
    frame.set(path_effects=[withStroke(linewidth=4.5, foreground="white")], clip_on=False)
    ax.add_patch(frame)


def _draw_padding(ax: Axes, box: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> None:
    """The box that a unit would see if padding were part of the image, if it reaches out of the image."""
    if any(first < 0 or end > n for (first, end), n in zip(box, shape, strict=False)):
        _draw_box(ax, [slice(*ends) for ends in box], "with padding", color=ORANGE, linestyle="--", zorder=3)
        (top, bottom), (left, right) = box
        ax.set_xlim(min(left, 0) - 0.5, max(right, shape[1]) - 0.5)
        ax.set_ylim(max(bottom, shape[0]) - 0.5, min(top, 0) - 0.5)
