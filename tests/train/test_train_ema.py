"""The moving average of the weights: its formula, and that it is what is evaluated and saved."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, differs

from jaxcnn.data import epoch_plan
from jaxcnn.train import TrainState, evaluate, fit, make_step, predict
from jaxcnn.weights import load

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
IMAGES, LABELS = jnp.asarray(TRAIN.images), jnp.asarray(TRAIN.labels)
OPTIONS = {"epochs": 2, "batch_size": 32, "optimizer": optax.adam(1e-2), "validation": TEST}


@pytest.mark.parametrize("decay", [0.8, 0.0])
def test_it_is_the_weighted_mean_of_what_was(decay):
    """Σ_t d^(T−t) p_t / Σ_t d^(T−t), by hand, of parameters and statistics; where it started has no weight."""
    optimizer = optax.sgd(0.5)
    params, state = WHOLE.init(jax.random.key(0))
    start = jax.tree.map(lambda a: a + 1, (params, state))
    train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), ema=start)
    step, visited = jax.jit(make_step(WHOLE.apply, optimizer, ema=decay)), []
    indices, mask = epoch_plan(90, 16, seed=1)
    for i in range(5):
        train_state, _ = step(train_state, IMAGES[indices[i]], LABELS[indices[i]], mask[i], jax.random.key(i))
        visited.append(jax.tree.map(lambda a: np.asarray(a, np.float64), (train_state.params, train_state.state)))
        shares = np.array([decay ** (i - t) for t in range(i + 1)])
        expected = jax.tree.map(lambda *ps, w=shares: np.tensordot(w / w.sum(), np.stack(ps), 1), *visited)
        for actual, wanted in zip(jax.tree.leaves(train_state.ema), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=3e-6)
    assert differs(train_state.ema[0], train_state.params) is (decay > 0)


def test_the_average_of_what_stays_stays():
    """To the bit, so that frozen layers are frozen in the averages too."""
    train_state, _ = fit(LINEAR, TRAIN, epochs=2, batch_size=8, optimizer=optax.sgd(0.0), ema=0.9)
    assert_same_bits(train_state.ema[0], train_state.params)


def test_the_averages_are_evaluated_and_saved(tmp_path):
    train_state, history = fit(WHOLE, TRAIN, ema=np.float32(0.7), run_dir=tmp_path, **OPTIONS)
    assert train_state.weights is train_state.ema and differs(train_state.ema, (train_state.params, train_state.state))
    averaged = TrainState(*train_state.ema)
    expected = evaluate(WHOLE, averaged, TEST, batch_size=40)
    plain = evaluate(WHOLE, TrainState(train_state.params, train_state.state), TEST, batch_size=40)
    assert plain["loss"] != pytest.approx(expected["loss"], rel=1e-3)  # else nothing could be seen
    assert evaluate(WHOLE, train_state, TEST, batch_size=40) == expected
    assert history["validation_loss"][-1] == pytest.approx(expected["loss"])
    p = predict(WHOLE, train_state, TEST.images, batch_size=40)
    np.testing.assert_array_equal(p, predict(WHOLE, averaged, TEST.images, batch_size=40))
    assert history["validation_loss"].argmin() == 1
    assert_same_bits(load(tmp_path / "model.safetensors", WHOLE), train_state.ema)

    without, _ = fit(WHOLE, TRAIN, **OPTIONS)
    assert_same_bits(train_state.params, without.params)  # the average changes nothing else
    assert without.ema == () and without.weights == (without.params, without.state)


@pytest.mark.parametrize("decay", [1.0, -0.1, 1, True, "0.9"])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"fit: `ema` is the decay of an average and must be in \[0, 1\); got"):
        fit(LINEAR, TRAIN, ema=decay, **OPTIONS)
    with pytest.raises(ValueError, match="make_step: `ema`"):
        make_step(LINEAR.apply, optax.sgd(0.1), ema=decay)


@pytest.mark.parametrize(("decay", "average"), [(0.9, False), (None, True)])
def test_the_step_and_its_train_state_agree_on_averages(decay, average):
    params, state = LINEAR.init(jax.random.key(0))
    train_state = TrainState(params, state, ema=(params, state) if average else ())
    step = make_step(LINEAR.apply, optax.sgd(0.1), ema=decay)
    with pytest.raises(ValueError, match=r"make_step: `ema` must be given where train_state\.ema is \(params, state\)"):
        step(train_state, IMAGES[:4], LABELS[:4], np.ones(4, bool), jax.random.key(0))
