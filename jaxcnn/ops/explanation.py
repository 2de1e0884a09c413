"""Which algorithm a convolution is computed by, forward and in both gradients, and why; nothing is computed."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.ops.arguments import Ints, Precision
from jaxcnn.ops.bilinear import Lowering
from jaxcnn.ops.geometry import Padding
from jaxcnn.ops.plan import Operands, Plan, plan_input_gradient, plan_kernel_gradient, plan_output, problem_of


@dataclass(frozen=True)
class Explained:
    """How one of the three products is computed.

    Args:
      name: "forward", "dx" or "dw".
      algorithm: one of `jaxcnn.ops.ALGORITHMS`. For dx with a stride it is "phases, " and the algorithms of its
        products.
      why: the reason for which it was chosen.
      multiply_adds: how many the algorithm takes; `definition` is how many the definition takes.
      moved: bytes read and written, of the operands, the result and the arrays that the algorithm builds in between.
      bound: what is expected to take most of the time, "products" or "memory".
    """

    name: str
    algorithm: str
    why: str
    multiply_adds: int
    definition: int
    moved: int
    bound: str


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns; printed, it is a table."""

    forward: Explained
    dx: Explained
    dw: Explained

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
    members: int = 1,
) -> Explanation:
    """The algorithms that `conv` would use for these shapes, and why.

    Args:
      x_shape, kernel_shape: the shapes of `conv`'s arguments x and kernel.
      stride, padding, dilation, groups, algorithm, precision: as for `conv`.
      dtype: the dtype of both arrays.
      platform: "cpu", "cuda", "rocm" or "tpu"; when None, the default backend's.
      members: how many networks `jax.vmap` computes at once, each with its own kernel and images; the shapes are those
        of one of them.

    Returns:
      An `Explanation` with an `Explained` each for `forward`, `dx` and `dw`.

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
    problem = problem_of("explain", x, kernel, stride, padding, dilation, groups, algorithm, precision)
    platform = platform or ("cuda" if jax.default_backend() == "gpu" else jax.default_backend())
    n, dtype = math.prod(x_shape[: -problem.window.rank - 1]), jnp.dtype(dtype)
    operands = Operands(members, n, (kernel_shape[-2], kernel_shape[-1] // groups), dtype)
    y_size = n * math.prod(problem.window.output_size(problem.size)) * kernel_shape[-1]
    around = members * (math.prod(x_shape) + math.prod(kernel_shape) + y_size) * dtype.itemsize
    plans = [plan(problem, operands, Lowering(platform)) for plan in PLANS]
    definition = plans[0].steps[0].product.multiply_adds
    return Explanation(
        *(_part(name, plan, around, definition) for name, plan in zip(("forward", "dx", "dw"), plans, strict=True))
    )


PLANS = (plan_output, plan_input_gradient, plan_kernel_gradient)


def _part(name: str, plan: Plan, around: int, definition: int) -> Explained:
    def total(cost: str) -> int:
        return sum(step.times * getattr(step.choice.algorithm, cost)(step.product) for step in plan.steps)

    names = " and ".join(dict.fromkeys(step.choice.algorithm.name for step in plan.steps))
    why = "; ".join(dict.fromkeys(step.choice.why for step in plan.steps))
    prefix = "phases, " if plan.steps[0].phases else ""
    adds, moved = total("multiply_adds"), around + 2 * total("built_bytes")
    bound = "products" if adds > plan.machine.products_per_byte * moved else "memory"
    return Explained(name, prefix + names, why, adds, definition, moved, bound)
