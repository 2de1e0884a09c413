"""The sliding window, the padding around the image, and the checks of sizes, strides and dtypes."""

import jax
import jax.numpy as jnp

Pair = tuple[int, int]  # (down, right)
Size = int | Pair  # one int for both
Padding = str | int


def windows(x: jax.Array, size: Pair, stride: Pair = (1, 1)) -> jax.Array:
    """Slide a window over the image and keep what it shows.

    windows[i, j, a, b] = x[i·s + a, j·s + b]

    Pixel (a, b) of the window at output position (i, j).

    Args:
      x: images `(..., H, W, C)`.
      size: (kh, kw) of the window.
      stride: pixels from one window to the next, (down, right).

    Returns:
      `(..., H', W', kh, kw, C)`.
    """
    (kh, kw), (sh, sw) = size, stride
    tops, lefts = range(0, x.shape[-3] - kh + 1, sh), range(0, x.shape[-2] - kw + 1, sw)
    strips = jnp.stack([x[..., i : i + kh, :, :] for i in tops], axis=-4)  # slide down:  (..., H', kh, W, C)
    return jnp.stack([strips[..., j : j + kw, :] for j in lefts], axis=-4)  # then right: (..., H', W', kh, kw, C)


def put_back(shares: jax.Array, image: Pair, stride: Pair) -> jax.Array:
    """Add each window's share of a gradient where the window stood: the transpose of `windows`.

    dx[i·s + a, j·s + b] += shares[i, j, a, b]

    Where windows overlap, their shares add up.

    Args:
      shares: a gradient for each pixel of each window, `(..., H', W', kh, kw, C)`.
      image: (H, W) of the image.
      stride: as in `windows`.

    Returns:
      `(..., H, W, C)`.
    """
    *batch, rows, cols, kh, kw, channels = shares.shape
    (height, width), (sh, sw) = image, stride
    strips = jnp.zeros((*batch, rows, kh, width, channels), shares.dtype)
    for j in range(cols):
        strips = strips.at[..., j * sw : j * sw + kw, :].add(shares[..., j, :, :, :])
    dx = jnp.zeros((*batch, height, width, channels), shares.dtype)
    for i in range(rows):
        dx = dx.at[..., i * sh : i * sh + kh, :, :].add(strips[..., i, :, :, :])
    return dx


def prepare(op, x, window, stride, padding, fill=0):
    """Check the arguments of an operation; return the padded image, and the window's size and stride as pairs."""
    size = _pair(op, "window", window)
    steps = size if stride is None else _pair(op, "stride", stride)
    if jnp.ndim(x) < 3:
        raise ValueError(f"{op}: `x` must have shape (..., H, W, C), channels last; x {jnp.shape(x)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{op}: `x` must be floating point, not {x.dtype}; cast it with .astype(jnp.float32)")
    padded = pad(x, *(_pads(op, padding, *nks) for nks in zip(x.shape[-3:-1], size, steps, strict=True)), fill)
    if padded.shape[-3] < size[0] or padded.shape[-2] < size[1]:
        raise ValueError(f"{op}: the window {size} is larger than the padded image; x {x.shape}, padding {padding!r}")
    return padded, size, steps


def _pair(op, name, value):
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(type(v) is not int or v < 1 for v in pair):
        raise ValueError(f"{op}: `{name}` must be an int of at least 1 or a pair of them, not {value!r}")
    return pair


def _pads(op, padding, n, k, s):
    """How many zeros go before and after an axis of n pixels, for a window of k pixels that moves by s."""
    if padding == "VALID":
        return 0, 0
    if padding == "FULL":
        return k - 1, k - 1
    if padding == "SAME":
        total = max((-(-n // s) - 1) * s + k - n, 0)  # window number ⌈n/s⌉ starts at (⌈n/s⌉ − 1) s, and must end
        return total // 2, total - total // 2
    if type(padding) is int and padding >= 0:
        return padding, padding
    raise ValueError(f'{op}: `padding` must be "VALID", "SAME", "FULL" or an int of at least 0, not {padding!r}')


def pad(x, rows, cols, fill=0):
    """Put padding around the image. The derivative, which JAX has, takes the padding off again."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [rows, cols, (0, 0)], constant_values=fill)
