"""The pictures of the page "How a convolution is computed here", each from numbers that the library computes.

python docs/pictures/draw.py writes them beside this file.
"""

import itertools
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from jaxcnn import ops
from jaxcnn.ops.algorithms import winograd
from jaxcnn.viz.style import BLUE, VERMILION, figure, save

WHITE, GRAY = "#FFFFFF", "#E5E5E5"
PALE_BLUE, PALE_ORANGE, PALE_GREEN, PALE_RED = "#BBD9EC", "#F8DFAE", "#B3E0D2", "#F2C7AD"
PALE = (PALE_BLUE, PALE_ORANGE, PALE_GREEN, PALE_RED)
CELL = 0.42  # inches


def patches() -> Figure:
    """A 3×3 window on a 4×4 image: what each window sees becomes a column."""
    x = np.array([[1, 0, 2, 1], [0, 1, 3, 0], [2, 1, 0, 1], [1, 0, 1, 2]])
    w = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3))  # (2, 2, 3, 3)
    columns = windows.reshape(4, 9).T
    y = _conv2d(x, w)

    fig, ax = _canvas(26, 10.4)
    _table(ax, x, at=(0, 3.5), title="x, and what\ntwo windows see")
    for place, color in ((0, BLUE), (1, VERMILION)):
        ax.add_patch(Rectangle((place + 0.08, place + 3.58), 2.84, 2.84, fill=False, edgecolor=color, linewidth=3))
    _table(ax, w.reshape(1, 9), at=(5, 5), title="w: a row for each filter")
    _sign(ax, "×", 14.75, 5.5)
    edge_columns = {(i, j): color for j, color in ((0, PALE_BLUE), (3, PALE_RED)) for i in range(9)}
    _table(ax, columns, edge_columns, at=(15.5, 1), title="patches: a column\nfor each window")
    _sign(ax, "=", 20.25, 5.5)
    _table(ax, y.reshape(1, 4), {(0, 0): PALE_BLUE, (0, 3): PALE_RED}, at=(21, 5), title="y")
    return fig


def overlap() -> Figure:
    """In one dimension: the product of every tap with every position, added where its tap puts it."""
    x, w = np.array([1, 2, 0, 3]), np.array([1, -1, 2])
    products = np.outer(w, x)
    colors = {(k, i): PALE[k] for k in range(3) for i in range(4)}
    fig, ax = _canvas(20.5, 6)
    _table(ax, x[None], at=(4, 1), title="first the product,\nevery tap by every position")
    _table(ax, w[:, None], {(k, 0): PALE[k] for k in range(3)}, at=(2, 2.5))
    _table(ax, products, colors, at=(4, 2.5))
    ax.text(3.7, 1.5, "x", ha="right", va="center")
    ax.text(1.7, 4, "taps of w", ha="right", va="center")
    for k in range(3):
        start = 12.5 + 2 - k
        _table(ax, products[k : k + 1], {(0, i): PALE[k] for i in range(4)}, at=(start, 1 + k))
    ax.plot([12.3, 18.7], [4.25, 4.25], color="black", linewidth=2)
    y = np.asarray(ops.conv(x[:, None].astype("f4"), w[:, None, None].astype("f4"), padding="FULL"))
    _table(ax, y.T, at=(12.5, 4.5))
    ax.text(15.5, 0.8, "then the sums,\neach row moved to its outputs", ha="center", va="bottom", fontsize="medium")
    ax.text(18.8, 5, "y, full", va="center")
    return fig


def minimal() -> Figure:
    """F(2, 3): two neighboring outputs of a filter of three taps from four products instead of six."""
    at, g, bt = winograd.matrices(2, 3)
    x, w = np.array([3.0, 1, 2, 4]), np.array([1.0, 2, -1])
    u, v = g @ w, bt @ x

    fig, ax = _canvas(23.5, 12)
    _table(ax, bt, at=(0, 1.2), title="Bᵀ")
    _table(ax, x[:, None], at=(5, 1.2), title="x")
    _sign(ax, "=", 6.75, 3.2)
    _table(ax, v[:, None], {(i, 0): PALE_BLUE for i in range(4)}, at=(7.5, 1.2), title="Bᵀ x")
    _table(ax, g, at=(1, 7.5), title="G")
    _table(ax, w[:, None], at=(5, 8), title="w")
    _sign(ax, "=", 6.75, 9.5)
    _table(ax, u[:, None], {(i, 0): PALE_ORANGE for i in range(4)}, at=(7.5, 7.5), title="G w")
    ax.text(8, 6.2, "⊙", ha="center", va="center", fontsize=15)
    ax.annotate("", (11.2, 6.2), (9, 6.2), arrowprops={"arrowstyle": "->"})
    ax.text(10.1, 5.9, "4 products", ha="center", va="bottom", fontsize="small")
    _table(ax, at, at=(15.3, 5.2), title="Aᵀ")
    _table(ax, (u * v)[:, None], {(i, 0): PALE_GREEN for i in range(4)}, at=(11.8, 4.2))
    ax.annotate("", (15, 6.2), (13.1, 6.2), arrowprops={"arrowstyle": "->"})
    _sign(ax, "=", 20, 6.2)
    _table(ax, (at @ (u * v))[:, None], at=(21, 5.2), title="y: 2 outputs")
    return fig


