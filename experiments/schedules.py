"""Cycles of a Pallas kernel for TPUs, by the final schedule that its compiler writes.

A schedule is a list of bundles, one a cycle, with labels where loops begin. The bundles of a loop count as often as it
turns; of a loop whose turns only the running program knows, once. What is skipped by a condition counts, too.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

BUNDLE = re.compile(r"^\s*(?:0x[0-9a-f]+|\d+)\s+((?:[A-Z]{2}\s*)?):((?:\s*>)*)\s*\{(.*)$")
TEST = re.compile(r"(%\S+) = scmp\.\w+\.s32\.totalorder (?:\(\S+\), )?%\S+, (\d+|%\S+) /\* loop exit test \*/")
BRANCH = re.compile(r"sbr\.rel \(!?(%\S+)\)")
LEFT = 8  # so many bundles outside of a loop mean that it has ended; fewer are moved across its end


def cycles_of_kernels(folder: Path) -> list[int]:
    """The cycles of each kernel whose compilation was written to a folder, in the order in which they were compiled."""
    grids = [_steps(path) for path in sorted(folder.glob("*post-deserialization*"))]
    schedules = []
    for path in folder.glob("*-final_bundles.txt"):
        told = re.sub(r"-\d+-final_bundles.txt$", "", path.name)
        if "schedule-analysis" not in path.name and any(
            "tpu_custom_call" in each.read_text()
            for each in folder.glob(f"{told}-*schedule-analysis_final_bundles.txt")
        ):
            schedules.append(path)
    schedules.sort(key=lambda path: path.stat().st_mtime)
    return [cycles(path.read_text(), steps) for path, steps in zip(schedules, grids[-len(schedules) :], strict=False)]


def _steps(path: Path) -> int:
    bounds = re.search(r"iteration_bounds = array<i64: ([\d, ]+)>", path.read_text())
    return math.prod(map(int, re.findall(r"\d+", bounds[1]))) if bounds else 1


def cycles(schedule: str, steps: int) -> int:
    """The cycles of a schedule whose grid has so many steps."""
    total = 0
    for loops in _bundles(schedule):
        turns = [int(loop["turns"] or 1) for loop in loops]
        if turns and turns[0] == steps + 2:  # the loop over the grid reads ahead and writes behind
            turns[0] = steps
        total += math.prod(turns)
    return total


def _bundles(schedule: str) -> Iterator[list[dict]]:
    """For each bundle the loops that it is in, the outermost first."""
    loops: list[dict] = []
    outside = 0
    for line in schedule.splitlines():
        bundle = BUNDLE.match(line)
        if not bundle:
            continue
        label, depth, text = bundle[1].strip(), bundle[2].count(">"), bundle[3]
        if label == "LB":
            while loops and loops[-1]["depth"] >= depth:
                loops.pop()
            loops.append({"turns": None, "test": None, "depth": depth})
        empty = text.startswith("}")
        outside = outside if empty else outside + 1 if loops and depth < loops[-1]["depth"] else 0
        if outside > LEFT:
            while loops and loops[-1]["depth"] > depth:
                loops.pop()
            outside = 0
        yield list(loops)
        test = TEST.search(text)
        if test:
            open_ones = [loop for loop in loops if loop["test"] is None and loop["depth"] <= max(depth, 1)]
            if open_ones:
                open_ones[-1].update(test=test[1], turns=test[2] if test[2].isdigit() else None)
        branch = BRANCH.search(text)
        if branch and loops and loops[-1]["test"] == branch[1]:
            loops.pop()
