"""From examples to batches: order, the last partial batch, and pixels as floats."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.pairs import as_pair
from jaxcnn.data.shuffle import permutation

__all__ = ["Batch", "batches", "epoch_plan", "to_float"]


class Batch(NamedTuple):
    """Images (B, …, C), labels (B, …), and a mask, bool (B,), of the examples that count."""

    images: Any
    labels: Any
    mask: np.ndarray


def epoch_plan(n: int, batch_size: int, *, seed: int | None = None, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Which examples are in which batch of one epoch.

    Every example has one place where the mask is True. Places that are left over in the last batch are filled with
    examples from the start of the order, and the mask is False there. So all batches have one shape, one compiled
    step serves them all, and a mean weighted by the mask is the mean over the examples.

    Args:
      n: number of examples, at least 0.
      batch_size: examples per batch, at least 1.
      seed: the seed of the shuffle, at least 0; None keeps the order.
      epoch: its number, from 0. With one seed, every epoch has another order.

    Returns:
      indices int32 (steps, batch_size) and mask bool (steps, batch_size), steps = ceil(n / batch_size).

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> indices, mask = epoch_plan(5, 2)
      >>> indices.tolist(), mask.tolist()
      ([[0, 1], [2, 3], [4, 0]], [[True, True], [True, True], [True, False]])
    """
    for name, value, least in (("n", n, 0), ("batch_size", batch_size, 1), ("epoch", epoch, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"epoch_plan: `{name}` must be an integer of at least {least}; got {value!r}")
    order = np.arange(n) if seed is None else permutation(n, seed, epoch)
    steps = -(-n // batch_size)
    places = steps * batch_size
    indices = np.resize(order, places).astype(np.int32)  # np.resize repeats from the start
    mask = np.arange(places) < n
    return indices.reshape(steps, batch_size), mask.reshape(steps, batch_size)


def batches(
    data: Dataset | tuple[Any, Any], batch_size: int, *, seed: int | None = None, epoch: int = 0
) -> Iterator[Batch]:
    """The batches of one epoch, all of one shape.

    Args:
      data: a `Dataset`, or (images, labels).
      batch_size, seed, epoch: see `epoch_plan`.

    Returns:
      Iterator of `Batch`.

    Raises:
      TypeError, ValueError: the data are not labeled images (see `as_pair`), or an argument is out of range.

    Example:
      >>> data = (np.zeros((5, 8, 8, 1), np.uint8), np.arange(5))
      >>> [(batch.labels.tolist(), batch.mask.tolist()) for batch in batches(data, 3)]
      [([0, 1, 2], [True, True, True]), ([3, 4, 0], [True, True, False])]
    """
    images, labels = as_pair(data, name="data")
    plan = epoch_plan(len(images), batch_size, seed=seed, epoch=epoch)
    # A generator expression, not `yield`: bad arguments are reported here, not at the first batch.
    return (Batch(images[indices], labels[indices], mask) for indices, mask in zip(*plan, strict=True))


@partial(jax.jit, static_argnames="dtype")
def to_float(images: Any, dtype: Any = jnp.float32) -> jax.Array:
    """Pixels as floats: bytes 0 to 255 become 0 to 1, floats keep their values.

    Bytes are divided on the device: moving them there takes a quarter of what float32 would take.

    Args:
      images: uint8 or floating, any shape.
      dtype: floating dtype of the result.

    Returns:
      The same shape in `dtype`.

    Raises:
      TypeError: images of another dtype, or a `dtype` that is not floating.

    Example:
      >>> to_float(np.array([0, 255], np.uint8)).tolist()
      [0.0, 1.0]
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"to_float: `dtype` must be floating; got {dtype}")
    if not hasattr(images, "dtype"):
        raise TypeError(f"to_float: `images` must be an array; got {type(images).__name__}: np.asarray makes one")
    if jnp.issubdtype(images.dtype, jnp.floating):
        return jnp.asarray(images, dtype)
    if images.dtype != jnp.uint8:
        raise TypeError(f"to_float: `images` must be uint8 or floating; got {images.dtype}")
    # A 16-bit float has 11 bits of precision or fewer, so divide in float32 and round once.
    wide = jnp.promote_types(dtype, jnp.float32)
    return (images.astype(wide) / 255).astype(dtype)
