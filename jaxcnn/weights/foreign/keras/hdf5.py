"""The content of a Keras file as nested groups of arrays, read in a separate process."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.first_bytes import HDF5, ZIP, first_bytes
from jaxcnn.weights.foreign.limits import most_bytes

SECONDS, BYTES_PER_SECOND = 20, 5 << 20  # seconds; a file that takes longer is taken for one that never ends


class Group(dict[str, Any]):
    """Groups and arrays by name; `attributes` are lists of texts."""

    def __init__(self, name: str, found: Mapping[str, Any], arrays: list[np.ndarray]) -> None:
        self.name, self.attributes = name, found["attributes"]
        super().__init__({key: arrays[number] for key, number in found["arrays"].items()})
        self.update({key: Group(f"{name}/{key}", inner, arrays) for key, inner in found["groups"].items()})

    def at(self, path: str) -> Any:
        """The group or array at a path of names joined by slashes."""
        value: Any = self
        for name in path.split("/"):
            if not isinstance(value, Group) or name not in value:
                raise KeyError(f"no {path} in {self.name or 'the file'}")
            value = value[name]
        return value

    def groups(self) -> dict[str, "Group"]:
        """The groups directly inside this group."""
        return {name: value for name, value in self.items() if isinstance(value, Group)}


def content(path: Path, model_bytes: int) -> tuple[Group, str | None]:
    """The root of the HDF5 file at `path` or in the archive there, and the archive's configuration.

    Another Python process reads the file, since a bad file can make the C library hang. It starts in half a second.

    Raises:
      FileNotFoundError: no such file. ImportError: no h5py.
      WeightsError: the file is neither HDF5 nor an archive, is damaged or hostile, or holds more than `most_bytes`.
    """
    beginning = first_bytes(path)
    if importlib.util.find_spec("h5py") is None:
        raise ImportError(
            f"{path} needs the package `h5py`, which is not installed: pip install 'jaxcnn[parity]'", name="h5py"
        )
    size = path.stat().st_size
    wrong = f"{path}: expected a {path.suffix} file of Keras, found {size:,} bytes"
    if not beginning.startswith((HDF5, ZIP)):
        raise WeightsError(f"{wrong}: neither HDF5 nor a zip archive")
    seconds = SECONDS + size / BYTES_PER_SECOND
    program, limit = Path(__file__).with_name("extract.py"), most_bytes(size, model_bytes)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(program), str(path.absolute()), str(limit)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{wrong}: the HDF5 library did not come to an end within {seconds:.0f} s") from None
    if done.returncode == 3:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise WeightsError(f"{wrong}: {said[-500:]}")
    if done.returncode:
        raise WeightsError(f"{wrong}: reading it ended with code {done.returncode}, as a crash of the library does")
    head, _, rest = done.stdout.partition(b"\n")
    about = json.loads(head)
    return Group("", about["tree"], _arrays(about["arrays"], rest)), about["config"]


def _arrays(described: list[Any], content: bytes) -> list[np.ndarray]:
    arrays, start = [], 0
    for name, shape in described:
        dtype = np.dtype(jnp.bfloat16 if name == "bfloat16" else name)
        arrays.append(np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape))
        start += arrays[-1].nbytes
    return arrays
