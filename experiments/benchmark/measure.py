"""A row, measured: what is stored of it, and the line that is printed."""

import gc
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from benchmark.peers import LAX, OWN
from benchmark.rows import Row
from benchmark.targets import FLOOR, TORCH, value
from benchmark.timing import cores_of_others, matrix_products, take_turns, warm_up


def measure(row: Row, peers: Mapping[str, Any], rounds: int, dtype: str) -> dict[str, Any]:
    """Times of all programs of a row, the matrix-product floor, and how far jaxcnn's result is from lax's."""
    start = time.perf_counter()
    programs = row.programs(peers)
    products = matrix_products(dtype) if row.multiply_adds else {}
    everything = programs | {name: program for name, (program, _) in products.items()}
    first, results = {}, {}
    for name, program in everything.items():
        first[name], result = warm_up(program)
        if name in (OWN, LAX):
            results[name] = result
    measured: dict[str, Any] = {}
    if len(results) == 2:
        measured["difference"] = difference(results[OWN], results[LAX])
    results.clear()
    times, measured["cores_of_others"] = cores_of_others(lambda: take_turns(everything, rounds, first))
    measured["programs"] = {name: times[name] for name in programs}
    for name, program in programs.items():
        if program.compile_s is not None:
            times[name] |= {"compile_s": program.compile_s, "temporary_bytes": program.temporary_bytes}
    if products:
        rate = max(count / times[name]["ms"] for name, (_, count) in products.items())  # multiply-adds per ms
        measured["gflops"] = 2e-6 * rate
        for name in programs:
            times[name]["floor_ms"] = row.multiply_adds.get(name, row.multiply_adds.get("", 0)) / rate
    return measured | {"seconds": round(time.perf_counter() - start, 1)}


def forget() -> None:
    """Drop what a row leaves behind: programs that JAX keeps, and arrays in cycles."""
    jax.clear_caches()
    gc.collect()


def difference(one: Any, other: Any) -> float:
    """The largest absolute difference of two results, in parts of the largest value, of all their arrays."""
    parts = []
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        parts.append(float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30)))
    return max(parts)


def line(name: str, result: Mapping[str, Any]) -> str:
    """jaxcnn's milliseconds, then of each other the milliseconds and, in brackets, jaxcnn's in parts of them."""
    busy = result["cores_of_others"] or 0
    noted = f"; others kept {busy:.1f} cores busy" if busy > 0.1 else ""
    labels = list(dict.fromkeys(TORCH if label.startswith(TORCH) else label for label in result["programs"]))
    own = value(result, OWN)
    if own is None:
        return f"{name:52} {'  '.join(f'{label}: {value(result, label):.4g}' for label in labels)} ms{noted}"
    others = [label for label in (*labels, FLOOR) if label != OWN and value(result, label)]
    parts = [f"{label} {value(result, label):.4g} ({own / value(result, label):.3g})" for label in others]
    return f"{name:52} {OWN} {own:.4g} ms: {', '.join(parts)}{noted}"
