"""A network as a diagram: its layers from top to bottom with their output shapes, branches side by side."""

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxcnn.layers import Layer
from jaxcnn.layers.given import input_shape_of, layer_of
from jaxcnn.models import Model
from jaxcnn.viz.diagrams.blocks import Block, blocks_of
from jaxcnn.viz.style import BLUE, VERMILION, figure

# Inches. Text of 8 points: a letter is LETTER wide, a line LINE high.
LETTER, LINE, PAD, GAP, GUTTER, LEAST_WIDTH = 0.073, 0.17, 0.07, 0.26, 0.5, 1.15
ASPECT = 1.4  # the width over the height that columns should have
LEAST_PAGE = 4.5  # for the titles
STEPS = 80  # heights of columns that are tried
FILLS = {"convolution": "#D6E8F5", "pool": "#CBE9DF", "dense": "#FBE7C4"}  # light blue, green, orange; by role
PLAIN, GROUP, INK, SOFT = "#EFEFEF", "#FAFAFA", "#000000", "#555555"


def architecture(model: Model | Layer, input_shape: tuple[int, ...] | None = None) -> Figure:
    """A diagram of a network: boxes with the layers' names and output shapes, in order, from top to bottom.

    Activations, norms and dropout are in the box of the layer that they follow. Branches, and the two ways of a
    residual block, are side by side. Repeated blocks are drawn once, with "×3". A block that differs from an earlier
    one only in its channels is a box that names the earlier one. Auxiliary classifiers are dashed.

    Args:
      model: a `Model`, or a `Layer` together with its input_shape.
      input_shape: without the batch axis; a `Model` knows its own.

    Returns:
      A figure with one axes, in inches.

    Raises:
      ValueError: a Layer without an input_shape. TypeError: neither a Model nor a Layer.

    Example:
      >>> from jaxcnn import models
      >>> picture = architecture(models.create("lenet5"))
      >>> picture.get_suptitle()
      'lenet5: 61,706 parameters'
    """
    layer = layer_of("viz.architecture", model)
    blocks = blocks_of(layer, input_shape_of("viz.architecture", model, input_shape))
    whole = sum(block.parameters * block.times for block in blocks if not block.aside)
    extra = sum(block.parameters for block in blocks if block.aside)
    columns = _columns(_pieces(blocks))
    title = f"{getattr(model, 'name', layer.kind)}: {whole:,} parameters"
    return _drawn(columns, title + (f", and {extra:,} in training only" if extra else ""))


# ---------------------------------------------------------------------------------------------------------------------
# From blocks to places, in inches. The way through a piece enters at the middle of its top and leaves at the middle of
# its bottom.


class _Box:
    """A rectangle with lines of text, whose `gid` is the path of its layer."""

    def __init__(self, block: Block, lines: Sequence[str], gid: str):
        self.block, self.lines, self.gid = block, lines, gid
        self.width: float = max(LEAST_WIDTH, LETTER * max(map(len, lines)) + 2 * PAD)
        self.height: float = LINE * len(lines) + 2 * PAD

    def draw(self, ax: Axes, x: float, y: float) -> None:
        fill = GROUP if self.block.like else FILLS.get(self.block.role, PLAIN)
        ax.add_patch(
            Rectangle(
                (x - self.width / 2, y),
                self.width,
                self.height,
                facecolor=fill,
                edgecolor=INK,
                linewidth=0.8,
                linestyle=(0, (4, 3)) if self.block.aside else "solid",
                gid=self.gid,
            )
        )
        for row, line in enumerate(self.lines):
            first = row == 0
            color = INK if first or row == len(self.lines) - 1 else SOFT
            middle = y + PAD + (row + 0.5) * LINE
            weight = "bold" if first else "normal"
            ax.text(x, middle, line, ha="center", va="center", size=7.5 if first else 8, weight=weight, color=color)


class _Stack:
    """Pieces one below the other."""

    def __init__(self, pieces: Sequence["_Piece"]):
        self.pieces = pieces
        self.width: float = max((piece.width for piece in pieces), default=0.4)
        self.height: float = sum(piece.height for piece in pieces) + GAP * max(len(pieces) - 1, 0)

    def draw(self, ax: Axes, x: float, y: float) -> None:
        for place, piece in enumerate(self.pieces):
            piece.draw(ax, x, y)
            y += piece.height
            if place < len(self.pieces) - 1:
                _arrow(ax, [(x, y), (x, y + GAP)])
                y += GAP


class _Group:
    """Parallel ways, side by side, from one entrance to the box where they meet."""

    def __init__(self, block: Block, gid: str):
        self.gid = gid
        self.ways = [_Stack(_pieces(way, f"{gid}/")) for way in block.ways]
        meet = {"residual": "sum", "branches": "side by side in the channels"}.get(block.kind, block.kind)
        end = replace(block, kind="", name=meet)
        self.end = _Box(end, _lines(end), f"{gid}, {meet}")
        self.title = block.name + (f"  ×{block.times}" if block.times > 1 else "")
        self.tallest = max(way.height for way in self.ways)
        ways = sum(way.width for way in self.ways) + GAP * (len(self.ways) - 1)
        self.inner = ways
        self.width: float = max(ways, self.end.width, LETTER * len(self.title) * 1.1) + 2 * GAP
        self.height: float = LINE + 2 * PAD + GAP + self.tallest + 1.6 * GAP + self.end.height + 2 * PAD

    def draw(self, ax: Axes, x: float, y: float) -> None:
        frame = Rectangle(
            (x - self.width / 2, y), self.width, self.height, facecolor=GROUP, edgecolor=BLUE, lw=1, gid=self.gid
        )
        ax.add_patch(frame)
        ax.text(
            x - self.width / 2 + PAD,
            y + PAD + LINE / 2,
            self.title,
            ha="left",
            va="center",
            size=8,
            weight="bold",
            color=BLUE,
        )
        split = y + LINE + 2 * PAD
        top = split + GAP
        meet = top + self.tallest + 0.6 * GAP
        _arrow(ax, [(x, y), (x, split)], head=False)
        left = x - self.inner / 2
        for way in self.ways:
            middle = left + way.width / 2
            if way.pieces:
                _arrow(ax, [(x, split), (middle, split), (middle, top)])
                way.draw(ax, middle, top)
                _arrow(ax, [(middle, top + way.height), (middle, meet), (x, meet)], head=False)
            else:
                _arrow(ax, [(x, split), (middle, split), (middle, meet), (x, meet)], color=VERMILION, head=False)
            left += way.width + GAP
        _arrow(ax, [(x, meet), (x, meet + GAP)])
        self.end.draw(ax, x, meet + GAP)
        bottom = meet + GAP + self.end.height
        _arrow(ax, [(x, bottom), (x, y + self.height)], head=False)


