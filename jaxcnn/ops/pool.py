"""Pooling: maximum, average and Lp over sliding windows, and over whole images.

Given the input, each is a linear map of it; the maps and their transposes are in pool_maps.py:

    max      at each output, take the input at the switch (the first maximum); transpose: give it back to the switch
    average  sum the window, divide by m;                                     transpose: 1/m to each input of the window
    Lp       (Σ |x|^p)^(1/p), whose derivative is a window sum, weighted by x|x|^(p−2) before and y^(1−p) after
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.arguments import Ints, check_array, check_number
from jaxcnn.ops.geometry import Padding, Window, padding_pairs, per_axis, pool_window, sliding_window
from jaxcnn.ops.pool_maps import maximum, norm, window_sum
from jaxcnn.ops.windows import accumulator


def max_pool(
    x: jax.Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value in each window.

    y[…, o, c] = max_k x[…, stride·o + dilation·k − before, c]

    Args:
      x: `(*batch, *spatial, C)`, any number of batch axes; channels last.
      window: one int for a square 2-D window, or one int per spatial axis.
      stride: steps between windows; the window's size by default.
      padding: as in `conv`. A padded position is never the maximum; a window of padding alone gives −∞ (the lowest
        int).
      dilation: steps between the taps of the window.
      ceil_mode: round the number of outputs up, so that a last, partial window counts if it starts in the input or in
        the padding before it.

    Returns:
      `(*batch, *out, C)`, out = floor((n + before + after − dilation·(k − 1) − 1) / stride) + 1 per axis. A window
      with a NaN gives NaN.

    Raises:
      ValueError, TypeError: as `conv`.

    Derivative:
      All of dy goes to the switch: the first maximum of its window in row-major order, also when others equal it.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([[1, 3, 5, 7], [4, 5, 11, 3], [4, 1, 21, 6], [13, 15, 1, 2]])
      >>> max_pool(x[..., None], 2)[..., 0]
      Array([[ 5, 11],
             [15, 21]], dtype=int32)

    Source: Zeiler, Fergus, Visualizing and understanding convolutional networks (2014), for the switches.
    """
    x = check_array("max_pool", "x", x)
    win = _window("max_pool", x, window, stride, padding, dilation, ceil_mode)
    return maximum(x, win)


