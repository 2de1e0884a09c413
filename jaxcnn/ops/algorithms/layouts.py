"""The two orders of axes in which algorithms take the arrays of a product, with what differs in their gradients.

ARRANGED   x (G, C, B, *spatial, n), kernel (G, D, C, *window): rows of channels, for matrix products
AS_GIVEN   x (members, N, *spatial, C), kernel (members, *window, C/G, G, D/G), G: groups of one member: unchanged, in
           the memory layout of the operations before and after
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops.algorithms.phases import Phases
from jaxcnn.ops.bilinear import Lowering
from jaxcnn.ops.layout import arrange, restore
from jaxcnn.ops.machine import Machine
from jaxcnn.ops.windows import accumulator


class Layout:
    """An order of axes; `AS_GIVEN` is one of this class.

    Args:
      lead: how many axes a result has in front of the phases of a stride.
      apart: whether each phase has its own product; if not, phases with equal windows are one product with more
        channels.
    """

    lead, apart = 0, True

    def images(
        self, x: jax.Array, groups: int, machine: Machine, lowering: Lowering, cotangent: bool = False
    ) -> jax.Array:
        """x or y, brought into this order from (members, N, *spatial, C)."""
        return x

    def restored(self, y: jax.Array, members: int, machine: Machine, lowering: Lowering) -> jax.Array:
        """The inverse of `images`."""
        return y

    def kernel(self, w: jax.Array, groups: int) -> jax.Array:
        """A kernel, brought into this order from (members, *window, C/groups, D)."""
        return w.reshape(*w.shape[:-1], groups, -1)

    def restored_kernel(self, w: jax.Array, members: int) -> jax.Array:
        """The inverse of `kernel`."""
        return w.reshape(*w.shape[:-2], -1)

    def rotated(self, w: jax.Array) -> jax.Array:
        """The kernel of the gradient by x: rotated by 180°, with input and output channels swapped."""
        return jnp.flip(w, range(1, w.ndim - 3)).swapaxes(-3, -1)

    def through_tap(self, y: jax.Array, w: jax.Array, k: jax.Array) -> jax.Array:
        """What each output gives to the input that it sees through tap k, of all taps counted in rows."""
        tap = w.reshape(w.shape[0], -1, *w.shape[-3:])[:, k]  # (members, C/G, G, D/G)
        y = y.reshape(*y.shape[:-1], *tap.shape[-2:])
        x = jnp.einsum("mn...gd,mcgd->mn...gc", y, tap, preferred_element_type=accumulator(y.dtype))
        return x.reshape(*x.shape[:-2], -1)

    def phase_kernels(self, w: jax.Array, phases: Sequence[Phases]) -> list[jax.Array]:
        """The rotated kernels of phases with equal windows: one kernel for each or, if not `apart`, one for all."""
        kernels = []
        for firsts in itertools.product(*(axis.first for axis in phases)):
            own = tuple(
                slice(k, k + axis.step * (axis.taps - 1) + 1, axis.step) for k, axis in zip(firsts, phases, strict=True)
            )
            kernels.append(self.rotated(w[(slice(None), *own)]))
        return kernels

    def joined(self, results: Sequence[jax.Array], phases: Sequence[Phases]) -> jax.Array:
        """The results for `phase_kernels` as one array; the phases of each axis follow the `lead` first axes."""
        dx = jnp.stack(results)
        return dx.reshape(*(len(axis.numbers) for axis in phases), *dx.shape[1:])


class Arranged(Layout):
    """Groups and channels first."""

    lead, apart = 1, False

    def images(
        self, x: jax.Array, groups: int, machine: Machine, lowering: Lowering, cotangent: bool = False
    ) -> jax.Array:
        return arrange(x, groups, lowering, cotangent=cotangent, innermost=machine.innermost(x.shape[1]))

    def restored(self, y: jax.Array, members: int, machine: Machine, lowering: Lowering) -> jax.Array:
        return restore(y, members, lowering, innermost=machine.innermost(y.shape[2] * y.shape[-1]))

    def kernel(self, w: jax.Array, groups: int) -> jax.Array:
        members, *window, c, d = w.shape
        w = w.reshape(members, *window, c, groups, d // groups)
        taps = range(1, 1 + len(window))
        w = w.transpose(0, w.ndim - 2, w.ndim - 1, w.ndim - 3, *taps)
        return w.reshape(members * groups, d // groups, c, *window)

    def restored_kernel(self, w: jax.Array, members: int) -> jax.Array:
        g, d, c, *window = w.shape
        w = w.reshape(members, g // members, d, c, *window)
        w = w.transpose(0, *range(4, w.ndim), 3, 1, 2)
        return w.reshape(members, *window, c, g // members * d)

    def rotated(self, w: jax.Array) -> jax.Array:
        return jnp.flip(w, range(3, w.ndim)).swapaxes(1, 2)

    def through_tap(self, y: jax.Array, w: jax.Array, k: jax.Array) -> jax.Array:
        tap = w.reshape(*w.shape[:3], -1)[..., k]  # (G, D, C)
        return lax.dot_general(tap, y, (((1,), (1,)), ((0,), (0,))), preferred_element_type=accumulator(y.dtype))

    def phase_kernels(self, w: jax.Array, phases: Sequence[Phases]) -> list[jax.Array]:
        for number, axis in enumerate(phases):
            at = 3 + 2 * number  # each axis before this one has become two: phases and taps
            rows = [lax.slice_in_dim(w, k, k + axis.step * (axis.taps - 1) + 1, axis.step, at) for k in axis.first]
            w = jnp.stack(rows, at)
        rank = len(phases)
        taps = range(4, 4 + 2 * rank, 2)
        w = jnp.flip(w, taps).transpose(0, *range(3, 3 + 2 * rank, 2), 2, 1, *taps)
        return [w.reshape(w.shape[0], -1, *w.shape[2 + rank :])]

    def joined(self, results: Sequence[jax.Array], phases: Sequence[Phases]) -> jax.Array:
        (dx,) = results
        return dx.reshape(len(dx), *(len(axis.numbers) for axis in phases), -1, *dx.shape[2:])


AS_GIVEN = Layout()
ARRANGED = Arranged()
