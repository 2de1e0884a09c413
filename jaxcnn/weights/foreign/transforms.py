"""The changes that turn an array of another library into ours, each with its name, its reason and its inverse."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Transform:
    """A change of the order of an array's axes, or of its dtype.

    Args:
      name: a short name for tables.
      reason: why the two libraries differ.
      apply: turns their array into ours.
      invert: turns our array into theirs.
    """

    name: str
    reason: str
    apply: Change
    invert: Change


OIHW_TO_HWIO = Transform(
    "OIHW→HWIO",
    "PyTorch keeps a kernel as (out, in, *window), channels first as its images; here it is (*window, in, out). A "
    "depthwise kernel is the same with in = 1, a transposed convolution's the same with in and out of the "
    "convolution whose adjoint it is",
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
    "Keras keeps a depthwise kernel as (*window, channel, multiplier); here it is that of a convolution in groups of "
    "one channel, with output channel·multipliers + multiplier",
    lambda a: a.reshape(*a.shape[:-2], 1, a.shape[-2] * a.shape[-1]),
    lambda a: a.reshape(*a.shape[:-2], a.shape[-1], 1),
)


def chw_to_hwc(shape: tuple[int, ...]) -> Transform:
    """Reorder the input features of a layer after a flattened map of `shape` (*spatial, C).

    Example:
      >>> chw_to_hwc((1, 2, 3)).apply(np.arange(6)).tolist()
      [0, 2, 4, 1, 3, 5]
    """
    *spatial, channels = shape
    return Transform(
        "CHW→HWC",
        "the map in front is flattened, in PyTorch channel by channel, here position by position: the features that "
        "this layer takes stand in another order",
        lambda a: np.moveaxis(a.reshape(channels, *spatial, *a.shape[1:]), 0, len(spatial)).reshape(a.shape),
        lambda a: np.moveaxis(a.reshape(*spatial, channels, *a.shape[1:]), len(spatial), 0).reshape(a.shape),
    )


def cast(theirs: np.dtype, ours: np.dtype) -> Transform:
    """Convert from the dtype of the file to that of the model. The inverse does nothing: exported arrays keep it."""
    exact = jnp.promote_types(theirs, ours) == ours
    return Transform(
        f"{theirs}→{ours}",
        f"the model computes in {ours}, which " + ("holds every such value exactly" if exact else "rounds the values"),
        lambda a: a.astype(ours),
        lambda a: a,
    )
