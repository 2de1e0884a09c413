"""One look for all pictures: colors that color-blind people tell apart, light grids, titles and units."""

import os
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.files.whole import replacing

# Okabe, Ito (2008), the order of the first two chosen for most contrast
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SEQUENTIAL = "cividis"

LOOK: Any = {
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "savefig.dpi": 120,
}


def figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure of `size` inches and its axes, always as a (rows, columns) array. It needs no display."""
    with matplotlib.rc_context(LOOK):
        fig = Figure(figsize=size, layout="constrained")
        return fig, fig.subplots(rows, columns, squeeze=False, **options)


def draw_image(ax: Axes, image: Any) -> None:
    """Draw an image (H, W, C), uint8 or floating of 0 to 1: three channels in color, others as their mean in gray."""
    image = np.asarray(image)
    top = 255 if image.dtype == np.uint8 else 1
    if image.shape[-1] == 3:
        ax.imshow(np.clip(image, 0, top))
    else:
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1), cmap="gray", vmin=0, vmax=top)


def save(fig: Figure, path: str | os.PathLike) -> None:
    """Write a figure, whole or not at all; the ending of the path names the format."""
    with replacing(path) as temporary, matplotlib.rc_context(LOOK):
        fig.savefig(temporary)
