"""One frame of an animation as plain data: grids of numbers, and a sentence below them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

Cell = tuple[int, int]
Box = tuple[int, ...]  # top, left, height, width


@dataclass(frozen=True)
class Grid:
    """Numbers in cells.

    Args:
      title: the text above the grid.
      values: (rows, columns); a NaN is a cell that has no number yet.
      marks: color by (row, column).
      faint: cells of zeros that are put around or between the values.
      box: (top, left, height, width) of a window's outline, which may reach over the grid's end.
      turn: by how many degrees, counterclockwise, the grid is turned about its middle.
    """

    title: str
    values: np.ndarray
    marks: Mapping[Cell, str] = field(default_factory=dict)
    faint: Collection[Cell] = frozenset()
    box: Box | None = None
    turn: float = 0

    @property
    def shape(self) -> Cell:
        """(rows, columns)."""
        rows, columns = self.values.shape
        return rows, columns

    @property
    def texts(self) -> list[list[str]]:
        """The texts of the cells."""
        least = 1e-6 * np.nanmax(np.abs(self.values), initial=0)  # smaller values are rounding errors of a sum of 0
        return [[number(v if np.isnan(v) or abs(v) > least else 0) for v in row] for row in self.values]


@dataclass(frozen=True)
class Frame:
    """One moment.

    Args:
      heading: the text above the frame.
      columns: columns of grids, from left to right; the grids of a column from top to bottom.
      signs: the sign between each column and the next.
      caption: the computation of this frame, below it.
      hold: how long the frame is shown, in units of the usual time.
    """

    heading: str
    columns: tuple[tuple[Grid, ...], ...]
    signs: tuple[str, ...]
    caption: str
    hold: float = 1

    def __iter__(self) -> Iterator[Grid]:
        return (grid for column in self.columns for grid in column)

    def __getitem__(self, title: str) -> Grid:
        """The grid of that title."""
        for grid in self:
            if grid.title == title:
                return grid
        raise KeyError(f"{title!r}; the titles are {', '.join(repr(grid.title) for grid in self)}")

    @property
    def texts(self) -> list[str]:
        """All texts of the frame: heading, caption, signs, and titles and numbers of the grids."""
        cells = [text for grid in self for row in grid.texts for text in row if text]
        return [self.heading, self.caption, *self.signs, *(grid.title for grid in self), *cells]


def number(value: float) -> str:
    """A number in few characters; "" for NaN.

    Example:
      >>> [number(v) for v in (-3.0, 0.1 + 0.2, 1 / 3, float("nan"))]
      ['−3', '0.3', '0.333', '']
    """
    if np.isnan(value):
        return ""
    value = value + 0.0  # no −0
    whole = value == round(value) and abs(value) < 1e5
    return (f"{value:.0f}" if whole else f"{value:.3g}").replace("-", "−")


def product(*factors: float) -> str:
    """Factors with dots between them.

    Example:
      >>> product(3, -1)
      '3·(−1)'
    """
    return "·".join(f"({text})" if text.startswith("−") else text for text in map(number, factors))
