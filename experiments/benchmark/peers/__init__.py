"""The libraries that are compared: each computes the networks of `benchmark.networks` its own way."""

import importlib
import importlib.util
from typing import Any

import jax

OWN, LAX = "jaxcnn", "lax"
# label: the module here, the class, its options, and the package that has to be installed
KNOWN: dict[str, tuple[str, str, dict, str]] = {
    OWN: ("own", "Own", {}, "jaxcnn"),
    LAX: ("plain_lax", "Lax", {}, "jax"),
    "flax": ("with_flax", "Flax", {}, "flax"),
    "equinox": ("with_equinox", "Equinox", {}, "equinox"),
    "keras": ("with_keras", "Keras", {}, "keras"),
    "torch": ("with_torch", "Torch", {}, "torch"),
    "torch channels last": ("with_torch", "Torch", {"channels_last": True}, "torch"),
}
CASTING = {OWN, LAX}  # follow `dtype`; the others are timed in float32 only


def available(labels: list[str], dtype: str) -> dict[str, Any]:
    """The libraries among `labels` that can take part, each missing one named in a line."""
    peers = {}
    for label in labels:
        module, name, options, package = KNOWN[label]
        if dtype != "float32" and label not in CASTING:
            print(f"without {label}: it is timed in float32 only")
        elif package == "torch" and jax.default_backend() != "cpu":
            print(f"without {label}: it is timed on the CPU only")
        elif importlib.util.find_spec(package) is None:
            print(f"without {label}: {package} is not installed (pip install 'jaxcnn[bench]')")
        else:
            peer = getattr(importlib.import_module(f"benchmark.peers.{module}"), name)
            peers[label] = peer(dtype=dtype, **options) if label in CASTING else peer(**options)
    return peers