def phases() -> Figure:
    """Stride 2, a 3×3 kernel: the inputs fall into four phases, each met by its own taps."""
    colors = {(i, j): PALE[2 * (i % 2) + j % 2] for i in range(6) for j in range(6)}
    names = np.array([[f"{i},{j}" for j in range(3)] for i in range(3)])
    met = np.array([len(range(i % 2, 3, 2)) for i in range(6)])  # the taps of an axis that reach position i
    fig, ax = _canvas(17, 7.5)
    _table(ax, names, {c: colors[c] for c in colors if max(c) < 3}, at=(1, 2.5), title="w: its taps,\nby phase")
    title = "dx: each pixel meets the taps of its color alone,\nso many of them"
    _table(ax, np.multiply.outer(met, met), colors, at=(8, 1.2), title=title)
    return fig


def tiles() -> Figure:
    """A band of rows at a time: what is built from it stays in cache."""
    fig, ax = _canvas(26, 8.2)
    bands = ((1, PALE_BLUE), (3, PALE_ORANGE), (5, PALE_GREEN))
    for left, title in ((0, "x, of all images"), (19.5, "y")):
        for top, color in bands:
            ax.add_patch(Rectangle((left, top), 6, 2, facecolor=color, edgecolor="black"))
        ax.text(left + 3, 0.6, title, ha="center", va="bottom")
    ax.add_patch(Rectangle((-0.15, 2.5), 6.3, 3, fill=False, edgecolor=VERMILION, linewidth=3))
    ax.text(3, 7.4, "a band reads a row more on either side", ha="center", va="top", fontsize="small", color="#9A4200")
    ax.add_patch(Rectangle((8.3, 2.2), 8.7, 3.6, facecolor=PALE_ORANGE, edgecolor="black"))
    ax.text(12.65, 4, "taps × channels rows,\na column for each position", ha="center", va="center")
    ax.text(12.65, 1.8, "patches of one band, 12 MiB at most", ha="center", va="bottom")
    for start, end, said in ((6.3, 8.1, ""), (17.2, 19.3, "w ×")):
        ax.annotate("", (end, 4), (start, 4), arrowprops={"arrowstyle": "->"})
        ax.text((start + end) / 2, 3.7, said, ha="center", va="bottom")
    return fig


def choice() -> Figure:
    """What `ops.explain` answers, over channels and windows."""
    colors = {"taps": GRAY, "patches": PALE_ORANGE, "overlap": PALE_RED, "winograd": PALE_BLUE, "fft": PALE_GREEN}
    names = list(colors)
    channels, windows = (1, 3, 8, 32, 128), (1, 2, 3, 5, 7, 9, 11, 15)
    fig, axes = figure(1, 3, (8.6, 3.8), sharey=True)
    for ax, part, title in zip(axes[0], ("forward", "dx", "dw"), ("y = x ⊗ w", "dx", "dw"), strict=True):
        found = np.zeros((len(windows), len(channels)), int)
        for row, k in enumerate(windows):
            for column, c in enumerate(channels):
                about = ops.explain((32, 28, 28, c), (k, k, c, 32), padding="SAME", platform="cpu")
                found[row, column] = names.index(getattr(about, part).algorithm)
            ends = [0, *(np.flatnonzero(np.diff(found[row])) + 1), len(channels)]
            for first, last in itertools.pairwise(ends):  # one label for neighbors that are alike
                ax.text((first + last - 1) / 2, row, names[found[row, first]], ha="center", va="center", fontsize=8)
        ax.imshow(found, cmap=ListedColormap(list(colors.values())), vmin=0, vmax=len(names) - 1, aspect="auto")
        ax.grid(False)
        ax.invert_yaxis()
        ax.set_xticks(range(len(channels)), channels)
        ax.set_yticks(range(len(windows)), [f"{k}×{k}" for k in windows])
        ax.set(title=title, xlabel="channels in (32 out)")
    axes[0, 0].set_ylabel("window")
    return fig


PICTURES = {function.__name__: function for function in (patches, tiles, overlap, minimal, phases, choice)}


# ---------------------------------------------------------------------------------------------------------------------


def _conv2d(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x ⊗ w, valid, of one channel."""
    return np.asarray(ops.conv(x[..., None].astype("f4"), w[..., None, None].astype("f4")))[..., 0]


def _canvas(columns: float, rows: float) -> tuple[Figure, Axes]:
    """An empty axes, in cells of one size."""
    fig, axes = figure(1, 1, (columns * CELL, rows * CELL))
    ax = axes[0, 0]
    ax.set(xlim=(-0.3, columns), ylim=(rows, -0.3), aspect="equal")
    ax.set_axis_off()
    return fig, ax


def _table(ax: Axes, values: np.ndarray, colors: dict | None = None, *, at: tuple, title: str = "") -> None:
    """Numbers, or words, as cells from (column, row) on."""
    left, top = at
    for (i, j), value in np.ndenumerate(values):
        text = value if isinstance(value, str) else f"{value:g}".replace("-", "−")
        color = (colors or {}).get((i, j), WHITE)
        ax.add_patch(Rectangle((left + j, top + i), 1, 1, facecolor=color, edgecolor="#555555", linewidth=0.8))
        ax.text(left + j + 0.5, top + i + 0.5, text, ha="center", va="center")
    ax.text(left + values.shape[1] / 2, top - 0.2, title, ha="center", va="bottom", fontsize="medium")


def _sign(ax: Axes, text: str, x: float, y: float) -> None:
    ax.text(x, y, text, ha="center", va="center", fontsize=15)


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        path = Path(__file__).with_name(f"{name}.png")
        save(draw(), path)
        Image.open(path).quantize(64).save(path, optimize=True)  # a third of the bytes
