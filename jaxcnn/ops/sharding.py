"""How an operation's arrays lie over several devices, and one device's share of its work.

An operation names the axes of its operands and of its result. A name that stands in the result is free: where devices
share it out, each computes its own part. A name that stands in operands alone is summed over: each device sums its own
part, and one all-reduce adds the sums. An axis without a name (None), as of positions, is needed whole on each device.

    conv              x (n, None, None, c)   kernel (None, None, c, d)   y (n, None, None, d)
    kernel gradient   x (n, None, None, c)   y (n, None, None, d)        kernel (None, None, c, d)

So a sharded batch stays sharded, forward and backward, and the gradient of a replicated kernel is one all-reduce.
XLA's partitioner could not find that out of what an operation is made of: loops over tiles, and merged axes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax._src import dispatch
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, use_abstract_mesh

enable_x64: Any = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64  # jax 0.7: there

Axes = tuple[str | None, ...]
Split = dict[str, tuple[str, ...]]  # the mesh axes over which a named axis is shared out


def result_sharding(axes: Sequence[Axes], operands: Sequence[jax.core.ShapedArray]) -> NamedSharding:
    """Of the result, from the operands' types: on a mesh of Explicit axes these say how each lies."""
    shardings = [x.sharding for x in operands]
    mesh = next((s.mesh for s in shardings if not s.mesh.empty), shardings[0].mesh)
    return NamedSharding(mesh, _spec(axes[-1], _split(axes[:-1], [s.spec for s in shardings])))


def needs_devices(primitive: Primitive) -> None:
    """Let JAX tell the lowering of a primitive on which devices and mesh its program will run."""
    dispatch.prim_requires_devices_during_lowering.add(primitive)


def shared_out(compute: Callable, axes: Sequence[Axes], whole: jax.core.ShapedArray) -> Callable:
    """`compute(*operands)`, which XLA's partitioner hands to every device with the part that is its own.

    Args:
      compute: of arrays of any size, the parts.
      axes: of each operand and of the result.
      whole: the type of the whole result.
    """
    *given, result = axes
    summed = {name for name in _names(given) if name not in result}
    # The partitioner calls from a thread of its own, without this one's settings.
    double = jax.dtypes.canonicalize_dtype("float64") == "float64"

    def split_of(mesh: Mesh, operands: Sequence, y) -> Split:
        shaped = [*zip(given, operands, strict=True), (result, y)]
        split = _split([a for a, _ in shaped], [getattr(x.sharding, "spec", ()) for _, x in shaped])
        parts = {name: _size(mesh, over) for name, over in split.items()}
        uneven = {  # such an axis would be padded, and the padding summed
            name for a, x in shaped for name, n in zip(a, x.shape, strict=True) if name in parts and n % parts[name]
        }
        return {name: over for name, over in split.items() if name not in uneven}

    def partition(mesh: Mesh, operands: Sequence, y):
        split = split_of(mesh, operands, y)
        over = tuple(axis for name in split if name in summed for axis in split[name])

        def own_share(*parts):
            here = jax.sharding.get_abstract_mesh()
            with enable_x64(double), use_abstract_mesh(hidden(here)):
                if is_explicit(here):  # jax 0.7 calls from the user's own thread, where the user's mesh may be set
                    parts = [jax.sharding.reshard(x, PartitionSpec(*[None] * x.ndim)) for x in parts]
                share = compute(*parts)
                return lax.psum(share, over) if over else share

        places = [NamedSharding(mesh, _spec(a, split)) for a in axes]
        return mesh, own_share, places[-1], tuple(places[:-1])

    def infer(mesh: Mesh, operands: Sequence, y):
        return NamedSharding(mesh, _spec(result, split_of(mesh, operands, y)))

    words = [_words(a, f"whole{k}_") for k, a in enumerate(axes)]
    function = custom_partitioning(lambda *operands: jnp.zeros(whole.shape, whole.dtype))  # asked for its type alone
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=", ".join(map(" ".join, words[:-1])) + " -> " + " ".join(words[-1]),
        reduction_factors=tuple(sorted(summed)),
        need_replication_factors=tuple(word for of_one in words for word in of_one if word.startswith("whole")),
    )
    return function


