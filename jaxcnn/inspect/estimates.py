"""What a network would take on a TPU, asked of the TPU's own compiler; no TPU is needed."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import SingleDeviceSharding

from jaxcnn.inspect.compiled import Program, layer_of
from jaxcnn.inspect.summaries import summary
from jaxcnn.ops import ALGORITHMS, jaxprs
from jaxcnn.train import Policy, TrainState, make_step


@dataclass(frozen=True)
class Chip:
    """One TPU chip.

    Args:
      topology: the name that JAX's topologies have for a host with it.
      accelerator: the name that the compiler has for it.
      clock: cycles a second.
      multiply_adds: of its matrix units in one cycle, bfloat16.
      bytes_per_second: of its main memory (HBM).
      memory: bytes of main memory.
    """

    topology: str
    accelerator: str
    clock: float
    multiply_adds: float
    bytes_per_second: float
    memory: int

    @property
    def bytes_per_cycle(self) -> float:
        """How much main memory gives in a cycle."""
        return self.bytes_per_second / self.clock


# Source: cloud.google.com/tpu/docs/v5e and /v6e: 197 and 918 TFLOP/s in bfloat16, 819 and 1,640 GB/s, 16 and 32 GB. A
# v5e has four matrix units of 128×128, which gives the clock; a v6e has two of 256×256.
CHIPS = {
    "v5e": Chip("v5e:2x2", "v5litepod-4", 1.5e9, 4 * 128 * 128, 819e9, 16 * 10**9),
    "v6e": Chip("v6e:2x2", "v6e-4", 1.75e9, 4 * 256 * 256, 1640e9, 32 * 10**9),
}
OTHER = "(other)"
NEEDS = "estimate: the TPU's compiler is not installed: pip install 'jaxcnn[accelerators]'"


@dataclass(frozen=True)
class LayerEstimate:
    """The time of a layer, forward and backward.

    Args:
      name: its path in the network, or "(other)": the loss, the optimizer, and what XLA puts to no layer.
      cycles: XLA's estimate and the bounds of kernels.
      kernels: the part of them that are bounds of kernels.
      bound: what bounds most of its cycles: "products" or "memory" for kernels, else "XLA's estimate".
    """

    name: str
    cycles: int
    kernels: int
    bound: str


@dataclass(frozen=True)
class Estimate:
    """What `estimate` returns; printed, it is a table.

    Args:
      chip: the name of the chip.
      batch_size: the number of examples.
      cycles: of one call; a lower bound where kernels have part in it.
      layers: the dearest first.
      memory: bytes of main memory: arguments, results and temporary arrays.
      temporary: bytes of temporary arrays.
      largest_batch: about how many examples fit; 0 if not even one does. An example takes its part of the temporary
        memory or, where that is less because much stays in the chip's own memory, what its layers put out: in training
        all of them, else the two largest.
      share: the multiply-adds of the definition over those that the matrix units could do in that time.
      endless: how many loops have a number of turns that the compiled program does not say; each counts as one turn.
    """

    chip: str
    batch_size: int
    cycles: int
    layers: tuple[LayerEstimate, ...]
    memory: int
    temporary: int
    largest_batch: int
    share: float
    endless: int

    @property
    def milliseconds(self) -> float:
        """The time of one call."""
        return self.cycles / CHIPS[self.chip].clock * 1e3

    @property
    def fits(self) -> bool:
        """Whether it fits the chip's memory."""
        return self.memory <= CHIPS[self.chip].memory

    def __str__(self) -> str:
        clock = CHIPS[self.chip].clock
        width = max(len(layer.name) for layer in self.layers) + 2
        lines = [f"{'layer':{width}}{'cycles':>12}{'ms':>9}{'share':>8}  bound by"]
        for layer in self.layers:
            share = layer.cycles / max(1, self.cycles)
            lines.append(
                f"{layer.name:{width}}{layer.cycles:12,}{layer.cycles / clock * 1e3:9.3f}{share:8.1%}  {layer.bound}"
            )
        lines += [
            "",
            f"{self.batch_size} examples on a {self.chip}: at least {self.milliseconds:.2f} ms, "
            f"{self.batch_size / max(1e-9, self.milliseconds) * 1e3:,.0f} examples a second, "
            f"{self.share:.0%} of the matrix units' peak",
            f"memory {self.memory / 1e9:.2f} GB of {CHIPS[self.chip].memory / 1e9:.0f}, of which "
            f"{self.temporary / 1e9:.2f} temporary; about {self.largest_batch:,} examples fit",
        ]
        if self.endless:
            lines.append(f"{self.endless} loops have an unknown number of turns and count once")
        return "\n".join(lines)


