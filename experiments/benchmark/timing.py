"""Programs that are ready to run, and their times, taken in turn.

In one process, in turn: what disturbs the machine for a second disturbs all programs of a row alike, and what others
compute meanwhile is noted. The first round is not counted. Each visit to a program begins with a pause and a call that
is not counted, because of what PyTorch and JAX do to each other (2 cores, torch 2.13 with libgomp, jax 0.10.2; medians
of 12 rounds):

- OpenMP's workers spin for some milliseconds after PyTorch returns. A matrix product of 10.0 ms in JAX takes 14.1 ms
  right after PyTorch, a training step of 49 ms takes 68 ms.
- OMP_WAIT_POLICY=PASSIVE keeps JAX undisturbed (10.0 ms), but slows PyTorch: training steps of 7.8 and 34.9 ms take
  10.3 and 48.8 ms. So it is not set.
- After a pause of 20 ms JAX is undisturbed (10.1 ms), and PyTorch but for its first call, whose workers have fallen
  asleep (10.0 ms instead of 7.6; the second call takes 7.6 again). After other programs the caches are cold, too: a
  training step of 16 ms took 21 to 24 at its first call.
- The order of a round is drawn anew each time. In a fixed one, who came before counts: of two identical programs, of
  lenet5, the first of the round took 9.3 ms and the last 6.8, and 8.1 both when drawn.
"""

import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

PAUSE_S = 0.02
VISIT_S = 0.08  # a program is repeated for so long at each visit, at most `MOST_CALLS` times
MOST_CALLS = 5
LONG_S, VERY_LONG_S = 2.0, 10.0  # from here on two counted rounds and one, not warmed


@dataclass(frozen=True)
class Program:
    """One thing to time.

    Args:
      run: computes it on data that is in place, and returns when it is done.
      compile_s: seconds of tracing, lowering and compiling; None for what is not compiled.
      temporary_bytes: memory that XLA sets aside beside arguments and results.
      compared: the part of the result of `run` in which different libraries must agree.
    """

    run: Callable[[], Any]
    compile_s: float | None = None
    temporary_bytes: int | None = None
    compared: Callable[[Any], Any] = lambda result: result


def compiled(function: Callable, *arguments: Any, compared: Callable = lambda result: result) -> Program:
    """A function of arrays, compiled for these arguments."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    memory = executable.memory_analysis()
    return Program(
        lambda: jax.block_until_ready(executable(*arguments)),
        seconds,
        memory.temp_size_in_bytes if memory else None,
        compared,
    )


def warm_up(program: Program) -> tuple[float, Any]:
    """The round that is not counted: seconds, and the result that libraries must agree in.

    The very first call may allocate or tune, so what is short is called again.
    """
    start = time.perf_counter()
    result = program.run()
    seconds = time.perf_counter() - start
    return min(seconds, _seconds(program)) if seconds < LONG_S else seconds, program.compared(result)


def take_turns(programs: Mapping[str, Program], rounds: int, first: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Median and least milliseconds of each program, and how many calls were counted.

    Args:
      programs: by label.
      rounds: how often each is visited; those that take seconds, less often.
      first: seconds of a run of each, from `warm_up`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    gc.disable()  # a collection would be charged to whoever runs
    for turn in range(rounds):
        gc.collect()
        for name in random.Random(turn).sample(list(programs), len(programs)):
            if turn < _rounds(first[name], rounds):
                seconds[name] += _visit(programs[name], first[name])
    gc.enable()
    return {
        name: {"ms": 1e3 * statistics.median(times), "least_ms": 1e3 * min(times), "calls": len(times)}
        for name, times in seconds.items()
    }


def cores_of_others(function: Callable[[], Any]) -> tuple[Any, float | None]:
    """The result of a function, and how many cores other processes kept busy meanwhile; None where that is unknown."""
    before = _busy_seconds()
    result = function()
    after = _busy_seconds()
    if before is None or after is None:
        return result, None
    wall, own, machine = (b - a for a, b in zip(before, after, strict=True))
    return result, max(0.0, (machine - own) / wall)


def _busy_seconds() -> tuple[float, float, float] | None:
    """Wall, this process, all processes."""
    try:
        user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    except (OSError, ValueError):
        return None
    return time.perf_counter(), time.process_time(), (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _seconds(program: Program) -> float:
    start = time.perf_counter()
    program.run()
    return time.perf_counter() - start


def _visit(program: Program, expected_s: float) -> list[float]:
    time.sleep(PAUSE_S)
    if expected_s >= LONG_S:
        return [_seconds(program)]
    program.run()
    calls = min(MOST_CALLS, max(1, round(VISIT_S / expected_s)))
    return [_seconds(program) for _ in range(calls)]


def _rounds(expected_s: float, rounds: int) -> int:
    if expected_s >= VERY_LONG_S:
        return 1
    return min(rounds, 2) if expected_s >= LONG_S else rounds


def matrix_products(dtype: Any) -> dict[str, tuple[Program, int]]:
    """Matrix products, square and tall as patches are, with their multiply-adds: the machine's rate shows in them."""
    scale = 1 if jax.default_backend() == "cpu" else 8
    shapes = {"gemm square": (1024, 1024, 1024), "gemm tall": (32768, 576, 64)}
    products = {}
    for name, (m, k, n) in shapes.items():
        m, k, n = m * scale, k * scale, n * scale
        keys = jax.random.split(jax.random.key(0))
        a, b = jax.random.normal(keys[0], (m, k), dtype), jax.random.normal(keys[1], (k, n), dtype)
        products[name] = compiled(jnp.dot, a, b), m * k * n
    return products
