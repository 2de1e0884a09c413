"""What an algorithm is: one frozen value that says what it can compute, at what cost, and in which layout."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from jaxcnn.ops.algorithms.layouts import Layout
from jaxcnn.ops.algorithms.product import Product


def _of_definition(p: Product) -> int:
    return p.multiply_adds


def _nothing(p: Product) -> int:
    return 0


@dataclass(frozen=True)
class Algorithm:
    """A way to compute y = x ⊗ w and, where it has one, dw = x ⊗ dy.

    The gradient by x is a product y = x ⊗ w again, of the cotangent and the rotated kernel.

    Args:
      name: by which a user asks for it.
      claim: what it can compute, in words that an error message quotes after "it".
      layout: how it wants its arrays.
      fits: whether it can compute y of a product.
      product: `(x, w, p) -> y`.
      kernel_gradient: `(x, dy, p) -> dw`; None if it has no way of its own.
      fits_kernel: whether it can compute dw of a product; None: where it can compute y.
      multiply_adds: how many it takes; those of the definition if not given.
      built_bytes: what it builds between its operands and its result; nothing if not given.
      temporary_bytes: how much of that is in memory at a time; all if not given.
      multiplies_padding: whether weights meet the zeros around x.
      platforms: where it may be chosen without being asked for; None: everywhere.
    """

    name: str
    claim: str
    layout: Layout
    fits: Callable[[Product], bool]
    product: Callable[[jax.Array, jax.Array, Product], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array, Product], jax.Array] | None = None
    fits_kernel: Callable[[Product], bool] | None = None
    multiply_adds: Callable[[Product], int] = _of_definition
    built_bytes: Callable[[Product], int] = _nothing
    temporary_bytes: Callable[[Product], int] | None = None
    multiplies_padding: bool = True
    platforms: tuple[str, ...] | None = None

    def can(self, p: Product, *, kernel: bool = False) -> bool:
        """Whether it can compute y of a product, or its dw."""
        if not kernel:
            return self.fits(p)
        return self.kernel_gradient is not None and (self.fits_kernel or self.fits)(p)

    def at_once(self, p: Product) -> int:
        """The bytes that it has in memory at a time beside its operands and its result."""
        return (self.temporary_bytes or self.built_bytes)(p)
