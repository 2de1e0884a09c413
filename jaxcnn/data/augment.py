"""Random variations of an image, as pure functions of a key.

Each factory returns `augment(key, image) -> image` for one float image (H, W, C). `chain` puts several in a row and
`per_image` gives every image of a batch its own key. All work under jit, vmap and scan.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.moved import moved

__all__ = ["Augment", "chain", "crop", "cutout", "flip", "normalize", "per_image", "shift"]

Augment: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
Fill: TypeAlias = Literal["zero", "edge"]

_PAD_MODES = {"zero": "constant", "edge": "edge"}  # numpy.pad's words


__getattr__ = moved(__name__, {"normalise": "jaxcnn.data.augment.normalize"})


def flip(probability: float = 0.5) -> Augment:
    """Mirror left and right.

    Args:
      probability: how likely an image is mirrored, 0 to 1.

    Returns:
      augment(key, image (H, W, C)) -> (H, W, C).

    Raises:
      ValueError: the probability is out of range.

    Example:
      >>> flip(1.0)(jax.random.key(0), jnp.array([[[1.0], [2.0]]])).ravel().tolist()
      [2.0, 1.0]
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"flip: `probability` must lie between 0 and 1; got {probability}")

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        _check_image(image, "flip")
        return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)

    return augment


def shift(pixels: int, *, fill: Fill = "edge") -> Augment:
    """Move the image by a random number of pixels, up or down and left or right.

    It is `crop` at the image's own size.

    Args:
      pixels: the most it moves, along the height and along the width, at least 0.
      fill: "edge" repeats the border, "zero" is black.

    Returns:
      augment(key, image (H, W, C)) -> (H, W, C).

    Raises:
      ValueError: negative pixels, or an unknown fill.

    Example:
      >>> shift(1)(jax.random.key(0), jnp.ones((4, 4, 1))).shape
      (4, 4, 1)
    """
    return crop(pixels, fill=fill)


def crop(padding: int, *, size: tuple[int, int] | None = None, fill: Fill = "zero") -> Augment:
    """Pad on every side, then cut out a part at a random place.

    Args:
      padding: pixels on each side, at least 0.
      size: (H', W') of the part; by default the image's own size.
      fill: "zero" pads with black, "edge" repeats the border.

    Returns:
      augment(key, image (H, W, C)) -> (H', W', C).

    Raises:
      ValueError: negative padding, an unknown fill, or a size below 1. When it is called: a part larger than the image.

    Example:
      >>> crop(4)(jax.random.key(0), jnp.ones((32, 32, 3))).shape
      (32, 32, 3)
    """
    padding = _pixels("crop", "padding", padding, 0)
    if fill not in _PAD_MODES:
        raise ValueError(f"crop: `fill` must be one of {', '.join(_PAD_MODES)}; got {fill!r}")
    if size is not None:
        if np.shape(size) != (2,):
            raise ValueError(f"crop: `size` must be (height, width), each at least 1 pixel; got {size!r}")
        size = (_pixels("crop", "size", size[0], 1), _pixels("crop", "size", size[1], 1))

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        _check_image(image, "crop")
        height, width = size or image.shape[:2]
        room = (image.shape[0] + 2 * padding - height, image.shape[1] + 2 * padding - width)
        if min(room) < 0:
            raise ValueError(f"crop: `size` {size} is larger than the image {image.shape} with padding {padding}")
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=_PAD_MODES[fill])
        row, column = jax.random.randint(key, (2,), 0, jnp.array(room) + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), (height, width, image.shape[2]))

    return augment


