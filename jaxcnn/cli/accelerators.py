"""GPUs and TPUs: which the machine seems to have, which JAX uses, and what to do if it uses none."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
from jax.sharding import Mesh

from jaxcnn.cli.wording import UsageError
from jaxcnn.train import device_mesh

TPU_VARIABLES = ("COLAB_TPU_ADDR", "TPU_NAME", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")
TPU_DEVICES = ("accel*", "vfio/[0-9]*")
GPU_DEVICES = ("nvidia[0-9]*",)
PLUGIN = re.compile(r"jax-(cuda|rocm)(\d+)-(plugin|pjrt)$")


def seen(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> dict[str, str]:
    """The signs that the machine has an accelerator, under the keys "GPU" and "TPU"."""
    found = {}
    if any(any(devices.glob(pattern)) for pattern in GPU_DEVICES):
        found["GPU"] = "its device is there"
    elif shutil.which("nvidia-smi", path=environment.get("PATH")):
        found["GPU"] = "nvidia-smi is there"
    for name in TPU_VARIABLES:
        if environment.get(name):
            found["TPU"] = f"{name} is set"
    if "TPU" not in found and any(any(devices.glob(pattern)) for pattern in TPU_DEVICES[: 1 if "GPU" in found else 2]):
        found["TPU"] = "its device is there"
    return found


def plugins() -> dict[str, str]:
    """JAX's plugins for GPUs that are installed, with their versions."""
    distributions = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {name: version for name, version in distributions if name and PLUGIN.match(name)}


def unused(
    backend: str,
    found: Mapping[str, str],
    installed: Mapping[str, str],
    jaxlib: str,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The accelerator that JAX does not use, and the cure, in words; "" if JAX uses all.

    Args:
      backend: JAX's default.
      found: as from `seen`.
      installed: as from `plugins`.
      jaxlib: its version.
      environment: for JAX_PLATFORMS.

    Example:
        >>> unused("cpu", {"GPU": "nvidia-smi is there"}, {}, "0.10.2", {})
        "a GPU seems to be there (nvidia-smi is there), but JAX does not use it: pip install -U 'jax[cuda12]'"
    """
    if backend != "cpu":
        return ""
    other = {name: version for name, version in installed.items() if _release(version) != _release(jaxlib)}
    if other:
        name, version = next(iter(other.items()))
        match = PLUGIN.match(name)
        kind = f"{match[1]}{match[2]}" if match else ""
        start = "the GPU is there but unused" if "GPU" in found else "a GPU could not be used"
        return f"{start}: {name} {version} does not go with jaxlib {jaxlib}; pip install -U 'jax[{kind}]'"
    if not found:
        return ""
    what = " and ".join(f"a {kind} seems to be there ({why})" for kind, why in found.items())
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms:
        return f"{what}, but JAX_PLATFORMS={platforms} keeps JAX from it"
    cure = "pip install -U 'jax[tpu]'" if "TPU" in found else "pip install -U 'jax[cuda12]'"
    if "GPU" in found and installed:
        return f"{what}, but JAX does not use it, though {', '.join(installed)} is there: does nvidia-smi show the GPU?"
    return f"{what}, but JAX does not use it: {cure}"


def default_backend() -> str:
    """The platform that JAX computes on; it is the CPU if a plugin cannot start."""
    return jax.default_backend()


def mesh(count: int | str | None) -> Mesh | None:
    """The mesh of so many devices or of all, None for what `fit` takes by itself; UsageError if there are fewer."""
    if count is None:
        return None
    here = jax.local_device_count()
    if isinstance(count, str):
        return device_mesh()
    if count > here:
        raise UsageError(f"--devices {count} is more than JAX has here: {here}, by jaxcnn doctor")
    return device_mesh(count)


def _release(version: str) -> tuple[str, ...]:
    """The first three numbers of a version; a plugin with the same three fits the same jaxlib."""
    return tuple(re.findall(r"\d+", version)[:3])
