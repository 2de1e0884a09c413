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

    The gradient by x is a product y = x ⊗ w again, of the cotangent and the rotated kernel, or with a stride several:
    one for each phase. An algorithm may compute it as a whole instead.

    Args:
      name: the name by which a user asks for it.
      claim: what it can compute, in words that follow "it" in an error message; {…} is a number of the machine.
      layout: the order of axes in which it takes its arrays.
      fits: whether it can compute y of a product.
      product: `(x, w, p) -> y`.
      kernel_gradient: `(x, dy, p) -> dw`; None if it cannot compute dw.
      input_gradient: `(dy, w, p) -> dx` with w as in the convolution, p being that of the convolution; None if it
        computes dx by products only.
      fits_kernel: whether it can compute dw of a product; None means whenever it can compute y.
      fits_input: whether it can compute dx as a whole; None means whenever it can compute y.
      multiply_adds: how many it takes; by default as many as the definition.
      built_bytes: the bytes of arrays that it builds beside its operands and its result; by default none.
      temporary_bytes: how many of the built bytes are in memory at a time; by default all.
      multiplies_padding: whether it multiplies the zeros around x by weights.
      platforms: where it may be chosen without being asked for; None means everywhere.
    """

    name: str
    claim: str
    layout: Layout
    fits: Callable[[Product], bool]
    product: Callable[[jax.Array, jax.Array, Product], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array, Product], jax.Array] | None = None
    input_gradient: Callable[[jax.Array, jax.Array, Product], jax.Array] | None = None
    fits_kernel: Callable[[Product], bool] | None = None
    fits_input: Callable[[Product], bool] | None = None
    multiply_adds: Callable[[Product], int] = _of_definition
    built_bytes: Callable[[Product], int] = _nothing
    temporary_bytes: Callable[[Product], int] | None = None
    multiplies_padding: bool = True
    platforms: tuple[str, ...] | None = None

    def can(self, p: Product, what: str = "product") -> bool:
        """Whether it can compute `what` of a product: "product", "kernel_gradient" or "input_gradient"."""
        fits = {"product": None, "kernel_gradient": self.fits_kernel, "input_gradient": self.fits_input}[what]
        return getattr(self, what) is not None and (fits or self.fits)(p)

    def at_once(self, p: Product) -> int:
        """The bytes that it has in memory at a time beside its operands and its result."""
        return (self.temporary_bytes or self.built_bytes)(p)
