"""Evaluation and prediction: the batch size must not be seen in what comes out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_tiny import DIGITS, LINEAR, WHOLE

from jaxcnn.layers import Dense, Flatten, serial
from jaxcnn.models import Model
from jaxcnn.train import TrainState, evaluate, losses, outputs, predict

SUM = Model("sum", serial(Flatten()), (1, 1, 5), 5)  # the logits are the pixels


def whole_numbers(logits, labels):
    """A loss that float32 adds up exactly, in any order."""
    return jnp.abs(logits).sum(axis=-1) + 100 * labels


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 1000))
def test_evaluation_in_batches_is_exactly_that_of_the_whole(n, batch_size, seed):
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(-50, 50, (n, 1, 1, 5)).astype(np.float32), rng.integers(0, 5, n)
    loss = losses.Classification(whole_numbers)
    scores = evaluate(SUM, TrainState({}, {}, loss=loss), (images, labels), batch_size=batch_size)
    logits = images.reshape(n, 5).astype(np.float64)
    assert scores == {
        "loss": (np.abs(logits).sum() + 100 * labels.sum()) / n,
        "accuracy": (logits.argmax(axis=1) == labels).sum() / n,
    }


@pytest.fixture(scope="module")
def trained():
    """Running statistics other than at the start, so that using the batch's instead would show."""
    params, state = WHOLE.init(jax.random.key(0))
    return TrainState(params, jax.tree.map(lambda a: a + 0.3, state))


def test_evaluation_of_a_net(trained):
    data = DIGITS.test[:50]
    logits, _ = WHOLE.apply(trained.params, trained.state, jnp.asarray(data.images) / 255)
    expected = float(losses.softmax_cross_entropy(logits, jnp.asarray(data.labels)).mean())
    right = float((np.asarray(logits).argmax(axis=1) == data.labels).mean())
    for batch_size in (16, 50, 64):
        scores = evaluate(WHOLE, trained, data, batch_size=batch_size)
        assert scores == {"loss": pytest.approx(expected, rel=1e-5), "accuracy": right}


def test_evaluation_takes_pairs_and_one_hot_labels(trained):
    data = DIGITS.test[:20]
    expected = evaluate(WHOLE, trained, data, batch_size=20)
    floats = data.images.astype(np.float32) / 255
    assert evaluate(WHOLE, trained, (floats, np.eye(10)[data.labels]), batch_size=20) == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_prediction_is_the_softmax_in_the_order_given(trained, batch_size):
    images = DIGITS.test.images[:23]
    logits, _ = WHOLE.apply(trained.params, trained.state, jnp.asarray(images) / 255)
    p = predict(WHOLE, trained, images, batch_size=batch_size)
    assert isinstance(p, np.ndarray) and p.shape == (23, 10)
    np.testing.assert_allclose(p, jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)
    assert len(np.unique(p.round(4), axis=0)) == 23  # else their order could not be seen


def test_prediction_takes_floats_and_device_arrays(trained):
    images = DIGITS.test.images[:6]
    p = predict(WHOLE, trained, images, batch_size=4)
    floats = predict(WHOLE, trained, images.astype(np.float32) / 255, batch_size=4)
    np.testing.assert_allclose(floats, p, rtol=1e-5)
    np.testing.assert_array_equal(predict(WHOLE, trained, jnp.asarray(images), batch_size=4), p)


def test_prediction_of_nothing_is_empty(trained):
    p = predict(WHOLE, trained, np.zeros((0, 8, 8, 1), np.uint8), batch_size=4)
    assert p.shape == (0, 10) and p.dtype == np.float32


@pytest.mark.parametrize("batch_size", [4, 50])
def test_outputs_are_those_of_the_layer_in_the_order_given(trained, batch_size):
    """Of a model or a layer, bytes taken as 0 to 1; not their probabilities."""
    images = DIGITS.test.images[:23]
    expected, _ = WHOLE.apply(trained.params, trained.state, jnp.asarray(images) / 255)
    for layer, x in ((WHOLE, images), (WHOLE.layer, images.astype(np.float32) / 255)):
        y = outputs(layer, trained.params, trained.state, x, batch_size=batch_size)
        assert isinstance(y, np.ndarray) and y.shape == (23, 10)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert (outputs(WHOLE, trained.params, trained.state, images[:0], batch_size=4)).shape == (0, 10)


def test_prediction_follows_the_loss():
    model = Model("one", serial(Flatten(), Dense(1)), (2, 2, 1), 2, "sigmoid_binary_cross_entropy")
    params, state = model.init(jax.random.key(0))
    images = np.random.default_rng(0).uniform(size=(5, 2, 2, 1)).astype(np.float32)
    logits = np.asarray(model.apply(params, state, images)[0])
    for loss in (model.loss, functools.partial(losses.sigmoid_binary_cross_entropy)):
        p = predict(model, TrainState(params, state, loss=loss), images, batch_size=2)
        np.testing.assert_allclose(p[:, 1:], 1 / (1 + np.exp(-logits)), rtol=1e-5)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, x, y: predict(LINEAR, s, x[0], batch_size=4), ValueError, "predict: `x` must hold images"),
        (lambda s, x, y: predict(LINEAR, s, x[:, :7], batch_size=4), ValueError, "got (20, 7, 8, 1)"),
        (lambda s, x, y: predict(LINEAR, s, x.tolist(), batch_size=4), ValueError, "`x` must hold images"),
        (lambda s, x, y: predict(LINEAR, s, x, batch_size=0), ValueError, "`batch_size` must be an integer"),
        (lambda s, x, y: predict(LINEAR, s, x.astype(int), batch_size=4), TypeError, "`images` must be uint8"),
        (
            lambda s, x, y: outputs(LINEAR, s.params, s.state, x, batch_size=0),
            ValueError,
            "`batch_size` must be an int",
        ),
        (lambda s, x, y: outputs(LINEAR, s.params, s.state, x.astype(int), batch_size=4), TypeError, "must be uint8"),
        (lambda s, x, y: evaluate(LINEAR, s, (x, y), batch_size=-1), ValueError, "`batch_size` must be an integer"),
        (lambda s, x, y: evaluate(LINEAR, s, (x[:, :7], y), batch_size=4), ValueError, "evaluate: `data` must hold"),
        (lambda s, x, y: evaluate(LINEAR, s, (x, y + 5), batch_size=4), ValueError, "0 to 9 for linear; got"),
        (lambda s, x, y: evaluate(LINEAR, s, (x, y[1:]), batch_size=4), ValueError, "one label per image"),
        (lambda s, x, y: evaluate(LINEAR, s, DIGITS, batch_size=4), TypeError, "`data` is a Splits"),
        (lambda s, x, y: evaluate(LINEAR.layer, s, (x, y), batch_size=4), TypeError, "`model` must be a Model"),
    ],
)
def test_what_does_not_fit_is_named(call, error, words):
    params, state = LINEAR.init(jax.random.key(0))
    with pytest.raises(error) as caught:
        call(TrainState(params, state), DIGITS.test.images[:20], DIGITS.test.labels[:20])
    assert words in str(caught.value)
