"""A convolution's three products: y = x ⊗ w, dw = x ⊗ dy, and dx = dy ⊗ rot180(w), full."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxcnn import ops
from jaxcnn.ops.geometry import sliding_window
from jaxcnn.viz.animation.arguments import array, check_frames
from jaxcnn.viz.animation.frame import Frame, Grid
from jaxcnn.viz.animation.player import Animation
from jaxcnn.viz.animation.sliding import FIRST, Named, sliding

Ints = int | tuple[int, int]
PLAIN_IMAGE, PLAIN_FILTER = {2: "(H, W)"}, {2: "(kh, kw)"}
TURN = (0, 20, 40, 60, 80, 100, 120, 140, 160, 180)  # degrees


def slide_backward(x: ArrayLike, kernel: ArrayLike, dy: ArrayLike, *, stride: Ints = 1) -> Animation:
    """A convolution and its two derivatives, each of which is a convolution again.

    First y = x ⊗ w; then the image under the gradient, dw = x ⊗ dy; then the filter turns by 180°, and slides over the
    gradient with zeros around it, dx = dy ⊗ rot180(w), full. Between the values of dy are stride − 1 zeros. All three
    have the values of `jaxcnn.ops.conv` and its derivatives.

    Args:
      x: (H, W).
      kernel: (kh, kw).
      dy: the gradient of a loss by y, in the shape of y.
      stride: as in `jaxcnn.ops.conv`.

    Returns:
      An `Animation`.

    Raises:
      ValueError: arrays of other shapes, or that do not fit; more than 200 frames.

    Example:
      >>> animation = slide_backward([[1, 2, 3]], [[1, -1]], [[10, 20]])
      >>> animation.frames[-1]["dx"].texts
      [['10', '10', '−20']]

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), equations 9.11 to 9.13.
    """
    image, w = array("slide_backward", "x", x, PLAIN_IMAGE), array("slide_backward", "kernel", kernel, PLAIN_FILTER)
    gradient = array("slide_backward", "dy", dy, PLAIN_IMAGE)
    forward = sliding_window(
        "viz.slide_backward",
        image.shape,
        window=w.shape,
        stride=stride,
        padding="VALID",
        dilation=1,
        argument="kernel",
    )
    shape = forward.output_size(image.shape)
    if gradient.shape != shape:
        raise ValueError(f"viz.slide_backward: `dy` must have the shape of x ⊗ w, {shape}; got {gradient.shape}")
    check_frames("slide_backward", gradient.size + w.size + image.size + len(TURN))

    def conv(x, w):
        return ops.conv(x[..., None], w[..., None, None], stride=stride, precision="highest")[..., 0]

    y, back = jax.vjp(conv, jnp.asarray(image, float), jnp.asarray(w, float))
    dx, dw = back(jnp.asarray(gradient, y.dtype))
    spread, between = _spread(gradient, image.shape, w.shape, forward.stride)
    note = f", stride {stride}" if between else ""
    named = "dy, zeros between" if between else "dy"
    turned = w[::-1, ::-1]
    corner = w.shape[0] - 1, w.shape[1] - 1

    def once(size: tuple[int, ...], window: tuple[int, ...], padding: str):
        return sliding_window("viz.slide_backward", size, window=window, stride=1, padding=padding, dilation=1)

    def image_of(name: str, title: str, values: np.ndarray, faint=frozenset()) -> Named:
        return Named(name, title, np.asarray(values)[..., None], faint)

    def filter_of(name: str, title: str, values: np.ndarray, faint=frozenset(), corner=None) -> Named:
        return Named(name, title, values[..., None, None], faint, corner)

    first = sliding(
        image_of("x", "x", image),
        filter_of("w", "w", w, corner=(0, 0)),
        image_of("y", "y", y),
        forward,
        f"Forward: y = x ⊗ w{note}",
    )
    second = sliding(
        image_of("x", "x", image),
        filter_of("dy", named, spread, between),
        image_of("dw", "dw", dw),
        once(image.shape, spread.shape, "VALID"),
        "The filter's gradient: dw = x ⊗ dy",
    )
    heading = "The image's gradient: dx = dy ⊗ rot180(w), full"
    third = list(
        sliding(
            image_of("dy", "dy, zeros around it", spread, between),
            filter_of("w", "rot180(w)", turned, corner=corner),
            image_of("dx", "dx", dx),
            once(spread.shape, w.shape, "FULL"),
            heading,
        )
    )
    return Animation([*first, *second, *_turning(third[0], w, heading), *third])


def _spread(
    dy: np.ndarray, image: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[np.ndarray, set[tuple[int, ...]]]:
    """dy with zeros between its values, as large as the output with stride 1, and the places of these zeros."""
    spread = np.zeros([n - k + 1 for n, k in zip(image, window, strict=True)])
    spread[:: stride[0], :: stride[1]] = dy
    places = {(i * stride[0], j * stride[1]) for i, j in np.ndindex(dy.shape)}
    return spread, set(np.ndindex(spread.shape)) - places


def _turning(start: Frame, w: np.ndarray, heading: str) -> Iterator[Frame]:
    """Frames in which the filter turns, before it slides; the places of the other grids are still empty."""
    empty = [tuple(replace(grid, values=np.full(grid.shape, np.nan), marks={}) for grid in c) for c in start.columns]
    (waiting,) = start.columns[0]
    for angle in TURN:
        turned = Grid(f"w, turned by {angle}°", w, {(0, 0): FIRST}, turn=angle)
        yield Frame(
            heading,
            ((replace(waiting, marks={}, box=None),), (turned,), *empty[2:]),
            ("", "", "", ""),
            "Pixel i met tap a in output i − a: seen from the pixel, the filter stands turned by 180°.",
            hold=2 if angle in (0, 180) else 0.4,
        )
