"""What depends on how XLA compiles, in a process with the compiler as users have it (see conftest.py)."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_sizes_of_real_networks(users_environment):
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-p", "no:xdist", "ops/test_ops_large.py"]
    done = subprocess.run(command, cwd=HERE, env=users_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
