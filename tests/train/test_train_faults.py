"""What goes wrong in a training: nothing is lost or half-trained, and the message says what to do."""

import json
import os
import pty
import subprocess
import sys
import termios
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, but_seconds

from jaxcnn import data, models
from jaxcnn.files import tensors
from jaxcnn.layers import Dense, Flatten, Layer, serial
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.train import Best, History, NonFiniteLoss, TrainState, evaluate, fit, make_step, make_steps, predict
from jaxcnn.train.run_folder import check_settings
from jaxcnn.weights import WeightsError, load

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
OPTIONS = {"epochs": 2, "batch_size": 32, "optimizer": optax.adam(1e-2)}
FLOATS = TRAIN.images.astype(np.float32) / 255


def with_pixel(value):
    images = FLOATS.copy()
    images[40, 3, 3] = value
    return images, TRAIN.labels


# ------------------------------------------------------------------------------------------------ not finite


def test_stopped_in_the_first_epoch_there_is_no_model(tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"No epoch was finished$") as caught:
        fit(LINEAR, with_pixel(np.nan), run_dir=tmp_path, **OPTIONS)
    assert caught.value.train_state is None and len(caught.value.history) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "versions.json",
    ]


def test_the_error_holds_the_last_finished_epoch():
    optimizer = optax.sgd(optax.join_schedules([optax.constant_schedule(0.5), optax.constant_schedule(np.inf)], [4]))
    with pytest.raises(NonFiniteLoss, match="Epoch 1 was the last that finished; This error holds it") as caught:
        fit(LINEAR, TRAIN, epochs=3, batch_size=32, optimizer=optimizer)
    expected, history = fit(LINEAR, TRAIN, epochs=1, batch_size=32, optimizer=optax.sgd(0.5))
    assert_same_bits(caught.value.train_state.params, expected.params)
    assert but_seconds(caught.value.history) == but_seconds(history)


def test_infinite_statistics_are_not_saved(tmp_path):
    """No loss shows them, where they are not used in training."""

    def apply(params, state, x, *, train=False, key=None):
        return x, {"var": state["var"] * 1e20} if train else state

    growing = Layer(lambda key, shape: ({}, {"var": jnp.ones(())}), apply, "growing")
    model = Model("growing", serial(growing, Flatten(), Dense(10)), (8, 8, 1), 10)
    with pytest.raises(NonFiniteLoss, match=r"batch statistics became infinite .* epoch 1/2: state/growing1/var"):
        fit(model, TRAIN, run_dir=tmp_path, validation=TEST, **OPTIONS)
    assert not (tmp_path / "model.safetensors").exists()


def test_infinite_moments_are_not_saved(tmp_path):
    """Adam's second moment: weights with an infinite one would not move again."""

    def huge(logits, labels):
        return 1e25 * jnp.square(logits - labels[:, None]).mean(axis=1)

    with pytest.raises(NonFiniteLoss, match=r"the optimizer's state became infinite .*: opt_state/0/nu/dense1"):
        fit(LINEAR, TRAIN, loss=huge, run_dir=tmp_path, **OPTIONS)
    assert not (tmp_path / "model.safetensors").exists()


def test_what_an_optimizer_begins_with_may_be_infinite():
    seen = optax.GradientTransformation(lambda params: jnp.array(jnp.inf), lambda g, s, p=None: (g, s))
    _, history = fit(LINEAR, TRAIN, **OPTIONS | {"optimizer": optax.chain(seen, optax.sgd(0.1))})
    assert len(history) == 2


# ------------------------------------------------------------------------------------------------ kept, and stopped


def test_what_is_printed_is_saved(tmp_path, monkeypatch):
    """A stop right at the printing: Ctrl-C falls anywhere."""
    printed = []

    def stop(*words, **options):
        printed.append(words)
        raise KeyboardInterrupt

    monkeypatch.setitem(fit.__wrapped__.__globals__, "print", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(LINEAR, TRAIN, run_dir=tmp_path, **OPTIONS)
    assert len(printed) == 1 and len(History.from_csv(tmp_path / "metrics.csv")) == 1


def test_a_callback_may_keep_the_train_state():
    kept = []
    train_state, _ = fit(LINEAR, TRAIN, callbacks=[lambda epoch: kept.append(epoch.train_state)], **OPTIONS)
    assert [int(each.step) for each in kept] == [3, 6]
    assert_same_bits(kept[1], train_state)
    assert evaluate(LINEAR, kept[0], TEST, batch_size=40)["loss"] > 0


@pytest.mark.parametrize("use", ["predict", "evaluate", "member", "ensemble"])
def test_a_train_state_that_was_used_up_is_named(use):
    optimizer, key = optax.sgd(0.1), jax.random.key(0)
    plan = data.epoch_plan(32, 32)
    if use in ("predict", "evaluate"):
        params, state = LINEAR.init(key)
        train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32))
        steps = make_steps(make_step(LINEAR.apply, optimizer))
    else:
        train_state = ensemble.start(LINEAR, key, 2, optimizer)
        steps = ensemble.make_steps(make_step(LINEAR.apply, optimizer))
    steps(train_state, jnp.asarray(TRAIN.images[:32]), jnp.asarray(TRAIN.labels[:32]), *plan, 1, key)
    calls = {
        "predict": lambda: predict(LINEAR, train_state, TEST.images, batch_size=4),
        "evaluate": lambda: evaluate(LINEAR, train_state, TEST, batch_size=4),
        "member": lambda: ensemble.member(train_state, 0),
        "ensemble": lambda: ensemble.predict(LINEAR, train_state, TEST.images, batch_size=4),
    }
    with pytest.raises(ValueError, match=r"are gone: `make_steps` reuses .* jax\.tree\.map\(jnp\.copy, train_state\)"):
        calls[use]()


