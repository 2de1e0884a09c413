"""Animations: frames that play in a notebook, as a GIF or as an HTML page."""

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from jaxcnn.files.whole import replacing
from jaxcnn.viz.animation.drawing import Shape, Stage, Words
from jaxcnn.viz.animation.frame import Frame
from jaxcnn.viz.style import BLUE

SECONDS = 0.7  # a frame is shown
COLORS = 24  # in a GIF's palette: a few fills and the grays of letters
DPI = 100
PLAYER = Path(__file__).with_name("player.html")
PAGE = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n<body>\n{player}'
    "</body></html>\n"
)


class Animation:
    """Frames, played one after the other and again from the first.

    A notebook shows it when it is the last value of a cell, with buttons to stop and to go frame by frame.

    Args:
      frames: at least one.

    Raises:
      ValueError: no frames.

    Example:
      >>> from jaxcnn.viz.animation import slide
      >>> animation = slide([[1, 2, 3], [4, 5, 6]], [[1, 0], [0, -1]])
      >>> len(animation.frames), animation.frames[0].caption
      (2, 'y[0, 0] = 1·1 + 2·0 + 4·0 + 5·(−1) = −4')
    """

    def __init__(self, frames: Sequence[Frame]):
        self.frames = tuple(frames)
        if not self.frames:
            raise ValueError("Animation: `frames` must hold at least one")
        self._stage = Stage(self.frames)
        width, height = self._stage.size
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        self._axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self.draw(0)

    def draw(self, frame: int) -> Figure:
        """The figure with one frame, by its number from 0 on; below 0 it counts from the end."""
        for artist in [*self._axes.patches, *self._axes.texts]:
            artist.remove()
        for item in self._stage.layout(self.frames[frame]):
            if isinstance(item, Shape):
                width = item.width * 72 / DPI
                patch = Polygon(item.corners, facecolor=item.fill, edgecolor=item.line, linewidth=width)
                self._axes.add_patch(patch)
            else:
                size = item.size * 72 / DPI
                self._axes.text(item.x, item.y, item.text, ha="center", va="center", size=size, color=item.color)
        return self.figure

    def save(self, path: str | os.PathLike, *, seconds: float | None = None) -> None:
        """Write a GIF, or an HTML page that plays by itself and needs no network; whole or not at all.

        Args:
          path: ends in .gif or .html.
          seconds: how long one run takes; by default 0.7 per frame, and more for frames that hold.

        Raises:
          ValueError: another ending; seconds that are not positive.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".gif", ".html"):
            raise ValueError(f"Animation.save: `path` must end in .gif or .html; got {str(path)!r}")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"Animation.save: `seconds` must be positive; got {seconds!r}")
        stay = self._milliseconds(seconds)
        with replacing(path) as temporary:
            if ending == ".gif":
                first, *others = self._pictures()
                first.save(temporary, save_all=True, append_images=others, duration=stay, loop=0, disposal=1)
            else:
                page = PAGE.format(title=html.escape(self.frames[0].heading), player=self._player(stay))
                temporary.write_text(page, encoding="utf-8")

    def _repr_html_(self) -> str:
        return self._player(self._milliseconds(None))

    def _player(self, milliseconds: Sequence[int]) -> str:
        """The player's page with its data, in which a shape or text that several frames share is stored once."""
        items: dict[Shape | Words, int] = {}
        shown = [[items.setdefault(item, len(items)) for item in self._stage.layout(frame)] for frame in self.frames]
        data = {
            "size": self._stage.size,
            "items": [_as_json(item) for item in items],
            "frames": shown,
            "captions": [f"{frame.heading}. {frame.caption}" for frame in self.frames],
            "milliseconds": milliseconds,
        }
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
        return PLAYER.read_text(encoding="utf-8").replace("{data}", text)

    def _milliseconds(self, seconds: float | None) -> list[int]:
        """How long each frame is shown, in milliseconds, rounded to hundredths of a second, the unit of a GIF."""
        whole = sum(frame.hold for frame in self.frames)
        each = SECONDS if seconds is None else seconds / whole
        return [max(2, round(100 * each * frame.hold)) * 10 for frame in self.frames]

    def _pictures(self) -> list[Image.Image]:
        """Every frame as pixels, all with one small palette."""
        canvas = FigureCanvasAgg(self.figure)
        pictures = []
        for place in range(len(self.frames)):
            self.draw(place)
            canvas.draw()
            pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        self.draw(0)
        width, height = pictures[0].size
        sheet = Image.new("RGB", (width, 3 * height + 20), BLUE)  # much of it, else a thin outline's color is lost
        for place, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
            sheet.paste(picture, (0, place * height))
        palette = sheet.quantize(COLORS, method=Image.Quantize.MEDIANCUT)
        return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]


def _as_json(item: Shape | Words) -> dict[str, str | float]:
    """A shape or text as an element of SVG: its name and attributes."""
    if isinstance(item, Shape):
        points = " ".join(f"{x:g},{y:g}" for x, y in item.corners)
        return {"points": points, "fill": item.fill, "stroke": item.line, "stroke-width": item.width}
    return {"text": item.text, "x": item.x, "y": item.y, "font-size": item.size, "fill": item.color}
