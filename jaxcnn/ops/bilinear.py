"""Primitives that are linear in their operands, and the only file that touches `jax.interpreters`.

A convolution is linear in its input and linear in its kernel, so its only derivative rules are two transposes, and
those are products of the same kind. Because it is a JAX primitive, every transformation passes through it;
`jax.custom_vjp` would forbid forward mode. A primitive here is declared by

    shape      the static shape of the result (and its dtype, where that is not the first operand's),
    compute    the values, in plain JAX; told what it is lowered for, a `Lowering`,
    axes       the names of the axes that several devices may share out (see sharding.py),
    batch      where `vmap` puts an axis that it maps over,

with two facts for those who read programs (see jaxprs.py),

    multiply_adds   how many it takes,
    slides          which window slides over its first operand,

and its transposes are attached afterwards, because they refer to each other. Only `compute` merges batch axes: inside
it, each device has its own part of them.
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
from jax.sharding import use_abstract_mesh

from jaxcnn.ops import optional_rules, sharding
from jaxcnn.ops.geometry import Slide
from jaxcnn.ops.sharding import Axes

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass(frozen=True)
class Lowering:
    """What a program is lowered for: the platform, and what is known of the program.

    Args:
      platform: one of `PLATFORMS`, or None where it is not known.
      exported: whether `jax.export` lowers it. An exported program has no hints about memory layout, whose form may
        change between versions.
      alone: whether an operand is an argument of the whole program, so that no operation before it chose its memory
        layout. Known for operations with `ask_alone` only.
    """

    platform: str | None
    exported: bool = False
    alone: bool = False


class Operation:
    """A new primitive, called as a function `op(*operands, **static)`.

    `bilinear`, `linear`, `piecewise_linear` or `derived` give it derivatives.

    Attributes:
      multiply_adds: `(*operands, **static) -> int` of the operands' types; None of what multiplies nothing.
      slides: `(**static) -> Slide`: the result sees the first operand through a window, and no other operand but that
        of which this is so too; None of what has no such window.
      plan: `(*operands, lowering, **static) -> Plan` of the operands' types: how a convolution is computed; else None.
    """

    def __init__(
        self,
        name: str,
        *,
        shape: Callable,
        compute: Callable,
        axes: Callable[..., Sequence[Axes]],
        batch: Callable | None = None,
        dtype: Callable | None = None,
        ask_alone: bool = False,
        multiply_adds: Callable[..., int] | None = None,
        slides: Callable[..., Slide] | None = None,
        plan: Callable[..., Any] | None = None,
    ) -> None:
        self.primitive = primitive = Primitive(name)
        self.multiply_adds, self.slides, self.plan = multiply_adds, slides, plan
        OPERATIONS[primitive] = self

        @functools.cache
        def compiled(static):
            return jax.jit(lambda *operands: primitive.bind(*operands, **dict(static)))

        @primitive.def_impl
        def _(*operands, **static):
            with jax.disable_jit(False):  # else, where jit is off, `compiled` would end here again
                return compiled(tuple(sorted(static.items())))(*operands)

        @primitive.def_abstract_eval
        def _(*operands, **static):
            return operands[0].update(
                shape=shape(*operands, **static),
                dtype=dtype(*operands, **static) if dtype else operands[0].dtype,
                weak_type=False,
                sharding=sharding.result_sharding(axes(*operands, **static), operands),
            )

        # JAX may cache a lowering rule, and then the rule cannot look at where its operands come from. A rule that it
        # may not cache cannot be registered per platform, which a program exported for several platforms needs.
        for platform in (None,) if ask_alone else (None, *PLATFORMS):
            rule = _lowering(compute, shape, axes, platform, ask_alone)
            mlir.register_lowering(primitive, rule, platform=platform, cacheable=not ask_alone)
        sharding.needs_devices(primitive)
        optional_rules.look_for_nan(primitive)

        batching.primitive_batchers[primitive] = functools.partial(_batch, self, batch or _in_front)

    def __call__(self, *operands: jax.Array, **static: Any) -> jax.Array:
        return self.primitive.bind(*_equally_varying(operands), **static)


OPERATIONS: dict[Primitive, Operation] = {}  # each by its primitive, for those who meet the primitive in a program


def bilinear(op: Operation, left_transpose: Callable, right_transpose: Callable) -> None:
    """Give `op(left, right)` its two transposes: `(cotangent, other operand, **static) -> operand's cotangent`."""
    if op.multiply_adds is None:
        raise TypeError(f"{op.primitive.name}: a product must say how many multiply-adds it takes")

    def left_rule(ct, left, right, **static):
        return sharding.placed_like(left.aval, left_transpose(ct, right, **static))

    def right_rule(ct, left, right, **static):
        return sharding.placed_like(right.aval, right_transpose(ct, left, **static))

    ad.defbilinear(op.primitive, left_rule, right_rule)
    optional_rules.bilinear_series(op.primitive)


def linear(op: Operation, transpose: Callable, constants: int = 0) -> None:
    """Give `op(x, *constants)`, linear in `x` alone, its transpose `(cotangent, *constants, **static)`."""

    def jvp(tangent, _, *fixed, **static):
        return op(tangent, *fixed, **static)

    def transpose_rule(cotangent, x, *fixed, **static):
        if type(cotangent) is ad.Zero:
            return ad.Zero(x.aval), *(None for _ in fixed)
        return sharding.placed_like(x.aval, transpose(cotangent, *fixed, **static)), *(None for _ in fixed)

    ad.defjvp(op.primitive, jvp, *[None] * constants)
    optional_rules.linear_series(op.primitive, jvp)
    ad.primitive_transposes[op.primitive] = transpose_rule


def piecewise_linear(op: Operation, tangent: Callable) -> None:
    """Give `op(x)` its derivative `tangent(t, x, **static)`, linear in t."""

    def jvp(primals, tangents, **static):
        (x,), (t,) = primals, tangents
        return op(x, **static), tangent(t, x, **static)

    ad.primitive_jvps[op.primitive] = jvp
    optional_rules.linear_series(op.primitive, tangent)


def derived(op: Operation, function: Callable, series: Callable) -> None:
    """Give `op(x, *constants)` the derivatives in x that JAX finds for `function`, which computes the same values.

    `series` also computes the same values, by operations whose Taylor series JAX knows (see optional_rules.py).
    """

    def jvp(primals, tangents, **static):
        x, *constants = primals
        tangent = ad.instantiate_zeros(tangents[0])
        return jax.jvp(lambda x: function(x, *constants, **static), (x,), (tangent,))

    ad.primitive_jvps[op.primitive] = jvp
    optional_rules.series_of(op.primitive, series)


def _lowering(compute: Callable, shape: Callable, axes: Callable, platform: str | None, ask_alone: bool) -> Callable:
    def rule(ctx, *operands, **static):
        module, alone = ctx.module_context, ask_alone and any(map(_from_outside, operands))
        here = module.platforms[0] if ask_alone and len(module.platforms) == 1 else platform
        exported = module.lowering_parameters.for_export
        lowering = Lowering(here, exported, alone)

        def computed(*operands):
            if any(x.size == 0 for x in operands):  # a sum over nothing
                return jnp.zeros(shape(*operands, **static), ctx.avals_out[0].dtype)
            return compute(*operands, lowering=lowering, **static)

        # A custom partitioning calls back into this process, so an exported program has none and gathers its operands.
        shared = sharding.is_shared_out(module.axis_context) and not exported
        names, function = axes(*ctx.avals_in, **static), computed
        inside = ctx.replace(avals_in=[sharding.without_placement(x) for x in ctx.avals_in])
        with use_abstract_mesh(sharding.hidden(jax.sharding.get_abstract_mesh())):
            if shared and sharding.NO_CALLBACKS.intersection(module.platforms):
                function = sharding.cut_ahead(computed, names, ctx.avals_in, module.axis_context)
            elif shared:
                function = sharding.shared_out(computed, names, ctx.avals_out[0])
            return mlir.lower_fun(function, multiple_results=False)(inside, *operands)

    return rule


def _from_outside(value: Any) -> bool:
    """Whether an operand is an argument of the whole program, possibly reshaped."""
    while not hasattr(value.owner, "arguments"):  # the owner is an operation, or the block whose argument the value is
        if value.owner.name != "stablehlo.reshape":
            return False
        value = value.owner.operands[0]
    function = value.owner.owner  # a function, or the body of a loop
    return "sym_name" in function.attributes and str(function.attributes["sym_name"]) == '"main"'


def _batch(op, batch, operands, axes, **static):
    """The rule for `vmap`: `batch(mapped, **static)` says where the mapped axis becomes one more batch axis."""
    places, result, static = batch([axis is not None for axis in axes], **static)
    n = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    moved = []
    for x, axis, place in zip(operands, axes, places, strict=True):
        if place is not None:
            x = jnp.broadcast_to(x, (n, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
            x = jnp.moveaxis(x, 0, place)
        moved.append(x)
    return op(*moved, **static), result


def _in_front(mapped: Sequence[bool], **static: Any) -> tuple[Sequence[int | None], int, dict[str, Any]]:
    """Put a mapped axis before all others, in every operand and in the result."""
    return [0] * len(mapped), 0, static


def varying_like(value: jax.Array, *others: jax.Array) -> jax.Array:
    """`value`, marked as varying over all `shard_map` axes that any of `others` varies over, for a loop's carry."""
    return _equally_varying((value, *others))[0]