def cutout(size: int, *, value: float = 0.0) -> Augment:
    """Blank a square at a random place, part of which may lie outside of the image.

    Args:
      size: side of the square in pixels, at least 1.
      value: the value of the blanked pixels.

    Returns:
      augment(key, image (H, W, C)) -> (H, W, C).

    Raises:
      ValueError: the size is below 1.

    Example:
      >>> int((cutout(3)(jax.random.key(1), jnp.ones((9, 9, 1))) == 0).sum()) in {4, 6, 9}
      True

    Source: DeVries and Taylor 2017, arXiv:1708.04552: the square's center is uniform over the image's pixels.
    """
    size = _pixels("cutout", "size", size, 1)

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        _check_image(image, "cutout")
        first = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2])) - size // 2
        rows, columns = (jnp.arange(n) - first[axis] for axis, n in enumerate(image.shape[:2]))
        blank = ((rows >= 0) & (rows < size))[:, None] & ((columns >= 0) & (columns < size))[None, :]
        return jnp.where(blank[..., None], jnp.asarray(value, image.dtype), image)

    return augment


def normalize(mean: float | Sequence[float], std: float | Sequence[float]) -> Augment:
    """Subtract a mean and divide by a standard deviation, per channel; the key is not used.

    y = (image − mean) / std

    Args:
      mean: one number, or one per channel, in the image's units.
      std: one number, or one per channel, above 0.

    Returns:
      augment(key, image (H, W, C)) -> (H, W, C).

    Raises:
      ValueError: a std of 0 or less. When it is called: an image with another number of channels.

    Example:
      >>> normalize(0.5, 0.25)(jax.random.key(0), jnp.ones((1, 1, 1))).item()
      2.0
    """
    means, stds = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    if means.ndim > 1 or stds.ndim > 1 or not (stds > 0).all() or not np.isfinite(means).all():
        raise ValueError(
            f"normalize: `mean` and `std` must be numbers, or one per channel, std above 0; got {mean} and {std}"
        )

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        _check_image(image, "normalize")
        if any(values.shape not in ((), (image.shape[2],)) for values in (means, stds)):
            raise ValueError(
                f"normalize: `mean` and `std` must be one number per channel; got {mean} and {std} for {image.shape}"
            )
        of_channels, spread = (values.astype(image.dtype).reshape(1, 1, -1) for values in (means, stds))
        return (image - of_channels) / spread

    return augment


def chain(*augments: Augment) -> Augment:
    """Apply several augmentations one after the other, each with a key of its own.

    Args:
      *augments: the augmentations, in the order of application. Without any, the image stays as it is.

    Returns:
      augment(key, image) -> image.

    Example:
      >>> chain(flip(1.0), normalize(0.5, 0.5))(jax.random.key(0), jnp.array([[[0.0], [1.0]]])).ravel().tolist()
      [1.0, -1.0]
    """

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        for position, part in enumerate(augments):
            image = part(jax.random.fold_in(key, position), image)
        return image

    return augment


def per_image(augment: Augment) -> Augment:
    """Apply an augmentation to a batch, with a key of its own for every image.

    Args:
      augment: an augmentation of one image.

    Returns:
      augment(key, images (N, H, W, C)) -> (N, H', W', C).

    Example:
      >>> per_image(chain(flip(), crop(2)))(jax.random.key(0), jnp.ones((5, 8, 8, 1))).shape
      (5, 8, 8, 1)
    """

    def augment_batch(key: jax.Array, images: jax.Array) -> jax.Array:
        return jax.vmap(augment)(jax.random.split(key, len(images)), images)

    return augment_batch


def _pixels(name: str, argument: str, value: object, least: int) -> int:
    """A number of pixels as a Python int; ValueError if it is not a whole number of at least `least`."""
    try:
        pixels = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pixels = -1
    if pixels < least:
        raise ValueError(f"{name}: `{argument}` must be a whole number of pixels, at least {least}; got {value!r}")
    return pixels


def _check_image(image: jax.Array, name: str) -> None:
    if image.ndim != 3:
        raise ValueError(f"{name}: expects one image (H, W, C); got {image.shape}. For a batch use `per_image`.")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"{name}: expects a floating image; got {image.dtype}. `to_float` makes one of bytes.")
