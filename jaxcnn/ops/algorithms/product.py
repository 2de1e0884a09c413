"""A window product: its static description, which algorithms are given, and the matrix products it is made of.

A convolution of x `(members, N, *spatial, C)` becomes products of matrices whose rows are channels and whose columns
are positions. Most algorithms want their arrays arranged for that (`layouts.ARRANGED`):

    x       (G, C, B, *spatial, n)      G: groups of channels, of every member; they do not see each other
    y       (G, D, B, *out, n)
    kernel  (G, D, C, *window)

with the batch innermost (B = 1, n = N), or, where it is small, before the spatial axes (B = N, n = 1).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.geometry import Window
from jaxcnn.ops.machine import Machine
from jaxcnn.ops.windows import accumulator


@dataclass(frozen=True)
class Product:
    """The static description of y = x ⊗ w, and of dw = x ⊗ dy.

    Args:
      window: the window with its padding.
      size: the spatial size of x.
      images: (B, n); an assumed number where the batch's size is symbolic.
      groups: G, of all members.
      channels: (C, D) of one group.
      dtype: the dtype of the operands; sums are kept in float32 at least.
      precision: the precision of the matrix products.
      machine: the machine for which the algorithm is chosen.
      phase: whether it computes phases of a stride. Neighbors in its result are then apart by the stride in dx, so no
        transform is used: a value that is not finite would spread that far.
      skips_padding: whether the definition has no terms for the zeros around x, as in a gradient by the input; an
        algorithm that `multiplies_padding` has them, and what they spoil is put right afterwards.
      is_open: whether the batch's size is symbolic.
      members: how many members of an ensemble the groups belong to.
    """

    window: Window
    size: tuple[int, ...]
    images: tuple[int, int]
    groups: int
    channels: tuple[int, int]
    dtype: jnp.dtype
    precision: jax.lax.Precision | jax.lax.DotAlgorithmPreset | None
    machine: Machine
    phase: bool = False
    skips_padding: bool = False
    is_open: bool = False
    members: int = 1

    @property
    def out(self) -> tuple[int, ...]:
        """The spatial size of y."""
        return self.window.output_size(self.size)

    @property
    def multiply_adds(self) -> int:
        """How many the definition takes, padding counted."""
        positions = math.prod(self.images) * math.prod(self.out)
        return positions * self.window.taps * self.groups * math.prod(self.channels)


def multiply(a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
    """a b per group: (G, A, K) times (G, K, B) gives (G, A, B)."""
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))), p.precision, accumulator(p.dtype))


def correlate(a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
    """a bᵀ per group: (G, A, K) against (G, B, K) gives (G, A, B).

    XLA:CPU transposes the right operand while it reads it, and computes 16 columns of the result at a time, one for
    each row of the right operand. So the right operand is the one whose rows are a multiple of 16, or else the one with
    fewer rows: 126 GFLOP/s instead of 94 for 32 and 96 rows, 63 instead of 33 for 32 and 27.
    """
    full = p.machine.columns
    if (a.shape[1] % full == 0, -a.shape[1]) > (b.shape[1] % full == 0, -b.shape[1]):
        # without this, XLA would swap the operands back
        return lax.optimization_barrier(correlate(b, a, p)).swapaxes(1, 2)
    return lax.dot_general(a, b, (((2,), (2,)), ((0,), (0,))), p.precision, accumulator(p.dtype))
