"""The members of an ensemble: how many there are, one function over all of them, and the devices that have them."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.train import TrainState
from jaxcnn.train.devices import AXIS, Devices, devices_for

Tree = Any


def over_members(
    op: str,
    function: Callable,
    arguments: Sequence[str],
    ownable: Sequence[str],
    own_batches: bool,
    mesh: Mesh | None = None,
) -> Callable:
    """`function(train_state, *arguments, key)` mapped over members: those arguments that each may have its own of."""
    axes = [0 if own_batches and name in ownable else None for name in arguments]

    def mapped(train_state, *rest):
        *given, key = rest
        members = members_of(op, train_state)
        for name, axis, value in zip(arguments, axes, given, strict=True):
            if axis == 0 and jnp.shape(value)[:1] != (members,):
                raise ValueError(
                    f"ensemble.{op}: with own_batches, `{name}` must have the {members} members' axis first; "
                    f"got {jnp.shape(value)}"
                )
        keys, places = jax.random.split(key, members), (0, *axes, 0)
        return on_devices(mesh, jax.vmap(function, in_axes=places), places, 0)(train_state, *given, keys)

    return mapped


def on_devices(mesh: Mesh | None, function: Callable, axes: Sequence[int | None], result: int) -> Callable:
    """`function` of all members, computed by each device of a mesh for its own members.

    Args:
      mesh: the devices; None for one.
      function: has an axis of members in its result, and in some arguments.
      axes: the axis of members of each argument, None for arguments that all members share.
      result: the axis of members of the result.
    """
    if mesh is None:
        return function

    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)

    # check_vma would have every loop inside say that its start varies over the devices
    options: dict[str, Any] = {"in_specs": tuple(map(spec, axes)), "out_specs": spec(result), "check_vma": False}
    return jax.shard_map(function, mesh=mesh, **options)


def devices_of(op: str, mesh: Mesh | None, train_state: TrainState | Tree) -> Devices:
    """The devices that have an equal number of members each; without a mesh, those where the members are already."""
    members = members_of(op, train_state)
    placed: Any = getattr(jax.tree.leaves(train_state)[0], "sharding", None)
    if mesh is None and isinstance(placed, NamedSharding) and placed.spec[:1] == (AXIS,):
        mesh = cast(Mesh, placed.mesh)
    return devices_for(f"ensemble.{op}", mesh, train_state).dividing(members)


def members_of(op: str, train_state: TrainState | Tree) -> int:
    """The number of members: the length of the leading axis of all arrays."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(train_state)]
    counts = {shape[:1] for shape in shapes}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(
            f"ensemble.{op}: `train_state` must be an ensemble's, all its arrays with the members' axis first; got "
            f"shapes {shapes}"
        )
    return counts.pop()[0]