def estimate(
    model: Any, *, chip: str = "v5e", batch_size: int = 128, dtype: Any = "bfloat16", train: bool = False
) -> Estimate:
    """What a network takes on a TPU: compiled for it here, by its real compiler, and not run.

    XLA's compiler says for each of its operations how many cycles it expects. For a kernel of ours the multiply-adds
    over the rate of the matrix units count, or its bytes over the rate of main memory, whichever is more.

    Args:
      model: with `input_shape`, such as `models.create` returns.
      chip: "v5e" or "v6e", as Colab and Cloud have them.
      batch_size: the number of examples.
      dtype: in which it computes, "bfloat16" or "float32"; parameters are float32.
      train: a whole training step by SGD, instead of the forward pass.

    Returns:
      An `Estimate`.

    Raises:
      ValueError: an unknown chip or dtype, or a batch size below 1.
      RuntimeError: the compiler is not installed; the extra `accelerators` brings it.

    Example:
      >>> from jaxcnn import models
      >>> print(estimate(models.create("lenet5"), train=True))  # doctest: +SKIP
      layer        cycles       ms   share  bound by
      ...

    Source: openxla.org/xla, on the compiler; jax.dev, on `jax.experimental.topologies`.
    """
    if chip not in CHIPS:
        raise ValueError(f"estimate: `chip` must be one of {', '.join(CHIPS)}; got {chip!r}")
    if str(dtype) not in ("bfloat16", "float32"):
        raise ValueError(f"estimate: `dtype` must be bfloat16 or float32; got {dtype!r}")
    if batch_size < 1:
        raise ValueError(f"estimate: `batch_size` must be at least 1; got {batch_size}")
    place, apply = place_of(CHIPS[chip]), Policy(compute=jnp.dtype(dtype))(model.apply)
    function, arguments = (step_of if train else _forward)(model, apply, batch_size)
    typed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arguments)
    compiled = jax.jit(function).trace(*typed).lower(lowering_platforms=("tpu",)).compile()
    outputs = sorted(row.output_bytes for row in summary(model).rows)
    kept = sum(outputs if train else outputs[-2:]) * jnp.dtype(dtype).itemsize // 4
    multiply_adds = jaxprs.multiply_adds(jax.make_jaxpr(function)(*arguments))
    return _read(compiled, chip, batch_size, arguments, kept, multiply_adds)


def place_of(chip: Chip) -> SingleDeviceSharding:
    """A chip that is not there."""
    if importlib.util.find_spec("libtpu") is None:
        raise RuntimeError(NEEDS)
    from jax.experimental import topologies

    wanted = {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_ACCELERATOR_TYPE": chip.accelerator,
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    for name, value in wanted.items():  # the compiler asks a machine of Google's otherwise
        os.environ.setdefault(name, value)
    found = topologies.get_topology_desc(platform="tpu", topology_name=chip.topology)
    return SingleDeviceSharding(found.devices[0])


def _forward(model: Any, apply: Callable, batch_size: int) -> tuple[Callable, tuple]:
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((batch_size, *model.input_shape), jnp.float32)
    return lambda params, state, x: apply(params, state, x)[0], (params, state, x)


def step_of(model: Any, apply: Callable, batch_size: int) -> tuple[Callable, tuple]:
    """A training step by SGD with momentum, and the types of its arguments."""
    optimizer = optax.sgd(0.1, momentum=0.9)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    whole = TrainState(
        params=params,
        state=state,
        opt_state=jax.eval_shape(optimizer.init, params),
        step=jax.ShapeDtypeStruct((), jnp.int32),
    )
    x = jax.ShapeDtypeStruct((batch_size, *model.input_shape), jnp.float32)
    labels, mask = (jax.ShapeDtypeStruct((batch_size,), dtype) for dtype in (jnp.int32, bool))
    key = jax.eval_shape(lambda: jax.random.key(0))
    return make_step(apply, optimizer), (whole, x, labels, mask, key)


def _read(compiled: Any, name: str, batch_size: int, arguments: tuple, kept: int, multiply_adds: int) -> Estimate:
    """What a compiled program says.

    Args:
      compiled: the program.
      name: of the chip.
      batch_size: the number of examples.
      arguments: of the program.
      kept: bytes of the outputs of layers that are in memory at a time, for each example.
      multiply_adds: of the definition.
    """
    chip, program, ends = CHIPS[name], Program.read(compiled.as_text()), frozenset(ALGORITHMS)
    layers: dict[str, dict[str, float]] = {}
    for ran in program.operations():
        by = layers.setdefault(layer_of(ran.name, ends) or OTHER, {"products": 0, "memory": 0, "XLA's estimate": 0})
        if ran.cycles is None:
            products, moved = ran.flops / 2 / chip.multiply_adds, ran.bytes / chip.bytes_per_cycle
            by["products" if products > moved else "memory"] += ran.times * max(products, moved)
        else:
            by["XLA's estimate"] += ran.times * ran.cycles
    rows = [
        LayerEstimate(layer, round(sum(by.values())), round(by["products"] + by["memory"]), max(by, key=by.__getitem__))
        for layer, by in layers.items()
        if sum(by.values())
    ]
    rows.sort(key=lambda row: -row.cycles)
    cycles = sum(row.cycles for row in rows)
    used = compiled.memory_analysis()
    own = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    memory = own + used.temp_size_in_bytes
    examples = sum(a.size * a.dtype.itemsize for a in arguments if getattr(a, "shape", ())[:1] == (batch_size,))
    for_each = (max(used.temp_size_in_bytes, kept * batch_size) + examples) / batch_size
    return Estimate(
        name,
        batch_size,
        cycles,
        tuple(rows),
        memory,
        used.temp_size_in_bytes,
        max(0, int((chip.memory - own + examples) / for_each)),
        multiply_adds / chip.multiply_adds / max(1, cycles),
        program.endless,
    )
