"""The run folder: what it holds, and that a run can be stopped anywhere and gone on with, to the bit."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, but_seconds, differs

from jaxcnn.data import augment
from jaxcnn.train import Best, History, TrainState, evaluate, fit, losses
from jaxcnn.weights import WeightsError, describe, load

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
FILES = ["checkpoint.safetensors", "config.json", "metrics.csv", "model.json", "model.safetensors", "versions.json"]
EPOCHS = 4


def schedule(step):
    """A different rate at every step; from the third epoch on negative, so that an earlier one stays the best."""
    return 0.05 * optax.cosine_decay_schedule(1.0, 12)(step) * (1.0 - 2.0 * (step >= 6))


def train(run_dir, *, model=WHOLE, data=TRAIN, **changes):
    """A run with all there is to carry along: statistics, momentum, a schedule, dropout, augmentation, a best epoch."""
    options = {
        "validation": TEST,
        "epochs": EPOCHS,
        "batch_size": 32,
        "optimizer": optax.adam(schedule),
        "seed": 2,
        "augment": augment.shift(1),
        "run_dir": run_dir,
    }
    return fit(model, data, **options | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An uninterrupted run: its folder, train state, history and best epoch."""
    folder, best = tmp_path_factory.mktemp("runs") / "new" / "run", Best("validation_loss")
    return folder, *train(folder, callbacks=[best]), best


def listing(folder):
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in listing(folder)}


def test_what_it_holds(run):
    folder, train_state, history, _ = run
    assert listing(folder) == FILES  # no temporary file is left either
    config = json.loads((folder / "config.json").read_text())
    assert config == {
        "model": "whole",
        "options": {},
        "loss": "softmax_cross_entropy",
        "epochs": EPOCHS,
        "batch_size": 32,
        "seed": 2,
        "examples": 90,
        "validation_examples": 40,
        "initial": None,
        "ema": None,
        "policy": None,
        "devices": 1,
    }
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["jax"] == jax.__version__ and versions["python"] and "cpu" in versions["device"].lower()
    assert History.from_csv(folder / "metrics.csv").rows == history.rows
    about = json.loads((folder / "model.json").read_text())
    assert about == describe(folder / "model.safetensors")
    assert about["model"] == "whole" and about["classes"] == list(TRAIN.classes)
    assert int(train_state.step) == 3 * EPOCHS


def test_the_model_is_that_of_the_best_epoch(run):
    folder, train_state, history, best = run
    assert best.epoch == 2  # neither the first nor the last would do
    assert best.epoch == history["validation_loss"].argmin() + 1
    params, state = load(folder / "model.safetensors", WHOLE)
    assert_same_bits((params, state), (best.train_state.params, best.train_state.state))
    assert differs(params, train_state.params)
    scores = evaluate(WHOLE, TrainState(params, state), TEST, batch_size=32)
    assert scores["loss"] == history["validation_loss"].min()


def test_without_validation_the_model_is_the_last(tmp_path):
    train_state, _ = train(tmp_path, model=LINEAR, validation=None, augment=None)
    assert_same_bits(load(tmp_path / "model.safetensors", LINEAR), (train_state.params, train_state.state))


def test_resumed_is_uninterrupted(run, tmp_path):
    """Ctrl-C before the best epoch, again right at it, and on to the end, which must leave the best in its place."""
    folder, train_state, history, _ = run

    def interrupt(epoch):
        raise KeyboardInterrupt

    for stopped in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, callbacks=[interrupt], resume=stopped > 1)
        assert listing(tmp_path) == FILES
        assert len(History.from_csv(tmp_path / "metrics.csv")) == stopped

    resumed, resumed_history = train(tmp_path, resume=True)
    assert_same_bits(resumed, train_state)
    assert but_seconds(resumed_history) == but_seconds(history)
    for name in ("model.safetensors", "model.json", "config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert History.from_csv(tmp_path / "metrics.csv").rows == resumed_history.rows


def test_a_run_can_be_prolonged_and_a_finished_one_is_handed_back(tmp_path):
    simple = {"model": LINEAR, "augment": None, "validation": None}
    whole, whole_history = train(None, epochs=3, **simple)
    train(tmp_path, epochs=1, **simple)
    longer, history = train(tmp_path, epochs=3, resume=True, **simple)
    assert_same_bits(longer, whole)
    assert but_seconds(history) == but_seconds(whole_history)
    assert json.loads((tmp_path / "config.json").read_text())["epochs"] == 3
    table = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_text("")  # the checkpoint has it too
    again, history = train(tmp_path, epochs=3, resume=True, **simple)
    assert_same_bits(again, whole)
    assert len(history) == 3 and (tmp_path / "metrics.csv").read_bytes() == table


SCRIPT = """
import sys
import optax
from train_tiny import DIGITS, LINEAR
from jaxcnn.train import fit
fit(LINEAR, DIGITS.train[:90], epochs=100_000, batch_size=32, optimizer=optax.adam(1e-3), run_dir=sys.argv[1])
"""


def test_ctrl_c_in_the_midst_of_real_training(tmp_path, interruptible):
    """The signal falls anywhere: between two steps, or while a file is written."""
    folder = tmp_path / "run"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        give_up = time.monotonic() + 300
        while not (folder / "metrics.csv").exists() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        time.sleep(0.3)  # some epochs further
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT and b"KeyboardInterrupt" in errors, errors.decode()
    assert listing(folder) == FILES
    done = len(History.from_csv(folder / "metrics.csv"))
    load(folder / "model.safetensors", LINEAR)

    options = {"epochs": done + 2, "batch_size": 32, "optimizer": optax.adam(1e-3)}
    resumed, history = fit(LINEAR, TRAIN, run_dir=folder, resume=True, **options)
    expected, expected_history = fit(LINEAR, TRAIN, **options)
    assert_same_bits(resumed, expected)
    assert but_seconds(history) == but_seconds(expected_history)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, ["seed was 2, is 3"]),
        ({"batch_size": 16}, ["batch_size was 32, is 16"]),
        ({"data": DIGITS.train[:80]}, ["examples was 90, is 80"]),
        ({"validation": None}, ["validation_examples was 40, is None"]),
        ({"loss": "sigmoid_binary_cross_entropy"}, ["loss was 'softmax_cross_entropy', is 'sigmoid_binary_cross"]),
        ({"model": LINEAR, "seed": 5}, ["model was 'whole', is 'linear'", "seed was 2, is 5"]),
    ],
)
def test_resuming_another_run_is_refused(run, changes, words):
    folder = run[0]
    before = contents(folder)
    with pytest.raises(ValueError) as error:
        train(folder, resume=True, **changes)
    for word in ["fit: `resume`", *words]:
        assert word in str(error.value)
    assert contents(folder) == before


