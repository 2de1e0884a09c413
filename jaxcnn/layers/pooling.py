"""Pooling layers: the operations of `jaxcnn.ops` with their window fixed."""

import functools

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.layers.layer import Layer, stateless
from jaxcnn.ops.geometry import Padding, per_axis

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
    return stateless("max_pool", pool, **pool.keywords)


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
    return stateless("avg_pool", pool, **pool.keywords)


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
    return stateless("lp_pool", pool, **pool.keywords)


def AdaptiveAvgPool(output_size: Ints) -> Layer:
    """The means of `output_size` bins per spatial axis, whatever the size of the input.

    Bin i of m on an axis of n values reaches from floor(i·n/m) to ceil((i + 1)·n/m): bins overlap where m does not
    divide n, and hold single values where m ≥ n. Of an input that has the size already, nothing is computed.

    Args:
      output_size: one int for a square 2-D output, or one int per spatial axis.

    Returns:
      A Layer without parameters: (N, *spatial, C) to (N, *output_size, C).

    Raises:
      ValueError: sizes below 1, an input with too few axes or without positions. TypeError: sizes that are no ints.

    Example:
      >>> y, _ = AdaptiveAvgPool((2,)).apply({}, {}, jnp.array([[[1.0], [2.0], [6.0]]]))
      >>> y[0, :, 0]
      Array([1.5, 4. ], dtype=float32)

    Source: PyTorch, `torch.nn.AdaptiveAvgPool2d`, which has no paper.
    """
    rank = len(output_size) if isinstance(output_size, tuple) and output_size else 2
    size = per_axis("AdaptiveAvgPool", "output_size", output_size, rank)

    def pool(x: jax.Array) -> jax.Array:
        if x.ndim != rank + 2 or 0 in x.shape[1:-1]:
            raise ValueError(f"adaptive_avg_pool: `x` must have {rank} spatial axes, none empty; got x {x.shape}")
        for axis, m in enumerate(size, start=1):
            n = x.shape[axis]
            if n != m:  # a bin is a box, so its mean can be taken axis by axis
                bins = [jax.lax.slice_in_dim(x, i * n // m, -(-(i + 1) * n // m), axis=axis) for i in range(m)]
                x = jnp.stack([jnp.mean(values, axis) for values in bins], axis)
        return x

    return stateless("adaptive_avg_pool", pool, output_size=size)


def GlobalMaxPool(spatial_rank: int = 2) -> Layer:
    """The largest value of each channel: (N, *spatial, C) to (N, C)."""
    return stateless("global_max_pool", functools.partial(ops.global_max_pool, spatial_rank=spatial_rank))


def GlobalAvgPool(spatial_rank: int = 2) -> Layer:
    """The mean of each channel: (N, *spatial, C) to (N, C)."""
    return stateless("global_avg_pool", functools.partial(ops.global_avg_pool, spatial_rank=spatial_rank))
