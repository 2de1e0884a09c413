"""PyTorch's own files, which are pickles: PyTorch reads them, and what could run code is refused."""

import argparse
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.first_bytes import first_bytes
from jaxcnn.weights.foreign.limits import most_bytes

CURE = "Where the module's class can be imported, torch.save(module.state_dict(), path) writes a file of tensors alone"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def unpickle(path: Path, model_bytes: int) -> Mapping[str, Any]:
    """What `torch.load(weights_only=True)` reads from a file: dictionaries, numbers and tensors.

    Raises:
      FileNotFoundError: no such file. ImportError: no PyTorch.
      WeightsError: a damaged file, a pickled module or other object, TorchScript, a size above `most_bytes`.
    """
    first_bytes(path)
    try:
        import torch
    except ModuleNotFoundError:
        raise ImportError(
            f"{path} is a pickle, which only PyTorch reads safely, and PyTorch is not installed: "
            "pip install 'jaxcnn[parity]'. A file that safetensors.torch.save_file has written needs no PyTorch",
            name="torch",
        ) from None
    size = path.stat().st_size
    _check_archive(path, most_bytes(size, model_bytes))
    try:
        with torch.serialization.safe_globals(_harmless()):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise UnpicklingError, RuntimeError, EOFError, …
        raise WeightsError(f"{path}: expected PyTorch weights, found {size:,} bytes that {_reason(error)}") from None
    if isinstance(found, list | tuple) and any(isinstance(value, Mapping) for value in found):
        return {str(i): value for i, value in enumerate(found)}
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path}: expected a state dict, found {type(found).__name__}")
    return found


def _check_archive(path: Path, limit: int) -> None:
    """Check the sizes and checksums of the archive that PyTorch writes, which PyTorch's own reader does not check."""
    if not zipfile.is_zipfile(path):
        return  # a file in the format of PyTorch before 1.6
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > limit:
                raise WeightsError(
                    f"{path}: unpacks to more than {limit:,} bytes by its own header, more than the model can use"
                )
            summed = any(member.CRC for member in members)  # none if PyTorch was told not to write checksums
            if summed and (wrong := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {wrong} is wrong")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        said = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: expected PyTorch weights, found a damaged archive: {said}") from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise WeightsError(
            f"{path}: is a TorchScript program, which is not run here; "
            "torch.save(torch.jit.load(path).state_dict(), other) writes its tensors"
        )


def _harmless() -> list[Any]:
    """Types that checkpoints hold besides tensors and that cannot run code: NumPy's numbers, parsed command lines."""
    dtypes = [type(np.dtype(name)) for name in ("float16", "float32", "float64", "int32", "int64", "bool")]
    core: Any = getattr(np, "_core", None) or np.core  # `np.core` in NumPy 1
    return [argparse.Namespace, np.dtype, core.multiarray.scalar, *dtypes]


def _reason(error: Exception) -> str:
    """PyTorch's reason in one line, without its advice to run the code in the file."""
    said = ESCAPES.sub("", str(error))
    if found := re.search(r"GLOBAL ([\w.]+)", said):
        return f"hold more than tensors; torch.load(weights_only=True) does not run {found[1]}. {CURE}"
    if "weights_only" in said:
        return f"are damaged or hold more than tensors; torch.load(weights_only=True) refuses them. {CURE}"
    line = (said.strip() or type(error).__name__).splitlines()[0]
    return f"are damaged or not weights: {line[:300]}"
