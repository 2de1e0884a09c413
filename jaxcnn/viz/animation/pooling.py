"""Max pooling: the switches, and the gradient's way back to them."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxcnn import ops
from jaxcnn.ops.geometry import Window, sliding_window
from jaxcnn.viz.animation.arguments import array, check_frames
from jaxcnn.viz.animation.frame import Cell, Frame, Grid, number
from jaxcnn.viz.animation.player import Animation
from jaxcnn.viz.animation.sliding import NEW, SEEN

Ints = int | tuple[int, int]
PLAIN_IMAGE = {2: "(H, W)"}


def slide_max_pool(x: ArrayLike, window: Ints, *, stride: Ints | None = None, dy: ArrayLike | None = None) -> Animation:
    """Max pooling: forward, the switch of each window (its first maximum); then the gradient, back to the switches.

    Args:
      x: (H, W).
      window, stride: as in `jaxcnn.ops.max_pool`.
      dy: the gradient of a loss by the output, in the output's shape; by default 1, 2, 3, …, to show which value goes
        where.

    Returns:
      An `Animation`, with one frame for each output forward and one backward.

    Raises:
      ValueError: arrays of other shapes; a window that does not fit; more than 200 frames.

    Example:
      >>> animation = slide_max_pool([[1, 2, 4, 5], [7, 9, 20, 3]], 2)
      >>> [frame.caption for frame in animation.frames]  # doctest: +NORMALIZE_WHITESPACE
      ['y[0, 0] = max(1, 2, 7, 9) = 9, at the switch x[1, 1]',
       'y[0, 1] = max(4, 5, 20, 3) = 20, at the switch x[1, 2]',
       'dy[0, 0] = 1 goes to the switch: dx[1, 1] = 1',
       'dy[0, 1] = 2 goes to the switch: dx[1, 2] = 2']
    """
    image = array("slide_max_pool", "x", x, PLAIN_IMAGE)
    size = window if isinstance(window, tuple) else (window, window)
    geometry = sliding_window(
        "viz.slide_max_pool",
        image.shape,
        window=size,
        stride=size if stride is None else stride,
        padding="VALID",
        dilation=1,
    )
    y, back = jax.vjp(lambda x: ops.max_pool(x, window, stride=stride), jnp.asarray(image[..., None], float))
    check_frames("slide_max_pool", 2 * y.size)
    shape = y.shape[:2]
    if dy is None:
        dy = np.arange(1, y.size + 1).reshape(shape)
    gradient = array("slide_max_pool", "dy", dy, PLAIN_IMAGE)
    if gradient.shape != shape:
        raise ValueError(f"viz.slide_max_pool: `dy` must have the shape of the output, {shape}; got {gradient.shape}")
    (dx,) = back(jnp.asarray(gradient[..., None], y.dtype))
    switches = dict(_switches(image, geometry))
    forward = _forward(image, np.asarray(y)[..., 0], switches, geometry)
    return Animation([*forward, *_backward(image, gradient, np.asarray(dx)[..., 0], switches)])


def _switches(x: np.ndarray, window: Window) -> Iterator[tuple[Cell, Cell]]:
    """For each output, the pixel which is the first maximum of its window."""
    (kh, kw), (sh, sw) = window.size, window.stride
    for i, j in np.ndindex(window.output_size(x.shape)):
        seen = x[i * sh : i * sh + kh, j * sw : j * sw + kw]
        a, b = divmod(int(seen.argmax()), kw)
        yield (i, j), (i * sh + a, j * sw + b)


def _forward(x: np.ndarray, y: np.ndarray, switches: dict[Cell, Cell], window: Window) -> Iterator[Frame]:
    done = np.full(y.shape, np.nan)
    found: set[Cell] = set()
    for (i, j), switch in switches.items():
        top, left = i * window.stride[0], j * window.stride[1]
        seen = x[top : top + window.size[0], left : left + window.size[1]]
        done[i, j] = y[i, j]
        found.add(switch)
        cells = [(top + a, left + b) for a, b in np.ndindex(window.size)]
        numbers = ", ".join(map(number, seen.ravel())) if seen.size <= 16 else "…"
        yield Frame(
            "Max pooling: y is the largest value of the window, and where it stands is the switch",
            (
                (
                    Grid(
                        "x, with switches",
                        x,
                        dict.fromkeys(cells, SEEN) | dict.fromkeys(found, NEW),
                        box=(top, left, *window.size),
                    ),
                ),
                (Grid("the window", seen, {(switch[0] - top, switch[1] - left): NEW}),),
                (Grid("y", done.copy(), {(i, j): NEW}),),
            ),
            ("→", "→"),
            f"y[{i}, {j}] = max({numbers}) = {number(y[i, j])}, at the switch x[{switch[0]}, {switch[1]}]",
            hold=3 if len(switches) == np.isfinite(done).sum() else 1,
        )


def _backward(x: np.ndarray, dy: np.ndarray, dx: np.ndarray, switches: dict[Cell, Cell]) -> Iterator[Frame]:
    so_far = np.zeros(dx.shape)
    came: dict[Cell, list[str]] = {}
    last = list(switches)[-1]
    for (i, j), switch in switches.items():
        so_far[switch] += dy[i, j]
        came.setdefault(switch, []).append(number(dy[i, j]))
        if (i, j) == last:
            so_far = dx
        total = " + ".join(came[switch]) + (f" = {number(so_far[switch])}" if len(came[switch]) > 1 else "")
        yield Frame(
            "The gradient's way back: dx is dy at the switch, and 0 elsewhere",
            (
                (Grid("x, with switches", x, dict.fromkeys(switches.values(), NEW) | {switch: SEEN}),),
                (Grid("dy", dy, {(i, j): SEEN}),),
                (Grid("dx so far", so_far.copy(), {switch: SEEN}),),
            ),
            ("", "→"),
            f"dy[{i}, {j}] = {number(dy[i, j])} goes to the switch: dx[{switch[0]}, {switch[1]}] = {total}",
            hold=3 if (i, j) == last else 1,
        )
