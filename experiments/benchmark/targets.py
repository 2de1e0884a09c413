"""What jaxcnn has to show: ratios of medians of one run, jaxcnn's over another's."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.networks import CIFAR10_CNN, LENET5, NETWORKS
from benchmark.peers import LAX, OWN
from benchmark.rows import GROWTH_BATCHES, GROWTH_PIXELS, MODEL_LOOP, PIXELS_BATCH, PLAIN_GRADIENT, PLAIN_STEPS
from benchmark.windows import DEPTHWISE, LARGE

TORCH, FLOOR = "torch", "floor"
Results = Mapping[str, dict[str, Any]]  # what is stored of each row, by its name


def value(result: Mapping[str, Any], label: str, quantity: str = "ms") -> float | None:
    """A quantity of a program of a row; `TORCH` is the faster of its layouts, `FLOOR` the matrix products alone."""
    programs = result["programs"]
    if label == FLOOR:
        return programs.get(OWN, {}).get("floor_ms")
    if label == TORCH:
        return min((p[quantity] for name, p in programs.items() if name.split()[0] == TORCH), default=None)
    return programs.get(label, {}).get(quantity)


def ratio(results: Results, rows: tuple[str, ...], over: str, quantity: str = "ms") -> float | None:
    """jaxcnn's over another's, both summed over some rows; None where one is missing."""
    found = [results[row] for row in rows if row in results]
    own, other = ([value(result, label, quantity) for result in found] for label in (OWN, over))
    if len(found) < len(rows) or None in own or not all(other):
        return None
    return sum(own) / sum(other)


@dataclass(frozen=True)
class Target:
    """A bound on some ratios.

    Args:
      what: is timed.
      over: whom jaxcnn is compared with.
      cases: a ratio each, by name: the rows that are summed for it.
      mean: bound on the geometric mean.
      worst: bound on the largest.
      quantity: what is compared, "ms" or another that is stored with a program.
    """

    what: str
    over: str
    cases: Mapping[str, tuple[str, ...]]
    mean: float | None = None
    worst: float | None = None
    quantity: str = "ms"

    def ratios(self, results: Results) -> dict[str, float]:
        """Of the cases that were run."""
        found = {case: ratio(results, rows, self.over, self.quantity) for case, rows in self.cases.items()}
        return {case: r for case, r in found.items() if r is not None}


def _networks(kind: str, *without: str) -> dict[str, tuple[str, ...]]:
    return {net.name: (f"{kind}/{net.name}",) for net in NETWORKS if net.name not in without}


_STEP, _SCAN, _ENSEMBLE, _EACH = map(_networks, ("step", "scan", "ensemble", "per_example"))
_CIFAR10 = {CIFAR10_CNN.name: (f"step/{CIFAR10_CNN.name}",)}
_FORWARD = {name.removeprefix("depthwise "): (f"layer/{name}/forward",) for name in DEPTHWISE}
_BACKWARD = {name.removeprefix("depthwise "): (f"layer/{name}/dx", f"layer/{name}/dw") for name in DEPTHWISE}
TARGETS = (
    Target("training step", TORCH, _STEP, mean=1.0, worst=1.25),
    Target("training step", LAX, _STEP, mean=0.35, worst=0.6),
    Target("two steps in a scan", PLAIN_STEPS, _SCAN, worst=1.05),
    Target("two steps in a scan", LAX, _networks("scan", LENET5.name), worst=0.05),
    Target("ensemble of 10", LAX, _ENSEMBLE, worst=0.15),
    Target("ensemble of 10", TORCH, _ENSEMBLE, worst=0.8),
    Target("ensemble of 10", MODEL_LOOP, _ENSEMBLE, worst=1.1),
    Target("per-example gradients", LAX, _EACH, worst=0.2),
    Target("per-example gradients", TORCH, _EACH, worst=0.5),
    Target("per-example gradients", PLAIN_GRADIENT, _EACH, worst=2.0),
    Target("one 3×3 layer, forward", FLOOR, {LARGE: (f"layer/{LARGE}/forward",)}, worst=1.0),
    Target("depthwise, forward", LAX, _FORWARD, worst=0.1),
    Target("depthwise, backward", LAX, _BACKWARD, worst=0.1),
    Target("compile time", LAX, _CIFAR10, worst=2.0, quantity="compile_s"),
    Target("temporary memory", LAX, _CIFAR10, worst=1.1, quantity="temporary_bytes"),
)
COMPILE_S = 3.0  # most seconds for the training step of cifar10_cnn


def report(results: Results) -> Iterator[str]:
    """The lines of the table; targets of which no case was run are left out."""
    yield f"{'jaxcnn over another':23} {'':22} {'mean':>6} {'limit':>6} {'worst':>6} {'limit':>6}"
    for target in TARGETS:
        ratios = target.ratios(results)
        if not ratios:
            continue
        mean, case = geometric_mean(ratios.values()), max(ratios, key=ratios.__getitem__)
        met = mean <= (target.mean or math.inf) and ratios[case] <= (target.worst or math.inf)
        limits = (f"{limit:6.2f}" if limit else " " * 6 for limit in (target.mean, target.worst))
        yield (
            f"{target.what:23} {target.over:22} {mean:6.3f} {next(limits)} {ratios[case]:6.3f} {next(limits)}  "
            f"{verdict(met)} {case} ({len(ratios)} of {len(target.cases)})"
        )
    seconds = value(results.get(f"step/{CIFAR10_CNN.name}", {"programs": {}}), OWN, "compile_s")
    if seconds is not None:
        yield f"{'compile time, seconds':60} {seconds:6.2f} {COMPILE_S:6.2f}  {verdict(seconds <= COMPILE_S)}"
    for name, costs in growth(results).items():
        yield f"microseconds per {name} {', '.join(f'{size}: {cost:.4g}' for size, cost in costs.items())}"


def growth(results: Results) -> dict[str, dict[int, float]]:
    """Microseconds per image of a batch, and per pixel of it, at each size: level where the cost grows linearly."""
    curves = {}
    for name, unit, sizes in (("batch", "image", GROWTH_BATCHES), ("pixels", "pixel", GROWTH_PIXELS)):
        result = results.get(f"growth/{name}")
        if result:
            units = {n: n if unit == "image" else PIXELS_BATCH * n**2 for n in sizes}
            found = {n: value(result, str(n)) for n in sizes}
            curves[unit] = {n: 1e3 * ms / units[n] for n, ms in found.items() if ms is not None}
    return curves


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm."""
    return math.exp(statistics.fmean(map(math.log, values)))


def verdict(met: bool) -> str:
    """One word, as long as the other."""
    return "ok    " if met else "missed"
