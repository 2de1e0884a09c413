"""The devices of a training: each has the parameters and an equal part of every batch.

A program with one large batch is written as for one device. The arrays say where they lie, and XLA's partitioner makes
of it a program for each device: the gradient of its part, and a sum over all devices. Batch normalization, too, takes
the statistics of the whole batch, since that is what the program says.
"""

import dataclasses
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxcnn.train.integers import whole

AXIS = "devices"

Tree = Any
T = TypeVar("T")


def device_mesh(count: int | None = None) -> Mesh:
    """The first devices of this process as a mesh; without a count, all devices of all processes.

    Args:
      count: how many devices; None for all.

    Returns:
      A mesh of one axis, "devices", for the `mesh` of `fit`, `evaluate` and `predict`.

    Raises:
      ValueError: a count below 1, or above the number of devices of this process.

    Example:
      >>> dict(device_mesh(1).shape)
      {'devices': 1}
    """
    if count is None:
        return _mesh(jax.devices())
    count, here = whole("device_mesh", "count", count, 1), jax.local_devices()
    if count > len(here):
        raise ValueError(f"device_mesh: `count` must be at most {len(here)}, the devices of this process; got {count}")
    return _mesh(here[:count])


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where the arrays of a training or an evaluation lie.

    Args:
      mesh: of one axis; None for one device, the one that JAX takes by default or that the arrays lie on.
    """

    mesh: Mesh | None = None

    @property
    def count(self) -> int:
        """How many devices share a batch."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def of_processes(self) -> bool:
        """Whether several processes share a batch, each by its own devices."""
        return self.mesh is not None and self.mesh.is_multi_process

    @property
    def leads(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return not self.of_processes or jax.process_index() == 0

    def everywhere(self, tree: Tree) -> Tree:
        """The arrays, whole on each device."""
        return self._put(tree, PartitionSpec())

    def shared(self, tree: Tree, axis: int = 0) -> Tree:
        """The arrays, cut along an axis into a part for each device. A process sends the parts of its own devices."""
        return self._put(tree, PartitionSpec(*[None] * axis, AXIS))

    def here(self, tree: Tree) -> Tree:
        """Arrays that are whole on each device, as arrays of one device of this process; nothing is copied."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

    def fetched(self, array: jax.Array) -> np.ndarray:
        """A result as a NumPy array; if parts of it lie on the devices of other processes, these send them."""
        if array.is_fully_addressable or array.is_fully_replicated:
            return np.asarray(array)
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def filled(self, size: int) -> int:
        """The next size of a batch that the devices divide."""
        return size + -size % self.count

    def for_batches(self, size: int, *, whole: bool) -> "Devices":
        """The devices that share batches of this size.

        Args:
          size: examples in a batch.
          whole: whether the batch must not be filled up with examples that do not count, because all examples take part
            in batch statistics. Then they are the most devices that divide the size.

        Raises:
          ValueError: several processes, some of which would have no device.
        """
        if self.mesh is None or not whole or size % self.count == 0:
            return self
        if self.of_processes:
            raise ValueError(
                f"fit: `batch_size` must be a multiple of the {self.count} devices of all processes, since batch "
                f"statistics are those of the whole batch; got {size}"
            )
        return self.dividing(size)

    def dividing(self, size: int) -> "Devices":
        """The most of these devices that divide so many examples or members."""
        if self.mesh is None:
            return self
        most = max(count for count in range(1, self.count + 1) if size % count == 0)
        return self if most == self.count else Devices(_mesh(self.mesh.devices.flat[:most]))

    def any(self, answer: bool) -> bool:
        """Whether the answer of any process is True."""
        return bool(multihost_utils.process_allgather(np.asarray(answer)).any()) if self.of_processes else answer

    def check_agree(self, settings: Mapping[str, Any]) -> None:
        """ValueError unless all processes have the same settings and arrays, of which hashes are compared."""
        if not self.of_processes:
            return
        own = np.asarray([_checksum(value) for value in settings.values()], np.uint32)
        of_all = multihost_utils.process_allgather(own).reshape(-1, len(own))
        differing = [name for name, same in zip(settings, (of_all == of_all[0]).all(0), strict=True) if not same]
        if differing:
            raise ValueError(
                f"fit: all processes must be given the same, of which each takes its share; {', '.join(differing)} "
                "differ"
            )

    def wait(self, name: str) -> None:
        """Wait until all processes are here."""
        if self.of_processes:
            multihost_utils.sync_global_devices(name)

    def _put(self, tree: Tree, spec: PartitionSpec) -> Tree:
        if self.mesh is None:
            return jax.device_put(tree)
        sharding = NamedSharding(self.mesh, spec)
        if not self.of_processes:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda leaf: _of_processes(leaf, sharding), tree)


def devices_for(op: str, mesh: Mesh | None, *given: Tree, all_processes: bool = False) -> Devices:
    """The devices of a mesh; without one, all accelerators of this process, or what the arrays lie on.

    The several devices that a CPU can show are its same cores, so they are taken only if they are asked for, or by
    several processes.

    Args:
      op: named in messages.
      mesh: the user's; the batch is shared out over all its axes.
      given: arrays; where they lie on several devices already, they stay there.
      all_processes: whether the devices of all processes are taken.

    Raises:
      TypeError: no mesh. ValueError: a mesh of some processes.
    """
    if mesh is not None:
        if not isinstance(mesh, Mesh):
            raise TypeError(f"{op}: `mesh` must be a jax.sharding.Mesh, such as train.device_mesh(); got {mesh!r}")
        processes = {device.process_index for device in mesh.devices.flat}
        if len(processes) not in (1, jax.process_count()) or jax.process_index() not in processes:
            raise ValueError(
                f"{op}: `mesh` must have devices of this process alone or of all {jax.process_count()}; got those of "
                f"{sorted(processes)}, and this is {jax.process_index()}"
            )
        return Devices(_mesh(mesh.devices.flat))
    if any(len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(given) if _is_placed(leaf)):
        return Devices()
    if all_processes and jax.process_count() > 1:
        return Devices(_mesh(jax.devices()))
    here = jax.local_devices()
    by_default = len(here) > 1 and here[0].platform != "cpu" and getattr(jax.config, "jax_default_device", None) is None
    return Devices(_mesh(here)) if by_default else Devices()


def one_behind(started: Iterable[T]) -> Iterator[T]:
    """Each element when the next one was started.

    JAX starts a computation and returns before it is done; to read a result is to wait for it. If results are read one
    behind, the next batch is sent while the devices compute, and they never wait for the host.
    """
    none = object()
    before: Any = none
    for element in started:
        if before is not none:
            yield before
        before = element
    if before is not none:
        yield before


# ---------------------------------------------------------------------------------------------------------------------


def _mesh(devices: Iterable[jax.Device]) -> Mesh:
    return Mesh(np.array([*devices]), (AXIS,), axis_types=(AxisType.Auto,))


def _is_placed(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)


def _of_processes(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array of all processes, of which each sends what its own devices hold."""
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _of_processes(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _checksum(value: Any) -> int:
    array = np.ascontiguousarray(value) if hasattr(value, "dtype") else np.frombuffer(repr(value).encode(), np.uint8)
    return zlib.crc32(array.view(np.uint8).data if array.size else b"", zlib.crc32(f"{array.shape}".encode()))
