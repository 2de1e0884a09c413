"""A batch that several devices share: in float64 the results of one device, and a program that sends sums alone."""

import collections
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh
from train_tiny import DIGITS, LINEAR, WHOLE, but_seconds, differs

from jaxcnn import data, models, train, weights
from jaxcnn.layers import BatchNorm, Conv, Dense, Flatten, Relu, serial
from jaxcnn.models import Model
from jaxcnn.train import devices, evaluation, fitting

DOUBLE = train.Policy(param=jnp.float64, compute=jnp.float64, output=jnp.float64)
NORMED = Model("normed", serial(Conv(3, 3, stride=2), BatchNorm(), Relu(), Flatten(), Dense(10)), (8, 8, 1), 10)
PLAIN = Model("plain", serial(Conv(3, 3, stride=2), Relu(), Flatten(), Dense(10)), (8, 8, 1), 10)
SENDS = r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
pytestmark = pytest.mark.usefixtures("float64")


def fitted(model, mesh, *, batch_size=12, epochs=2, seen=44, **options):
    """44 images in batches of 12: the last has 8."""
    arguments = {"optimizer": optax.adam(0.01), "policy": DOUBLE, "progress": False, "ema": 0.5} | options
    training = DIGITS.train[:seen]
    return train.fit(
        model, training, validation=DIGITS.test[:7], epochs=epochs, batch_size=batch_size, mesh=mesh, **arguments
    )


def assert_close(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)  # batch statistics are in float32


def same_rows(actual, expected):
    for a, b in zip(but_seconds(actual), but_seconds(expected), strict=True):
        assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "count"), [(NORMED, 2), (NORMED, 4), (WHOLE, 4)], ids=lambda given: getattr(given, "name", given)
)
def test_several_devices_train_as_one(model, count):
    """With batch statistics, dropout, averages, augmentation, and a last batch that is not full."""
    noise = functools.partial(fitted, model, augment=lambda key, image: image + jax.random.normal(key, image.shape) / 9)
    expected, actual = noise(None), noise(train.device_mesh(count))
    assert_close(actual[0], expected[0])
    same_rows(actual[1], expected[1])
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(actual[0])} == {1}  # to go on with as ever


@pytest.mark.parametrize(("model", "share"), [(PLAIN, 4), (NORMED, 3)], ids=["filled up", "of three devices"])
def test_a_batch_that_the_devices_do_not_divide(model, share, tmp_path):
    """What fills it up has no weight; where it would count in batch statistics, fewer devices share it."""
    expected = fitted(model, None, batch_size=9)
    actual = fitted(model, train.device_mesh(4), batch_size=9, run_dir=tmp_path)
    assert_close(actual[0], expected[0])
    same_rows(actual[1], expected[1])
    assert json.loads((tmp_path / "config.json").read_text())["devices"] == share


@pytest.mark.parametrize("batch_size", [1, 20])
def test_evaluation_and_prediction_are_those_of_one_device(batch_size):
    train_state, test = fitted(NORMED, None, epochs=1)[0], DIGITS.test[:19]
    for mesh in (train.device_mesh(3), train.device_mesh()):
        for function, given in ((train.evaluate, test), (train.predict, test.images)):
            one, several = (
                function(NORMED, train_state, given, batch_size=batch_size, policy=DOUBLE, mesh=each)
                for each in (None, mesh)
            )
            assert_close(several, one)
    assert train.predict(NORMED, train_state, test.images[:0], batch_size=4, mesh=mesh).shape == (0, 10)


def test_a_score_of_a_run_too(tmp_path):
    model = models.create("digits_cnn")
    weights.save(tmp_path / "model.safetensors", model, *model.init(jax.random.key(0)))
    one, several = (train.score(tmp_path, DIGITS.test[:30], mesh=mesh) for mesh in (None, train.device_mesh(4)))
    assert several.scores == pytest.approx(one.scores, rel=1e-5)
    np.testing.assert_array_equal(several.matrix, one.matrix)


def test_a_mesh_of_any_axes_will_do():
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2)
    assert_close(fitted(PLAIN, mesh)[0], fitted(PLAIN, None)[0])


@pytest.mark.parametrize(("before", "after"), [(4, None), (None, 2)], ids=str)
def test_a_run_is_resumed_on_other_devices(before, after, tmp_path):
    expected, history = fitted(WHOLE, None, epochs=3)
    meshes = [None if count is None else train.device_mesh(count) for count in (before, after)]
    fitted(WHOLE, meshes[0], epochs=1, run_dir=tmp_path)
    actual, resumed = fitted(WHOLE, meshes[1], epochs=3, run_dir=tmp_path, resume=True)
    assert_close(actual, expected)
    same_rows(resumed, history)
    assert json.loads((tmp_path / "config.json").read_text())["devices"] == (after or 1)


@pytest.mark.parametrize("model", [NORMED, PLAIN], ids=lambda model: model.name)
def test_each_device_works_on_its_part_and_only_sums_are_sent(model):
    optimizer, flops = optax.adam(0.01), {}
    for count in (1, 4):
        on = devices.Devices(train.device_mesh(count))
        params, state = model.init(jax.random.key(0))
        whole = train.TrainState(params, state, optimizer.init(params), jnp.int32(0), model.loss)
        whole, *examples = on.everywhere((whole, DIGITS.train.images[:64], DIGITS.train.labels[:64]))
        plan = on.shared([*data.epoch_plan(64, 32)], axis=1)
        steps = train.make_steps(train.make_step(model.apply, optimizer), mesh=on.mesh)
        program = steps.lower(whole, *examples, *plan, 2, jax.random.key(1)).compile()
        flops[count] = program.cost_analysis()["flops"]
        sent = collections.Counter(re.findall(SENDS, program.as_text()))
        assert set(sent) == ({"all-reduce"} if count > 1 else set())
        # at most one for each gradient, four for each batch normalization, one for each sum
        assert sent.total() <= len(jax.tree.leaves(params)) + 2 * len(jax.tree.leaves(state)) + 3
        assert program.memory_analysis().alias_size_in_bytes == sum(a.nbytes for a in jax.tree.leaves(whole))
        result, _ = steps(whole, *examples, *plan, 2, jax.random.key(1))
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(result))
    assert flops[4] < 0.4 * flops[1]


