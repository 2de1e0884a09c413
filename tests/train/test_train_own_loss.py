"""A loss of one's own: outputs as they are, and no accuracy where nothing is right or wrong."""

import functools
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR

from jaxcnn.layers import Dense, Flatten, serial, stateless
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.train import Best, EarlyStopping, TrainState, evaluate, fit, losses, predict
from jaxcnn.weights import describe

REGRESSION = Model("regression", serial(Flatten(), Dense(1)), (2, 2, 1), 1)
UNITS = Model("units", serial(Flatten(), Dense(5)), (2, 2, 1), 5, "sigmoid_binary_cross_entropy")
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(64, 2, 2, 1)).astype(np.float32)
TARGETS = (X.sum(axis=(1, 2, 3)) * 3 + 20).astype(np.float64)
OPTIONS = {"epochs": 2, "batch_size": 16, "optimizer": optax.adam(1e-2)}


def squared(outputs, labels):
    return (outputs[:, 0] - labels) ** 2


def test_regression_has_no_accuracy_anywhere(tmp_path, capsys):
    seen = []
    best, stopping = Best("validation_loss"), EarlyStopping("validation_loss", patience=9)
    train_state, history = fit(
        REGRESSION,
        (X, TARGETS),
        validation=(X[:20], TARGETS[:20]),
        loss=squared,
        callbacks=[lambda epoch: seen.append(sorted(epoch.metrics)), best, stopping],
        run_dir=tmp_path,
        **OPTIONS | {"epochs": 300, "optimizer": optax.adam(0.3)},
    )
    columns = ["epoch", "loss", "validation_loss", "seconds"]
    assert history.columns == columns and seen[0] == sorted(columns)
    assert "accuracy" not in capsys.readouterr().out + (tmp_path / "metrics.csv").read_text()
    answers = predict(REGRESSION, train_state, X, batch_size=16)
    assert answers.shape == (64, 1)
    np.testing.assert_allclose(answers[:, 0], TARGETS, atol=0.5)
    scores = evaluate(REGRESSION, train_state, (X, TARGETS), batch_size=16)
    assert scores == {"loss": pytest.approx(np.square(answers[:, 0] - TARGETS).mean(), rel=1e-4)}
    assert best.epoch and evaluate(REGRESSION, best.train_state, (X[:20], TARGETS[:20]), batch_size=16)[
        "loss"
    ] == pytest.approx(best.value)


def test_its_saved_model_promises_no_probabilities(tmp_path):
    train_state, _ = fit(REGRESSION, (X, TARGETS), loss=squared, run_dir=tmp_path, **OPTIONS)
    about = describe(tmp_path / "model.safetensors")
    assert about["loss"] is None
    saved = TrainState(train_state.params, train_state.state, loss=about["loss"])
    assert (predict(REGRESSION, saved, X, batch_size=16) < 0).any()  # no share of one
    with pytest.raises(ValueError, match="`loss` must be given: this model was trained with a function"):
        evaluate(REGRESSION, saved, (X, TARGETS), batch_size=16)
    fit(LINEAR, DIGITS.train[:32], loss=SMOOTH, run_dir=tmp_path / "smooth", **OPTIONS)
    assert describe(tmp_path / "smooth" / "model.safetensors")["loss"] == "softmax_cross_entropy"


