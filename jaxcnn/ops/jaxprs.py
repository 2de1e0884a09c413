"""Programs of JAX (jaxprs), read: what is inside an equation and how often it runs, and programs run step by step."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxcnn.ops.bilinear import OPERATIONS

Program = Jaxpr | ClosedJaxpr
Equation = Any  # a JaxprEqn; its type hides that values have shapes


def called(equation: Equation) -> Program | None:
    """The program that an equation calls with its own operands (jit, checkpoint, custom derivatives …), if it does.

    The program of a reduction or of a scatter is none: it takes single values.
    """
    ours = [v.aval for v in equation.invars]
    for program in filter(_is_program, equation.params.values()):
        if [_rank(aval) for aval in ours] == [_rank(v.aval) for v in _open(program).invars]:
            return program
    return None


def total(program: Program, of: Callable[[Equation], int]) -> int:
    """The sum of `of(equation)` over all equations that run, those inside of an equation in place of it.

    The body of a scan counts once for each iteration, that of a while loop only once, since nobody knows how often it
    runs. Of the branches of a condition the largest counts.
    """
    return sum(_total(equation, of) for equation in program.eqns)


def _total(equation: Equation, of: Callable[[Equation], int]) -> int:
    inside = [total(program, of) for program in _inside(equation)]
    if not inside:
        return of(equation)
    times = equation.params["length"] if equation.primitive is lax.scan_p else 1
    return times * (max(inside) if equation.primitive is lax.cond_p else sum(inside))


def running(program: Program, platform: str) -> Iterator[tuple[int, Equation]]:
    """All equations that call no program, with how often each runs on a platform, counted as in `total`.

    Of a choice by platform the branch for this one counts, of another condition all branches.
    """
    for equation in _open(program).eqns:
        inside = _inside(equation, platform)
        times = equation.params["length"] if equation.primitive is lax.scan_p else 1
        for part in inside:
            yield from ((times * more, each) for more, each in running(part, platform))
        if not inside:
            yield 1, equation


def _inside(equation: Equation, platform: str | None = None) -> Sequence[Program]:
    """The programs that run as part of an equation."""
    primitive, params = equation.primitive, equation.params
    if primitive is lax.cond_p:
        branches, platforms = params["branches"], params.get("branches_platforms")
        if platform is None or platforms is None:
            return branches
        ours = (b for b, these in zip(branches, platforms, strict=True) if these is None or platform in these)
        return tuple(itertools.islice(ours, 1))
    if primitive is lax.while_p:
        return params["cond_jaxpr"], params["body_jaxpr"]
    program = params["jaxpr"] if primitive is lax.scan_p else called(equation)
    return () if program is None else (program,)


def multiply_adds(program: Program) -> int:
    """The multiply-adds of the convolutions and matrix products of a program."""
    return total(program, _multiply_adds)


def _multiply_adds(equation: Equation) -> int:
    operands = [v.aval for v in equation.invars]
    if equation.primitive is lax.dot_general_p:
        (contracted, _), _ = equation.params["dimension_numbers"]
        return equation.outvars[0].aval.size * math.prod(operands[0].shape[axis] for axis in contracted)
    operation = OPERATIONS.get(equation.primitive)
    if operation is None or operation.multiply_adds is None:
        return 0
    return operation.multiply_adds(*operands, **equation.params)


def evaluated(
    program: Program,
    values: Sequence[Any],
    each: Callable[[Equation, list[Any]], Sequence[Any]],
    opened: Callable[[Equation], Program | None] = called,
) -> list[Any]:
    """The results of a program, equation by equation.

    Args:
      program: the program.
      values: of its arguments, of whatever kind `each` takes.
      each: the results of an equation, `(equation, operands) -> results`. Numbers that the program itself holds are
        operands as they are.
      opened: the program inside of an equation that is to be evaluated in its place; None for `each`.
    """
    jaxpr: Any = _open(program)
    known = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    known |= dict(zip(jaxpr.invars, values, strict=True))

    def read(variable):
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        operands, inside = [read(v) for v in equation.invars], opened(equation)
        results = each(equation, operands) if inside is None else evaluated(inside, operands, each, opened)
        known |= dict(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")


def _open(program: Program) -> Any:
    return getattr(program, "jaxpr", program)


def _rank(aval: Any) -> int | None:
    return getattr(aval, "ndim", None)  # tokens and the like have none
