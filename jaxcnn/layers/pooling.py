"""Pooling layers: the operations of `jaxcnn.ops` with their window fixed."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.layers.layer import Layer, makes_layer, stateless
from jaxcnn.ops.arguments import Ints, check_bool, check_number
from jaxcnn.ops.geometry import Padding, check_window, per_axis, pool_window


@makes_layer
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
    geometry = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    return _pool("MaxPool", "max_pool", ops.max_pool, geometry, ceil_mode=ceil_mode)


@makes_layer
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
    geometry = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _pool("AvgPool", "avg_pool", ops.avg_pool, geometry, **options)


@makes_layer
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
    geometry = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    p = check_number("LpPool", "p", p)
    if not 1 <= p < math.inf:
        raise ValueError(f"LpPool: `p` must be at least 1 and finite; got {p!r}")
    return _pool("LpPool", "lp_pool", ops.lp_pool, geometry, p=p, ceil_mode=ceil_mode)


@makes_layer
def AdaptiveAvgPool(output_size: Ints) -> Layer:
    """The means of `output_size` bins per spatial axis, whatever the size of the input.

    Bin i of m on an axis of n values reaches from floor(i·n/m) to ceil((i + 1)·n/m): bins overlap where m does not
    divide n, and hold single values where m ≥ n. An input that already has this size is returned unchanged.

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


@makes_layer
def GlobalMaxPool(spatial_rank: int | None = None) -> Layer:
    """The largest value of each channel: (N, *spatial, C) to (N, C).

    Args:
      spatial_rank: how many axes before the channels are spatial; by default all but the first, the batch.

    Raises:
      ValueError, TypeError: a rank that is no int of at least 1, an input without spatial axes.
    """
    return _global_pool("GlobalMaxPool", "global_max_pool", ops.global_max_pool, spatial_rank)


@makes_layer
def GlobalAvgPool(spatial_rank: int | None = None) -> Layer:
    """The mean of each channel: (N, *spatial, C) to (N, C).

    Args:
      spatial_rank: how many axes before the channels are spatial; by default all but the first, the batch.

    Raises:
      ValueError, TypeError: a rank that is no int of at least 1, an input without spatial axes.
    """
    return _global_pool("GlobalAvgPool", "global_avg_pool", ops.global_avg_pool, spatial_rank)


# ---------------------------------------------------------------------------------------------------------------------


def _pool(name: str, kind: str, op: Callable, geometry: dict[str, Any], **options: Any) -> Layer:
    for option in options.keys() - {"p"}:
        check_bool(name, option, options[option])
    size = pool_window(name, geometry["window"])
    stride = size if geometry["stride"] is None else geometry["stride"]
    check_window(name, window=size, stride=stride, padding=geometry["padding"], dilation=geometry["dilation"])

    def init(key, input_shape):
        spatial = len(input_shape) - 1
        if spatial != len(size):
            better = f"{name}({(*size, size[-1], size[-1])[:spatial]})" if spatial > 0 else "an input with such axes"
            raise ValueError(
                f"{name}: `window` {geometry['window']!r} is a {len(size)}-D window, but the input {input_shape} has "
                f"{spatial} spatial axes; use {better}"
            )
        return {}, {}

    return dataclasses.replace(
        stateless(kind, functools.partial(op, **geometry, **options), **geometry, **options), init=init
    )


def _global_pool(name: str, kind: str, op: Callable, spatial_rank: int | None) -> Layer:
    rank = None if spatial_rank is None else per_axis(name, "spatial_rank", spatial_rank, 1)[0]

    def init(key, input_shape):
        if len(input_shape) < (rank or 1) + 1:
            raise ValueError(f"{name}: the input must have {rank or 'some'} spatial axes; got {input_shape}")
        return {}, {}

    pool = stateless(kind, lambda x: op(x, spatial_rank=x.ndim - 2 if rank is None else rank))
    return dataclasses.replace(pool, init=init)