class _WithAside:
    """A piece and, to its right, the auxiliary classifier that its output goes to in training."""

    def __init__(self, piece: "_Piece", aside: _Box):
        self.piece, self.aside = piece, aside
        self.width: float = piece.width + 2 * (
            GAP + aside.width
        )  # the same width on the left, so that the piece is in the middle
        self.height: float = max(piece.height, aside.height)

    def draw(self, ax: Axes, x: float, y: float) -> None:
        self.piece.draw(ax, x, y)
        middle = y + min(self.piece.height, self.aside.height) / 2
        start = x + self.piece.width / 2
        self.aside.draw(ax, start + GAP + self.aside.width / 2, y)
        _arrow(ax, [(start, middle), (start + GAP, middle)])
        _arrow(ax, [(x, y + self.piece.height), (x, y + self.height)], head=False)


_Piece = _Box | _Stack | _Group | _WithAside


def _pieces(blocks: Sequence[Block], inside: str = "") -> list[_Piece]:
    pieces: list[_Piece] = []
    for block in blocks:
        gid = inside + block.name
        if block.aside:
            pieces[-1] = _WithAside(pieces[-1], _Box(block, _lines(block), gid))
        else:
            pieces.append(_Group(block, gid) if block.ways else _Box(block, _lines(block), gid))
    return pieces


def _lines(block: Block) -> list[str]:
    """The lines of a box: name and window, kind if the name does not say it, followers, its like, output shape."""
    window = f"  {block.window}" if block.window else ""
    lines = [block.name + window + (f"  ×{block.times}" if block.times > 1 and not block.ways else "")]
    told = block.like or block.aside or block.kind in block.name.split("/")[-1]
    lines += [] if told else [block.kind]
    lines += [", ".join(block.followers)] if block.followers else []
    lines += [f"like {block.like}"] if block.like else []
    lines += ["in training only"] if block.aside else []
    return [*lines, " × ".join(map(str, block.shape))]


def _columns(pieces: Sequence[_Piece]) -> list[_Stack]:
    """The pieces, in so many columns that the diagram is about as wide as a page."""

    def fill(limit: float) -> list[_Stack]:
        columns: list[list[_Piece]] = [[]]
        for piece in pieces:
            if columns[-1] and _Stack([*columns[-1], piece]).height > limit:
                columns.append([])
            columns[-1].append(piece)
        return [_Stack(column) for column in columns]

    def off(columns: list[_Stack]) -> float:
        wide = sum(column.width + GUTTER for column in columns)
        return abs(math.log(wide / max(column.height for column in columns) / ASPECT))

    whole = _Stack(pieces).height
    by_number: dict[int, list[_Stack]] = {}
    for step in range(1, STEPS + 1):  # the lowest limit that gives this number of columns makes them even
        columns = fill(whole * step / STEPS)
        by_number.setdefault(len(columns), columns)
    return min(by_number.values(), key=off)


def _drawn(columns: Sequence[_Stack], title: str) -> Figure:
    wide = sum(column.width for column in columns) + GUTTER * len(columns)
    high = max(column.height for column in columns) + 2 * GAP
    wide = max(wide, LEAST_PAGE, 0.1 * len(title))
    fig, axes = figure(1, 1, (wide, high + 0.6))
    ax = axes[0, 0]
    ax.set(xlim=(0, wide), ylim=(high, 0), aspect="equal")
    ax.set_axis_off()
    ax.set_title("each box: layer, what follows in it, shape of the output", fontsize=8, color=SOFT)
    fig.suptitle(title, fontsize="medium")
    x = (wide - sum(column.width for column in columns) - GUTTER * (len(columns) - 1)) / 2
    for place, column in enumerate(columns):
        middle, bottom = x + column.width / 2, GAP + column.height
        column.draw(ax, middle, GAP)
        x += column.width + GUTTER
        if place < len(columns) - 1:  # down, to the right, up beside the column and into the next one
            turn, after = x - GUTTER / 2, x + columns[place + 1].width / 2
            way = [(middle, bottom), (middle, bottom + GAP / 2), (turn, bottom + GAP / 2), (turn, GAP / 3)]
            _arrow(ax, [*way, (after, GAP / 3), (after, GAP)])
    return fig


def _arrow(ax: Axes, points: Sequence[tuple[float, float]], *, color: str = INK, head: bool = True) -> None:
    """A line through points, with a head at its end."""
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=color, lw=1, solid_joinstyle="miter")
    if head:
        look = {"arrowstyle": "-|>", "color": color, "lw": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        ax.annotate("", points[-1], points[-2], arrowprops=look)