def test_an_ensembles_train_state_is_told_from_a_models():
    train_state = ensemble.start(LINEAR, jax.random.key(0), 4, optax.sgd(0.1))
    for call in (
        lambda: evaluate(LINEAR, train_state, TEST, batch_size=40),
        lambda: predict(LINEAR, train_state, TEST.images, batch_size=40),
    ):
        with pytest.raises(
            ValueError, match=r"an ensemble's, of 4 members: use ensemble.predict, or .*ensemble.member"
        ):
            call()


@pytest.mark.parametrize("call", [predict, lambda model, ts, x, **kw: evaluate(model, ts, (x, TEST.labels), **kw)])
def test_what_is_no_train_state_of_the_model_is_refused(call):
    params, state = LINEAR.init(jax.random.key(0))
    for wrong in (None, params, (params, state)):
        with pytest.raises(TypeError, match=r"must be a TrainState; got .* become one by train\.TrainState\(params"):
            call(LINEAR, wrong, TEST.images, batch_size=40)
    other = Model("five", serial(Flatten(), Dense(5)), (8, 8, 1), 5).init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"that of linear, whose params/dense1/bias is \(10,\); here it is \(5,\)"):
        call(LINEAR, TrainState(*other), TEST.images, batch_size=40)
    with pytest.raises(ValueError, match="here it is not there"):
        call(LINEAR, TrainState({}, {}), TEST.images, batch_size=40)
    with pytest.raises(TypeError, match="`model` must be a Model; got Layer"):
        call(LINEAR.layer, TrainState(params, state), TEST.images, batch_size=40)


# --------------------------------------------------------------------------------------------------- the folder


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """One begins while the other runs; and again when it has ended."""
    inside, go_on = threading.Event(), threading.Event()

    def wait(epoch):
        inside.set()
        assert go_on.wait(60)

    first = threading.Thread(target=lambda: fit(LINEAR, TRAIN, run_dir=tmp_path, callbacks=[wait], **OPTIONS))
    first.start()
    try:
        assert inside.wait(60)
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match="is being written by another training"):
                fit(LINEAR, TRAIN, run_dir=tmp_path, seed=1, resume=resume, **OPTIONS)
    finally:
        go_on.set()
        first.join()
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    _, history = fit(LINEAR, TRAIN, run_dir=tmp_path, resume=True, **OPTIONS | {"epochs": 3})
    assert len(history) == 3


def test_what_a_killed_training_left_is_removed(tmp_path):
    fit(LINEAR, TRAIN, run_dir=tmp_path, **OPTIONS)
    names = sorted(path.name for path in tmp_path.iterdir())
    script = (
        "import os, sys\nfrom jaxcnn.files.whole import replacing\n"
        "with replacing(sys.argv[1]) as file:\n    file.write_text('half')\n    os._exit(9)\n"
    )
    paths = os.pathsep.join(sys.path)
    for name in ("checkpoint.safetensors", "model.json"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], env=os.environ | {"PYTHONPATH": paths})
    (tmp_path / ".mine-1.txt").write_text("kept")
    assert len(list(tmp_path.iterdir())) == len(names) + 3
    fit(LINEAR, TRAIN, run_dir=tmp_path, resume=True, **OPTIONS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, ".mine-1.txt"])


FULL = """
import resource, signal, sys
import optax
from train_tiny import DIGITS, LINEAR
from jaxcnn.train import fit
def bound(epoch):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
fit(LINEAR, DIGITS.train[:90], epochs=3, batch_size=32, optimizer=optax.adam(1e-2), run_dir=sys.argv[1],
    callbacks=[bound])
"""


