"""The text of a program that XLA has compiled for a TPU, read for its cycles.

XLA writes its estimate of cycles beside each operation. A kernel has none: what it says of itself, its multiply-adds
and its bytes, gives a bound. A loop's operations count as often as it runs; of a condition the dearest branch counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_START = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(-?\d+)"')
_NAME = re.compile(r'op_name="([^"]*)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_FLOPS, _BYTES = re.compile(r'"flops":"?(\d+)'), re.compile(r'"bytes_accessed":"?(\d+)')
_WRAPPER = re.compile(r"^(?:jvp|transpose|vmap|checkpoint|remat)\((.*)\)$")
_NO_LAYER = re.compile(r"|p?jit\(.*\)|cond|branch_\d+_fun|while|body|closed_call|checkpoint|rematted_computation")


@dataclass(frozen=True)
class Ran:
    """An operation of a compiled program.

    Args:
      name: the path of JAX's scopes that it comes from, such as "jit(step)/jvp(conv1)/pallas/pallas_call".
      times: how often it runs.
      cycles: XLA's estimate for one run; None for a kernel.
      flops, bytes: what a kernel says of itself, for one run.
    """

    name: str
    times: int
    cycles: int | None
    flops: int = 0
    bytes: int = 0


@dataclass
class Program:
    """A compiled program.

    Args:
      computations: the lines of each.
      entry: the name of the one that starts.
      endless: how many loops have a number of turns that the text does not say; each counts as one turn.
    """

    computations: dict[str, list[str]] = field(default_factory=dict)
    entry: str = ""
    endless: int = 0

    @classmethod
    def read(cls, text: str) -> "Program":
        """Read the text that JAX gives of a compiled program; ValueError if it is something else."""
        program, lines = cls(), None
        for line in text.splitlines():
            start = _START.match(line)
            if start:
                lines = program.computations.setdefault(start[2], [])
                program.entry = start[2] if start[1] else program.entry
            elif lines is not None and line.startswith("  "):
                lines.append(line)
        if not program.entry:
            raise ValueError("Program.read: `text` must be the text of a compiled program; it has no ENTRY")
        return program

    def operations(self) -> list[Ran]:
        """All operations that take time."""
        self.endless = 0
        return list(self._of(self.entry, 1))

    def _of(self, computation: str, times: int) -> Iterator[Ran]:
        for line in self.computations.get(computation, ()):
            found, name = _CYCLES.search(line), _NAME.search(line)
            scope = name[1] if name else ""
            if 'custom_call_target="tpu_custom_call"' in line:
                flops, moved = _FLOPS.search(line), _BYTES.search(line)
                yield Ran(scope, times, None, int(flops[1]) if flops else 0, int(moved[1]) if moved else 0)
            elif found:
                yield Ran(scope, times, max(0, int(found[1])))
            if " while(" in line:
                yield from self._of(_called(line, "body"), times * self._turns(line))
            elif " conditional(" in line:
                branches = [list(self._of(branch, times)) for branch in _branches(line)]
                yield from max(branches, key=lambda ran: sum(r.times * (r.cycles or 0) for r in ran), default=[])
            elif " call(" in line:
                yield from self._of(_called(line, "to_apply"), times)

    def _turns(self, line: str) -> int:
        known = _TRIPS.search(line)
        if known:
            return int(known[1])
        condition = " ".join(self.computations.get(_called(line, "condition"), ()))
        bounds = re.findall(r"s32\[\][^ ]* constant\((\d+)\)", condition)
        if len(bounds) == 1:
            return int(bounds[0])
        self.endless += 1
        return 1


def _called(line: str, role: str) -> str:
    found = re.search(rf"{role}=%?([\w.\-]+)", line)
    return found[1] if found else ""


def _branches(line: str) -> list[str]:
    several = re.search(r"branch_computations=\{([^}]*)\}", line)
    if several:
        return [name.strip().lstrip("%") for name in several[1].split(",")]
    return [_called(line, "true_computation"), _called(line, "false_computation")]


def layer_of(name: str, ends: frozenset[str]) -> str:
    """The layer that an operation comes from: "block1/conv2" of "jit(step)/transpose(jvp(block1))/conv2/pallas/dot".

    Args:
      name: the path of scopes.
      ends: scopes that are no layers; the path ends before the first of them.
    """
    layers = []
    for part in name.split("/")[1:-1]:
        while wrapped := _WRAPPER.match(part):
            part = wrapped[1]
        if part in ends:
            break
        if not _NO_LAYER.fullmatch(part):
            layers.append(part)
    return "/".join(layers)