def is_shared_out(context) -> bool:
    """Whether a lowering's program is one that XLA's partitioner will cut into parts, one for each device."""
    manual = getattr(context, "manual_axes", None)  # inside shard_map, which has cut it already
    return context.num_devices > 1 if manual is None else False


def without_placement(x: jax.core.ShapedArray) -> jax.core.ShapedArray:
    """The type of x, with nothing said of where its parts lie: inside an operation the partitioner says so."""
    mesh = hidden(x.sharding.mesh)
    return x.update(sharding=NamedSharding(mesh, PartitionSpec(*[None] * x.ndim)))


def placed_like(like: jax.Array | jax.core.ShapedArray, x: jax.Array) -> jax.Array:
    """x, its parts on the devices where those of `like` are, whose shape x has, but for axes of length 1.

    On a mesh of Explicit axes, where types say so; elsewhere XLA's partitioner finds out.
    """
    placement = (like if isinstance(like, jax.core.ShapedArray) else jax.typeof(like)).sharding  # NumPy's arrays too
    if not is_explicit(placement.mesh):
        return x
    spec = PartitionSpec(*(over if n > 1 else None for over, n in zip(placement.spec, x.shape, strict=True)))
    return x if jax.typeof(x).sharding.spec == spec else jax.sharding.reshard(x, NamedSharding(placement.mesh, spec))


def rows(x: Any, indices: Any) -> Any:
    """`x[indices]` along the first axis, shared out as x is where that goes: on Explicit axes JAX has to be told."""
    placement = jax.typeof(x).sharding
    if not is_explicit(placement.mesh):
        return x[indices]
    indices = np.arange(len(x))[indices] if isinstance(indices, slice) else indices
    over = placement.spec[0] or ()
    parts = math.prod(placement.mesh.shape[axis] for axis in ((over,) if isinstance(over, str) else over))
    first = placement.spec[0] if len(indices) % parts == 0 else None
    return x.at[indices].get(out_sharding=NamedSharding(placement.mesh, PartitionSpec(first, *placement.spec[1:])))


def is_explicit(mesh) -> bool:
    """Whether types say how arrays lie on it."""
    return not mesh.empty and AxisType.Explicit in mesh.axis_types


def hidden(mesh):
    """The mesh, its Explicit axes made Auto."""
    if not is_explicit(mesh):
        return mesh
    kinds = tuple(AxisType.Auto if kind == AxisType.Explicit else kind for kind in mesh.axis_types)
    return mesh.update(axis_types=kinds)


def _split(axes: Sequence[Axes], specs: Sequence[Sequence]) -> Split:
    """Each name's mesh axes, as the first array that is shared out along it has it; a mesh axis serves one name."""
    split: Split = {}
    for names, spec in zip(axes, specs, strict=True):
        for name, over in zip(names, spec, strict=False):
            over = (over,) if isinstance(over, str) else tuple(over or ())
            taken = {axis for others in split.values() for axis in others}
            if name and over and name not in split and not taken.intersection(over):
                split[name] = over
    return split


def _spec(names: Axes, split: Split) -> PartitionSpec:
    return PartitionSpec(*(split.get(name or "") for name in names))


def _names(axes: Sequence[Axes]) -> Iterator[str]:
    yield from dict.fromkeys(name for a in axes for name in a if name)


def _words(names: Axes, prefix: str) -> list[str]:
    """The names in a sharding rule, with one for each axis that has none."""
    return [name or f"{prefix}{axis}" for axis, name in enumerate(names)]


def _size(mesh: Mesh, over: tuple[str, ...]) -> int:
    return math.prod(mesh.shape[axis] for axis in over)
