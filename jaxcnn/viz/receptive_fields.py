"""The picture of a receptive field: the pixels that a unit of a layer can see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from jaxcnn.inspect.images import check_rank
from jaxcnn.inspect.receptive_fields import Unit, box_of, grid_of, looked, positions_of, unit_of
from jaxcnn.layers import Layer
from jaxcnn.models import Model
from jaxcnn.viz.style import BLUE, ORANGE, VERMILION, draw_image, figure


def receptive_field(model: Model | Layer, layer: str, *, unit: Unit | None = None, image: Any | None = None) -> Figure:
    """A picture of the input with the pixels that a unit sees, beside the unit's place in the layer's output.

    Args:
      model: a `Model`; a `Layer` needs an image.
      layer, unit: as in `inspect.pixels_seen`.
      image: (H, W, C), uint8 or floating of 0 to 1, to draw on; by default a grid of pixels.

    Returns:
      A figure with two axes, image and layer; only the image if the layer's units have no positions. Pixels that the
      unit does not see are faded. A dashed box is what it would see if padding were part of the image, a dotted box is
      what the next unit sees.

    Raises:
      ValueError, TypeError: as `inspect.pixels_seen`; an input that is no image.
    """
    check_rank("viz.receptive_field", model, instead=": `field_of_view` and `pixels_seen` tell what a unit sees")
    if image is not None:
        image = np.asarray(image)
    edges, shape = looked("receptive_field", model, layer, None if image is None else image.shape)
    if len(shape) != 3:
        raise ValueError(f"receptive_field: `model` must take images (H, W, C); got an input of {shape}")
    positions = positions_of(edges, shape)
    at = unit_of("receptive_field", unit, positions)
    seen, field = box_of(edges, at), grid_of(edges, shape)
    fig, axes = figure(1, 2 if positions else 1, (9.6, 5.7) if positions else (5.2, 6))
    ax = axes[0, 0]
    _draw_input(ax, image, shape)
    _draw_box(ax, seen, "what it sees", color=VERMILION, rest=shape)
    if field is not None and positions:
        after = (*at[:-1], at[-1] + 1)
        if after[-1] < positions[-1]:
            on = field.stride[-1]
            label = f"what the next unit sees, {on} pixel{'' if on == 1 else 's'} on"
            _draw_box(ax, box_of(edges, after), label, color=BLUE, linestyle=":", zorder=4)
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
