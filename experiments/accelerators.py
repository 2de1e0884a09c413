"""Layers and training steps on accelerators that are not here, by their compilers; or on the one that is here, timed.

For a TPU: the cycles that XLA estimates, with the final schedules of kernels, never below what their multiply-adds and
the bytes of a layer take. For a GPU: the bytes that the program's kernels move. Beside it the same with XLA's own
convolution. Each row is a line of JSON, written as soon as it is there, so a second call goes on where the first ended.

Command: python experiments/accelerators.py --chips v5e v6e            (an hour on 2 cores; the steps take most of it)
         JAX_PLATFORMS=cpu python experiments/accelerators.py --chips h100 --only layers
         python experiments/accelerators.py --run                      (on a machine with a TPU or a GPU; minutes)
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

DUMP = Path(tempfile.mkdtemp(prefix="schedules"))
os.environ.setdefault(
    "LIBTPU_INIT_ARGS", f"--xla_jf_dump_to={DUMP} --xla_jf_dump_llo_text=true --xla_mosaic_dump_to={DUMP}"
)

import jax  # noqa: E402  after the compiler was told where to write schedules
import jax.numpy as jnp  # noqa: E402
import tyro  # noqa: E402
from gpu_targets import GPUS, compile_for, traffic  # noqa: E402
from jax import lax  # noqa: E402
from schedules import cycles_of_kernels  # noqa: E402

from jaxcnn import models, ops, train  # noqa: E402
from jaxcnn.inspect import CHIPS  # noqa: E402
from jaxcnn.inspect.compiled import Program  # noqa: E402
from jaxcnn.inspect.estimates import place_of, step_of  # noqa: E402

# x, kernel, stride, padding, groups
LAYERS = {
    "3x3 64-64 56": ((128, 56, 56, 64), (3, 3, 64, 64), 1, 1, 1),
    "3x3 128-256 28": ((128, 28, 28, 128), (3, 3, 128, 256), 1, 1, 1),
    "3x3 s2 64-128 56": ((128, 56, 56, 64), (3, 3, 64, 128), 2, 1, 1),
    "7x7 s2 3-64 224": ((32, 224, 224, 3), (7, 7, 3, 64), 2, 3, 1),
    "1x1 256-64 56": ((32, 56, 56, 256), (1, 1, 256, 64), 1, 0, 1),
    "depthwise 3x3 256 28": ((128, 28, 28, 256), (3, 3, 1, 256), 1, 1, 256),
    "3x3 3-32 32": ((128, 32, 32, 3), (3, 3, 3, 32), 1, 1, 1),
    "3x3 32-32 32": ((128, 32, 32, 32), (3, 3, 32, 32), 1, 1, 1),
    "5x5 1-32 28": ((128, 28, 28, 1), (5, 5, 1, 32), 1, 0, 1),
    "3x3 512-512 14": ((8, 14, 14, 512), (3, 3, 512, 512), 1, 1, 1),
}
STEPS = {"lenet5": 128, "cifar10_cnn": 128, "resnet20": 128, "resnet50": 32, "mobilenet_v2": 32, "vgg16": 32}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compiled or run."""

    chips: tuple[str, ...] = ("v5e",)
    """Of v5e, v6e, t4, a100, h100."""
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    only: str = ""
    """Rows whose name has this regular expression; "layers" and "steps" are parts of names."""
    run: bool = False
    """Time the rows on this machine's own device, instead of compiling for others."""
    out: Path = Path("accelerators.jsonl")
    """Where rows are written; the table and the picture stand beside it."""


