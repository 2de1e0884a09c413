"""Training from given parameters: they are used, they are checked, and they stay the caller's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, differs

from jaxcnn.train import TrainState, evaluate, fit

TRAIN = DIGITS.train[:90]
OPTIONS = {"epochs": 1, "batch_size": 32, "optimizer": optax.adam(1e-2)}


def copied(tree):
    return jax.tree.map(np.array, tree)


@pytest.fixture(scope="module")
def given():
    params, state = WHOLE.init(jax.random.key(5))
    return params, jax.tree.map(lambda a: a + 0.25, state)


def test_they_are_where_it_starts(given):
    """Without a learning rate, and with nothing random, they are also where it ends."""
    params, _ = LINEAR.init(jax.random.key(5))
    train_state, history = fit(LINEAR, TRAIN, epochs=1, batch_size=32, optimizer=optax.sgd(0.0), initial=(params, {}))
    assert_same_bits(train_state.params, params)
    assert history["loss"][0] == pytest.approx(evaluate(LINEAR, TrainState(params, {}), TRAIN, batch_size=90)["loss"])
    fresh, _ = fit(LINEAR, TRAIN, epochs=1, batch_size=32, optimizer=optax.sgd(0.0))
    assert differs(fresh.params, params)

    # The statistics too: one step of momentum 0.9 from 0.25.
    train_state, _ = fit(WHOLE, (TRAIN.images[:1], TRAIN.labels[:1]), **OPTIONS | {"batch_size": 1, "initial": given})
    expected = 0.9 * 0.25 + 0.1 * TRAIN.images[0].ravel() / 255
    np.testing.assert_allclose(train_state.state["batch_norm1"]["mean"], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["pair", "train state", "averages", "numpy"])
def test_they_are_left_alone(given, kind):
    """Steps donate the buffers of their train state: never those of the caller. Whatever holds them, the run is one."""
    before = copied(given)
    initial = {
        "pair": given,
        "train state": TrainState(*given, opt_state=(jnp.ones(3),), step=7),
        "averages": TrainState(*jax.tree.map(jnp.zeros_like, given), ema=given),
        "numpy": before,
    }[kind]
    train_state, _ = fit(WHOLE, TRAIN, initial=initial, **OPTIONS)
    assert_same_bits(given, before)  # a deleted buffer could not be read
    assert differs(train_state.params, given[0]) and differs(train_state.state, given[1])
    expected, _ = fit(WHOLE, TRAIN, initial=given, **OPTIONS)
    assert_same_bits(train_state, expected)
    assert int(train_state.step) == 3  # counted anew


def test_a_run_from_given_parameters_is_resumed(given, tmp_path):
    expected, _ = fit(WHOLE, TRAIN, initial=given, **OPTIONS | {"epochs": 2})
    fit(WHOLE, TRAIN, initial=given, run_dir=tmp_path, **OPTIONS)
    options = {"run_dir": tmp_path, "resume": True, **OPTIONS, "epochs": 2}
    other = given[0], jax.tree.map(jnp.zeros_like, given[1])
    for initial in (None, other):
        with pytest.raises(ValueError, match=r"`resume` goes on with the same run, but initial was '[0-9a-f]{16}', is"):
            fit(WHOLE, TRAIN, initial=initial, **options)
    resumed, _ = fit(WHOLE, TRAIN, initial=given, **options)
    assert_same_bits(resumed, expected)


def without(tree, layer, leaf):
    return tree | {layer: {name: value for name, value in tree[layer].items() if name != leaf}}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda p, s: p, TypeError, ["`initial` must be (params, state) or a TrainState; got dict"]),
        (lambda p, s: (p, s, s), TypeError, ["(params, state) or a TrainState; got tuple"]),
        (
            lambda p, s: (without(p, "dense1", "bias"), s),
            ValueError,
            ["does not fit whole; 1 missing: params/dense1/bias"],
        ),
        (lambda p, s: (p, {}), ValueError, ["2 missing: state/batch_norm1/mean, state/batch_norm1/var"]),
        (lambda p, s: (p | {"head": p["dense1"]}, s), ValueError, ["2 unknown: params/head/bias, params/head/kernel"]),
        (
            lambda p, s: (p | {"dense1": {"kernel": jnp.ones((64, 3)), "bias": p["dense1"]["bias"]}}, s),
            ValueError,
            ["params/dense1/kernel expects float32[64, 10] but has float32[64, 3]"],
        ),
        (
            lambda p, s: (p, jax.tree.map(lambda a: a.astype(jnp.float16), s)),
            ValueError,
            ["state/batch_norm1/mean expects float32[64] but has float16[64]"],
        ),
        (
            lambda p, s: (p, jax.tree.map(lambda a: a.at[0].set(jnp.nan), s)),
            ValueError,
            ["state/batch_norm1/mean holds NaN or infinity; state/batch_norm1/var holds"],
        ),
    ],
)
def test_what_is_not_the_models_is_refused(given, tmp_path, change, error, words):
    with pytest.raises(error) as caught:
        fit(WHOLE, TRAIN, initial=change(*given), run_dir=tmp_path / "run", **OPTIONS)
    for word in ["fit: `initial`", *words]:
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())
