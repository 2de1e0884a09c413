"""The time and memory that each layer of a network takes, as a table."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.layers import Layer, walk
from jaxcnn.layers.given import input_shape_of, layer_of
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.walk import Place, leaves, shapes
from jaxcnn.models import Model
from jaxcnn.moved import moved_method
from jaxcnn.ops.jaxprs import multiply_adds
from jaxcnn.train import integers

HEAD = ("layer", "output shape", "ms", "GFLOP/s", "weights KiB", "output KiB", "temporary KiB")


@dataclass(frozen=True)
class Cost:
    """The cost of a layer, or of a network, for one batch.

    Args:
      path: the layer's names from the outermost in, joined with slashes.
      kind: the layer's kind.
      output_shape: the shape of its output without the batch axis.
      milliseconds: the median time over the rounds, without compilation.
      multiply_adds: how many its convolutions and matrix products take.
      parameter_bytes: the size of its parameters and statistics.
      output_bytes: the size of its output.
      temporary_bytes: the memory that XLA needs beside input, parameters and output; None if XLA does not say.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    milliseconds: float
    multiply_adds: int
    parameter_bytes: int
    output_bytes: int
    temporary_bytes: int | None

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations a second, two for each multiply-add."""
        return 2 * self.multiply_adds / self.milliseconds / 1e6


@dataclass(frozen=True)
class Profile:
    """The costs of each layer and of the whole network; printing it gives the table.

    Args:
      name: the model's name.
      batch_size: images in the batch.
      device: the device that it was measured on.
      rows: the costs of the layers, in the network's order.
      whole: the cost of the network, compiled as one program.
    """

    name: str
    batch_size: int
    device: str
    rows: tuple[Cost, ...]
    whole: Cost

    def __str__(self) -> str:
        total = dataclasses.replace(
            self.whole,
            output_shape=(),
            milliseconds=sum(row.milliseconds for row in self.rows),
            output_bytes=sum(row.output_bytes for row in self.rows),
            temporary_bytes=None,
        )
        lines = [HEAD, *map(_cells, self.rows), ("layers, one by one", *_cells(total)[1:])]
        lines += [("whole network", *_cells(self.whole)[1:])]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [
            "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        title = f"{self.name}, a batch of {self.batch_size} at inference, {self.device}"
        return "\n".join([title, rule, texts[0], rule, *texts[1:-2], rule, *texts[-2:]])

    picture = moved_method("inspect.Profile", "picture", "jaxcnn.viz.profile_picture")


def profile(
    model: Model | Layer,
    params: Tree | None = None,
    state: Tree | None = None,
    *,
    batch_size: int = 32,
    rounds: int = 10,
    input_shape: tuple[int, ...] | None = None,
) -> Profile:
    """The time and bytes of each layer at inference, and of the whole network.

    Each layer is compiled alone and run on random values of the shape that it gets in the network. So the layers
    together take longer than the network, in which XLA fuses elementwise layers (ReLU, batch norm) with the layers
    around them and writes nothing out in between; and each call costs some microseconds. Read from the rows which
    layers matter, and from the whole network's row how long it takes. The sum of a residual block and the concatenation
    of branches have no row. The layers are timed in turns, so that a disturbance of the machine hits all of them;
    compiling and the first call of each do not count.

    Args:
      model: a `Model`, or a `Layer` together with its input_shape.
      params, state: the model's; None for fresh ones.
      batch_size: images at a time.
      rounds: how many timings the median is taken over.
      input_shape: without the batch axis; a `Model` knows its own.

    Returns:
      A `Profile`: print it, draw it with `viz.profile_picture`, or read its rows.

    Raises:
      ValueError: a batch_size or rounds below 1, a Layer without an input_shape. TypeError: neither a Model nor a
        Layer.

    Example:
      >>> from jaxcnn.layers import Conv, Relu, serial
      >>> table = profile(serial(Conv(8, 3), Relu()), batch_size=2, rounds=1, input_shape=(8, 8, 1))
      >>> [(row.path, row.output_shape, row.parameter_bytes, row.output_bytes) for row in table.rows]
      [('conv1', (6, 6, 8), 320, 2304), ('relu1', (6, 6, 8), 0, 2304)]
    """
    layer = layer_of("inspect.profile", model)
    batch_size = integers.whole("inspect.profile", "batch_size", batch_size, 1)
    rounds = integers.whole("inspect.profile", "rounds", rounds, 1)
    shape = input_shape_of("inspect.profile", model, input_shape)
    if params is None:
        params, fresh = layer.init(jax.random.key(0), shape)
        state = fresh if state is None else state
    params, state = jax.device_put((params, state or {}))

    programs = []
    inputs: dict[tuple[int, ...], jax.Array] = {}  # one input for all layers that take the same shape
    executables: dict[Any, Any] = {}
    reached = shapes(layer, shape, params, state)
    parts = [(place.name, place) for place in leaves(layer, params, state) if not place.training_only]
    for name, place in (*parts, ("", walk.whole(layer, params, state))):
        own = reached[place.path].input
        if own not in inputs:
            inputs[own] = jax.random.normal(jax.random.key(0), (batch_size, *own))
        programs.append(_program(name, place, inputs[own], executables))

    seconds: list[list[float]] = [[] for _ in programs]
    for _ in range(rounds):
        for (_, run), times in zip(programs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    medians = [1e3 * statistics.median(times) for times in seconds]
    *rows, whole = (cost(milliseconds=median) for (cost, _), median in zip(programs, medians, strict=True))
    # the parameters of auxiliary classifiers are not used in inference
    whole = dataclasses.replace(whole, parameter_bytes=sum(row.parameter_bytes for row in rows))
    return Profile(getattr(model, "name", layer.kind), batch_size, jax.devices()[0].device_kind, tuple(rows), whole)


# ---------------------------------------------------------------------------------------------------------------------


def _program(
    name: str, place: Place, x: jax.Array, executables: dict[Any, Any]
) -> tuple[Callable[..., Cost], Callable[[], Any]]:
    """The `Cost` of a layer without the time, and its program to be timed, compiled and called once."""

    def forward(params, state, x):
        return place.layer.apply(params, state, x)[0]

    arguments = place.params, place.state, x
    lowered = jax.jit(forward, keep_unused=True).lower(*arguments)
    known_by = lowered.as_text(), jax.tree.structure(arguments)
    if known_by not in executables:
        executables[known_by] = lowered.compile()
    executable = executables[known_by]
    memory = executable.memory_analysis()
    y = jax.block_until_ready(executable(*arguments))
    cost = functools.partial(
        Cost,
        name,
        place.layer.kind,
        y.shape[1:],
        multiply_adds=multiply_adds(jax.make_jaxpr(forward)(*arguments)),
        parameter_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves((place.params, place.state))),
        output_bytes=y.nbytes,
        temporary_bytes=memory.temp_size_in_bytes if memory else None,
    )
    return cost, lambda: jax.block_until_ready(executable(*arguments))


def _cells(row: Cost) -> tuple[str, ...]:
    sizes = (row.parameter_bytes, row.output_bytes, row.temporary_bytes)
    return (
        f"{row.path} ({row.kind})",
        " × ".join(map(str, row.output_shape)),
        f"{row.milliseconds:,.3f}",
        f"{row.gflops:,.1f}" if row.multiply_adds else "",
        *("" if size is None else f"{size / 1024:,.1f}" for size in sizes),
    )
