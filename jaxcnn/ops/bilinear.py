"""Primitives that are linear in their operands, and the only file that touches `jax.interpreters`.

A convolution is linear in its input and linear in its kernel, so it needs no derivative rule beyond two transposes, and
those are products of the same kind. Declared as JAX primitives (rather than through `jax.custom_vjp`, which would
forbid forward mode) such operations pass through every transformation. A primitive here is declared by

    shape      the static shape of the result (and its dtype, where that is not the first operand's),
    compute    the numbers, in plain JAX, told the target it is lowered for,
    batch      which axis of each operand, and of the result, is the batch, if any.

and its transposes are attached afterwards, because they refer to each other.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass(frozen=True)
class Target:
    """What an operation is lowered for.

    Args:
      platform: one of `PLATFORMS`, or None where it is not known.
      exported: by `jax.export`, which admits no hints about memory layout: their form may change between versions.
      alone: whether an operand comes straight from outside the program, so that no operation before it had a say in
        where it lies in memory. Of operations that `ask_alone` only.
    """

    platform: str | None
    exported: bool = False
    alone: bool = False


class Operation:
    """A new primitive, called as a function `op(*operands, **static)`.

    `bilinear`, `linear` or `piecewise_linear` give it derivatives.
    """

    def __init__(
        self,
        name: str,
        *,
        shape: Callable,
        compute: Callable,
        batch: Sequence[int | None],
        batch_result: int | None,
        dtype: Callable | None = None,
        ask_alone: bool = False,
    ) -> None:
        self.primitive = primitive = Primitive(name)

        @functools.cache
        def compiled(static):
            return jax.jit(lambda *operands: primitive.bind(*operands, **dict(static)))

        @primitive.def_impl
        def _(*operands, **static):
            with jax.disable_jit(False):  # where jit is off, compiled would bind, which would come here again
                return compiled(tuple(sorted(static.items())))(*operands)

        @primitive.def_abstract_eval
        def _(first, *rest, **static):
            result = dtype(first, *rest, **static) if dtype else first.dtype
            return first.update(shape=shape(first, *rest, **static), dtype=result, weak_type=False)

        # A rule whose result is cached does not see where its operands come from; one that is not cannot be chosen by
        # platform when a program is exported for several.
        for platform in (None,) if ask_alone else (None, *PLATFORMS):
            rule = _lowering(compute, platform, ask_alone)
            mlir.register_lowering(primitive, rule, platform=platform, cacheable=not ask_alone)

        batching.primitive_batchers[primitive] = functools.partial(_batch, self, batch, batch_result)

    def __call__(self, *operands: jax.Array, **static: Any) -> jax.Array:
        return self.primitive.bind(*_equally_varying(operands), **static)


def bilinear(op: Operation, left_transpose: Callable, right_transpose: Callable) -> None:
    """Give `op(left, right)` its two transposes: `(cotangent, other operand, **static) -> operand's cotangent`."""
    ad.defbilinear(
        op.primitive,
        lambda ct, _, right, **static: left_transpose(ct, right, **static),
        lambda ct, left, _, **static: right_transpose(ct, left, **static),
    )


def linear(op: Operation, transpose: Callable, constants: int = 0) -> None:
    """Give `op(x, *constants)`, linear in `x` alone, its transpose `(cotangent, *constants, **static)`."""

    def jvp(tangent, _, *fixed, **static):
        return op(tangent, *fixed, **static)

    def transpose_rule(cotangent, x, *fixed, **static):
        x_bar = ad.Zero(x.aval) if type(cotangent) is ad.Zero else transpose(cotangent, *fixed, **static)
        return x_bar, *(None for _ in fixed)

    ad.defjvp(op.primitive, jvp, *[None] * constants)
    ad.primitive_transposes[op.primitive] = transpose_rule


def piecewise_linear(op: Operation, tangent: Callable) -> None:
    """Give `op(x)` its derivative `tangent(t, x, **static)`, linear in t."""

    def jvp(primals, tangents, **static):
        (x,), (t,) = primals, tangents
        return op(x, **static), tangent(t, x, **static)

    ad.primitive_jvps[op.primitive] = jvp


def _lowering(compute: Callable, platform: str | None, ask_alone: bool) -> Callable:
    def rule(ctx, *operands, **static):
        (result,) = ctx.avals_out
        module, alone = ctx.module_context, ask_alone and any(map(_from_outside, operands))
        here = module.platforms[0] if ask_alone and len(module.platforms) == 1 else platform
        target = Target(here, module.lowering_parameters.for_export, alone)

        def computed(*operands):
            if any(x.size == 0 for x in (result, *operands)):  # a sum over nothing
                return jnp.zeros(result.shape, result.dtype)
            return compute(*operands, target=target, **static)

        return mlir.lower_fun(computed, multiple_results=False)(ctx, *operands)

    return rule


def _from_outside(value: Any) -> bool:
    """Whether an operand is an argument of the whole program, reshaped at most."""
    while not hasattr(value.owner, "arguments"):  # an operation; else the block whose argument it is
        if value.owner.name != "stablehlo.reshape":
            return False
        value = value.owner.operands[0]
    function = value.owner.owner  # or a loop
    return "sym_name" in function.attributes and str(function.attributes["sym_name"]) == '"main"'


def _batch(op, batch_axes, result_axis, operands, axes, **static):
    """vmap: fold the mapped axis into the batch; where that is not possible, into the members, the first axis."""
    mapped = [axis is not None for axis in axes]
    n = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    foldable = result_axis is not None and all(b is not None or not m for b, m in zip(batch_axes, mapped, strict=True))
    places = batch_axes if foldable else [0] * len(operands)
    folded = []
    for x, axis, place in zip(operands, axes, places, strict=True):
        if place is not None:
            x = jnp.broadcast_to(x, (n, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
            x = jnp.moveaxis(x, 0, place)
            own = x.shape[place + 1]
            x = x.reshape(*x.shape[:place], n * x.shape[place + 1], *x.shape[place + 2 :])
        folded.append(x)
    y = op(*folded, **static)
    place = result_axis if foldable else 0
    y = y.reshape(*y.shape[:place], n, own, *y.shape[place + 1 :])
    return y, place


def varying_like(value: jax.Array, *others: jax.Array) -> jax.Array:
    """`value`, marked as varying over the `shard_map` axes that any of `others` varies over (a carry must be)."""
    return _equally_varying((value, *others))[0]


def _equally_varying(operands: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """Under `shard_map` all operands of a primitive must vary over the same mesh axes: make them."""
    varying = [_varying_axes(x) for x in operands]
    every = frozenset().union(*varying)
    return [
        _vary(x, tuple(sorted(every - axes))) if every - axes else x for x, axes in zip(operands, varying, strict=True)
    ]


def _vary(x: jax.Array, axes: Sequence[str]) -> jax.Array:
    """`x`, marked as varying over these `shard_map` axes too."""
    if hasattr(lax, "pcast"):
        return lax.pcast(x, axes, to="varying")
    return lax.pvary(x, axes)  # jax before 0.8


def _varying_axes(x: jax.Array) -> frozenset:
    aval = jax.typeof(x)
    kind = getattr(aval, "manual_axis_type", None)  # jax before 0.10 keeps the axes in `vma`
    return aval.vma if kind is None else kind.varying
