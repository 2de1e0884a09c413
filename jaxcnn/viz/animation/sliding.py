"""The frames of y = x ⊗ w, one for each position of the window."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from jaxcnn.ops.geometry import Window
from jaxcnn.viz.animation.frame import Cell, Frame, Grid, number, product

SEEN, NEW, FIRST = "#BFDDF0", "#F6D08A", "#A8DCC8"  # light blue, orange and green: a window, a result, w[0, 0]
LONGEST_SUM = 95  # characters of a caption that spells out its terms


@dataclass(frozen=True)
class Named:
    """An array with its names; its channels come last.

    Args:
      name: its name in captions, such as "x".
      title: the title above its grid.
      values: (rows, columns, channels), or (rows, columns, channels in, channels out) of a filter.
      faint: cells of zeros that are put between values.
      corner: a cell that is marked, to be recognized after a turn.
    """

    name: str
    title: str
    values: np.ndarray
    faint: Collection[Cell] = frozenset()
    corner: Cell | None = None


def sliding(x: Named, w: Named, y: Named, window: Window, heading: str) -> Iterator[Frame]:
    """One frame for each output: what the window shows, its products with the filter, their sum so far, the output.

    Args:
      x, w, y: image (H, W, C), filters (kh, kw, C, D) and output (H', W', D).
      window: how w slides over x.
      heading: the text above all frames.
    """
    height, width, channels = x.values.shape
    rows, columns, filters = y.values.shape
    padded = np.pad(x.values, [*window.padding, (0, 0)])
    (top, _), (left, _) = window.padding
    inside = {(r + top, c + left) for r, c in np.ndindex(height, width)} - {(r + top, c + left) for r, c in x.faint}
    around = set(np.ndindex(padded.shape[:2])) - inside
    done = np.full(y.values.shape, np.nan)
    channel = [f", channel {c}" if channels > 1 else "" for c in range(channels)]
    last_tap = window.size[0] - 1, window.size[1] - 1
    for f, i, j in np.ndindex(filters, rows, columns):
        start = i * window.stride[0], j * window.stride[1]
        taps = [(start[0] + a, start[1] + b) for a, b in window.offsets()]
        seen = padded[tuple(np.transpose(taps))].T.reshape(channels, *window.size)
        products = seen * np.moveaxis(w.values[..., f], -1, 0)
        sums = np.cumsum(products).reshape(products.shape)
        done[i, j, f] = y.values[i, j, f]

        images, filter_, shares, totals, outputs = [], [], [], [], []
        for c, of in enumerate(channel):
            marks = dict.fromkeys(taps, SEEN)
            images.append(Grid(x.title + of, padded[..., c], marks, around, (*start, *window.extent)))
            filter_.append(Grid(w.title + of, w.values[..., c, f], {w.corner: FIRST} if w.corner else {}, w.faint))
            shares.append(Grid("products" + of, products[c]))
            totals.append(Grid("sum so far" + of, sums[c], {last_tap: NEW} if c == channels - 1 else {}))
        for g in range(filters):
            title = f"{y.title}, filter {g}" if filters > 1 else y.title
            outputs.append(Grid(title, done[..., g].copy(), {(i, j): NEW} if g == f else {}))
        name = f"{y.name}[{i}, {j}, {f}]" if filters > 1 else f"{y.name}[{i}, {j}]"
        yield Frame(
            heading,
            tuple(map(tuple, (images, filter_, shares, totals, outputs))),
            ("⊗", "→", "→", "→"),
            _sum(name, seen, w.values[..., f], products, float(done[i, j, f])),
            hold=3 if (f, i, j) == (filters - 1, rows - 1, columns - 1) else 1,
        )


def _sum(name: str, seen: np.ndarray, w: np.ndarray, products: np.ndarray, result: float) -> str:
    """The equation of one output: term by term, or channel by channel, or the number of terms, as there is room."""
    values = zip(seen.ravel(), np.moveaxis(w, -1, 0).ravel(), strict=True)
    text = f"{name} = {' + '.join(product(*pair) for pair in values)} = {number(result)}"
    if len(text) <= LONGEST_SUM:
        return text
    if len(products) > 1:
        parts = [number(part) for part in products.sum(axis=(1, 2))]
        sums = " + ".join(f"({part})" if part.startswith("−") else part for part in parts)
        text = f"{name} = {sums} = {number(result)}, one sum for each channel"
        if len(text) <= LONGEST_SUM:
            return text
    return f"{name} = the sum of {products.size} products = {number(result)}"
