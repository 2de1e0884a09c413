"""Convolution: y = x ⊗ w, dw = x ⊗ dy, dx = dy ⊗ rot180(w), full."""

import jax
import jax.numpy as jnp

from jaxcnn.textbook.sliding import Padding, Size, pad, prepare, windows


def conv2d(x: jax.Array, w: jax.Array, *, stride: Size = 1, padding: Padding = "VALID") -> jax.Array:
    """Slide D filters over an image, multiply each with what its window shows, and add up.

    y[i, j, d] = Σ_abc x[i·s + a, j·s + b, c] · w[a, b, c, d]

    An axis of n pixels, with p zeros on each side, gives ⌊(n + 2p − k) / s⌋ + 1 outputs.

    Args:
      x: images `(..., H, W, C)`.
      w: filters `(kh, kw, C, D)`, in the dtype of x.
      stride: pixels from one window to the next, at least 1.
      padding: zeros around the image: "VALID", none; "SAME", as many as ⌈n/s⌉ outputs need, the odd one after; "FULL",
        k − 1 on each side; an int, as many on each side.

    Returns:
      `(..., H', W', D)`, without a bias.

    Raises:
      ValueError: a shape, dtype, stride or padding that does not fit.

    Derivative:
      dw = x ⊗ dy, and dx = dy ⊗ rot180(w), full; where there is a stride, dy has zeros between its values.

    Example:
      >>> x = jnp.array([[7., 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]])
      >>> vertical_edge = jnp.array([[1., 0, -1]] * 3)
      >>> conv2d(x[:, :, None], vertical_edge[:, :, None, None])[:, :, 0].tolist()
      [[6.0, -9.0, -8.0], [-3.0, -2.0, -3.0], [-3.0, 0.0, -2.0]]

    Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998, §II.A.
    """
    if jnp.ndim(w) != 4:
        raise ValueError(f"conv2d: `w` must have shape (kh, kw, C, D); w {jnp.shape(w)}")
    x, _, steps = prepare("conv2d", x, w.shape[:2], stride, padding)
    if x.shape[-1] != w.shape[2] or x.dtype != w.dtype:
        raise ValueError(
            f"conv2d: `w` expects {w.shape[2]} channels of {w.dtype} but `x` has {x.shape[-1]} of {x.dtype}; "
            f"w {w.shape}. Channels come last in x, and third in w; .astype changes a dtype."
        )
    y = _conv2d(jax.lax.collapse(x, 0, x.ndim - 3), w, steps)  # all axes before H as one batch axis N
    return y.reshape(x.shape[:-3] + y.shape[1:])


def _correlate(x, w, stride=(1, 1)):
    """x ⊗ w, valid: (N, H, W, C) ⊗ (kh, kw, C, D) -> (N, H', W', D)."""
    return jnp.tensordot(windows(x, w.shape[:2], stride), w, axes=3, precision="highest")


def _conv2d_backward(stride, saved, dy):
    x, w = saved
    (kh, kw), (height, width) = w.shape[:2], x.shape[1:3]
    # A stride keeps every s-th pixel of the stride-1 output: dy belongs to these, and the pixels between get 0.
    spread = jnp.zeros((len(dy), height - kh + 1, width - kw + 1, dy.shape[3]), dy.dtype)
    dy = spread.at[:, :: stride[0], :: stride[1]].set(dy)
    # dx = dy ⊗ rot180(w), full: pixel i met tap a in output i − a. Input and output channels change places.
    dx = _correlate(pad(dy, (kh - 1, kh - 1), (kw - 1, kw - 1)), jnp.rot90(w, 2).swapaxes(2, 3))
    # dw = x ⊗ dy: tap a met pixel i + a in output i. What is summed is the batch: it takes the place of the channels.
    dw = _correlate(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)
    return dx, dw


_conv2d = jax.custom_vjp(_correlate, nondiff_argnums=(2,))
_conv2d.defvjp(lambda x, w, stride: (_correlate(x, w, stride), (x, w)), _conv2d_backward)
