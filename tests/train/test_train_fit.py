"""What `fit` does, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import CONV, DIGITS, LINEAR, WHOLE, assert_same_bits, but_seconds, differs

from jaxcnn.data import Dataset, augment, epoch_plan
from jaxcnn.layers import Conv, Dense, Flatten, serial
from jaxcnn.models import Model
from jaxcnn.train import Best, EarlyStopping, NonFiniteLoss, evaluate, fit, losses, metrics, predict
from jaxcnn.weights import load

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
SMOOTH = functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1)
OPTIONS = {"epochs": 2, "batch_size": 32, "optimizer": optax.adam(1e-2)}


def with_nan_at(index, data=TRAIN):
    images = data.images.astype(np.float32) / 255
    images[index] = np.nan
    return images, data.labels


def rate_after(steps, rate):
    """Plain gradient descent whose learning rate jumps."""
    return optax.sgd(optax.join_schedules([optax.constant_schedule(0.5), optax.constant_schedule(rate)], [steps]))


def test_same_seed_same_bits():
    """With a convolution and its threads; test_train_run_folder.py has the other things that draw."""
    first, first_history = fit(CONV, TRAIN, seed=3, **OPTIONS)
    again, again_history = fit(CONV, TRAIN, seed=3, **OPTIONS)
    assert_same_bits(again, first)
    assert but_seconds(again_history) == but_seconds(first_history)


def test_another_seed_is_another_run():
    first, first_history = fit(WHOLE, TRAIN, augment=augment.shift(1), seed=3, **OPTIONS)
    other, other_history = fit(WHOLE, TRAIN, augment=augment.shift(1), seed=4, **OPTIONS)
    assert differs(first.params, other.params) and differs(first.state, other.state)
    assert but_seconds(first_history) != but_seconds(other_history)


def test_it_learns():
    train_state, history = fit(
        LINEAR, DIGITS.train[:300], epochs=20, batch_size=30, optimizer=optax.adam(2e-2), validation=DIGITS.test
    )
    assert history["accuracy"][-1] > 0.98 and history["validation_accuracy"][-1] > 0.85
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert int(train_state.step) == 200


def test_history_is_of_the_whole_epoch():
    """A learning rate of 0 leaves the model as it is, so the sums over batches are those of one evaluation."""
    train_state, history = fit(LINEAR, TRAIN, validation=TEST, epochs=2, batch_size=32, optimizer=optax.sgd(0.0))
    assert history.columns == ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"]
    assert history["epoch"].tolist() == [1, 2] and (history["seconds"] > 0).all()
    for data, prefix in ((TRAIN, ""), (TEST, "validation_")):
        scores = evaluate(LINEAR, train_state, data, batch_size=64)
        np.testing.assert_allclose(history[f"{prefix}loss"], scores["loss"], rtol=1e-5)
        np.testing.assert_array_equal(history[f"{prefix}accuracy"], scores["accuracy"])
    labels = predict(LINEAR, train_state, TEST.images, batch_size=64).argmax(axis=1)
    assert metrics.accuracy(np.eye(10)[labels], TEST.labels) == pytest.approx(scores["accuracy"])


def test_without_validation_there_are_no_such_columns():
    _, history = fit(LINEAR, TRAIN, **OPTIONS)
    assert history.columns == ["epoch", "loss", "accuracy", "seconds"]


def test_what_is_said(capsys):
    fit(LINEAR, TRAIN, validation=TEST, **OPTIONS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    for word in ("loss", "accuracy", "validation loss", "validation accuracy", " s"):
        assert word in lines[0]


@pytest.mark.parametrize(
    ("outputs", "labels", "loss"),
    [
        pytest.param(10, np.eye(10)[TRAIN.labels], "softmax_cross_entropy", id="one-hot"),
        pytest.param(10, TRAIN.labels, SMOOTH, id="smooth"),
        pytest.param(1, TRAIN.labels % 2, "sigmoid_binary_cross_entropy", id="one unit"),
        pytest.param(1, TRAIN.labels[:, None] % 2, "sigmoid_binary_cross_entropy", id="one unit, a column"),
    ],
)
def test_every_kind_of_label(outputs, labels, loss):
    model = Model("m", serial(Flatten(), Dense(outputs)), (8, 8, 1), max(outputs, 2))
    train_state, history = fit(
        model, (TRAIN.images, labels), epochs=15, batch_size=30, optimizer=optax.adam(2e-2), loss=loss
    )
    assert history["accuracy"][-1] > 0.85
    truth = labels.argmax(axis=1) if labels.ndim == 2 and outputs > 1 else labels.ravel()
    p = predict(model, train_state, TRAIN.images, batch_size=45)
    assert metrics.accuracy(p, truth) > 0.85


@pytest.mark.parametrize("optimizer", ["prodigy", "scale_by_lbfgs"])
def test_optimizers_that_hold_a_buffer_twice(optimizer):
    """They keep the parameters in their own state; a buffer cannot be donated twice."""
    make = getattr(optax.contrib, optimizer, None) or getattr(optax, optimizer)
    _, history = fit(LINEAR, TRAIN, epochs=1, batch_size=32, optimizer=make())
    assert len(history) == 1


def test_callbacks_are_all_called_in_order_and_true_ends():
    seen = []

    def first(epoch):
        seen.append(("first", epoch.number, sorted(epoch.metrics)))
        return epoch.number == 2

    def second(epoch):
        seen.append(("second", epoch.number, int(epoch.train_state.step)))

    train_state, history = fit(LINEAR, TRAIN, callbacks=(first, second), **OPTIONS | {"epochs": 5})
    columns = ["accuracy", "epoch", "loss", "seconds"]
    assert seen == [("first", 1, columns), ("second", 1, 3), ("first", 2, columns), ("second", 2, 6)]
    assert len(history) == 2 and int(train_state.step) == 6


def test_early_stopping_ends():
    _, history = fit(
        LINEAR,
        TRAIN,
        validation=TEST,
        epochs=9,
        batch_size=32,
        optimizer=optax.sgd(0.0),
        callbacks=[EarlyStopping("validation_loss", patience=2)],
    )
    assert len(history) == 3  # the first is an improvement on nothing


def test_best_outlives_the_training():
    """From the second epoch on the learning rate is negative, so that the first stays the best."""
    best = Best("validation_accuracy")
    fit(LINEAR, TRAIN, validation=TEST, epochs=3, batch_size=32, optimizer=rate_after(3, -1.0), callbacks=[best])
    assert best.epoch == 1
    scores = evaluate(LINEAR, best.train_state, TEST, batch_size=32)  # a donated buffer could not be read
    assert scores["accuracy"] == best.value


def test_a_bad_pixel_stops_at_its_step():
    where = np.argwhere((epoch_plan(90, 16, seed=5)[0] == 40) & epoch_plan(90, 16, seed=5)[1])
    ((step, _),) = where
    assert step > 0  # else the number would say little
    with pytest.raises(NonFiniteLoss, match=rf"fit: the loss became nan in epoch 1/2, step {step + 1} of 6\. Lower"):
        fit(LINEAR, with_nan_at(40), epochs=2, batch_size=16, optimizer=optax.sgd(0.1), seed=5)


@pytest.mark.parametrize(
    ("jump", "message"),
    [
        (4, r"the loss became (nan|inf) in epoch 2/3, step [23] of 3"),
        (5, r"parameters became infinite or not a number by the end of epoch 2/3"),  # the last step of the epoch
    ],
)
def test_divergence_leaves_the_last_good_epoch(tmp_path, jump, message):
    run = tmp_path / "run"
    options = {"epochs": 3, "batch_size": 32, "run_dir": run}
    with pytest.raises(NonFiniteLoss, match=message):
        fit(LINEAR, TRAIN, optimizer=rate_after(jump, np.inf), **options)
    params, _ = load(run / "model.safetensors", LINEAR)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    train_state, history = fit(LINEAR, TRAIN, optimizer=rate_after(jump, 0.5), resume=True, **options)
    assert len(history) == 3 and np.isfinite(history["loss"]).all() and int(train_state.step) == 9


def test_a_bad_validation_set_stops(tmp_path):
    with pytest.raises(NonFiniteLoss, match="the validation loss became nan after epoch 1/2"):
        fit(LINEAR, TRAIN, validation=with_nan_at(0, TEST), run_dir=tmp_path / "run", **OPTIONS)


IMAGES, LABELS = TRAIN.images, TRAIN.labels


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": (IMAGES[:, :7], LABELS)}, ValueError, "hold images of (8, 8, 1) for linear; got (90, 7, 8, 1)"),
        ({"validation": (IMAGES[:, :7], LABELS)}, ValueError, "`validation` must hold images of (8, 8, 1)"),
        ({"data": (IMAGES, LABELS + 1)}, ValueError, "labels of `data` must be 0 to 9 for linear; got 1 to 10"),
        ({"data": (IMAGES, LABELS - 1)}, ValueError, "labels of `data` must be 0 to 9 for linear; got -1 to 8"),
        ({"validation": (IMAGES, LABELS + 1)}, ValueError, "labels of `validation` must be 0 to 9"),
        ({"data": (IMAGES, LABELS[1:])}, ValueError, "`data` needs one label per image"),
        ({"data": (IMAGES[:0], LABELS[:0])}, ValueError, "`data` holds no examples"),
        ({"data": (IMAGES, np.zeros((90, 3)))}, ValueError, "`labels` must be integers (N,) or have the shape"),
        ({"data": (IMAGES, LABELS.astype(np.float32))}, ValueError, "`labels` must be integers (N,)"),
        ({"data": (IMAGES.astype(int), LABELS)}, TypeError, "images must be uint8 or floating; got int64"),
        ({"data": DIGITS}, TypeError, "`data` is a Splits, a training and a test set: pass its `.train`"),
        ({"validation": DIGITS}, TypeError, "`validation` is a Splits"),
        ({"data": IMAGES}, TypeError, "`data` must be a Dataset or a pair"),
        ({"epochs": 0}, ValueError, "fit: `epochs` must be an integer of at least 1; got 0"),
        ({"epochs": 2.0}, ValueError, "`epochs` must be an integer of at least 1; got 2.0"),
        ({"epochs": True}, ValueError, "`epochs` must be an integer"),
        ({"batch_size": 0}, ValueError, "fit: `batch_size` must be an integer of at least 1; got 0"),
        ({"seed": -1}, ValueError, "fit: `seed` must be an integer of at least 0; got -1"),
        ({"seed": 0.5}, ValueError, "`seed` must be an integer of at least 0; got 0.5"),
        ({"loss": "hinge"}, ValueError, "one of softmax_cross_entropy, sigmoid_binary_cross_entropy; got 'hinge'"),
        ({"loss": lambda z, l: z.mean()}, ValueError, "`loss` must give one value per example, (N,); got ()"),
        ({"optimizer": "adam"}, TypeError, "`optimizer` must be an optax transformation, such as"),
        ({"model": LINEAR.layer}, TypeError, "`model` must be a Model; got Layer. A Layer becomes one by Model(name"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, error, words):
    arguments = {"model": LINEAR, "data": TRAIN, "run_dir": tmp_path / "run", **OPTIONS, **changes}
    with pytest.raises(error) as caught:
        fit(arguments.pop("model"), arguments.pop("data"), **arguments)
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_layers_that_do_not_fit_are_named(tmp_path):
    model = Model("deep", serial(Conv(2, 9), Flatten(), Dense(10)), (8, 8, 1), 10)
    with pytest.raises(ValueError, match="conv") as caught:
        fit(model, TRAIN, run_dir=tmp_path / "run", **OPTIONS)
    assert any("in layer 'conv1'" in note for note in caught.value.__notes__)
    assert not list(tmp_path.iterdir())


def test_fewer_examples_than_a_batch():
    one = Dataset(TRAIN.images[:1], TRAIN.labels[:1], TRAIN.classes, "one")
    train_state, history = fit(WHOLE, one, **OPTIONS)
    assert int(train_state.step) == 2 and history["accuracy"].tolist() in ([0, 0], [0, 1], [1, 1], [1, 0])


def test_the_callers_arrays_are_left_alone():
    """Donation reuses buffers: never those of the data."""
    images, labels = jnp.asarray(TRAIN.images), jnp.asarray(TRAIN.labels)
    fit(LINEAR, (images, labels), **OPTIONS)
    np.testing.assert_array_equal(images, TRAIN.images)
    np.testing.assert_array_equal(labels, TRAIN.labels)
