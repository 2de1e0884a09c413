"""Images and labels from a user's arrays, lists or tensors; for anything else, an error that says how to make them."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxcnn.data.dataset import Dataset, Splits, kind

__all__ = ["as_pair"]


def as_pair(data: Any, *, name: str) -> tuple[Any, Any]:
    """The images and labels of a `Dataset` or of an `(images, labels)` pair, checked against each other.

    Args:
      data: a `Dataset`, or a pair: images (N, …, C) of uint8 or floats, labels (N,), (N, K) one-hot or multi-target,
        or whatever a loss function of the user takes. NumPy and JAX arrays stay as they are; lists, tensors of
        PyTorch or TensorFlow and columns of pandas become NumPy arrays.
      name: the argument's name in error messages, which begin with it.

    Returns:
      (images, labels), both arrays.

    Raises:
      TypeError: `data` is neither a Dataset nor a pair, or an array has another dtype. The message says how to make a
        pair of a DataLoader, a tf.data or Hugging Face dataset, a dict or a generator.
      ValueError: the counts differ, there are no examples, or axes are missing.

    Example:
      >>> images, labels = as_pair((np.zeros((4, 8, 8, 1)), [0, 1, 1, 0]), name="data")
      >>> images.shape, labels.shape
      ((4, 8, 8, 1), (4,))
    """
    if isinstance(data, Dataset):
        images, labels = data.images, data.labels
    elif isinstance(data, Splits):
        raise TypeError(f"`{name}` is a Splits, a training and a test set: pass its `.train` or its `.test`")
    elif isinstance(data, tuple | list) and len(data) == 2:
        images, labels = (_array(part, name, what) for part, what in zip(data, ("images", "labels"), strict=True))
    else:
        raise TypeError(f"`{name}` must be a Dataset or a pair of arrays (images, labels); got {_got(data)}")
    if images.dtype != np.uint8 and not jax.numpy.issubdtype(images.dtype, np.floating):
        hint = "; `.astype(np.uint8)` for pixels of 0 to 255" if np.issubdtype(images.dtype, np.integer) else ""
        raise TypeError(f"`{name}`: images must be uint8 or floating; got {images.dtype}{hint}")
    if not any(jax.numpy.issubdtype(labels.dtype, number) for number in (np.integer, np.floating, np.bool_)):
        named = labels.dtype.kind in "UST"
        hint = "; `classes, labels = np.unique(labels, return_inverse=True)` numbers names" if named else ""
        raise TypeError(f"`{name}`: labels must be integers, floats or bools; got {labels.dtype}{hint}")
    shapes = f"images {images.shape}, labels {labels.shape}"
    if images.ndim < 2 or labels.ndim < 1:
        raise ValueError(f"`{name}` needs images (N, …, C) and labels (N,) or (N, …); got {shapes}")
    if len(images) != len(labels):
        raise ValueError(f"`{name}` needs one label per image; got {shapes}")
    if len(images) == 0:
        raise ValueError(f"`{name}` holds no examples; got {shapes}")
    return images, labels


def _array(part: Any, name: str, what: str) -> Any:
    """The images or the labels as an array."""
    if isinstance(part, np.ndarray | jax.Array):
        return part
    if isinstance(part, list | tuple) or (hasattr(part, "__array__") and not isinstance(part, Mapping)):
        try:
            # A tensor of PyTorch may ask for a gradient or lie on an accelerator.
            array = np.asarray(part.detach().cpu() if hasattr(part, "detach") else part)
        except (TypeError, ValueError, RuntimeError) as error:  # items of different shapes, or of no type of NumPy
            reason = str(error).partition(". ")[0]
            raise TypeError(f"`{name}`: the {what} do not make one array: {reason}; got {kind(part)}") from None
        if array.dtype != object:
            return array
    raise TypeError(f"`{name}` must be a Dataset or a pair of arrays (images, labels); got {what}: {_got(part)}")


def _got(data: Any) -> str:
    """What was passed, and how to make a pair of arrays from it."""
    if isinstance(data, tuple | list):
        kinds = ", ".join(kind(part) for part in data[:4]) + (", …" if len(data) > 4 else "")
        got = f"{kind(data)} of {len(data)}: {kinds}" if data else f"an empty {kind(data)}"
        if len(data) == 3 and all(hasattr(part, "shape") for part in data):
            return f"{got}. Weights of examples have no place here: weigh them in a loss of your own"
        if data and all(isinstance(part, tuple | list) and len(part) == 2 for part in data):
            return f"{got}. From (image, label) pairs: {_STACKED.format('pairs')}"
        return got
    got = kind(data)
    if isinstance(data, str) or hasattr(data, "__fspath__"):
        return f"{got} {str(data)!r}. `data.load` reads data sets by name and folder"
    if isinstance(data, np.ndarray | jax.Array) or hasattr(data, "detach"):
        return f"{got}: its labels are missing"
    recipe = next((recipe for is_one, recipe in _RECIPES if is_one(data)), "")
    if isinstance(data, Mapping):
        keys = [repr(key) for key in list(data)[:8]]
        chosen = keys[:2] if len(keys) >= 2 else ["'images'", "'labels'"]
        recipe = f"Its keys are {', '.join(keys) or 'none'}; pass for instance (d[{chosen[0]}], d[{chosen[1]}])"
    return f"{got}. {recipe}" if recipe else got


_STACKED = "`images, labels = map(np.stack, zip(*{}))`"
_JOINED = "`images, labels = map(np.concatenate, zip(*{}))`"
_LAST = "; channels are last here: `x.permute(0, 2, 3, 1)`"

# A kind of object is known by its attributes, since its package need not be installed; the first row that fits holds.
_RECIPES = (
    (
        lambda data: hasattr(data, "as_numpy_iterator"),
        "From a tf.data dataset: " + _STACKED.format("ds.unbatch().as_numpy_iterator()"),
    ),
    (
        lambda data: hasattr(data, "column_names") and hasattr(data, "with_format"),
        "From a Hugging Face dataset: `ds = ds.with_format('numpy'); images, labels = np.stack(ds['image'][:]), "
        "np.asarray(ds['label'][:])`, with its own names of columns",
    ),
    (
        lambda data: hasattr(data, "tensors"),
        "From a TensorDataset: `x, y = ds.tensors`" + _LAST,
    ),
    (
        lambda data: hasattr(data, "dataset") and hasattr(data, "batch_size"),
        "From a DataLoader: " + _JOINED.format("[(x.numpy(), y.numpy()) for x, y in loader]") + _LAST,
    ),
    (
        lambda data: isinstance(data, Iterator),
        "An iterator gives its items once. From batches that fit into memory: "
        + _JOINED.format("batches")
        + "; of single examples with np.stack in place of np.concatenate",
    ),
    (
        lambda data: hasattr(data, "__getitem__") and hasattr(data, "on_epoch_end"),
        "From a Keras PyDataset: " + _JOINED.format("[ds[i] for i in range(len(ds))]"),
    ),
    (
        lambda data: hasattr(data, "__getitem__") and hasattr(data, "__len__"),
        "From a dataset of (image, label) pairs: " + _STACKED.format("[ds[i] for i in range(len(ds))]"),
    ),
    (
        lambda data: hasattr(data, "__iter__"),
        "From (image, label) pairs that fit into memory: " + _STACKED.format("data"),
    ),
)
