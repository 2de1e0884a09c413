"""jaxcnn against Flax, Equinox, Keras on JAX, PyTorch and XLA's own convolution: training, inference, single layers.

Attains: see docs/benchmarks.md#speed.
Measured: 2 virtual cores of an AMD EPYC (AVX-512), Python 3.11.7, jax 0.10.2, torch 2.13.
Command: pip install '.[bench]' && python experiments/bench.py   (--quick: two minutes; --rows REGEX: some rows)

All programs of a row run in one process, in an order drawn anew for each round; a figure is the median of the rounds
after one that is not counted, compilation apart (benchmark/timing.py says what is done for short programs). PyTorch
runs with contiguous and with channels-last arrays, of which the faster counts. The floor is the multiply-adds of a row
over the rate of matrix products in the same rounds. Results are in bench.json, written after each row; rows that are
there are not run again unless the code of jaxcnn, a version or the configuration changed.
"""

import ast
import dataclasses
import hashlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any, Literal

import tyro
from benchmark import measure, peers, picture, targets
from benchmark.rows import all_rows

import jaxcnn
from jaxcnn.files.json_files import write_json
from jaxcnn.train.run_folder import versions

QUICK_PEERS = [label for label in peers.KNOWN if label in (peers.OWN, peers.LAX) or label.startswith(targets.TORCH)]
PACKAGES = ("flax", "equinox", "keras", "torch")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is timed."""

    quick: bool = False
    """A few rows and rounds, against lax and PyTorch only."""
    rows: str = ""
    """Run the rows in whose names this regular expression is found; all when empty."""
    rounds: int | None = None
    """How often each program is visited; 9, or 3 when quick. Those that take seconds get one or two."""
    out: Path = Path("runs/bench")
    """Folder of bench.json and bench.png."""
    fresh: bool = False
    """Run also the rows that are stored already."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of parameters and inputs; only jaxcnn and lax follow it, so only they run in bfloat16."""


def main(config: Config) -> None:
    """Run the rows, store each, and report on all that are stored."""
    rounds = config.rounds or (3 if config.quick else 9)
    libraries = peers.available(QUICK_PEERS if config.quick else list(peers.KNOWN), config.dtype)
    under = {**surroundings(), "rounds": rounds, "dtype": config.dtype, "libraries": list(libraries)}
    file = config.out / "bench.json"
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    every = all_rows()
    rows = [row for row in every if re.search(config.rows, row.name) and (row.quick or not config.quick)]
    if not rows:
        sys.exit(f"no row has a name in which {config.rows!r} is found")
    failed = []
    for row in rows:
        if config.fresh or stored.get(row.name, {}).get("under") != under:
            try:
                stored[row.name] = measure.measure(row, libraries, rounds, config.dtype) | {"under": under}
            except Exception as error:  # a library may lack what another has; the other rows are still worth running
                print(f"{row.name:52} failed: {type(error).__name__}: {error}", flush=True)
                failed.append(row.name)
                continue
            write_json(file, stored)
        print(measure.line(row.name, stored[row.name]), flush=True)
        measure.forget()
    now = {row.name: stored[row.name] for row in every if stored.get(row.name, {}).get("under") == under}
    print("", *targets.report(now), sep="\n")
    if now:
        picture.draw(now, config.out / "bench.png")
    if failed:
        sys.exit(f"{len(failed)} of {len(rows)} rows failed: {', '.join(failed)}")


def surroundings() -> dict[str, Any]:
    """What a figure depends on: versions, the device, and the code of jaxcnn (without its comments)."""
    folder = Path(jaxcnn.__file__).parent
    files = [file for room in ("ops", "layers", "models") for file in sorted((folder / room).rglob("*.py"))]
    code = "".join(ast.dump(ast.parse(file.read_text(encoding="utf-8"))) for file in files)
    installed = {dist.name.lower() for dist in importlib.metadata.distributions()}
    found = {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}
    return {"versions": versions() | found, "code": hashlib.sha256(code.encode()).hexdigest()[:16]}


if __name__ == "__main__":
    main(tyro.cli(Config))
