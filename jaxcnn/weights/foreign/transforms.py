"""Transforms that make an array of another library ours, each with its name, its reason and its inverse."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Transform:
    """A change of the order of an array's axes, or of its dtype.

    Args:
      name: a few characters, for tables.
      reason: why the layouts of the two libraries differ.
      apply: from their layout to ours.
      invert: from our layout to theirs.
    """

    name: str
    reason: str
    apply: Change
    invert: Change


OIHW_TO_HWIO = Transform(
    "OIHW→HWIO",
    "PyTorch keeps a kernel as (out, in, *window), channels first like its images; here it is (*window, in, out). A "
    "depthwise kernel has in = 1; a transposed convolution's kernel has the in and out of the convolution whose "
    "adjoint it is",
    lambda a: np.moveaxis(a, (0, 1), (-1, -2)),
    lambda a: np.moveaxis(a, (-1, -2), (0, 1)),
)

OI_TO_IO = Transform(
    "OI→IO",
    "PyTorch's dense layer multiplies by the transposed matrix, x·Wᵀ with W (out, in); here x·kernel with (in, out)",
    np.transpose,
    np.transpose,
)

HWCM_TO_HW1O = Transform(
    "HWCM→HW1O",
    "Keras keeps a depthwise kernel as (*window, channel, multiplier); here it is the kernel of a convolution in "
    "groups of one channel, with output channel·multipliers + multiplier",
    lambda a: a.reshape(*a.shape[:-2], 1, a.shape[-2] * a.shape[-1]),
    lambda a: a.reshape(*a.shape[:-2], a.shape[-1], 1),
)


def chw_to_hwc(shape: tuple[int, ...]) -> Transform:
    """The transform of the input features of a layer behind a flattened map of `shape` (*spatial, C).

    Example:
      >>> chw_to_hwc((1, 2, 3)).apply(np.arange(6)).tolist()
      [0, 2, 4, 1, 3, 5]
    """
    *spatial, channels = shape
    return Transform(
        "CHW→HWC",
        "the map in front is flattened, in PyTorch channel by channel, here position by position, so this layer takes "
        "its features in another order",
        lambda a: np.moveaxis(a.reshape(channels, *spatial, *a.shape[1:]), 0, len(spatial)).reshape(a.shape),
        lambda a: np.moveaxis(a.reshape(*spatial, channels, *a.shape[1:]), len(spatial), 0).reshape(a.shape),
    )


def cast(theirs: np.dtype, ours: np.dtype) -> Transform:
    """The transform to the model's dtype. The inverse does nothing: exported arrays keep the model's dtype."""
    exact = jnp.promote_types(theirs, ours) == ours
    return Transform(
        f"{theirs}→{ours}",
        f"the model computes in {ours}, which " + ("holds every such value exactly" if exact else "rounds the values"),
        lambda a: a.astype(ours),
        lambda a: a,
    )
