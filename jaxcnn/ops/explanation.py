"""Which algorithm a convolution is computed by, forward and in both gradients, and why; nothing is computed."""

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from jaxcnn.ops import jaxprs
from jaxcnn.ops.arguments import Ints, Precision, Shaped
from jaxcnn.ops.bilinear import OPERATIONS, Lowering, Operation
from jaxcnn.ops.convolution import input_gradient, kernel_gradient, output_product
from jaxcnn.ops.geometry import Padding
from jaxcnn.ops.plan import Plan, Problem, problem_of

NAMES = {output_product: "forward", input_gradient: "dx", kernel_gradient: "dw"}
HEAD = f"{'algorithm':18}{'multiply-adds':>15}{'of definition':>15}{'MB moved':>10}  bound     why"


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

    def __str__(self) -> str:
        return (
            f"{self.algorithm:18}{self.multiply_adds:15,}{self.multiply_adds / self.definition:15.2f}"
            f"{self.moved / 1e6:10.1f}  {self.bound:9} {self.why}"
        )


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns; printed, it is a table."""

    forward: Explained
    dx: Explained
    dw: Explained

    def __str__(self) -> str:
        return "\n".join([f"{'':8}{HEAD}", *(f"{part.name:8}{part}" for part in (self.forward, self.dx, self.dw))])


@dataclass(frozen=True)
class Convolution:
    """One of a program's convolutions, or several alike.

    Args:
      runs: how often it is computed when the program runs once.
      shapes: the shapes of its two operands: (x, kernel), for dx (dy, kernel), for dw (x, dy).
      explained: how it is computed each time.
    """

    runs: int
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    explained: Explained


@dataclass(frozen=True)
class ProgramExplanation:
    """What `explain_program` returns; printed, it is a table.

    Args:
      platform: the platform that the program would be lowered for.
      convolutions: in the order in which the program has them.
    """

    platform: str
    convolutions: tuple[Convolution, ...]

    def __str__(self) -> str:
        shapes = [" and ".join("×".join(map(str, shape)) for shape in each.shapes) for each in self.convolutions]
        width = max(map(len, shapes), default=0) + 2
        lines = [f"{'runs':>6}  {'':8}{'operands':{width}}{HEAD}"]
        for each, text in zip(self.convolutions, shapes, strict=True):
            lines.append(f"{each.runs:6}  {each.explained.name:8}{text:{width}}{each.explained}")
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
    platform = platform or _default_platform()
    problem, out = replace(problem, members=1), problem.window.output_size(problem.size)
    y_shape = (*x_shape[: -problem.window.rank - 1], *out, kernel_shape[-1])
    x, kernel, y = (jax.ShapeDtypeStruct((members, *shape), dtype) for shape in (x_shape, kernel_shape, y_shape))
    arrays = {output_product: (x, kernel, y), input_gradient: (y, kernel, x), kernel_gradient: (x, y, kernel)}
    return Explanation(*(_explained(operation, arrays[operation], problem, platform) for operation in NAMES))


def explain_program(function: Callable, *arguments: Any, platform: str | None = None) -> ProgramExplanation:
    """How each convolution of a program would be computed: of a training step, say, with its slices and gradients.

    The program is the one that JAX would lower for that platform: where a gradient is computed in slices of a batch,
    the table has the slices' shapes and how often they run.

    Args:
      function: the function to be compiled.
      arguments: its arguments, trees of arrays or of `jax.ShapeDtypeStruct`; nothing is computed with them.
      platform: "cpu", "cuda", "rocm" or "tpu"; when None, the default backend's.

    Returns:
      A `ProgramExplanation` with a `Convolution` for each group of equal convolutions. In a loop whose length is known
      a convolution runs once for each iteration, in a while loop it counts once. Of a condition all branches count.

    Example:
      >>> from jaxcnn import ops, train
      >>> def loss(kernel, x):
      ...     return (ops.conv(x, kernel) ** 2).mean()
      >>> x, kernel = jax.ShapeDtypeStruct((256, 64, 64, 1), "float32"), jax.ShapeDtypeStruct((3, 3, 1, 32), "float32")
      >>> told = explain_program(train.value_and_grad(loss), kernel, x, platform="cpu")
      >>> [(each.runs, each.explained.name, each.shapes[0]) for each in told.convolutions]
      [(8, 'forward', (32, 64, 64, 1)), (8, 'dw', (32, 64, 64, 1))]
    """
    platform = platform or _default_platform()
    runs: collections.Counter = collections.Counter()
    for times, equation in jaxprs.running(jax.make_jaxpr(function)(*arguments), platform):
        operation = OPERATIONS.get(equation.primitive)
        if operation in NAMES:
            arrays = tuple(v.aval for v in (*equation.invars, *equation.outvars))
            explained = _explained(operation, arrays, equation.params["problem"], platform)
            runs[arrays[0].shape, arrays[1].shape, explained] += times
    return ProgramExplanation(
        platform, tuple(Convolution(times, (left, right), each) for (left, right, each), times in runs.items())
    )


def _default_platform() -> str:
    backend = jax.default_backend()
    return "cuda" if backend == "gpu" else backend


def _explained(operation: Operation, arrays: Sequence[Shaped], problem: Problem, platform: str) -> Explained:
    """How `operation` computes the last array from the two before."""
    operands = arrays[:2]
    # mypy: operations may lack both facts, those of `NAMES` have them
    plan: Plan = operation.plan(*operands, problem=problem, lowering=Lowering(platform))  # type: ignore[misc]

    def total(cost: str) -> int:
        return sum(step.times * getattr(step.choice.algorithm, cost)(step.product) for step in plan.steps)

    names = " and ".join(dict.fromkeys(step.choice.algorithm.name for step in plan.steps))
    why = "; ".join(dict.fromkeys(step.choice.why for step in plan.steps))
    prefix = "phases, " if plan.steps[0].phases else ""
    around = sum(each.size * each.dtype.itemsize for each in arrays)
    adds, moved = total("multiply_adds"), around + 2 * total("built_bytes")
    bound = "products" if adds > plan.machine.products_per_byte * moved else "memory"
    definition = operation.multiply_adds(*operands, problem=problem)  # type: ignore[misc]
    return Explained(NAMES[operation], prefix + names, why, adds, definition, moved, bound)
