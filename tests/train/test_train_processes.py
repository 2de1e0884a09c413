"""Several processes of JAX, which share each batch over the loopback: what one computes, and one writes the files."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SECONDS = 240
WORKER = """
import os, signal, sys
import jax

process, processes, port, action, seed = (int(word) if word.isdigit() else word for word in sys.argv[1:])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
if processes > 1:
    jax.distributed.initialize(f"localhost:{port}", processes, process, heartbeat_timeout_seconds=10)

import numpy as np
import optax
from train_tiny import DIGITS, LINEAR, WHOLE

from jaxcnn import train

def each(epoch):
    with open("alive", "a") as file:
        file.write(f"{process} {epoch.number}\\n")
    if action == "dies" and process == 1 and epoch.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return action == "ends" and process == processes - 1 and epoch.number == 2  # one says it, all end

written = []
os.replace, replace = lambda a, b, **k: (written.append(str(b)), replace(a, b, **k)), os.replace
model = LINEAR if action == "dies" else WHOLE
train_state, history = train.fit(
    model, DIGITS.train[:44], validation=DIGITS.test[:7], epochs=4 if action != "dies" else 100_000, batch_size=12,
    optimizer=optax.adam(0.01), seed=seed, callbacks=[each], ema=0.5, progress=process == 0 or processes > 1,
    run_dir="run" if action in ("ends", "resumes") else None, resume=action == "resumes",
)
assert jax.process_count() == processes
probabilities = train.predict(model, train_state, DIGITS.test.images[:5], batch_size=5)  # by this process alone
if processes > 1:
    scores = train.evaluate(model, train_state, DIGITS.test[:7], batch_size=3, mesh=train.device_mesh())
    assert abs(scores["loss"] - history["validation_loss"][-1]) < 1e-5
    of_all = train.predict(model, train_state, DIGITS.test.images[:5], batch_size=5, mesh=train.device_mesh())
    np.testing.assert_allclose(of_all, probabilities, rtol=1e-5)
rows = [[value for name, value in row.items() if name != "seconds"] for row in history.rows]
np.savez(f"{process}.npz", rows, probabilities, *jax.tree.leaves(train_state))
print("written", len([name for name in written if "run/" in name]))
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


def started(folder, processes, action, seeds=None):
    """The exit codes and outputs of all processes."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    tests, root = Path(__file__).parent, Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(tests), environment.get("PYTHONPATH", "")])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *map(str, (n, processes, port, action, (seeds or [0] * processes)[n]))],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for n in range(processes)
    ]
    try:
        outputs = [each.communicate(timeout=SECONDS)[0] for each in running]
    finally:
        for each in running:
            with contextlib.suppress(ProcessLookupError):
                each.kill()
    return [each.returncode for each in running], outputs


def arrays(folder, process):
    with np.load(folder / f"{process}.npz") as file:
        return [file[name] for name in file.files]


def assert_same(folder, processes, expected):
    for process in range(processes):
        for a, b in zip(arrays(folder, process), arrays(expected, 0), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.long)])
def test_processes_train_as_one(processes, tmp_path):
    """12 images to a batch, each process feeds its 6 or 3. One asks to end, and all do; one prints and writes."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, count in ((alone, 1), (together, processes)):
        codes, outputs = started(folder, count, "ends")
        assert codes == [0] * count, outputs
    assert_same(together, processes, alone)
    assert "epoch 2/4" in outputs[0]
    assert not any("epoch" in output for output in outputs[1:])
    assert [output.endswith("written 0\n") for output in outputs] == [False] + [True] * (processes - 1)
    assert len((together / "run" / "metrics.csv").read_text().splitlines()) == 3
    assert json.loads((together / "run" / "config.json").read_text())["devices"] == processes


@pytest.mark.long
def test_processes_go_on_with_a_run_of_one(tmp_path):
    expected, folder = tmp_path / "expected", tmp_path / "folder"
    for place, count, action in ((expected, 1, "trains"), (folder, 1, "ends"), (folder, 2, "resumes")):
        codes, outputs = started(place, count, action)
        assert codes == [0] * count, outputs
    assert_same(folder, 2, expected)


@pytest.mark.long
def test_if_a_process_dies_the_others_end(tmp_path):
    begin = time.monotonic()
    codes, outputs = started(tmp_path, 2, "dies")
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0, outputs[0]
    assert time.monotonic() - begin < SECONDS / 2


@pytest.mark.long
def test_processes_that_were_given_something_else_say_so(tmp_path):
    codes, outputs = started(tmp_path, 2, "trains", seeds=[0, 1])
    assert 0 not in codes
    assert all("fit: all processes must be given the same" in output and "seed" in output for output in outputs)