def test_nothing_that_was_given_is_destroyed():
    params, state = WHOLE.init(jax.random.key(0))
    given = jax.device_put((params, state, *map(jnp.asarray, (DIGITS.train.images[:44], DIGITS.train.labels[:44]))))
    for mesh in (None, train.device_mesh(4)):
        kept = []
        arguments = {"initial": given[:2], "callbacks": [lambda epoch, kept=kept: kept.append(epoch.train_state)]}
        options = {"optimizer": optax.sgd(0.1), "batch_size": 12, "epochs": 3, "progress": False}
        last, _ = train.fit(WHOLE, given[2:], mesh=mesh, **arguments, **options)
        assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((given, kept, last)))
        assert differs(kept[0].params, kept[1].params)
        assert not differs(kept[2], last)


def test_a_cpu_shows_several_devices_and_one_is_taken():
    assert jax.local_device_count() == 4
    assert devices.devices_for("fit", None).mesh is None


def test_accelerators_are_all_taken(monkeypatch):
    class Accelerator:
        platform = "tpu"

    found = [Accelerator() for _ in range(8)]
    monkeypatch.setattr(jax, "local_devices", lambda: found)
    monkeypatch.setattr(devices, "_mesh", lambda given: tuple(given))
    assert devices.devices_for("fit", None).mesh == tuple(found)
    with jax.default_device(jax.devices("cpu")[0]):
        assert devices.devices_for("fit", None).mesh is None
    monkeypatch.setattr(jax, "local_devices", lambda: found[:1])
    assert devices.devices_for("fit", None).mesh is None


def test_arrays_on_several_devices_stay_there(monkeypatch):
    x = devices.Devices(train.device_mesh(2)).shared(DIGITS.test.images[:8])
    monkeypatch.setattr(devices, "_mesh", lambda given: pytest.fail("a mesh was chosen"))
    assert devices.devices_for("predict", None, x).mesh is None


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda: train.device_mesh(0), ValueError, "device_mesh: `count` must be an integer of at least 1; got 0"),
        (lambda: train.device_mesh(5), ValueError, "device_mesh: `count` must be at most 4, the devices .* got 5"),
        (lambda: fitted(LINEAR, 4), TypeError, r"fit: `mesh` must be a jax.sharding.Mesh, .*device_mesh\(\); got 4"),
        (lambda: fitted(LINEAR, None, devices=4), TypeError, "fit: there is no argument `devices`; .*device_mesh"),
    ],
)
def test_wrong_devices(function, error, message):
    with pytest.raises(error, match=message):
        function()


# ------------------------------------------------------------------------------------------------------------- feeding


class Log(list):
    """What happened, in order."""

    def result(self, number, value):
        log = self

        class Result:
            def __array__(self, dtype=None, copy=None):
                log.append(f"read {number}")
                return np.asarray(value, dtype)

        return Result()


def in_order(count):
    """Of the batches 0, 1, …: each is sent and started before the result of the one before is read."""
    events = []
    for n in range(count):
        events += [f"send {n}", f"start {n}", *([f"read {n - 1}"] if n else [])]
    return [*events, f"read {count - 1}"]


@pytest.fixture
def log(monkeypatch):
    happened, shared = Log(), devices.Devices.shared

    def sending(self, tree, axis=0):
        happened.append(f"send {sum(event.startswith('send') for event in happened)}")
        return shared(self, tree, axis)

    monkeypatch.setattr(devices.Devices, "shared", sending)
    return happened


def test_the_next_batch_is_sent_before_a_result_is_read(log, monkeypatch):
    train_state = train.TrainState(*LINEAR.init(jax.random.key(0)), loss=LINEAR.loss)

    def kept(apply, key, make):
        def started(params, state, x, *rest):
            number = sum(event.startswith("start") for event in log)
            log.append(f"start {number}")
            return log.result(number, np.zeros((len(x), 10)) if key[0] == "predict" else np.ones(3))

        return started

    monkeypatch.setattr(evaluation, "kept", kept)
    monkeypatch.setattr(devices.Devices, "fetched", lambda self, array: np.asarray(array))
    monkeypatch.setattr(evaluation, "check_single", lambda *given: None)
    monkeypatch.setattr(evaluation, "labeled_images", lambda op, model, given, *rest: given)
    train.predict(LINEAR, train_state, DIGITS.test.images[:12], batch_size=4)
    assert log == in_order(3)
    log.clear()
    train.evaluate(LINEAR, train_state, (DIGITS.test.images[:12], DIGITS.test.labels[:12]), batch_size=4)
    assert log == in_order(3)


def test_the_next_steps_of_an_epoch_are_started_before_their_losses_are_read(log, monkeypatch):
    def make_steps(step, mesh=None):
        def steps(train_state, images, labels, indices, mask, count, key):
            number = sum(event.startswith("start") for event in log)
            log.append(f"start {number}")
            return train_state, log.result(number, np.ones((len(indices), 3)))

        return steps

    monkeypatch.setattr(fitting, "make_steps", make_steps)
    train.fit(LINEAR, DIGITS.train[:40], epochs=1, batch_size=10, optimizer=optax.sgd(0.1), progress=False)
    assert log == in_order(4)
