"""Compiled functions are kept as long as the model, and few shapes serve all numbers of images."""

import contextlib
import functools
import gc
import logging
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS

from jaxcnn.layers import Conv, Dense, Flatten, Layer, Relu, serial
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.train import Policy, TrainState, evaluate, fit, outputs, predict
from jaxcnn.train.compiled import MOST, kept

TEST = DIGITS.test[:70]


def a_model():
    return Model("conv", serial(Conv(2, 3), Relu(), Flatten(), Dense(10)), (8, 8, 1), 10)


@contextlib.contextmanager
def compilations():
    """The names of what XLA compiles meanwhile."""
    names, handler = [], logging.Handler()
    handler.emit = lambda record: names.append(record.getMessage()) if "Compiling" in record.getMessage() else None
    logger = logging.getLogger("jax")
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def calls(model, train_state, members):
    """What is asked of a model, of so many images."""
    half = Policy(compute=jnp.bfloat16)
    return {
        "predict": lambda n: predict(model, train_state, TEST.images[:n], batch_size=16),
        "predict, on the device": lambda n: predict(model, train_state, ON_DEVICE[n], batch_size=16),
        "predict, halves": lambda n: predict(model, train_state, TEST.images[:n], batch_size=16, policy=half),
        "evaluate": lambda n: evaluate(model, train_state, TEST[:n], batch_size=16),
        "outputs": lambda n: outputs(model, train_state.params, train_state.state, TEST.images[:n], batch_size=16),
        "outputs of a layer": lambda n: outputs(model.layer, train_state.params, {}, TEST.images[:n], batch_size=16),
        "ensemble": lambda n: ensemble.predict(model, members, TEST.images[:n], batch_size=16),
    }


ON_DEVICE = {n: jnp.asarray(TEST.images[:n]) for n in range(1, 71)}


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("name", calls(None, None, None))
def test_a_second_call_compiles_nothing(name, averages):
    model = a_model()
    params, state = model.init(jax.random.key(0))
    train_state = TrainState(params, state, ema=(params, state) if averages else ())
    call = calls(model, train_state, ensemble.start(model, jax.random.key(0), 2, optax.sgd(0.1)))[name]
    with compilations() as first:
        for n in (16, 8, 4, 2, 1):
            call(n)
    assert len(first) >= 5  # else they would not be seen
    with compilations() as names:
        for n in (1, 2, 3, 5, 7, 13, 15, 16, 17, 31, 33, 50, 64, 70):
            call(n)
    assert not names


def test_training_again_with_validation_evaluates_with_what_is_there():
    model = a_model()
    options = {"epochs": 1, "batch_size": 16, "optimizer": optax.sgd(0.1), "validation": TEST}
    train_state, _ = fit(model, DIGITS.train[:32], **options)
    with compilations() as names:
        evaluate(model, train_state, TEST, batch_size=16)
    assert not names


@pytest.mark.parametrize("batch_size", [1, 7, 16, 70, 100])
@pytest.mark.parametrize("n", [1, 5, 16, 23, 70])
def test_neither_batch_size_nor_filling_is_seen(n, batch_size):
    model = MODEL
    expected = jax.nn.softmax(model.apply(*WEIGHTS, TEST.images[:n] / np.float32(255))[0])
    np.testing.assert_allclose(
        predict(model, TrainState(*WEIGHTS), TEST.images[:n], batch_size=batch_size), expected, rtol=1e-4, atol=1e-6
    )


MODEL = a_model()
WEIGHTS = MODEL.init(jax.random.key(0))


def test_another_loss_policy_or_model_is_another_function():
    train_state, images = TrainState(*WEIGHTS), TEST.images[:8]
    p = predict(MODEL, train_state, images, batch_size=8)
    raw = predict(MODEL, TrainState(*WEIGHTS, loss=lambda z, y: z[:, 0]), images, batch_size=8)
    np.testing.assert_allclose(jax.nn.softmax(raw), p, rtol=1e-5)
    units = predict(MODEL, TrainState(*WEIGHTS, loss="sigmoid_binary_cross_entropy"), images, batch_size=8)
    np.testing.assert_allclose(units, 1 / (1 + np.exp(-raw)), rtol=1e-5)
    half = predict(MODEL, train_state, images, batch_size=8, policy=Policy(compute=jnp.bfloat16))
    assert (half != p).any()
    other = Model("other", Layer(MODEL.layer.init, lambda *a, **k: (7 * MODEL.apply(*a, **k)[0], {})), (8, 8, 1), 10)
    np.testing.assert_allclose(predict(other, train_state, images, batch_size=8), jax.nn.softmax(7 * raw), rtol=1e-4)
    losses = [evaluate(MODEL, TrainState(*WEIGHTS, loss=scaled(i)), TEST, batch_size=70)["loss"] for i in (1, 2)]
    assert losses[1] == pytest.approx(2 * losses[0])


def scaled(factor):
    return lambda logits, labels: factor * jnp.square(logits).sum(axis=1)


def test_what_is_kept_goes_with_the_model():
    """The programs too: XLA's memory is freed with the function that holds them."""
    model = a_model()
    train_state = TrainState(*model.init(jax.random.key(0)))
    predict(model, train_state, TEST.images, batch_size=16)
    evaluate(model, train_state, TEST, batch_size=16)
    outputs(model.layer, train_state.params, {}, TEST.images, batch_size=16)
    functions = []
    kept(model.apply, ("predict", "softmax", None), functions.append)  # is there: not made again
    assert not functions
    held = weakref.ref(kept(model.apply, ("predict", "softmax", None), lambda apply: None))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None and held() is None


def test_the_number_of_kept_functions_is_bounded():
    owner = functools.partial(len)
    made = []
    for i in range(2 * MOST):
        kept(owner, i, lambda _, i=i: made.append(i))
    kept(owner, 2 * MOST - 1, lambda _: made.append("again"))
    assert made == list(range(2 * MOST))
    kept(owner, 0, lambda _: made.append("the oldest was let go"))
    assert made[-1] == "the oldest was let go"
