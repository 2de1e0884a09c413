"""Convolution, its transpose, and their derivatives.

Everything here comes from one scalar that is linear in each of three arrays, input x, kernel w and output y:

    T(x, w, y) = Σ_{n, o, k, c, d}  x[n, s·o + δ·k − p, c] · w[k, c, d] · y[n, o, d]

with stride s, dilation δ and padding p. Its derivative by one of the arrays is a product of the other two, and the
derivatives of those products are the same three products again, so the family is closed:

    by y:  output_product(x, w)     y  = x ⊗ w                  the convolution
    by x:  input_gradient(y, w)     dx = y ⊗ rot180(w), full    its transpose in x, which is conv_transpose
    by w:  kernel_gradient(x, y)    dw = x ⊗ y                  its transpose in w
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax

from jaxcnn.ops.algorithms import borders, phases
from jaxcnn.ops.arguments import (
    Ints,
    check_array,
    check_channels,
    check_groups,
    check_output_padding,
    check_same_dtype,
    precision_of,
    spatial_rank,
    window_of,
)
from jaxcnn.ops.bilinear import Lowering, Operation, bilinear
from jaxcnn.ops.geometry import Padding, Slide, per_axis
from jaxcnn.ops.machine import assumed
from jaxcnn.ops.plan import Plan, Problem, counts, plan_input_gradient, plan_kernel_gradient, plan_output, problem_of
from jaxcnn.ops.sharding import Axes


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    algorithm: str = "auto",
    precision: jax.lax.Precision | str | None = None,
) -> jax.Array:
    """Slide a kernel over the input: cross-correlation, as the field means "convolution" (nothing is flipped).

    y[…, o, d] = Σ_{k, c} x[…, stride·o + dilation·k − before, c] · kernel[k, c, d]

    Args:
      x: `(*batch, *spatial, C_in)`, any number of batch axes; channels last.
      kernel: `(*window, C_in // groups, C_out)`; its rank sets the number of spatial axes (1, 2, 3, …).
      stride: steps between windows, in input positions; one int, or one per spatial axis.
      padding: zeros around the input. "VALID": none. "SAME": ceil(n / stride) outputs, an extra zero after;
        "SAME_LOWER": an extra zero before. "FULL": every overlap, `dilation·(k − 1)` on both sides. An int: that many
        on every side. Pairs: one (before, after) per spatial axis.
      dilation: steps between the taps of the window, in input positions.
      groups: how many parts the channels are cut into, each convolved by itself; `C_in` for depthwise.
      algorithm: how to compute it, for comparisons: "auto" or a name from `jaxcnn.ops.ALGORITHMS`.
      precision: the precision of the matrix products: a `jax.lax.Precision` or its name, "default", "high" or
        "highest"; None means the setting of `jax.default_matmul_precision`. A higher one than the default excludes
        algorithms that transform: the sums are those of the definition, term by term.

    Returns:
      `(*batch, *out, C_out)`, out = floor((n + before + after − dilation·(k − 1) − 1) / stride) + 1 per axis, in the
      dtype of x; sums are kept in float32 at least.

    Raises:
      ValueError: shapes, window or options that do not fit together.
      TypeError: dtypes that are not numeric, complex, or not the same; arguments of the wrong kind.

    Derivative:
      dx = dy, spread by the stride, ⊗ the kernel rotated by 180° with its channels swapped, under full padding;
      dkernel = x ⊗ dy.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(16.0).reshape(4, 4, 1)
      >>> conv(x, jnp.ones((2, 2, 1, 1)), stride=2)[..., 0]
      Array([[10., 18.],
             [42., 50.]], dtype=float32)

    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), equations 9.6 and 9.11 to 9.13.
    """
    x, kernel = check_array("conv", "x", x), check_array("conv", "kernel", kernel)
    check_same_dtype("conv", x=x, kernel=kernel)
    problem = problem_of("conv", x, kernel, stride, padding, dilation, groups, algorithm, precision)
    return output_product(x, kernel, problem=problem)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    output_padding: Ints = 0,
) -> jax.Array:
    """The transpose (adjoint) of `conv` with the same arguments: it carries that convolution's output to its input.

    ⟨conv(u, kernel), x⟩ = ⟨u, conv_transpose(x, kernel)⟩ for every u; that is
    y[…, stride·o + dilation·k − before, d] += x[…, o, c] · kernel[k, d, c]

    Args:
      x: `(*batch, *spatial, C_in)`.
      kernel: `(*window, C_out // groups, C_in)`, the layout of the convolution that this is the transpose of.
      stride, padding, dilation, groups: as of the convolution that this is the transpose of. With "SAME" and
        "SAME_LOWER" the output has n·stride positions.
      output_padding: positions added at the end of each axis of the output, below the stride. A strided convolution
        rounds its output size down; this is what it rounded off.

    Returns:
      `(*batch, *out, C_out)`, out = (n − 1)·stride + dilation·(k − 1) + 1 − before − after + output_padding per axis.

    Raises:
      ValueError, TypeError: as `conv`.

    Derivative:
      dx = conv(dy, kernel), dkernel = dy ⊗ x: the rules of `conv` with the parts of x and y exchanged.

    Example:
      >>> import jax.numpy as jnp
      >>> conv_transpose(jnp.array([[1.0], [2.0]]), jnp.ones((3, 1, 1)), stride=2)[:, 0]
      Array([1., 1., 3., 2., 2.], dtype=float32)

    Source: Dumoulin, Visin, A guide to convolution arithmetic for deep learning (2016), chapter 4.
    """
    op = "conv_transpose"
    x, kernel = check_array(op, "x", x), check_array(op, "kernel", kernel)
    check_same_dtype(op, x=x, kernel=kernel)
    rank = spatial_rank(op, x, kernel)
    groups = check_groups(op, groups)
    check_channels(op, x, kernel, kernel.shape[-1], groups)
    stride, dilation = per_axis(op, "stride", stride, rank), per_axis(op, "dilation", dilation, rank)
    extra = check_output_padding(op, output_padding, stride, padding)
    small = x.shape[-rank - 1 : -1]
    taps = kernel.shape[:rank]
    full = tuple((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(small, stride, dilation, taps, strict=True))
    if padding in ("SAME", "SAME_LOWER"):
        size = tuple(n * s for n, s in zip(small, stride, strict=True))
    else:
        probe = window_of(op, full, kernel, stride, padding, dilation)
        size = tuple(n - sum(pair) + e for n, pair, e in zip(full, probe.padding, extra, strict=True))
        if min(size) < 1:
            raise ValueError(
                f"{op}: `padding` must leave at least one output on every axis, but the output would be {size}; "
                f"x {x.shape}, kernel {kernel.shape}, stride {stride}, padding {padding!r}"
            )
    window = window_of(op, size, kernel, stride, padding, dilation)
    problem = Problem(window, size, groups, "auto", precision_of(op, None), machine=assumed())
    return input_gradient(x, kernel, problem=problem)


# ---------------------------------------------------------------------------------------------------------------------
# The three products


def _compute_output(x: jax.Array, w: jax.Array, plan: Plan, problem: Problem, lowering: Lowering) -> jax.Array:
    """y = x ⊗ w."""
    layout, (step,) = plan.layout, plan.steps
    images = layout.images(x, problem.groups, plan.machine, lowering)
    y = step.choice.product(images, layout.kernel(w, problem.groups), step.product)
    return layout.restored(y, x.shape[0], plan.machine, lowering)


def _compute_input_gradient(y: jax.Array, w: jax.Array, plan: Plan, problem: Problem, lowering: Lowering) -> jax.Array:
    """dx = y ⊗ rot180(w), full.

    Input position i is seen by output o through tap k where i = s·o + δ·k − p, so dx[i] sums
    y[(i + p − δ·k) / s] · w[k] over the taps for which the position in y is whole. Running k backwards turns the
    difference into a sum: a window that slides over y. With a stride, `phases` has such a window for each position
    within a step. A textbook puts s − 1 zeros between the neighbors of y, and would multiply all those zeros.
    """
    layout = plan.layout
    images = layout.images(y, problem.groups, plan.machine, lowering, cotangent=True)
    kernel = layout.kernel(w, problem.groups)
    if plan.is_whole:
        dx = plan.steps[0].choice.input_gradient(images, kernel, plan.steps[0].product)
    elif phases.fits(problem.window):
        found = {}
        for step in plan.steps:
            kernels = layout.phase_kernels(kernel, step.phases)
            results = [step.choice.product(images, k, step.product) for k in kernels]
            found[step.phases] = layout.joined(results, step.phases)
        dx = phases.gradient(found, problem.window, problem.size, layout.lead)
    else:
        (step,) = plan.steps
        dx = step.choice.product(images, layout.rotated(kernel), step.product)
    if plan.multiplies_padding:
        dx = borders.kept(dx, images, kernel, problem.window, layout)
    return layout.restored(dx, y.shape[0], plan.machine, lowering)


def _compute_kernel_gradient(x: jax.Array, y: jax.Array, plan: Plan, problem: Problem, lowering: Lowering) -> jax.Array:
    """dw = x ⊗ y: tap k of dw is the sum, over positions and images, of y times what tap k sees of x."""
    layout, (step,) = plan.layout, plan.steps
    images = layout.images(x, problem.groups, plan.machine, lowering)
    cotangent = layout.images(y, problem.groups, plan.machine, lowering, cotangent=True)
    dw = step.choice.kernel_gradient(images, cotangent, step.product)
    return layout.restored_kernel(dw, x.shape[0])


# Axes in front of all three arrays are the members of an ensemble, each with its own input, kernel and output; `vmap`
# over kernels puts them there. Axes that only x and y have are batch axes. Inside a computation there is one axis of
# either kind: x (members, N, *size, C), w (members, *window, C/G, D), y (members, N, *out, D).


def _merged(x: jax.Array, problem: Problem) -> jax.Array:
    """x or y with one member axis and one batch axis."""
    return x.reshape(*counts(x, problem), *x.shape[-problem.window.rank - 1 :])


def _of_images(compute: Callable, plan: Callable) -> Callable:
    """Let `compute(x, w, plan)`, made for one member and one batch axis, take and return images with any number."""

    @functools.wraps(compute)
    def wrapped(x, w, *, problem, lowering):
        made = plan(x, w, problem=problem, lowering=lowering)
        y = compute(_merged(x, problem), w.reshape(-1, *w.shape[problem.members :]), made, problem, lowering)
        return y.reshape(*x.shape[: -problem.window.rank - 1], *y.shape[2:])

    return wrapped


def _of_kernels(compute: Callable, plan: Callable) -> Callable:
    """Let `compute(x, y, plan)`, made for one member and one batch axis, take any number and return kernels."""

    @functools.wraps(compute)
    def wrapped(x, y, *, problem, lowering):
        made = plan(x, y, problem=problem, lowering=lowering)
        w = compute(_merged(x, problem), _merged(y, problem), made, problem, lowering)
        return w.reshape(*x.shape[: problem.members], *w.shape[1:])

    return wrapped


def _axes(problem: Problem, image: jax.Array) -> tuple[Axes, Axes, Axes]:
    """The axes of x, w and y that devices may share out: members, batch axes and, without groups, channels."""
    rank = problem.window.rank
    members = [f"m{axis}" for axis in range(problem.members)]
    batch = [f"n{axis}" for axis in range(image.ndim - problem.members - rank - 1)]
    c, d = ("c", "d") if problem.groups == 1 else (None, None)
    whole = [None] * rank
    return (*members, *batch, *whole, c), (*members, *whole, c, d), (*members, *batch, *whole, d)


def _batch_images(mapped: Sequence[bool], *, problem: Problem) -> tuple:
    """Where `vmap` puts an axis of (image, kernel): among the batch axes if the kernel lacks it, else the members."""
    if mapped[1]:
        return (0, 0), 0, {"problem": replace(problem, members=problem.members + 1)}
    return (problem.members, None), problem.members, {"problem": problem}


def _batch_kernels(mapped: Sequence[bool], *, problem: Problem) -> tuple:
    """Where `vmap` puts an axis of (x, y), from which a kernel is computed: among the members."""
    return (0, 0), 0, {"problem": replace(problem, members=problem.members + 1)}


def _output_shape(x: jax.Array, w: jax.Array, *, problem: Problem) -> tuple[int, ...]:
    return (*x.shape[: -problem.window.rank - 1], *problem.window.output_size(problem.size), w.shape[-1])


# Each product is T without the sum over one of its arrays, so all three take as many multiply-adds: for each value of y
# one per tap of the window and channel of its group.

output_product = Operation(
    "conv",
    shape=_output_shape,
    compute=_of_images(_compute_output, plan_output),
    plan=plan_output,
    axes=lambda x, w, *, problem: _axes(problem, x),
    batch=_batch_images,
    multiply_adds=lambda x, w, *, problem: (
        math.prod(_output_shape(x, w, problem=problem)) * problem.window.taps * w.shape[-2]
    ),
    slides=lambda problem: Slide(problem.window, groups=problem.groups),
)
input_gradient = Operation(
    "conv_input_gradient",
    shape=lambda y, w, *, problem: (*y.shape[: -problem.window.rank - 1], *problem.size, w.shape[-2] * problem.groups),
    compute=_of_images(_compute_input_gradient, plan_input_gradient),
    plan=plan_input_gradient,
    axes=lambda y, w, *, problem: _axes(problem, y)[::-1],
    batch=_batch_images,
    multiply_adds=lambda y, w, *, problem: y.size * problem.window.taps * w.shape[-2],
    slides=lambda problem: Slide(problem.window, back_to=problem.size, groups=problem.groups),
)
kernel_gradient = Operation(
    "conv_kernel_gradient",
    shape=lambda x, y, *, problem: (
        *x.shape[: problem.members],
        *problem.window.size,
        x.shape[-1] // problem.groups,
        y.shape[-1],
    ),
    compute=_of_kernels(_compute_kernel_gradient, plan_kernel_gradient),
    plan=plan_kernel_gradient,
    axes=lambda x, y, *, problem: (_axes(problem, x)[0], _axes(problem, x)[2], _axes(problem, x)[1]),
    batch=_batch_kernels,
    multiply_adds=lambda x, y, *, problem: y.size * problem.window.taps * (x.shape[-1] // problem.groups),
)

# Each line declares a product of two arrays and the gradients by its first and by its second operand. Each gradient is
# given the cotangent of the product's result, which takes the place of the third array in T.
bilinear(
    output_product,
    lambda dy, w, problem: input_gradient(dy, w, problem=problem),
    lambda dy, x, problem: kernel_gradient(x, dy, problem=problem),
)
bilinear(
    input_gradient,
    lambda dx, w, problem: output_product(dx, w, problem=problem),
    lambda dx, y, problem: kernel_gradient(dx, y, problem=problem),
)
bilinear(
    kernel_gradient,
    lambda dw, y, problem: input_gradient(y, dw, problem=problem),
    lambda dw, x, problem: output_product(x, dw, problem=problem),
)