def _equally_varying(operands: Sequence[jax.Array]) -> Sequence[jax.Array]:
    """The operands, all marked as varying over the same mesh axes, as `shard_map` demands of a primitive."""
    varying = [_varying_axes(x) for x in operands]
    every = frozenset().union(*varying)
    return [
        _vary(x, tuple(sorted(every - axes))) if every - axes else x for x, axes in zip(operands, varying, strict=True)
    ]


def _vary(x: jax.Array, axes: Sequence[str]) -> jax.Array:
    """`x`, marked as varying over these `shard_map` axes too."""
    if hasattr(lax, "pcast"):
        return lax.pcast(x, axes, to="varying")
    return lax.pvary(x, axes)  # type: ignore[attr-defined]  # jax before 0.8


def shaped_like(x: jax.Array, shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    """The type of an array of another shape that varies over the same axes of a `shard_map`."""
    aval = jax.typeof(x)
    name = "manual_axis_type" if hasattr(aval, "manual_axis_type") else "vma"  # jax before 0.10
    return jax.ShapeDtypeStruct(shape, aval.dtype, **{name: getattr(aval, name)})


def _varying_axes(x: jax.Array) -> frozenset:
    aval = jax.typeof(x)
    kind = getattr(aval, "manual_axis_type", None)  # jax before 0.10 keeps the axes in `vma`
    return aval.vma if kind is None else kind.varying
