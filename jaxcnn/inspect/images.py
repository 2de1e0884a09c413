"""What these functions and pictures are given: an image, for a model or a layer."""

from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from jaxcnn.data import to_float

SHAPES = {1: "(L, C)", 2: "(H, W, C)", 3: "(D, H, W, C)"}  # by the number of spatial axes


def image_of(op: str, model: Any, image: Any, *, ranks: Collection[int] = (2,), instead: str = "") -> jax.Array:
    """One image for a model or a layer, in floats.

    Args:
      op: the function's name with its room, for the message.
      model: a `Model`, whose input_shape is compared, or a `Layer`.
      image: the image without the batch axis.
      ranks: how many spatial axes it may have.
      instead: advice for a model whose input has another number of spatial axes.

    Raises:
      ValueError: an image of another shape, a model for images of other ranks.
    """
    check_rank(op, model, ranks, instead)
    shape, own = np.shape(image), getattr(model, "input_shape", None)
    if (shape != tuple(own)) if own else (len(shape) - 1 not in ranks or (len(shape) == 2 and 2 in ranks)):
        wanted = f"{tuple(own)} for {model.name}" if own else SHAPES[2]  # two axes may be an image without channels
        batch = "; without the batch axis: image[0]" if own and shape[1:] == tuple(own) else ""
        raise ValueError(f"{op}: `image` must be one image, {wanted}; got {shape}{batch}")
    return to_float(image)


def check_rank(op: str, model: Any, ranks: Collection[int] = (2,), instead: str = "") -> None:
    """ValueError if a model's input has another number of spatial axes than what can be drawn."""
    own = getattr(model, "input_shape", None)
    if own and len(own) - 1 not in ranks:
        drawn = " and ".join(f"{rank}-D" for rank in ranks)
        raise ValueError(
            f"{op}: draws {drawn} images; the input of {model.name} is {len(own) - 1}-D, {tuple(own)}{instead}"
        )