def xla_conv(
    x: jax.Array, kernel: jax.Array, *, stride=1, padding="VALID", dilation=1, groups=1, **how: Any
) -> jax.Array:
    """XLA's own convolution, with the arguments of ours."""
    each = [v if isinstance(v, tuple) else (v, v) for v in (stride, dilation)]
    pads = padding if isinstance(padding, str) else [(p, p) if isinstance(p, int) else p for p in (padding,) * 2]
    pads = list(padding) if isinstance(padding, (tuple, list)) else pads
    return lax.conv_general_dilated(
        x,
        kernel,
        each[0],
        pads,
        rhs_dilation=each[1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@contextlib.contextmanager
def convolution_of(library: str) -> Iterator[None]:
    """Networks made in this block convolve by "jaxcnn" or by "xla"."""
    if library == "jaxcnn":
        yield
        return
    with mock.patch.object(ops, "conv", xla_conv):
        yield


def rows(config: Config) -> Iterator[tuple[str, str, Callable[[str], tuple[Callable, tuple]]]]:
    """Each row's name and dtype, and what makes its function and arguments for a library."""
    for dtype in config.dtypes:
        for name, (*shapes, stride, padding, groups) in LAYERS.items():
            typed = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
            options = {"stride": stride, "padding": padding, "groups": groups}

            def forward(library, typed=typed, options=options):
                conv = ops.conv if library == "jaxcnn" else xla_conv
                return (lambda x, w: conv(x, w, **options)), tuple(typed)

            def gradients(library, forward=forward):
                function, typed = forward(library)
                dy = jax.eval_shape(function, *typed)
                return functools.partial(pulled_back, function), (*typed, dy)

            yield f"layers, {name}, y", dtype, forward
            yield f"layers, {name}, dx dw", dtype, gradients
        for name, batch in STEPS.items():

            def step(library, name=name, batch=batch, dtype=dtype):
                model = models.create(name)
                return step_of(model, train.Policy(compute=jnp.dtype(dtype))(model.apply), batch)

            yield f"steps, {name}, {batch}", dtype, step


def pulled_back(function: Callable, x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
    """dx and dw."""
    return jax.vjp(function, x, w)[1](dy)


def compiled_row(chip: str, function: Callable, arguments: tuple, least: float) -> dict[str, float]:
    """What a chip's compiler says of a program: cycles of a TPU, bytes of a GPU.

    Args:
      chip: one of the config's.
      function, arguments: the program.
      least: bytes that a layer reads and writes at least; 0 for a step.
    """
    start = time.perf_counter()
    if chip in GPUS:
        program = compile_for(chip, function, *arguments)
        moved = traffic(program.as_text())
        cost, kernels = moved.bytes / 1e6, moved.kernels
    else:
        for path in DUMP.iterdir():
            path.unlink()
        place = place_of(CHIPS[chip])
        typed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arguments)
        program = jax.jit(function).trace(*typed).lower(lowering_platforms=("tpu",)).compile()
        ran = Program.read(program.as_text()).operations()
        by_xla = sum(r.times * r.cycles for r in ran if r.cycles is not None)
        bounds = sum(r.times * r.flops / 2 / CHIPS[chip].multiply_adds for r in ran if r.cycles is None)
        ours = max(bounds, sum(cycles_of_kernels(DUMP)))
        cost, kernels = (
            max(by_xla + ours, least / CHIPS[chip].bytes_per_cycle) / 1e3,
            sum(r.cycles is None for r in ran),
        )
    temporary = program.memory_analysis().temp_size_in_bytes / 1e6
    return {"cost": cost, "kernels": kernels, "temporary": temporary, "seconds": time.perf_counter() - start}


def timed_row(made: dict[str, tuple[Callable, tuple]]) -> dict[str, dict[str, float]]:
    """Milliseconds of each library's program on this device, in turn, medians; compilation apart."""
    programs, times = {}, {library: [] for library in made}
    for library, (function, arguments) in made.items():
        start = time.perf_counter()
        arrays = jax.tree.map(
            lambda a: jax.random.key(0) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else jnp.ones(a.shape, a.dtype),
            arguments,
        )
        with convolution_of(library):
            compiled = jax.jit(function).lower(*arrays).compile()
        programs[library] = compiled, arrays, time.perf_counter() - start
    for _ in range(12):
        for library, (compiled, arrays, _) in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled(*arrays))
            times[library].append(1e3 * (time.perf_counter() - start))
    return {each: {"cost": statistics.median(times[each][2:]), "seconds": programs[each][2]} for each in made}


def main(config: Config) -> None:
    """Fill the file with the rows that it lacks, and print the table."""
    known = [json.loads(line) for line in config.out.read_text().splitlines()] if config.out.exists() else []
    done = {(row["chip"], row["name"], row["dtype"]) for row in known}
    chips = (jax.devices()[0].device_kind,) if config.run else config.chips
    for chip in chips:
        for name, dtype, make in rows(config):
            if (chip, name, dtype) in done or not re.search(config.only, name):
                continue
            made = {}
            for library in ("jaxcnn", "xla"):
                with convolution_of(library):
                    made[library] = make(library)
            row = {"chip": chip, "name": name, "dtype": dtype, "jax": jax.__version__}
            if config.run:
                row |= timed_row(made)
            else:
                for library, (function, arguments) in made.items():
                    arrays = [*arguments, jax.eval_shape(function, *arguments)] if name.startswith("layers") else []
                    least = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(arrays))
                    with convolution_of(library):
                        row[library] = compiled_row(chip, function, arguments, least)
            known.append(row)
            with config.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(line_of(row), flush=True)
    print_table(known)
    draw(known, config.out.with_suffix(".png"))


def line_of(row: dict) -> str:
    """One row as text."""
    ours, xla = row["jaxcnn"], row["xla"]
    memory = [each.get("temporary", 0) for each in (ours, xla)]
    return (
        f"{row['chip']:8}{row['dtype']:10}{row['name']:36}{ours['cost']:12,.1f}{xla['cost']:12,.1f}"
        f"{ours['cost'] / max(xla['cost'], 1e-9):8.2f}{memory[0]:10,.0f}{memory[1]:8,.0f} MB"
        f"{ours['seconds']:7.0f}{xla['seconds']:5.0f} s"
    )


def print_table(known: list[dict]) -> None:
    """All rows, and the geometric mean of each part."""
    print(f"{'chip':8}{'dtype':10}{'row':36}{'jaxcnn':>12}{'XLA':>12}{'ratio':>8}{'temporary':>13}{'compiling':>12}")
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in known:
        print(line_of(row))
        part = row["name"].split(",")[0] + (row["name"].split(",")[-1] if "layers" in row["name"] else "")
        groups.setdefault((row["chip"], row["dtype"], part), []).append(
            row["jaxcnn"]["cost"] / max(row["xla"]["cost"], 1e-9)
        )
    for (chip, dtype, part), ratios in groups.items():
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        print(f"{chip:8}{dtype:10}{part:36}geometric mean {mean:.2f}, worst {max(ratios):.2f}")


def draw(known: list[dict], path: Path) -> None:
    """The ratios as a picture."""
    import matplotlib.pyplot as plt

    labels = [f"{row['chip']} {row['dtype']} {row['name']}" for row in known]
    ratios = [row["jaxcnn"]["cost"] / max(row["xla"]["cost"], 1e-9) for row in known]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.22 * len(known)))
    axes.barh(labels, ratios, color=["tab:blue" if ratio <= 1 else "tab:orange" for ratio in ratios])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("jaxcnn over XLA's own convolution: cycles of a TPU, bytes of a GPU, or milliseconds")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Config))
