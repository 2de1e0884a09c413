"""One look for all pictures: colours that colour-blind people tell apart, light grids, titles and units."""

import os
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from jaxcnn.weights.files import replacing

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


def save(fig: Figure, path: str | os.PathLike) -> None:
    """Write a figure, whole or not at all; the ending of the path names the format."""
    with replacing(path) as temporary, matplotlib.rc_context(LOOK):
        fig.savefig(temporary)
