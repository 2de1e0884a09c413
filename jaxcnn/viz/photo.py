"""A photo under the lectures' filters."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn import ops
from jaxcnn.data import to_float
from jaxcnn.viz.style import figure

LECTURE_FILTERS: Mapping[str, np.ndarray] = {
    "horizontal edges": np.array([[1.0, 1, 1], [0, 0, 0], [-1, -1, -1]]),
    "vertical edges": np.array([[1.0, 0, -1], [1, 0, -1], [1, 0, -1]]),
    "all edges": np.array([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "blur": np.full((3, 3), 1 / 9),
}
LUMA = np.array([0.299, 0.587, 0.114])  # how bright red, green and blue look: ITU-R BT.601


def photo_filters(photo: Any, filters: Mapping[str, Any] | None = None) -> Figure:
    """A photo, its brightness, and the brightness under filters: y = x ⊗ w, without padding.

    Args:
      photo: (H, W), (H, W, 1) or (H, W, 3), uint8 or floating of 0 to 1. With about 200 pixels per side, the eye can
        see what 3×3 filters do.
      filters: by name, (kh, kw) numbers; by default the lectures' four, `LECTURE_FILTERS`. The output of a filter whose
        numbers sum to 0 shows changes, and is drawn with gray for 0; any other output is drawn as a photo.

    Returns:
      A figure with an axes for the photo, if it has colors, one for its brightness and one per filter, the filter's
      numbers below.

    Raises:
      ValueError: a photo or a filter of another shape, a photo smaller than a filter, no filters.
      TypeError: pixels that are neither uint8 nor floating.

    Example:
      >>> figure = photo_filters(np.zeros((20, 30, 3)), {"right minus left": [[-1, 0, 1]]})
      >>> [ax.get_title() for ax in figure.axes]
      ['photo', 'brightness, what the filters see', 'right minus left']
    """
    filters = LECTURE_FILTERS if filters is None else filters
    if not filters:
        raise ValueError("viz.photo_filters: `filters` must not be empty")
    photo = np.asarray(photo)
    if photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[-1] not in (1, 3)):
        raise ValueError(f"viz.photo_filters: `photo` must be (H, W), (H, W, 1) or (H, W, 3); got {photo.shape}")
    pixels = np.asarray(to_float(photo)).reshape(*photo.shape[:2], -1)
    color = pixels.shape[-1] == 3
    gray = pixels @ LUMA if color else pixels[..., 0]
    panels = int(color) + 1 + len(filters)
    columns = min(3, panels)
    rows = -(-panels // columns)
    width = 3.4
    height = width * gray.shape[0] / gray.shape[1]
    fig, axes = figure(rows, columns, (width * columns, (min(height, 2 * width) + 1.2) * rows + 0.3))
    places, size = iter(axes.flat), f"{gray.shape[0]} × {gray.shape[1]} pixels"
    if color:
        _draw(next(places), pixels, "photo", size)
    _draw(next(places), gray, "brightness, what the filters see" if color else "photo", size)
    for (name, numbers), ax in zip(filters.items(), places, strict=False):
        kernel = _kernel(name, numbers, gray.shape)
        y = np.asarray(ops.conv(jnp.asarray(gray, jnp.float32)[..., None], jnp.asarray(kernel, jnp.float32)))[..., 0]
        _draw(ax, y, name, _written(kernel[..., 0, 0]), around_zero=bool(np.isclose(kernel.sum(), 0)))
    for ax in places:
        ax.set_axis_off()
    fig.suptitle(f"What {len(filters)} filters make of a photo", fontsize="large")
    return fig


def _kernel(name: str, numbers: Any, size: tuple[int, ...]) -> np.ndarray:
    w = np.asarray(numbers, float)
    if w.ndim != 2 or not w.size or any(k > n for k, n in zip(w.shape, size, strict=True)):
        raise ValueError(
            f"viz.photo_filters: `filters` must be (kh, kw) numbers that fit into the photo, {size}; got {w.shape} for "
            f"{name!r}"
        )
    return w[..., None, None]


def _written(kernel: np.ndarray) -> str:
    """The numbers of a filter in rows, written as fractions if those are simple."""

    def word(value):
        simple = Fraction(value).limit_denominator(20)
        return str(simple) if np.isclose(float(simple), value, rtol=1e-6, atol=1e-9) else f"{value:.2g}"

    words = [[word(value) for value in row] for row in kernel]
    width = max(len(w) for row in words for w in row)
    return "\n".join("  ".join(w.rjust(width) for w in row) for row in words)


def _draw(ax: Axes, values: np.ndarray, title: str, below: str, *, around_zero: bool = False) -> None:
    """Draw a picture; with `around_zero`, 0 is gray and the scale ends at the 99th percentile."""
    top = float(np.percentile(np.abs(values), 99)) or 1.0 if around_zero else 1.0
    ax.imshow(values, cmap="gray", vmin=-top if around_zero else 0, vmax=top)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(title=title, xticks=[], yticks=[])
    ax.set_xlabel(f"{below}\nblack {-top:.2g}, gray 0, white {top:.2g}" if around_zero else below, family="monospace")
