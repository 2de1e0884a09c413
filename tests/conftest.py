"""What must be settled before any test touches a device."""

import os

# Two devices, so that shard_map and automatic sharding can be tested on a CPU. Read when JAX starts its backend.
FLAG = "--xla_force_host_platform_device_count"
if FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}=2".strip()


import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def float64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
