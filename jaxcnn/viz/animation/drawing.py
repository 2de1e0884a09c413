"""The layout of a frame: where its shapes and words are. A figure and a page draw the same layout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.transforms import Affine2D

from jaxcnn.viz.animation.frame import Frame, Grid
from jaxcnn.viz.style import BLUE

# The unit is a cell, unless another is named.
GAP = 1.3  # between columns, for the signs
TITLE = 1.1  # above a grid
HEADING, CAPTION, MARGIN = 1.5, 1.5, 0.7
NUMBER, WORDS, LARGE = 0.36, 0.33, 0.43  # size of letters
LETTER = 0.6  # the width of a letter, in its sizes
LARGEST_CELL, WIDEST, NARROWEST = 42.0, 1000.0, 700.0  # pixels
FAINT_FILL, FAINT_INK, INK, LINE = "#EDEDED", "#707070", "#000000", "#9A9A9A"


@dataclass(frozen=True)
class Shape:
    """A polygon: its corners in pixels from the upper left, its colors, and its line's width."""

    corners: tuple[tuple[float, float], ...]
    fill: str
    line: str
    width: float


@dataclass(frozen=True)
class Words:
    """Text whose middle is at (x, y), in pixels from the upper left; its size in pixels."""

    x: float
    y: float
    text: str
    size: float
    color: str = INK


class Stage:
    """A layout that has room for each of several frames, so that from frame to frame only numbers and windows change.

    Args:
      frames: all frames that will be laid out.

    Attributes:
      size: (width, height) in pixels.
    """

    def __init__(self, frames: Sequence[Frame]):
        places = range(max(len(frame.columns) for frame in frames))
        grids = [[grid for frame in frames for grid in frame.columns[place]] for place in places]
        self._widths = [max(max(_width(grid) for grid in column), 1) for column in grids]
        columns = [column for frame in frames for column in frame.columns]
        self._height = max(len(column) * (TITLE + max(grid.shape[0] for grid in column)) for column in columns)
        self._content = sum(self._widths) + GAP * (len(self._widths) - 1)
        wide = self._content + 2 * MARGIN
        self._cell = min(LARGEST_CELL, WIDEST / wide)  # pixels
        self._wide = max(wide, NARROWEST / self._cell)
        self._high = HEADING + self._height + CAPTION
        self.size = round(self._wide * self._cell), round(self._high * self._cell)

    def layout(self, frame: Frame) -> Iterator[Shape | Words]:
        """The frame's shapes and words, from back to front."""
        middle = self._wide / 2
        yield self._words(middle, HEADING / 2, frame.heading, LARGE)
        room = 0.95 * self._wide / LETTER / max(len(frame.caption), 1)
        yield self._words(middle, self._high - 0.45 * CAPTION, frame.caption, min(NUMBER, room))
        x = middle - self._content / 2
        for place, (width, column) in enumerate(zip(self._widths, frame.columns, strict=True)):
            band = self._height / len(column)
            for row, grid in enumerate(column):
                yield from self._grid(grid, x + width / 2, HEADING + (row + 0.5) * band + TITLE / 2)
            x += width + GAP
            if place < len(frame.signs) and frame.signs[place]:
                yield self._words(x - GAP / 2, HEADING + self._height / 2 + TITLE / 2, frame.signs[place], 0.5)

    def _grid(self, grid: Grid, x: float, y: float) -> Iterator[Shape | Words]:
        """A grid whose middle is at (x, y)."""
        rows, columns = grid.shape
        turn = Affine2D().translate(-columns / 2, -rows / 2).rotate_deg(-grid.turn).translate(x, y)
        top = turn.transform(_corners(0, 0, rows, columns))[:, 1].min()
        yield self._words(x, top - 0.45, grid.title, WORDS)
        texts = grid.texts
        size = NUMBER * min(1, 4 / max(1, *(len(text) for row in texts for text in row)))
        for row, column in np.ndindex(rows, columns):
            faint = (row, column) in grid.faint
            fill = grid.marks.get((row, column), FAINT_FILL if faint else "#FFFFFF")
            yield self._shape(turn.transform(_corners(row, column, 1, 1)), fill, LINE, 0.02)
            text = texts[row][column]
            if text:
                along, down = turn.transform((column + 0.5, row + 0.5))
                marked = (row, column) in grid.marks
                yield self._words(along, down, text, size, FAINT_INK if faint and not marked else INK)
        if grid.box:
            yield self._shape(turn.transform(_corners(*grid.box)), "none", BLUE, 0.07)

    def _words(self, x: float, y: float, text: str, size: float, color: str = INK) -> Words:
        return Words(self._pixels(x), self._pixels(y), text, self._pixels(size), color)

    def _shape(self, corners: np.ndarray, fill: str, line: str, width: float) -> Shape:
        points = tuple((self._pixels(x), self._pixels(y)) for x, y in corners)
        return Shape(points, fill, line, self._pixels(width))

    def _pixels(self, cells: float) -> float:
        return round(float(cells) * self._cell, 1)


def _width(grid: Grid) -> float:
    return max(grid.shape[1], LETTER * WORDS * len(grid.title))


def _corners(top: float, left: float, height: float, width: float) -> np.ndarray:
    return np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])
