"""Pooling: the maximum, the average or the L2 norm of each window."""

import jax
import jax.numpy as jnp

from jaxcnn.textbook.sliding import Padding, Size, prepare, put_back, windows


def max_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Keep the largest pixel of each window, channel by channel.

    y[i, j, c] = max_ab x[i·s + a, j·s + b, c], where padding counts as −∞.

    Args:
      x: images `(..., H, W, C)`.
      window: the window's size in pixels, at least 1.
      stride: pixels from one window to the next, at least 1; by default the window's size.
      padding: as for `conv2d`.

    Returns:
      `(..., H', W', C)`.

    Raises:
      ValueError: a shape, dtype, window, stride or padding that does not fit.

    Derivative:
      dy goes to the switch, the first maximum of the window in reading order, and nowhere else.

    Example:
      >>> x = jnp.array([[1., 2, 4, 5], [7, 9, 20, 3]])[:, :, None]
      >>> max_pool2d(x, 2)[:, :, 0].tolist()
      [[9.0, 20.0]]
      >>> jax.grad(lambda x: max_pool2d(x, 2).sum())(x)[:, :, 0].tolist()
      [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]

    Source: Riesenhuber, Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """
    return _max_pool(*prepare("max_pool2d", x, window, stride, padding, -jnp.inf))


def _max_of_windows(x, size, stride):
    return windows(x, size, stride).max(axis=(-3, -2))


def _max_pool_backward(size, stride, x, dy):
    seen = windows(x, size, stride)
    line = seen.reshape(*seen.shape[:-3], size[0] * size[1], seen.shape[-1])  # each window in reading order
    switch = line.argmax(axis=-2, keepdims=True)  # where several are largest, argmax takes the first
    shares = jnp.where(jnp.arange(size[0] * size[1])[:, None] == switch, dy[..., None, :], 0)
    return (put_back(shares.reshape(seen.shape), x.shape[-3:-1], stride),)


_max_pool = jax.custom_vjp(_max_of_windows, nondiff_argnums=(1, 2))
_max_pool.defvjp(lambda x, size, stride: (_max_of_windows(x, size, stride), x), _max_pool_backward)


def avg_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Average the pixels of each window, channel by channel.

    y[i, j, c] = (1/m) Σ_ab x[i·s + a, j·s + b, c], over the m pixels of the window that are not padding.

    Args:
      x, window, stride, padding: as for `max_pool2d`.

    Returns:
      `(..., H', W', C)`.

    Raises:
      ValueError: as `max_pool2d`.

    Derivative:
      dy / m at each of the m pixels.

    Example:
      >>> x = jnp.array([[2., 3, 3], [1, 2, 2], [2, 3, 1]])[:, :, None]
      >>> avg_pool2d(x, 2, stride=1)[:, :, 0].tolist()
      [[2.0, 2.5], [2.0, 2.0]]

    Source: LeCun et al., 1998, §II.A: the subsampling layers.
    """
    padded, size, steps = prepare("avg_pool2d", x, window, stride, padding)
    pixels, *_ = prepare("avg_pool2d", jnp.ones_like(x), window, stride, padding)  # 1 for a pixel, 0 for padding
    m = windows(pixels, size, steps).sum(axis=(-3, -2))
    return _avg_pool(padded, jnp.maximum(m, 1), size, steps)  # nothing but padding averages to 0


def _mean_of_windows(x, m, size, stride):
    return windows(x, size, stride).sum(axis=(-3, -2)) / m


def _avg_pool_backward(size, stride, saved, dy):
    x, m = saved
    shares = jnp.broadcast_to((dy / m)[..., None, None, :], (*dy.shape[:-1], *size, dy.shape[-1]))
    return put_back(shares, x.shape[-3:-1], stride), None  # None: m only counts


_avg_pool = jax.custom_vjp(_mean_of_windows, nondiff_argnums=(2, 3))
_avg_pool.defvjp(lambda x, m, size, stride: (_mean_of_windows(x, m, size, stride), (x, m)), _avg_pool_backward)


def l2_pool2d(x: jax.Array, window: Size, *, stride: Size | None = None, padding: Padding = "VALID") -> jax.Array:
    """Take the L2 norm of each window, channel by channel.

    y[i, j, c] = √(Σ_ab x[i·s + a, j·s + b, c]²), where padding counts as 0.

    Args:
      x, window, stride, padding: as for `max_pool2d`.

    Returns:
      `(..., H', W', C)`.

    Raises:
      ValueError: as `max_pool2d`.

    Derivative:
      dx = x / y · dy, by the power rule. Where all of the window is 0, y has a kink, and dx is 0.

    Example:
      >>> l2_pool2d(jnp.array([[3., 4], [0, 0]])[:, :, None], 2)[:, :, 0].tolist()
      [[5.0]]

    Source: Sermanet, Chintala, LeCun, "Convolutional neural networks applied to house numbers digit classification".
    """
    return _l2_pool(*prepare("l2_pool2d", x, window, stride, padding))


def _length_of_windows(x, size, stride):
    return jnp.sqrt(jnp.square(windows(x, size, stride)).sum(axis=(-3, -2)))


def _l2_pool_backward(size, stride, saved, dy):
    x, y = saved
    slope = jnp.where(y > 0, dy / jnp.where(y > 0, y, 1), 0)  # dy / y without a division by zero
    return (put_back(windows(x, size, stride) * slope[..., None, None, :], x.shape[-3:-1], stride),)


_l2_pool = jax.custom_vjp(_length_of_windows, nondiff_argnums=(1, 2))
_l2_pool.defvjp(lambda x, size, stride: (y := _length_of_windows(x, size, stride), (x, y)), _l2_pool_backward)
