"""Which algorithm a convolution is computed by, forward and in both gradients, and why; nothing is computed."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.ops.algorithms import Product, choose, choose_gradient, phases, refuse_unfit
from jaxcnn.ops.algorithms.choice import Choice
from jaxcnn.ops.form import Ints, form_of
from jaxcnn.ops.geometry import Padding
from jaxcnn.ops.layout import images_of

MULTIPLY_ADDS_PER_BYTE = 9  # where matrix products and memory take the same time: 75e9 and 8e9 a second, on 2 cores


@dataclass(frozen=True)
class Part:
    """How one of the three products is computed.

    Args:
      name: "forward", "dx" or "dw".
      algorithm: one of `jaxcnn.ops.ALGORITHMS`, after "phases, " where dx has a stride.
      why: the rule that chose it.
      multiply_adds: of the algorithm; the definition's are `definition`.
      moved: bytes read and written: operands, result, and what the algorithm builds in between.
    """

    name: str
    algorithm: str
    why: str
    multiply_adds: int
    definition: int
    moved: int

    @property
    def bound(self) -> str:
        """What its time is expected to be spent on."""
        return "products" if self.multiply_adds > MULTIPLY_ADDS_PER_BYTE * self.moved else "memory"


@dataclass(frozen=True)
class Explanation:
    """Of `explain`; printed, it is a table."""

    forward: Part
    dx: Part
    dw: Part

    def __str__(self) -> str:
        lines = [f"{'':8}{'algorithm':18}{'multiply-adds':>15}{'of definition':>15}{'MB moved':>10}  bound     why"]
        for part in (self.forward, self.dx, self.dw):
            lines.append(
                f"{part.name:8}{part.algorithm:18}{part.multiply_adds:15,}{part.multiply_adds / part.definition:15.2f}"
                f"{part.moved / 1e6:10.1f}  {part.bound:9} {part.why}"
            )
        return "\n".join(lines)


def explain(
    x_shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: jax.lax.Precision | str | None = None,
    dtype: jax.typing.DTypeLike = "float32",
    platform: str | None = None,
) -> Explanation:
    """The algorithms that `conv` would use for these shapes, and why.

    Args:
      x_shape, kernel_shape: of the arguments of `conv`.
      stride, padding, dilation, groups, algorithm, precision: as for `conv`.
      dtype: of both arrays.
      platform: "cpu", "cuda", "rocm" or "tpu"; when None, the default backend's.

    Returns:
      An `Explanation` with a `Part` each for `forward`, `dx` and `dw`.

    Raises:
      ValueError, TypeError: as `conv`.

    Example:
      >>> print(explain((128, 32, 32, 32), (3, 3, 32, 32), platform="cpu"))
              algorithm           multiply-adds  of definition  MB moved  bound     why
      forward winograd              495,452,160           0.47     196.7  memory    1.4 times fewer...
      dx      winograd              ...
      dw      winograd              ...
      >>> explain((8, 28, 28, 64), (3, 3, 1, 64), groups=64, platform="cpu").forward.algorithm
      'depthwise'
    """
    x, kernel = jax.ShapeDtypeStruct(x_shape, dtype), jax.ShapeDtypeStruct(kernel_shape, dtype)
    form, n = form_of("explain", x, kernel, stride, padding, dilation, groups, algorithm, precision)
    platform = platform or ("cuda" if jax.default_backend() == "gpu" else jax.default_backend())
    images, dtype = images_of(n), jnp.dtype(dtype)
    forward = Product(form.window, form.size, images, groups, form.channels, dtype, form.precision, platform)
    refuse_unfit("explain", algorithm, forward)
    sizes = [math.prod(x_shape), math.prod(kernel_shape), n * math.prod(forward.out) * kernel_shape[-1]]
    around = sum(sizes) * dtype.itemsize

    def part(name: str, choice: Choice, p: Product, prefix: str = "") -> Part:
        module = choice.algorithm
        moved = around + 2 * module.built_bytes(p)
        return Part(name, prefix + choice.name, choice.why, module.multiply_adds(p), forward.multiply_adds, moved)

    back, (c, d) = form.window.adjoint(form.size), form.channels
    strided = phases.fits(form.window) and not form.depthwise
    if strided:
        back, c = phases.backward_window(form.window, form.size), c * math.prod(form.window.stride)
        small = forward.out
    else:
        small = tuple((o - 1) * s + 1 for o, s in zip(forward.out, form.window.stride, strict=True))
    backward = Product(back, small, images, groups, (d, c), dtype, form.precision, platform)
    return Explanation(
        part("forward", choose(algorithm, forward), forward),
        part("dx", choose(algorithm, backward), backward, "phases, " if strided else ""),
        part("dw", choose_gradient(algorithm, forward), forward),
    )