@pytest.mark.parametrize("shape", [(64,), (64, 1), (64, 3), (64, 2, 2), (64, 2, 2, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_labels_of_any_shape_and_dtype(shape, dtype):
    labels = (RNG.uniform(0, 90, shape)).astype(dtype)

    def loss(outputs, labels):
        return (labels.astype(jnp.float32) ** 2).reshape(len(labels), -1).sum(axis=1) + 0 * outputs[:, 0]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = evaluate(
            REGRESSION, TrainState(*REGRESSION.init(jax.random.key(0)), loss=loss), (X, labels), batch_size=9
        )
    expected = (labels.astype(np.float64) ** 2).reshape(64, -1).sum(axis=1).mean()
    assert scores == {"loss": pytest.approx(expected, rel=1e-5)}


def test_outputs_of_any_shape():
    identity = Model("identity", stateless("identity", lambda x: x), (2, 2, 1), 0)
    train_state = TrainState({}, {}, loss=lambda y, z: jnp.abs(y - z).sum(axis=(1, 2, 3)))
    np.testing.assert_array_equal(predict(identity, train_state, X, batch_size=10), X)
    assert evaluate(identity, train_state, (X, X + 1), batch_size=10) == {"loss": pytest.approx(4)}


SMOOTH = functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1)


def weighted(logits, labels):
    return (1 + labels) * losses.softmax_cross_entropy(logits, labels)


@pytest.mark.parametrize(
    "loss",
    [
        "softmax_cross_entropy",
        losses.softmax_cross_entropy,
        SMOOTH,
        functools.partial(SMOOTH, label_smoothing=0.2),
        jax.jit(losses.softmax_cross_entropy),
        optax.softmax_cross_entropy_with_integer_labels,
        losses.Classification(weighted),
    ],
)
def test_what_is_a_classification_still(loss):
    train_state, history = fit(LINEAR, DIGITS.train[:32], loss=loss, **OPTIONS)
    assert "accuracy" in history.columns
    p = predict(LINEAR, train_state, DIGITS.test.images[:5], batch_size=5)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert "accuracy" in evaluate(LINEAR, train_state, DIGITS.test[:5], batch_size=5)


@pytest.mark.parametrize("loss", [weighted, functools.partial(weighted), lambda z, y: weighted(z, y)])
def test_what_is_not_said_to_be_one(loss):
    train_state, history = fit(LINEAR, DIGITS.train[:32], loss=loss, **OPTIONS)
    assert "accuracy" not in history.columns
    z = predict(LINEAR, train_state, DIGITS.test.images[:5], batch_size=5)
    np.testing.assert_allclose(
        z, LINEAR.apply(train_state.params, train_state.state, DIGITS.test.images[:5] / np.float32(255))[0], rtol=1e-4
    )


def test_an_ensemble_of_regressions_answers_in_their_units():
    train_state = ensemble.start(REGRESSION, jax.random.key(0), 3, optax.sgd(0.1), loss=squared)
    mean, each = ensemble.predict(REGRESSION, train_state, X, batch_size=16)
    assert mean.shape == (64, 1) and each.shape == (3, 64, 1)
    for m in range(3):
        expected = predict(REGRESSION, ensemble.member(train_state, m), X, batch_size=16)
        np.testing.assert_allclose(each[m], expected, rtol=1e-5, atol=1e-6)


def test_accuracy_of_units_is_the_share_of_right_labels():
    """Of labels of several classes at once, and not of the highest against the highest."""
    params, state = UNITS.init(jax.random.key(0))
    labels = RNG.integers(0, 2, (64, 5))
    logits = np.asarray(UNITS.apply(params, state, X)[0])
    scores = evaluate(UNITS, TrainState(params, state, loss=UNITS.loss), (X, labels), batch_size=10)
    assert scores["accuracy"] == pytest.approx(((logits > 0) == (labels == 1)).mean(), abs=1e-6)
    # One label for all units, an integer, is a class.
    classes = RNG.integers(0, 5, 64)
    scores = evaluate(UNITS, TrainState(params, state, loss=UNITS.loss), (X, classes), batch_size=10)
    assert scores["accuracy"] == pytest.approx((logits.argmax(axis=1) == classes).mean(), abs=1e-6)


@pytest.mark.parametrize("ignored", [-1, -100, 255])
def test_ignored_examples_change_nothing(ignored):
    """Neither the training, nor the loss and accuracy that it reports."""
    labels = DIGITS.train.labels[:40].copy()
    labels[::4] = ignored
    loss = functools.partial(losses.softmax_cross_entropy, label_smoothing=0.1, ignore_label=ignored)
    options = {"epochs": 1, "optimizer": optax.sgd(0.5), "batch_size": 40, "loss": loss}
    train_state, history = fit(LINEAR, (DIGITS.train.images[:40], labels), **options)
    kept = labels != ignored
    there = DIGITS.train.images[:40][kept], labels[kept]
    expected, expected_history = fit(LINEAR, there, **options)
    for name in ("loss", "accuracy"):
        assert history[name] == pytest.approx(expected_history[name], rel=1e-5)
    for a, b in zip(jax.tree.leaves(train_state.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    scores = evaluate(LINEAR, train_state, (DIGITS.train.images[:40], labels), batch_size=16)
    assert scores == pytest.approx(evaluate(LINEAR, train_state, there, batch_size=16), rel=1e-5)


ONE_HOT = np.eye(10)[DIGITS.train.labels[:30]]
IMAGES = DIGITS.train.images[:30]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (ONE_HOT * 3, "rows of probabilities that sum to 1; 30 of 30 are not, the first is row 0, whose sum is 3"),
        (np.where(np.arange(30)[:, None] == 7, 0, ONE_HOT), "1 of 30 are not, the first is row 7, whose sum is 0"),
        (ONE_HOT * 3 - 0.2, "rows of probabilities"),
        (DIGITS.train.labels[:30, None], "Labels in a column become (N,) by labels[:, 0]"),
        (DIGITS.train.labels[:30].astype(float), "become integers by labels.astype(int)"),
        (DIGITS.train.labels[:30] > 4, "become integers by labels.astype(int)"),
        (np.linspace(0, 9, 30), "must be classes; got numbers from 0 to 9. A regression has a loss of its own"),
        (np.linspace(4.5, 5, 30)[:, None], "must be classes; got numbers from 4.5 to 5"),
        (np.full(30, -1), "must be 0 to 9 for linear; got -1 to -1. Examples to leave out have a label of their own"),
        (np.full(30, 2**40), "must be 0 to 9"),
    ],
)
def test_labels_that_are_none_of_a_classification(labels, words):
    with pytest.raises(ValueError) as caught:
        fit(LINEAR, (IMAGES, labels), **OPTIONS)
    assert words in str(caught.value) and "(1," not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "labels", "words"),
    [
        (lambda y, t: ((y - t) ** 2).mean(axis=-1), TARGETS, "mixes them: outputs (64, 1) and labels (64,) are"),
        (lambda y, t: ((y[:, 0] - t) ** 2).mean(keepdims=True), TARGETS, "got (1,) for outputs (64, 1)"),
        (squared, np.full(64, 2**40), "must fit int32; got 1099511627776"),
    ],
)
def test_losses_that_would_mislead(loss, labels, words):
    with pytest.raises(ValueError) as caught:
        fit(REGRESSION, (X, labels), loss=loss, **OPTIONS)
    assert words in str(caught.value)


def test_what_cannot_be_monitored_is_found_before_the_first_epoch(tmp_path):
    with pytest.raises(ValueError, match=r"`monitor` must be a column of the history, \['epoch', 'loss', 'seconds'\]"):
        fit(REGRESSION, (X, TARGETS), loss=squared, callbacks=[Best("accuracy")], run_dir=tmp_path / "run", **OPTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("monitor", ["val_loss", "validation_loss"])
def test_what_is_monitored_of_a_validation_needs_one(monitor):
    with pytest.raises(ValueError, match=r"; validation_loss is there where `fit` is given `validation`$"):
        fit(REGRESSION, (X, TARGETS), loss=squared, callbacks=[Best(monitor)], **OPTIONS)


def test_config_names_the_loss(tmp_path):
    fit(REGRESSION, (X, TARGETS), loss=losses.Classification(squared), run_dir=tmp_path, **OPTIONS)
    assert json.loads((tmp_path / "config.json").read_text())["loss"] == "squared"
