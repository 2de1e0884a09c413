"""A convolution, and its transpose, window by window."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxcnn import ops
from jaxcnn.ops.geometry import Padding, sliding_window
from jaxcnn.viz.animation.arguments import array, check_frames
from jaxcnn.viz.animation.frame import Frame, Grid, number, product
from jaxcnn.viz.animation.player import Animation
from jaxcnn.viz.animation.sliding import NEW, SEEN, Named, sliding

Ints = int | tuple[int, int]
IMAGE = {2: "(H, W)", 3: "(H, W, C)"}
FILTER = {2: "(kh, kw)", 3: "(kh, kw, C)", 4: "(kh, kw, C, D)"}
PLAIN_IMAGE, PLAIN_FILTER = {2: "(H, W)"}, {2: "(kh, kw)"}


def slide(
    x: ArrayLike, kernel: ArrayLike, *, stride: Ints = 1, padding: Padding = "VALID", dilation: Ints = 1
) -> Animation:
    """A filter slides over an image: y = x ⊗ w, one frame for each output.

    A frame shows what the window sees, its products with the filter, their sum so far (over all channels) and the
    outputs so far, which are those of `jaxcnn.ops.conv`.

    Args:
      x: (H, W) or (H, W, C).
      kernel: (kh, kw), (kh, kw, C) or (kh, kw, C, D).
      stride, padding, dilation: as in `jaxcnn.ops.conv`.

    Returns:
      An `Animation`.

    Raises:
      ValueError: arrays of other shapes, or that do not fit; more than 200 outputs.

    Example:
      >>> animation = slide([[1, 2, 3], [4, 5, 6]], [[1, 0], [0, -1]])
      >>> [frame.caption for frame in animation.frames]
      ['y[0, 0] = 1·1 + 2·0 + 4·0 + 5·(−1) = −4', 'y[0, 1] = 2·1 + 3·0 + 5·0 + 6·(−1) = −4']
    """
    image, w = array("slide", "x", x, IMAGE), array("slide", "kernel", kernel, FILTER)
    if image.shape[2] != w.shape[2]:
        raise ValueError(
            f"viz.slide: `kernel` expects {w.shape[2]} channels but `x` has {image.shape[2]}; x {np.shape(x)}, kernel "
            f"{np.shape(kernel)}"
        )
    window = sliding_window(
        "viz.slide",
        image.shape[:2],
        window=w.shape[:2],
        stride=stride,
        padding=padding,
        dilation=dilation,
        argument="kernel",
    )
    rows, columns = window.output_size(image.shape[:2])
    check_frames("slide", rows * columns * w.shape[3])
    y = ops.conv(
        jnp.asarray(image, float),
        jnp.asarray(w, float),
        stride=stride,
        padding=padding,
        dilation=dilation,
        precision="highest",
    )
    zeros = any(map(any, window.padding))
    title = "x, zeros around it" if zeros else "x"
    return Animation(
        list(
            sliding(
                Named("x", title, image),
                Named("w", "w", w),
                Named("y", "y", np.asarray(y)),
                window,
                "y = x ⊗ w" + _options(stride, padding, dilation),
            )
        )
    )


def slide_transpose(
    x: ArrayLike, kernel: ArrayLike, *, stride: Ints = 1, padding: Padding = "VALID", dilation: Ints = 1
) -> Animation:
    """A transposed convolution: each pixel of x puts the filter, times itself, into y, one frame for each pixel.

    Where the filters overlap they add up; from one pixel to the next the filter moves by the stride. It is the
    transpose of a convolution with padding: outputs at the place of that padding are cut off, and drawn faint. The last
    frame has the values of `jaxcnn.ops.conv_transpose`.

    Args:
      x: (H, W).
      kernel: (kh, kw).
      stride, padding, dilation: as in `jaxcnn.ops.conv_transpose`.

    Returns:
      An `Animation`.

    Raises:
      ValueError: arrays of other shapes, or that do not fit; more than 200 pixels.

    Example:
      >>> animation = slide_transpose([[1, 2]], [[1, 1, 1]], stride=2)
      >>> animation.frames[-1]["y so far"].texts
      [['1', '1', '3', '2', '2']]
    """
    image, w = array("slide_transpose", "x", x, PLAIN_IMAGE), array("slide_transpose", "kernel", kernel, PLAIN_FILTER)
    check_frames("slide_transpose", image.size)
    with jax.default_matmul_precision("highest"):
        result = ops.conv_transpose(
            jnp.asarray(image[..., None], float),
            jnp.asarray(w[..., None, None], float),
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
    y = np.asarray(result)[..., 0]
    window = sliding_window(
        "viz.slide_transpose",
        y.shape,
        window=w.shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        argument="kernel",
    )
    (top, bottom), (left, right) = window.padding
    canvas = np.zeros((top + y.shape[0] + bottom, left + y.shape[1] + right))
    cut = set(np.ndindex(canvas.shape)) - {(r + top, c + left) for r, c in np.ndindex(y.shape)}
    frames: list[Frame] = []
    for i, j in np.ndindex(image.shape):
        start = i * window.stride[0], j * window.stride[1]
        taps = [(start[0] + a, start[1] + b) for a, b in window.offsets()]
        pixel = float(image[i, j])
        share = pixel * w
        canvas[tuple(np.transpose(taps))] += share.ravel()
        if (i, j) == (image.shape[0] - 1, image.shape[1] - 1):
            canvas[top : top + y.shape[0], left : left + y.shape[1]] = y
        frames.append(
            Frame(
                f"Transposed: each pixel of x puts w, times itself, into y{_options(stride, padding, dilation)}",
                (
                    (Grid("x", image, {(i, j): SEEN}),),
                    (Grid("w", w),),
                    (Grid("x[i, j] · w", share, dict.fromkeys(np.ndindex(w.shape), SEEN)),),
                    (
                        Grid(
                            "y so far, gray is cut off" if cut else "y so far",
                            canvas.copy(),
                            dict.fromkeys(taps, NEW),
                            cut,
                            (*start, *window.extent),
                        ),
                    ),
                ),
                ("×", "→", "→"),
                f"x[{i}, {j}] = {number(pixel)}: y[{start[0] - top} + a, {start[1] - left} + b] "
                f"grows by {product(pixel)} · w[a, b]",
                hold=3 if len(frames) == image.size - 1 else 1,
            )
        )
    return Animation(frames)


def _options(stride: Ints, padding: Padding, dilation: Ints) -> str:
    """The options that differ from the defaults, in words."""
    given = {"stride": (stride, 1), "padding": (padding, "VALID"), "dilation": (dilation, 1)}
    return "".join(f", {name} {value}" for name, (value, usual) in given.items() if value != usual)
