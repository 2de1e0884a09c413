"""How several devices share the arrays and the work of an operation.

An operation names the axes of its operands and of its result. If a name is in the result, each device computes its own
part along that axis. If a name is in operands alone, the operation sums over that axis: each device sums its own part,
and one all-reduce adds the sums. An axis without a name (None), such as one of positions, is needed whole on each
device.

    conv              x (n, None, None, c)   kernel (None, None, c, d)   y (n, None, None, d)
    kernel gradient   x (n, None, None, c)   y (n, None, None, d)        kernel (None, None, c, d)

So a sharded batch stays sharded, forward and backward, and the gradient of a replicated kernel is one all-reduce.
XLA's partitioner could not find that out by itself, since operations are made of loops over tiles and of merged axes.
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

# jax 0.7 has it in jax.experimental.
enable_x64: Any = (jax if hasattr(jax, "enable_x64") else jax.experimental).enable_x64

NO_CALLBACKS = {"tpu"}  # platforms where custom_partitioning does not work: https://github.com/jax-ml/jax/issues/38196

Axes = tuple[str | None, ...]
Split = dict[str, tuple[str, ...]]  # the mesh axes over which a named axis is shared out


def result_sharding(axes: Sequence[Axes], operands: Sequence[jax.core.ShapedArray]) -> NamedSharding:
    """The sharding of the result, from the operands' types, which have their sharding on a mesh of Explicit axes."""
    shardings = [x.sharding for x in operands]
    mesh = next((s.mesh for s in shardings if not s.mesh.empty), shardings[0].mesh)
    return NamedSharding(mesh, _spec(axes[-1], _split(axes[:-1], [s.spec for s in shardings])))


def needs_devices(primitive: Primitive) -> None:
    """Let JAX tell the lowering of a primitive on which devices and mesh its program will run."""
    dispatch.prim_requires_devices_during_lowering.add(primitive)


def shared_out(compute: Callable, axes: Sequence[Axes], whole: jax.core.ShapedArray) -> Callable:
    """`compute(*operands)`, run by every device on its own part of the operands, as XLA's partitioner cuts them.

    Args:
      compute: takes arrays of any size, the parts of the operands.
      axes: the named axes of each operand and of the result.
      whole: the type of the whole result.
    """
    *given, result = axes
    summed = {name for name in _names(given) if name not in result}
    # The partitioner calls back from another thread, which does not have the settings of this one.
    double = jax.dtypes.canonicalize_dtype("float64") == "float64"

    def split_of(mesh: Mesh, operands: Sequence, y) -> Split:
        shaped = [*zip(given, operands, strict=True), (result, y)]
        split = _split([a for a, _ in shaped], [getattr(x.sharding, "spec", ()) for _, x in shaped])
        parts = {name: _size(mesh, over) for name, over in split.items()}
        uneven = {  # XLA would pad an axis that the devices do not divide, and the sum would count the padding
            name for a, x in shaped for name, n in zip(a, x.shape, strict=True) if name in parts and n % parts[name]
        }
        return {name: over for name, over in split.items() if name not in uneven}

    def partition(mesh: Mesh, operands: Sequence, y):
        split = split_of(mesh, operands, y)
        over = tuple(axis for name in split if name in summed for axis in split[name])

        def own_share(*parts):
            here = jax.sharding.get_abstract_mesh()
            with enable_x64(double), use_abstract_mesh(hidden(here)):
                if is_explicit(here):  # jax 0.7 calls back from the user's thread, where the user's mesh may be set
                    parts = [jax.sharding.reshard(x, PartitionSpec(*[None] * x.ndim)) for x in parts]
                share = compute(*parts)
                return lax.psum(share, over) if over else share

        places = [NamedSharding(mesh, _spec(a, split)) for a in axes]
        return mesh, own_share, places[-1], tuple(places[:-1])

    def infer(mesh: Mesh, operands: Sequence, y):
        return NamedSharding(mesh, _spec(result, split_of(mesh, operands, y)))

    words = [_words(a, f"whole{k}_") for k, a in enumerate(axes)]
    function = custom_partitioning(lambda *operands: jnp.zeros(whole.shape, whole.dtype))  # gives the type alone
    function.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=", ".join(map(" ".join, words[:-1])) + " -> " + " ".join(words[-1]),
        reduction_factors=tuple(sorted(summed)),
        need_replication_factors=tuple(word for of_one in words for word in of_one if word.startswith("whole")),
    )
    return function