def test_a_full_disk_leaves_the_last_epoch(tmp_path):
    """A limit on the size of files stands for it: writing fails in the midst of the second epoch's model."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "File too large" in done.stderr, done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    load(tmp_path / "model.safetensors", LINEAR)
    resumed, history = fit(LINEAR, TRAIN, run_dir=tmp_path, resume=True, **OPTIONS | {"epochs": 3})
    expected, _ = fit(LINEAR, TRAIN, **OPTIONS | {"epochs": 3})
    assert len(history) == 3
    assert_same_bits(resumed, expected)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, FileNotFoundError, "no such file"),
        (b"", ValueError, "found no JSON"),
        (b"{", ValueError, "found no JSON"),
        (b"\xff\xfe", ValueError, "found no JSON"),
        (b"[1, 2]", ValueError, "found list"),
        (b"[" * 100_000, ValueError, "found no JSON"),
    ],
)
def test_a_broken_config_is_named(tmp_path, content, error, words):
    fit(LINEAR, TRAIN, run_dir=tmp_path, **OPTIONS)
    file = tmp_path / "config.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(error) as caught:
        fit(LINEAR, TRAIN, run_dir=tmp_path, resume=True, **OPTIONS)
    assert str(file) in str(caught.value) and words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "history", [None, 3, "abc", [3], [["epoch"]], [{"epoch": "one"}], [{"epoch": 1}, {"loss": 2.0}]]
)
def test_a_broken_history_in_a_checkpoint_is_named(tmp_path, history):
    train_state, _ = fit(LINEAR, TRAIN, run_dir=tmp_path, **OPTIONS)
    tensors.write(tmp_path / "checkpoint.safetensors", train_state, {"history": history})
    with pytest.raises(WeightsError, match=r"checkpoint\.safetensors: expected the history of a run"):
        fit(LINEAR, TRAIN, run_dir=tmp_path, resume=True, **OPTIONS)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'epoch,loss\n1,"' + b"x" * 200_000, b"epoch,loss\n1,\x00\n"])
def test_a_broken_table_is_named(tmp_path, content):
    file = tmp_path / "metrics.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.csv: expected"):
        History.from_csv(file)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file"):
        History.from_csv(tmp_path / "nowhere.csv")


def test_settings_of_a_run_are_compared(tmp_path):
    file = tmp_path / "command.json"
    file.write_text(json.dumps({"learning_rate": 0.1, "keep": "last", "epochs": 3}))
    check_settings(file, {"learning_rate": np.float64(0.1), "keep": "last", "epochs": np.int64(5)}, free=("epochs",))
    with pytest.raises(
        ValueError, match=r"learning_rate was 0\.1, is 0\.2; keep was 'last', is 'best' .*command\.json"
    ):
        check_settings(file, {"learning_rate": 0.2, "keep": "best"})


@pytest.mark.parametrize("run_dir", ["", b""])
def test_an_empty_path_is_no_folder(run_dir):
    with pytest.raises(ValueError, match="fit: `run_dir` must be a folder; got an empty path"):
        fit(LINEAR, TRAIN, run_dir=run_dir, **OPTIONS)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, what in (("file", "is a file"), ("link", "is a link to nothing")):
        with pytest.raises(NotADirectoryError, match=f"`run_dir` must be a folder; .*{name} {what}"):
            fit(LINEAR, TRAIN, run_dir=tmp_path / name, **OPTIONS)
    with pytest.raises(TypeError, match="`run_dir` must be a path; got 3"):
        fit(LINEAR, TRAIN, run_dir=3, **OPTIONS)


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoint.safetensors", "model.json"])
def test_a_folder_is_no_file_and_that_is_found_before_the_first_epoch(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match=rf"{name}, but a folder is in its place"):
        fit(LINEAR, TRAIN, run_dir=tmp_path, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


# ------------------------------------------------------------------------------------------------------ arguments


def test_numbers_of_numpy_are_numbers(tmp_path):
    expected, _ = fit(LINEAR, TRAIN, seed=3, **OPTIONS)
    options = {"epochs": np.int64(2), "batch_size": np.uint8(32), "seed": jnp.int32(3)}
    train_state, _ = fit(LINEAR, TRAIN, optimizer=optax.adam(1e-2), run_dir=tmp_path / "a", **options)
    assert_same_bits(train_state, expected)
    assert len(predict(LINEAR, train_state, TEST.images, batch_size=np.int16(7))) == 40
    model = models.create("digits_cnn", num_classes=np.int64(10))
    assert type(model.options["num_classes"]) is int
    params, _ = ensemble.init(LINEAR, jax.random.key(0), np.int64(2))
    assert params["dense1"]["kernel"].shape == (2, 64, 10)


def test_a_batch_is_no_larger_than_the_data(capsys):
    large, _ = fit(WHOLE, TRAIN, **OPTIONS | {"batch_size": 100_000})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "fit: a batch holds all 90 images, since batch_size is 100,000" and len(said) == 3
    expected, _ = fit(WHOLE, TRAIN, **OPTIONS | {"batch_size": 90})
    assert_same_bits(large, expected)


def test_silence(capfd):
    fit(LINEAR, TRAIN, validation=TEST, progress=False, **OPTIONS | {"batch_size": 1000})
    assert capfd.readouterr() == ("", "")


def test_what_is_shown_is_short():
    train_state, history = fit(LINEAR, TRAIN, **OPTIONS)
    assert repr(train_state) == "TrainState(step=6, 650 parameters)"
    assert len(repr(history)) < 100


def test_a_word_while_the_first_step_compiles():
    """In the bar, on a terminal."""
    script = FULL.split("def bound")[0] + (
        "fit(LINEAR, DIGITS.train[:90], epochs=2, batch_size=32, optimizer=optax.adam(1e-2))\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += (part := os.read(ours, 65536))
        except OSError:  # all is read
            break
        if not part:
            break
    os.close(ours)
    assert done.returncode == 0 and "epoch 1/2, compiling…" in shown.decode()
    assert "epoch 2/2, compiling" not in shown.decode()


@pytest.mark.parametrize(
    "images", [FLOATS * 255, (FLOATS * 255).astype(np.float16), jnp.asarray(FLOATS * 255), FLOATS * 40]
)
def test_floats_of_0_to_255_are_warned_of(images):
    params, state = LINEAR.init(jax.random.key(0))
    train_state = TrainState(params, state)
    for name, call in (
        ("fit: .*`data`", lambda: fit(LINEAR, (images, TRAIN.labels), **OPTIONS)),
        ("fit: .*`validation`", lambda: fit(LINEAR, TRAIN, validation=(images, TRAIN.labels), **OPTIONS)),
        ("evaluate: .*`data`", lambda: evaluate(LINEAR, train_state, (images, TRAIN.labels), batch_size=32)),
        ("predict: .*`x`", lambda: predict(LINEAR, train_state, images, batch_size=32)),
    ):
        with pytest.warns(UserWarning, match=f"{name}.*Divide them by 255, or give them as uint8") as warned:
            call()
        assert len(warned) == 1 and warned[0].filename == __file__


@pytest.mark.parametrize("images", [TRAIN.images, FLOATS, (FLOATS - 0.3) * 9, np.zeros_like(FLOATS)])
def test_other_images_are_not(images):
    fit(LINEAR, (images, TRAIN.labels), **OPTIONS)  # a warning is an error here


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("validation_data", "validation=(images, labels)"),
        ("validation_split", "data.split"),
        ("class_weight", "Classification"),
        ("verbose", "progress=False"),
        ("learning_rate", "optimizer="),
        ("label_smoothing", "functools.partial"),
    ],
)
def test_names_of_other_libraries_are_answered(name, hint):
    with pytest.raises(TypeError, match=f"fit: there is no argument `{name}`; ") as caught:
        fit(LINEAR, TRAIN, **OPTIONS, **{name: 0.1})
    assert hint in str(caught.value)


def test_images_and_labels_are_one_argument():
    with pytest.raises(TypeError, match=r"fit: images and labels are one argument, \(images, labels\), .* got 3"):
        fit(LINEAR, TRAIN.images, TRAIN.labels, **OPTIONS)
    with pytest.raises(TypeError, match="evaluate: images and labels are one argument"):
        evaluate(LINEAR, None, TEST.images, TEST.labels, batch_size=3)
    with pytest.raises(TypeError, match="nonsense"):  # Python's own
        fit(LINEAR, TRAIN, nonsense=1, **OPTIONS)


@pytest.mark.parametrize("callbacks", [Best(), [3], 3])
def test_callbacks_are_functions_in_a_list(callbacks):
    with pytest.raises(TypeError, match="fit: `callbacks` must be"):
        fit(LINEAR, TRAIN, callbacks=callbacks, **OPTIONS)


def test_labels_of_numpys_dtypes_are_taken_without_a_warning():
    """JAX 0.12 warns where a shape is asked for in int64."""
    for labels in (TRAIN.labels.astype(np.int64), TRAIN.labels.astype(np.uint64), np.eye(10)[TRAIN.labels]):
        fit(LINEAR, (FLOATS, labels), **OPTIONS)


def test_a_seed_beyond_what_keys_tell_apart_is_refused():
    with pytest.raises(ValueError, match="fit: `seed` must be at most 4294967295; got 4294967296"):
        fit(LINEAR, TRAIN, seed=2**32, **OPTIONS)
