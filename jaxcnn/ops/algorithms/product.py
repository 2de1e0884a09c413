"""The form in which algorithms meet a window product: which axis stands where, and everything about it that is static.

A convolution of x `(members, N, *spatial, C)` becomes products of matrices whose rows are channels and whose columns are
positions. The arrays are therefore arranged as

    x       (G, C, B, *spatial, n)      G: groups of channels, of every member; they do not see each other
    y       (G, D, B, *out, n)
    kernel  (G, D, C, *window)

with the batch innermost (B = 1, n = N), or, where it is small, before the spatial axes (B = N, n = 1): the physical order
of `ops/layout.py`, so that between two operations of one program the rearranging costs nothing.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.ops.geometry import Window


@dataclass(frozen=True)
class Product:
    """What is static in y = x ⊗ w between arranged arrays; dw = x ⊗ dy has the same description.

    Args:
      window: padding included.
      size: of x, spatial.
      images: (B, n).
      groups: G.
      channels: (C, D), of one group.
      dtype: of the operands; sums are kept in float32 at least.
      precision: of the matrix products.
      platform: "cpu", "cuda", "rocm", "tpu", or None where it is not known.
    """

    window: Window
    size: tuple[int, ...]
    images: tuple[int, int]
    groups: int
    channels: tuple[int, int]
    dtype: jnp.dtype
    precision: jax.lax.Precision | None
    platform: str | None

    @property
    def out(self) -> tuple[int, ...]:
        """The spatial size of y."""
        return self.window.output_size(self.size)

    @property
    def multiply_adds(self) -> int:
        """Of the definition, padding counted."""
        positions = math.prod(self.images) * math.prod(self.out)
        return positions * self.window.taps * self.groups * math.prod(self.channels)


def arrange_kernel(w: jax.Array, groups: int) -> jax.Array:
    """(members, *window, C/groups, D) as (members·groups, D/groups, C/groups, *window)."""
    members, *window, c, d = w.shape
    w = w.reshape(members, *window, c, groups, d // groups)
    taps = range(1, 1 + len(window))
    w = w.transpose(0, w.ndim - 2, w.ndim - 1, w.ndim - 3, *taps)
    return w.reshape(members * groups, d // groups, c, *window)


def restore_kernel(w: jax.Array, members: int) -> jax.Array:
    """The inverse of `arrange_kernel`."""
    g, d, c, *window = w.shape
    w = w.reshape(members, g // members, d, c, *window)
    w = w.transpose(0, *range(4, w.ndim), 3, 1, 2)
    return w.reshape(members, *window, c, g // members * d)