def cut_ahead(compute: Callable, axes: Sequence[Axes], operands: Sequence[jax.core.ShapedArray], context) -> Callable:
    """As `shared_out`, for compilers that cannot call back into this process: the cut is fixed before they run.

    On Explicit axes it is that of the operands. On Auto axes only the compiler will know where the operands lie, so it
    is the usual one: all devices share the batch, the first axis whose name begins with n. Operands that lie elsewhere
    are sent to where they are needed, so the result is the same.
    """
    here = jax.sharding.get_abstract_mesh()
    *given, result = axes
    mesh: Any
    if not here.empty:
        mesh = hidden(here)
        split = _split(given, [getattr(x.sharding, "spec", ()) for x in operands])
    else:
        abstract, devices = context.abstract_mesh, np.array(context.device_assignment)
        names, sizes = (("devices",), (-1,)) if abstract is None else (abstract.axis_names, abstract.axis_sizes)
        mesh = Mesh(devices.reshape(sizes), names, axis_types=(AxisType.Auto,) * len(names))
        batch = [name for name in _names(given) if name.startswith("n")][:1]
        split = dict.fromkeys(batch, tuple(mesh.axis_names))
    for a, x in zip(given, operands, strict=True):
        for name, n in zip(a, x.shape, strict=True):
            if name in split and n % _size(mesh, split[name]):
                del split[name]
    over = tuple(axis for name in split if name not in result for axis in split[name])

    def own_share(*parts):
        share = compute(*parts)
        return lax.psum(share, over) if over else share

    places = [_spec(a, split) for a in axes]
    cut = jax.shard_map(own_share, mesh=mesh, in_specs=tuple(places[:-1]), out_specs=places[-1], check_vma=False)

    def function(*operands):
        with use_abstract_mesh(hidden(jax.sharding.get_abstract_mesh())):  # jax 0.7 sets the user's mesh again
            return cut(*operands)

    return function


def is_shared_out(context) -> bool:
    """Whether XLA's partitioner will cut the program that is lowered into parts, one for each device."""
    manual = getattr(context, "manual_axes", None)  # not None inside shard_map, which has cut the program already
    return context.num_devices > 1 if manual is None else False


def without_placement(x: jax.core.ShapedArray) -> jax.core.ShapedArray:
    """The type of x without its sharding: inside an operation the partitioner decides that."""
    mesh = hidden(x.sharding.mesh)
    return x.update(sharding=NamedSharding(mesh, PartitionSpec(*[None] * x.ndim)))


def placed_like(like: jax.Array | jax.core.ShapedArray, x: jax.Array) -> jax.Array:
    """x with the sharding of `like`, an array of the same shape, possibly with axes of length 1.

    Only a mesh of Explicit axes needs it: there types have their sharding. Elsewhere XLA's partitioner finds it out.
    """
    placement = (like if isinstance(like, jax.core.ShapedArray) else jax.typeof(like)).sharding  # also of NumPy arrays
    if not is_explicit(placement.mesh):
        return x
    spec = PartitionSpec(*(over if n > 1 else None for over, n in zip(placement.spec, x.shape, strict=True)))
    return x if jax.typeof(x).sharding.spec == spec else jax.sharding.reshard(x, NamedSharding(placement.mesh, spec))


def rows(x: Any, indices: Any) -> Any:
    """`x[indices]` along the first axis, with the sharding of x if possible: on Explicit axes JAX has to be told."""
    placement = jax.typeof(x).sharding
    if not is_explicit(placement.mesh):
        return x[indices]
    indices = np.arange(len(x))[indices] if isinstance(indices, slice) else indices
    over = placement.spec[0] or ()
    parts = math.prod(placement.mesh.shape[axis] for axis in ((over,) if isinstance(over, str) else over))
    first = placement.spec[0] if len(indices) % parts == 0 else None
    return x.at[indices].get(out_sharding=NamedSharding(placement.mesh, PartitionSpec(first, *placement.spec[1:])))


def is_explicit(mesh) -> bool:
    """Whether a mesh has Explicit axes, so that types of arrays have their sharding."""
    return not mesh.empty and AxisType.Explicit in mesh.axis_types


def hidden(mesh):
    """The mesh with its Explicit axes turned into Auto ones."""
    if not is_explicit(mesh):
        return mesh
    kinds = tuple(AxisType.Auto if kind == AxisType.Explicit else kind for kind in mesh.axis_types)
    return mesh.update(axis_types=kinds)


def _split(axes: Sequence[Axes], specs: Sequence[Sequence]) -> Split:
    """The mesh axes of each name, from the first array that is sharded along it; a mesh axis serves one name only."""
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
    """The words of a sharding rule: the axes' names, and a made-up word for an axis without a name."""
    return [name or f"{prefix}{axis}" for axis, name in enumerate(names)]


def _size(mesh: Mesh, over: tuple[str, ...]) -> int:
    return math.prod(mesh.shape[axis] for axis in over)
