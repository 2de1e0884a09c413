"""Plans: by which algorithm, and why, each of the three products of T(x, w, y) is computed.

A plan is made once, when a program is lowered, from the problem, the images and the `Lowering`. `conv` executes it and
`explain` prints it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp

from jaxcnn.ops import machine
from jaxcnn.ops.algorithms import ARRANGED, AS_GIVEN, Choice, Layout, Product, check_claim, choose, choose_whole, phases
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
from jaxcnn.ops.bilinear import Lowering
from jaxcnn.ops.geometry import Padding, Window
from jaxcnn.ops.machine import Machine

MANY = 128  # the number of images to plan for where an exported program leaves it open


@dataclass(frozen=True)
class Problem:
    """What is static in T(x, w, y): the window, the spatial size of x, and how to compute.

    Args:
      window: padding included.
      size: the spatial size of x.
      groups: the number of groups of channels.
      algorithm: "auto" or an algorithm's name.
      precision: the precision of the matrix products.
      members: how many axes in front of all three arrays are members of an ensemble.
      machine: the machine to plan for; None: the usual one of the platform of the lowering.
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
    """The sizes of x, w and y that a `Problem` leaves open; of one device's part, where devices share the arrays.

    Args:
      members: how many members an ensemble has, each with its own kernel.
      images: N, the images of one member.
      channels: (C, D), the channels of one group in x and in y.
      dtype: the dtype of all three arrays.
    """

    members: int
    images: int
    channels: tuple[int, int]
    dtype: jnp.dtype


def problem_of(
    op: str,
    x: Shaped,
    kernel: Shaped,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    algorithm: str,
    precision: Precision | str | None,
) -> Problem:
    """Check the arguments of a convolution, and return its `Problem`."""
    rank = spatial_rank(op, x, kernel)
    groups = check_groups(op, groups)
    check_channels(op, x, kernel, kernel.shape[-2] * groups, groups)
    size = x.shape[-rank - 1 : -1]
    window = window_of(op, size, kernel, stride, padding, dilation)
    problem = Problem(window, size, groups, algorithm, precision_of(op, precision), machine=machine.assumed())
    operands = Operands(1, MANY, (kernel.shape[-2], kernel.shape[-1] // groups), jnp.dtype(x.dtype))
    check_claim(op, algorithm, _product(problem, operands, Lowering(None)))
    return problem


@dataclass(frozen=True)
class Step:
    """One window product.

    Args:
      product: what is static in it.
      choice: its algorithm, and why.
      phases: where it is part of the gradient by x of a strided convolution, the phases that it computes.
      times: with how many kernels it is computed, one after the other.
    """

    product: Product
    choice: Choice
    phases: tuple[Phases, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class Plan:
    """How y, dx or dw is computed: its window products, and the layout that all of them want.

    Args:
      steps: the window products.
      is_whole: whether the only step computes dx as it is, and no product that dx is made of.
    """

    steps: tuple[Step, ...]
    is_whole: bool = False

    @property
    def layout(self) -> Layout:
        """The layout of every step's algorithm."""
        return self.steps[0].choice.algorithm.layout

    @property
    def machine(self) -> Machine:
        """The machine that the plan is for."""
        return self.steps[0].product.machine

    @property
    def multiplies_padding(self) -> bool:
        """Whether some weight is multiplied by a zero of the padding."""
        return any(
            step.choice.algorithm.multiplies_padding and max(map(max, step.product.window.padding)) > 0
            for step in self.steps
        )


def plan_output(x: Shaped, w: Shaped, *, problem: Problem, lowering: Lowering) -> Plan:
    """The plan of y = x ⊗ w."""
    p = _product(problem, _operands(x, w.shape[-2:], problem), lowering)
    return Plan((Step(p, choose(problem.algorithm, p)),))


def plan_kernel_gradient(x: Shaped, y: Shaped, *, problem: Problem, lowering: Lowering) -> Plan:
    """The plan of dw = x ⊗ y."""
    p = _product(problem, _operands(x, (x.shape[-1] // problem.groups, y.shape[-1]), problem), lowering)
    return Plan((Step(p, choose(problem.algorithm, p, kernel=True)),))


def plan_input_gradient(y: Shaped, w: Shaped, *, problem: Problem, lowering: Lowering) -> Plan:
    """The plan of dx = y ⊗ rot180(w), full: one product or, with a stride, one for each kind of phase."""
    operands = _operands(y, w.shape[-2:], problem)
    window, (c, d) = problem.window, operands.channels
    out = window.output_size(problem.size)
    whole = _product(problem, operands, lowering, gradient=True)
    choice = choose_whole(problem.algorithm, whole)
    if choice:
        return Plan((Step(whole, choice),), is_whole=True)
    strided = phases.fits(window)
    parts = list(phases.parts(window, problem.size)) if strided else [((), window.adjoint(problem.size))]

    def steps(layout: Layout, only: Layout | None = None) -> list[Step]:
        made = []
        for chosen, slid in parts:
            if not slid.taps:  # no output sees these inputs
                continue
            count = math.prod(len(axis.numbers) for axis in chosen)
            swapped = replace(operands, channels=(d, c if layout.apart else c * count))
            p = _product(replace(problem, window=slid, size=out), swapped, lowering, gradient=True, phase=strided)
            made.append(Step(p, choose(problem.algorithm, p, layout=only), chosen, count if layout.apart else 1))
        return made

    apart = steps(AS_GIVEN)
    if all(step.choice.algorithm.layout is AS_GIVEN for step in apart):
        return Plan(tuple(apart))
    return Plan(tuple(steps(ARRANGED, only=ARRANGED)))


def counts(images: Shaped, problem: Problem) -> tuple[int, int]:
    """How many members x or y has, and how many images each."""
    front = images.shape[: -problem.window.rank - 1]
    return math.prod(front[: problem.members]), math.prod(front[problem.members :])


def _operands(images: Shaped, channels: Sequence[int], problem: Problem) -> Operands:
    """The `Operands` for one of the image arrays, x or y, and the channels of a kernel, (C/groups, D)."""
    members, n = counts(images, problem)
    return Operands(members, n, (channels[0], channels[1] // problem.groups), jnp.dtype(images.dtype))


def _product(
    problem: Problem, operands: Operands, lowering: Lowering, *, gradient: bool = False, phase: bool = False
) -> Product:
    """The `Product` of y = x ⊗ w, which algorithms are given."""
    n, members = (size if isinstance(size, int) else MANY for size in (operands.images, operands.members))
    numbers = problem.machine or machine.of(lowering.platform)
    return Product(
        problem.window,
        problem.size,
        (1, n) if numbers.innermost(n) else (n, 1),
        members * problem.groups,
        operands.channels,
        operands.dtype,
        problem.precision,
        numbers,
        phase,
        skips_padding=gradient,
        is_open=not (isinstance(operands.images, int) and isinstance(operands.members, int)),
        members=members,
    )
