"""The form in which algorithms meet a window product: which axis stands where, and all about it that is static.

A convolution of x `(members, N, *spatial, C)` becomes products of matrices whose rows are channels and whose columns
are positions. The arrays are therefore arranged as

    x       (G, C, B, *spatial, n)      G: groups of channels, of every member; they do not see each other
    y       (G, D, B, *out, n)
    kernel  (G, D, C, *window)

with the batch innermost (B = 1, n = N), or, where it is small, before the spatial axes (B = N, n = 1): the physical
order of `ops/layout.py`, so that between two operations of one program the rearranging costs nothing.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.geometry import Window
from jaxcnn.ops.windows import accumulator


@dataclass(frozen=True)
class Product:
    """What is static in y = x ⊗ w between arranged arrays; dw = x ⊗ dy has the same description.

    Args:
      window: padding included.
      size: of x, spatial.
      images: (B, n); a number that stands for one where the batch's size is symbolic.
      groups: G.
      channels: (C, D), of one group.
      dtype: of the operands; sums are kept in float32 at least.
      precision: of the matrix products.
      platform: "cpu", "cuda", "rocm", "tpu", or None where it is not known.
      phase: whether it is of a stride's phases, whose neighbours in a tile of a transform lie far apart in the result:
        there is none then, lest what is not finite spreads that far.
    """

    window: Window
    size: tuple[int, ...]
    images: tuple[int, int]
    groups: int
    channels: tuple[int, int]
    dtype: jnp.dtype
    precision: jax.lax.Precision | jax.lax.DotAlgorithmPreset | None
    platform: str | None
    phase: bool = False

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


def multiply(a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
    """a b per group: (G, A, K) times (G, K, B) gives (G, A, B)."""
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), p.precision, accumulator(p.dtype))


def correlate(a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
    """a bᵀ per group: (G, A, K) against (G, B, K) gives (G, A, B).

    The right operand of such a product is transposed as it is read, which is paid back over the rows of the left one,
    and its rows become the columns of the result, computed 16 at a time. So the one with a multiple of 16 stands right,
    or else the one with fewer: 126 GFLOP/s instead of 94 for 32 and 96 rows, 63 instead of 33 for 32 and 27.
    """
    if (a.shape[1] % 16 == 0, -a.shape[1]) > (b.shape[1] % 16 == 0, -b.shape[1]):
        # XLA would turn a transposed product round again
        return lax.optimization_barrier(correlate(b, a, p)).swapaxes(1, 2)
    return lax.dot_general(a, b, (((2,), (2,)), ((0,), (0,))), p.precision, accumulator(p.dtype))
