"""NVIDIA GPUs for XLA's compiler, which needs none of them; and the bytes that the kernels of a compiled program move.

Needs, beside jaxcnn, XLA's compiler for them: pip install '.[accelerators-gpu]', and nothing of NVIDIA's: cuDNN is
named in programs and not run, and nothing is tuned by trying.
Sources of the figures: NVIDIA, Turing, A100 and H100 architecture whitepapers; CUDA programming guide, "Compute
Capabilities". A target is a text proto as in XLA's `xla/backends/gpu/target_config/specs`.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from jaxcnn.inspect.compiled import Program


@dataclass(frozen=True)
class Gpu:
    """What XLA asks about a GPU.

    Args:
      name: as its driver says it.
      capability: the compute capability, (major, minor).
      cores: streaming multiprocessors; each with so many `units` for float32.
      units: see `cores`.
      threads: how many a multiprocessor holds.
      shared: bytes of shared memory of a multiprocessor, and how many of them a block may ask for.
      cache: bytes of the L2 cache.
      memory: bytes, and how many of them move a second.
      clock: GHz.
      features: "ACCELERATED_FEATURES" where its instructions have variants for this chip alone, as sm_90a.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    units: int
    threads: int
    shared: tuple[int, int]
    cache: int
    memory: tuple[int, float]
    clock: float
    features: str = "NONE"

    def proto(self) -> str:
        """The target as the text that XLA reads."""
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: {self.threads}
              shared_memory_per_block: 49152 shared_memory_per_core: {self.shared[0]}
              shared_memory_per_block_optin: {self.shared[1]}
              core_count: {self.cores} fpus_per_core: {self.units} clock_rate_ghz: {self.clock}
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
              memory_bandwidth: {self.memory[1]:.0f} device_memory_size: {self.memory[0]} l2_cache_size: {self.cache}
              cuda_compute_capability {{
                major: {self.capability[0]} minor: {self.capability[1]} feature_extension: {self.features}
              }}
            }}
            platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{self.name}"
        """


GPUS = {
    "t4": Gpu("Tesla T4", (7, 5), 40, 64, 1024, (65536, 65536), 4 * 2**20, (15 * 2**30, 320e9), 1.59),
    "a100": Gpu(
        "NVIDIA A100-SXM4-40GB", (8, 0), 108, 64, 2048, (167936, 166912), 40 * 2**20, (39 * 2**30, 1555e9), 1.41
    ),
    "h100": Gpu(
        "NVIDIA H100 80GB HBM3",
        (9, 0),
        132,
        128,
        2048,
        (233472, 232448),
        50 * 2**20,
        (79 * 2**30, 3352e9),
        1.98,
        "ACCELERATED_FEATURES",
    ),
}


def compile_for(gpu: str, function: Callable, *arguments: Any) -> jax.stages.Compiled:
    """The program of `function` for one GPU of this kind; arguments may be `jax.ShapeDtypeStruct`."""
    target = {"target_config": GPUS[gpu].proto(), "topology": "1x1x1"}
    (device,) = topologies.get_topology_desc(platform="cuda", topology_name="", **target).devices
    sharding = SingleDeviceSharding(device)
    typed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), arguments)
    return jax.jit(function).trace(*typed).lower(lowering_platforms=("cuda",)).compile()


@dataclass(frozen=True)
class Traffic:
    """What the kernels of a program move: bytes of their operands and results, and how many kernels run.

    Loops whose number of turns is not known, as the check for weights that are not finite, count as none.
    """

    bytes: int
    kernels: int


BITS = {"pred": 8, "bf16": 16}
ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)(?=\s[a-z])|\S+) ([a-z][\w\-]*)\((.*)$")
NO_KERNELS = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "conditional")


def traffic(text: str) -> Traffic:
    """The traffic of a compiled program, by its text."""
    programs, entry = _parsed(text)

    def of(name: str, times: int) -> tuple[int, int]:
        moved = run = 0
        shapes = {i.name: i.shape for i in programs[name]}
        for i in programs[name]:
            called = re.search(r"(?:body|to_apply|calls)=%?([\w.\-]+)", i.rest)
            if i.operation in NO_KERNELS or i.operation.endswith("-done"):
                continue
            if i.operation in ("while", "call", "async-start") and called:
                turns = re.search(r'known_trip_count":\s*\{"n":"(\d+)"', i.rest)
                count = (int(turns[1]) if turns else 0) if i.operation == "while" else 1
                inside = of(called[1], times * count)
                moved, run = moved + inside[0], run + inside[1]
                continue
            if i.operation == "fusion" and called:
                moved += times * _of_fusion(programs[called[1]])
            else:
                moved += times * (_bytes(i.shape) + sum(_bytes(shapes[each]) for each in i.operands))
            run += times
        return moved, run

    return Traffic(*of(entry, 1))


@dataclass(frozen=True)
class _Instruction:
    root: bool
    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    rest: str


def _parsed(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """The instructions of each computation, and the name of the one that starts."""
    program = Program.read(text)
    return {name: list(_instructions(lines)) for name, lines in program.computations.items()}, program.entry


def _instructions(lines: Sequence[str]) -> Iterator[_Instruction]:
    for found in filter(None, map(INSTRUCTION.match, lines)):
        depth, end = 1, 0
        while depth and end < len(found[5]):
            depth += (found[5][end] in "({") - (found[5][end] in ")}")
            end += 1
        operands = tuple(re.findall(r"%([\w.\-]+)", found[5][:end]))
        yield _Instruction(bool(found[1]), found[2], found[3], found[4], operands, found[5][end:])


def _bytes(shape: str) -> int:
    sizes = ((BITS.get(kind) or int(kind[1:]), axes) for kind, axes in ARRAY.findall(shape))
    return sum(bits // 8 * math.prod(int(n) for n in axes.split(",") if n) for bits, axes in sizes)


def _of_fusion(body: list[_Instruction]) -> int:
    """What a fusion reads and writes: of an operand that it only slices the slices, of an update in place that."""
    named = {i.name: i for i in body}

    def read(name: str) -> int:
        users = [i for i in body if name in i.operands]
        whole, seen = _bytes(named[name].shape), 0
        for i in users:
            if i.operation in ("slice", "dynamic-slice") and i.operands[0] == name:
                seen += _bytes(i.shape)
            elif i.operation == "bitcast":
                seen += read(i.name)
            elif not (i.operation == "dynamic-update-slice" and i.operands[0] == name):
                return whole
        return min(seen, whole)

    def written(i: _Instruction) -> int:
        if i.operation == "tuple":
            return sum(written(named[each]) for each in i.operands)
        if i.operation == "dynamic-update-slice":
            return _bytes(named[i.operands[1]].shape)
        return written(named[i.operands[0]]) if i.operation == "bitcast" else _bytes(i.shape)

    return sum(read(i.name) for i in body if i.operation == "parameter") + sum(written(i) for i in body if i.root)