def avg_pool(
    x: jax.Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> jax.Array:
    """The mean of each window.

    y[…, o, c] = (1/m) Σ_k x[…, stride·o + dilation·k − before, c]

    Args:
      x, window, stride, padding, dilation, ceil_mode: as in `max_pool`; x is floating point.
      count_include_pad: whether m counts padding (as zeros). Columns that `ceil_mode` adds are never counted. By
        default m is the number of input values in the window, and a window with none gives 0.

    Returns:
      `(*batch, *out, C)`, as `max_pool`; sums are kept in float32 at least.

    Raises:
      ValueError, TypeError: as `conv`.

    Derivative:
      dy/m to each input of the window.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.array([[2.0, 3, 3], [1, 2, 2], [2, 3, 1]])
      >>> avg_pool(x[..., None], 2, stride=1)[..., 0]
      Array([[2. , 2.5],
             [2. , 2. ]], dtype=float32)

    Source: LeCun et al., Gradient-based learning applied to document recognition (1998), section II.
    """
    x = check_array("avg_pool", "x", x, floating=True)
    win = _window("avg_pool", x, window, stride, padding, dilation, ceil_mode)
    size = x.shape[-win.rank - 1 : -1]
    counted = ((0, 0),) * win.rank
    if count_include_pad:
        counted = padding_pairs("avg_pool", padding, win, size)
    m = functools.reduce(np.multiply.outer, [np.array(axis) for axis in win.counts(size, counted)])
    share = jnp.asarray(1 / np.maximum(m, 1), accumulator(x.dtype))
    share = share.reshape(*[1] * (x.ndim - win.rank - 1), *share.shape, 1)
    return (window_sum(x.astype(share.dtype), win) * share).astype(x.dtype)


def lp_pool(
    x: jax.Array,
    window: Ints,
    *,
    p: float = 2,
    stride: Ints | None = None,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """The p-norm of each window; p = 2 is L2 pooling.

    y[…, o, c] = (Σ_k |x[…, stride·o + dilation·k − before, c]|^p)^(1/p)

    Args:
      x, window, stride, padding, dilation, ceil_mode: as in `max_pool`; x is floating point.
      p: at least 1, finite.

    Returns:
      `(*batch, *out, C)`, as `max_pool`; sums are kept in float32 at least, and no power overflows where y itself does
      not. A window with a NaN gives NaN.

    Raises:
      ValueError, TypeError: as `conv`; ValueError for a p below 1 or infinite.

    Derivative:
      dx = x·|x|^(p−2)·y^(1−p)·dy, summed over the windows that see x; 0 at a window of zeros, where the norm has a
      kink. A derivative that does not exist at x = 0, such as the second for p < 2, counts as 0 there.

    Example:
      >>> import jax.numpy as jnp
      >>> lp_pool(jnp.array([[3.0, 0], [0, 4]])[..., None], 2)[..., 0]
      Array([[5.]], dtype=float32)

    Source: Sermanet, Chintala, LeCun, Convolutional neural networks applied to house numbers (2012), equation 1.
    """
    x = check_array("lp_pool", "x", x, floating=True)
    p = check_number("lp_pool", "p", p)
    if not 1 <= p < math.inf:
        raise ValueError(f"lp_pool: `p` must be at least 1 and finite; got {p!r}")
    win = _window("lp_pool", x, window, stride, padding, dilation, ceil_mode)
    return norm(x.astype(accumulator(x.dtype)), win, p).astype(x.dtype)


def global_max_pool(x: jax.Array, spatial_rank: int = 2) -> jax.Array:
    """The largest value of each channel: `(*batch, *spatial, C)` to `(*batch, C)`.

    Args:
      x: `(*batch, *spatial, C)`.
      spatial_rank: how many axes before the channels are spatial.

    Returns:
      `(*batch, C)`.

    Raises:
      ValueError: too few axes, or no positions to take a maximum of. TypeError: as `conv`.

    Derivative:
      All of dy goes to the first maximum in row-major order.

    Example:
      >>> import jax.numpy as jnp
      >>> global_max_pool(jnp.array([[[1.0], [7.0]], [[3.0], [5.0]]]))
      Array([7.], dtype=float32)

    Source: Oquab et al., Is object localization for free? (2015).
    """
    x = check_array("global_max_pool", "x", x)
    flat = _flatten_spatial("global_max_pool", x, spatial_rank)
    switches = jnp.argmax(jax.lax.stop_gradient(flat), axis=-2, keepdims=True)
    return jnp.take_along_axis(flat, switches, axis=-2)[..., 0, :]


def global_avg_pool(x: jax.Array, spatial_rank: int = 2) -> jax.Array:
    """The mean of each channel: `(*batch, *spatial, C)` to `(*batch, C)`.

    Args:
      x: `(*batch, *spatial, C)`, floating point.
      spatial_rank: how many axes before the channels are spatial.

    Returns:
      `(*batch, C)`; sums are kept in float32 at least.

    Raises:
      ValueError: too few axes, or no positions to average. TypeError: as `conv`.

    Derivative:
      dy/m to each of the m positions.

    Example:
      >>> import jax.numpy as jnp
      >>> global_avg_pool(jnp.array([[[1.0], [7.0]], [[3.0], [5.0]]]))
      Array([4.], dtype=float32)

    Source: Lin, Chen, Yan, Network in network (2013), section 3.2.
    """
    x = check_array("global_avg_pool", "x", x, floating=True)
    flat = _flatten_spatial("global_avg_pool", x, spatial_rank)
    return jnp.mean(flat, axis=-2, dtype=accumulator(x.dtype)).astype(x.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _window(op, x, window, stride, padding, dilation, ceil_mode) -> Window:
    size = pool_window(op, window)
    rank = len(size)
    if x.ndim < rank + 1:
        raise ValueError(
            f"{op}: `x` must have {rank} spatial axes and a channel axis, (*batch, *spatial, channels), for window "
            f"{window!r}; got x {x.shape}. Is the channel axis missing?"
        )
    return sliding_window(
        op,
        x.shape[-rank - 1 : -1],
        window=size,
        stride=size if stride is None else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def _flatten_spatial(op: str, x: jax.Array, spatial_rank: int) -> jax.Array:
    (rank,) = per_axis(op, "spatial_rank", spatial_rank, 1)
    if x.ndim < rank + 1:
        raise ValueError(f"{op}: `x` must have {rank} spatial axes and a channel axis; got x {x.shape}")
    positions = math.prod(x.shape[-rank - 1 : -1])
    if positions == 0:
        raise ValueError(f"{op}: `x` has no positions to pool; got x {x.shape}")
    return x.reshape(*x.shape[: x.ndim - rank - 1], positions, x.shape[-1])
