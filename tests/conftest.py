"""What must be settled before any test touches a device."""

import os
import signal
from collections.abc import Iterator
from importlib.metadata import version

# Four devices, so that shard_map and automatic sharding can be tested on a CPU. Read when JAX starts its backend.
DEVICES = "--xla_force_host_platform_device_count"
# The suite's time is XLA's, compiling thousands of small programs; so it takes less than half. Flags of one's own are
# left alone (XLA_FLAGS=" " is the compiler as users have it), and so are versions that may not know these: XLA ends the
# process at an unknown flag. test_default_compiler.py, the notebooks and the command's subprocesses run as users do.
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

flags = os.environ.get("XLA_FLAGS", "")
if not flags and tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    flags = QUICK
os.environ["XLA_FLAGS"] = flags if DEVICES in flags else f"{flags} {DEVICES}=4".strip()


import jax  # noqa: E402
import pytest  # noqa: E402
from file_server import server  # noqa: E402, F401

if not hasattr(jax, "enable_x64"):  # before 0.8 it was in jax.experimental alone; the package itself has no need of it
    from jax.experimental import enable_x64

    jax.enable_x64 = enable_x64


@pytest.fixture
def float64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def users_environment() -> dict[str, str]:
    """For subprocesses that run as users do."""
    return os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace(QUICK, "")}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Subprocesses can be stopped by Ctrl-C, also where a shell that started the tests in its background forbade it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
