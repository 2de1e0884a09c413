"""Pooling layers: the operations of `jaxcnn.ops` with their window fixed."""

import functools

from jaxcnn import ops
from jaxcnn.layers.layer import Layer, stateless
from jaxcnn.ops.geometry import Padding

Ints = int | tuple[int, ...]


def MaxPool(
    window: Ints, *, stride: Ints | None = None, padding: Padding = "VALID", dilation: Ints = 1, ceil_mode: bool = False
) -> Layer:
    """The largest value in each window; arguments as in `jaxcnn.ops.max_pool`.

    Example:
      >>> import jax.numpy as jnp
      >>> y, _ = MaxPool(2).apply({}, {}, jnp.ones((1, 28, 28, 6)))
      >>> y.shape
      (1, 14, 14, 6)
    """
    pool = functools.partial(
        ops.max_pool, window=window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    return stateless("max_pool", pool)


def AvgPool(
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """The mean of each window; arguments as in `jaxcnn.ops.avg_pool`."""
    pool = functools.partial(
        ops.avg_pool,
        window=window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )
    return stateless("avg_pool", pool)


def LpPool(
    window: Ints,
    *,
    p: float = 2,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The p-norm of each window; arguments as in `jaxcnn.ops.lp_pool`."""
    pool = functools.partial(
        ops.lp_pool, window=window, p=p, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    return stateless("lp_pool", pool)


def GlobalMaxPool(spatial_rank: int = 2) -> Layer:
    """The largest value of each channel: (N, *spatial, C) to (N, C)."""
    return stateless("global_max_pool", functools.partial(ops.global_max_pool, spatial_rank=spatial_rank))


def GlobalAvgPool(spatial_rank: int = 2) -> Layer:
    """The mean of each channel: (N, *spatial, C) to (N, C)."""
    return stateless("global_avg_pool", functools.partial(ops.global_avg_pool, spatial_rank=spatial_rank))