def test_resuming_with_another_optimizer_is_refused(run):
    """It is no part of the configuration, but its state does not fit."""
    folder = run[0]
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: the arrays do not fit .*unknown: opt_state"):
        train(folder, resume=True, optimizer=optax.sgd(0.1))


def test_a_run_is_not_overwritten(run):
    folder = run[0]
    before = contents(folder)
    with pytest.raises(FileExistsError, match="holds a run already; pass resume=True") as error:
        train(folder)
    assert str(folder) in str(error.value)
    assert contents(folder) == before


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(ValueError, match="fit: `resume` needs a `run_dir`"):
        train(None, resume=True)
    with pytest.raises(FileNotFoundError, match=r"`resume` needs a run in `run_dir`, but .*nowhere.* does not exist"):
        train(tmp_path / "nowhere", resume=True)
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(tmp_path, model=LINEAR, epochs=1, augment=None, validation=None)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: expected a safetensors file"):
        train(tmp_path, model=LINEAR, epochs=2, augment=None, validation=None, resume=True)


def test_a_run_stopped_before_its_first_epoch_ends_can_be_resumed(tmp_path):
    """From the initial state, which is written at the start."""
    images = TRAIN.images.astype(np.float32) / 255
    bad = images.copy()
    bad[7] = np.nan
    options = {"model": LINEAR, "augment": None, "validation": None, "epochs": 1}
    with pytest.raises(ArithmeticError):
        train(tmp_path / "run", data=(bad, TRAIN.labels), **options)
    resumed, _ = train(tmp_path / "run", data=(images, TRAIN.labels), resume=True, **options)
    expected, _ = train(None, data=(images, TRAIN.labels), **options)
    assert_same_bits(resumed, expected)


def test_a_loss_with_options_is_resumed_and_told_apart(tmp_path):
    def smooth(epsilon):
        return functools.partial(losses.softmax_cross_entropy, label_smoothing=epsilon)

    options = {"model": LINEAR, "augment": None, "validation": None}
    train(tmp_path, epochs=1, loss=smooth(0.1), **options)
    _, history = train(tmp_path, epochs=2, loss=smooth(0.1), resume=True, **options)
    assert len(history) == 2
    with pytest.raises(ValueError, match=r"loss was 'softmax_cross_entropy\(label_smoothing=0.1\)', is .*=0.2"):
        train(tmp_path, epochs=2, loss=smooth(0.2), resume=True, **options)


def test_an_optimizer_with_a_random_key_is_resumed(tmp_path):
    """Its state holds a key, which is no array of numbers. With no epoch left, resuming only reads it back."""
    noisy = optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(3)), optax.sgd(0.1))
    options = {"model": LINEAR, "augment": None, "validation": None, "optimizer": noisy, "epochs": 1}
    expected, _ = train(tmp_path, **options)
    resumed, _ = train(tmp_path, resume=True, **options)
    keys = [train_state.opt_state[0].rng_key for train_state in (resumed, expected)]
    assert keys[0].dtype == keys[1].dtype and jax.numpy.issubdtype(keys[0].dtype, jax.dtypes.prng_key)
    assert_same_bits(*map(jax.random.key_data, keys))
    assert_same_bits(resumed.params, expected.params)
