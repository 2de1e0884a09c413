"""Which algorithm a convolution is computed by, forward and in both gradients, and why; nothing is computed."""

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.ops.algorithms import Product, choose, choose_gradient, phases, refuse_unfit
from jaxcnn.ops.algorithms.choice import Choice
from jaxcnn.ops.form import Ints, Precision, form_of
from jaxcnn.ops.geometry import Padding, Window
from jaxcnn.ops.layout import images_of

MULTIPLY_ADDS_PER_BYTE = 9  # where matrix products and memory take the same time: 75e9 and 8e9 a second, on 2 cores


@dataclass(frozen=True)
class Part:
    """How one of the three products is computed.

    Args:
      name: "forward", "dx" or "dw".
      algorithm: one of `jaxcnn.ops.ALGORITHMS`; where dx has a stride, after "phases, " those of its products.
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
    precision: Precision | str | None = None,
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
    counted, dtype = images_of(n), jnp.dtype(dtype)

    strided = phases.fits(form.window)

    def product(window: Window, size: tuple[int, ...], channels: tuple[int, int]) -> Product:
        phase = window is not form.window and strided
        return Product(window, size, counted, groups, channels, dtype, form.precision, platform, phase)

    forward = product(form.window, form.size, form.channels)
    refuse_unfit("explain", algorithm, forward)
    sizes = [math.prod(x_shape), math.prod(kernel_shape), n * math.prod(forward.out) * kernel_shape[-1]]
    around = sum(sizes) * dtype.itemsize

    def part(name: str, choices: list[Choice], products: list[Product], prefix: str = "") -> Part:
        modules = [choice.algorithm for choice in choices]
        moved = around + sum(2 * module.built_bytes(p) for module, p in zip(modules, products, strict=True))
        multiply_adds = sum(module.multiply_adds(p) for module, p in zip(modules, products, strict=True))
        names = " and ".join(dict.fromkeys(choice.name for choice in choices))
        reasons = "; ".join(dict.fromkeys(choice.why for choice in choices))
        return Part(name, prefix + names, reasons, multiply_adds, forward.multiply_adds, moved)

    c, d = form.channels
    if strided and form.depthwise:
        backward = [
            product(window, forward.out, (d, c))
            for chosen, window in phases.parts(form.window, form.size)
            for _ in itertools.product(*(p.numbers for p in chosen))
            if window.taps
        ]
    elif strided:
        backward = [
            product(window, forward.out, (d, c * math.prod(len(p.numbers) for p in chosen)))
            for chosen, window in phases.parts(form.window, form.size)
            if window.taps
        ]
    else:
        backward = [product(form.window.adjoint(form.size), forward.out, (d, c))]
    return Explanation(
        part("forward", [choose(algorithm, forward)], [forward]),
        part("dx", [choose(algorithm, p) for p in backward], backward, "phases, " if strided else ""),
        part("dw", [choose_gradient(algorithm, forward)], [forward]),
    )
