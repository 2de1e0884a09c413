"""Plans: what is static in T(x, w, y), and how each of its three products is computed, by which algorithm and why.

A plan is made once, when a program is lowered, from the form, the images and the target. `conv` executes it, `explain`
prints it.
"""

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp

from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import ARRANGED, AS_GIVEN, Choice, Layout, Product, check_claim, choose, phases
from jaxcnn.ops.algorithms.phases import Phases
from jaxcnn.ops.arguments import (
    Ints,
    Precision,
    Shaped,
    check_channels,
    check_groups,
    precision_of,
    spatial_rank,
    window_of,
)
from jaxcnn.ops.bilinear import Target
from jaxcnn.ops.geometry import Padding, Window
from jaxcnn.ops.machine import Machine

MANY = 128  # images, for what is decided by their number where that is known only when an exported program runs


@dataclass(frozen=True)
class Form:
    """What is static in T(x, w, y): the window, the spatial size of x, and how to compute.

    Args:
      window: padding included.
      size: of x, spatial.
      groups: of channels.
      algorithm: "auto" or the name of one.
      precision: of the matrix products.
      members: axes of an ensemble, in front of all three arrays.
      machine: what to plan for; None: what is usual on the platform of the lowering.
    """

    window: Window
    size: tuple[int, ...]
    groups: int
    algorithm: str
    precision: Precision | None
    members: int = 0
    machine: Machine | None = None


@dataclass(frozen=True)
class Operands:
    """The sizes in x, w and y that the form leaves open; those of one device's part, where several share the arrays.

    Args:
      members: of an ensemble, each with a kernel of its own.
      images: N, of a member.
      channels: (C, D) of a group, in x and in y.
      dtype: of all three.
    """

    members: int
    images: int
    channels: tuple[int, int]
    dtype: jnp.dtype


def form_of(
    op: str,
    x: Shaped,
    kernel: Shaped,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    algorithm: str,
    precision: Precision | str | None,
) -> Form:
    """The form of a convolution of arrays like these, all arguments checked."""
    rank = spatial_rank(op, x, kernel)
    groups = check_groups(op, groups)
    check_channels(op, x, kernel, kernel.shape[-2] * groups, groups)
    size = x.shape[-rank - 1 : -1]
    window = window_of(op, size, kernel, stride, padding, dilation)
    form = Form(window, size, groups, algorithm, precision_of(op, precision), machine=machine.assumed())
    operands = Operands(1, 1, (kernel.shape[-2], kernel.shape[-1] // groups), jnp.dtype(x.dtype))
    check_claim(op, algorithm, _product(form, operands, Target(None)))
    return form


@dataclass(frozen=True)
class Step:
    """One window product.

    Args:
      product: what it is.
      choice: how it is computed, and why.
      phases: of the gradient by x of a strided convolution, whose product this is.
      times: how many kernels it is computed with, one after the other.
    """

    product: Product
    choice: Choice
    phases: tuple[Phases, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Plan:
    """How y, dx or dw is computed: its window products, and the layout that all of them want."""

    steps: tuple[Step, ...]

    @property
    def layout(self) -> Layout:
        """That of every step's algorithm."""
        return self.steps[0].choice.algorithm.layout

    @property
    def machine(self) -> Machine:
        """What was planned for."""
        return self.steps[0].product.machine

    @property
    def multiplies_padding(self) -> bool:
        """Whether some weight is multiplied by a zero of the padding."""
        return any(
            step.choice.algorithm.multiplies_padding and max(map(max, step.product.window.padding)) > 0
            for step in self.steps
        )


def plan_output(form: Form, operands: Operands, target: Target) -> Plan:
    """Of y = x ⊗ w."""
    p = _product(form, operands, target)
    return Plan((Step(p, choose(form.algorithm, p)),))


def plan_kernel_gradient(form: Form, operands: Operands, target: Target) -> Plan:
    """Of dw = x ⊗ y."""
    p = _product(form, operands, target)
    return Plan((Step(p, choose(form.algorithm, p, kernel=True)),))


def plan_input_gradient(form: Form, operands: Operands, target: Target) -> Plan:
    """Of dx = y ⊗ rot180(w), full: one product, or with a stride one for each kind of phase (see `phases`)."""
    window, (c, d) = form.window, operands.channels
    out = window.output_size(form.size)
    strided = phases.fits(window)
    parts = list(phases.parts(window, form.size)) if strided else [((), window.adjoint(form.size))]

    def steps(layout: Layout, only: Layout | None = None) -> list[Step]:
        made = []
        for chosen, slid in parts:
            if not slid.taps:  # nothing reaches such inputs
                continue
            count = math.prod(len(axis.numbers) for axis in chosen)
            swapped = replace(operands, channels=(d, c if layout.apart else c * count))
            p = _product(replace(form, window=slid, size=out), swapped, target, phase=strided)
            made.append(Step(p, choose(form.algorithm, p, layout=only), chosen, count if layout.apart else 1))
        return made

    apart = steps(AS_GIVEN)
    if all(step.choice.algorithm.layout is AS_GIVEN for step in apart):
        return Plan(tuple(apart))
    return Plan(tuple(steps(ARRANGED, only=ARRANGED)))


def _product(form: Form, operands: Operands, target: Target, *, phase: bool = False) -> Product:
    """y = x ⊗ w as algorithms see it."""
    n = operands.images if isinstance(operands.images, int) else MANY
    members = operands.members if isinstance(operands.members, int) else MANY
    numbers = form.machine or machine.of(target.platform)
    return Product(
        form.window,
        form.size,
        (1, n) if numbers.innermost(n) else (n, 1),
        members * form.groups,
        operands.channels,
        operands.dtype,
        form.precision,
        numbers,
        phase,
    )
