"""What optax has for training, through `fit`: schedules by steps, accumulation, clipping, groups; and it resumed."""

import functools
import math

import jax
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, LINEAR, WHOLE, assert_same_bits, but_seconds

from jaxcnn.data import augment
from jaxcnn.train import Policy, decayed, fit, group_params

TRAIN, TEST = DIGITS.train[:90], DIGITS.test[:40]
STEPS = 9  # 3 epochs of 90 images, 32 at a time


def cosine(t):
    return 0.25 * (1 + math.cos(math.pi * t / STEPS)) / 2


def one_cycle(t, peak=0.25, warm=3):
    """Up from peak/25 by a third of the steps, down to peak/25/1e4, along half a cosine each."""
    low, high, part = (peak / 25, peak, t / warm) if t < warm else (peak, peak / 25e4, (t - warm) / (STEPS - warm))
    return low + (high - low) * (1 - math.cos(math.pi * part)) / 2


def stairs(t):
    return 0.25 * 0.1 ** ((t >= 3) + (t >= 6))


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        (optax.cosine_decay_schedule(0.25, STEPS), cosine),
        (optax.cosine_onecycle_schedule(STEPS, 0.25, pct_start=1 / 3), one_cycle),
        (optax.piecewise_constant_schedule(0.25, {3: 0.1, 6: 0.1}), stairs),
    ],
    ids=["cosine", "one-cycle", "step"],
)
def test_schedules_go_by_steps(schedule, rate):
    """The sum of the logits has slope 1 in each bias, so descent takes the sum of all rates from it."""
    biases = []
    train_state, _ = fit(
        LINEAR,
        TRAIN,
        epochs=3,
        batch_size=32,
        optimizer=optax.sgd(schedule),
        loss=lambda logits, labels: logits.sum(axis=-1),
        callbacks=[lambda epoch: biases.append(float(epoch.train_state.params["dense1"]["bias"][0]))],
    )
    expected = -np.cumsum([rate(t) for t in range(STEPS)])[[2, 5, 8]]
    np.testing.assert_allclose(biases, expected, rtol=1e-5)
    np.testing.assert_allclose(train_state.params["dense1"]["bias"], expected[-1], rtol=1e-5)


def test_accumulation_of_small_batches_is_one_batch():
    data, momentum = TRAIN[:64], optax.sgd(0.5, momentum=0.9)
    whole, _ = fit(LINEAR, data, epochs=3, batch_size=64, optimizer=momentum)
    parts, _ = fit(LINEAR, data, epochs=3, batch_size=16, optimizer=optax.MultiSteps(momentum, 4))
    assert int(parts.opt_state.gradient_step) == int(whole.step) == 3 and int(parts.step) == 12
    for a, b in zip(jax.tree.leaves(parts.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_step():
    """From the initial parameters, which a rate of 0 gives, one step of length 0.01."""
    options = {"epochs": 1, "batch_size": 90}
    start, _ = fit(LINEAR, TRAIN, optimizer=optax.sgd(0.0), **options)
    free, _ = fit(LINEAR, TRAIN, optimizer=optax.sgd(1.0), **options)
    clipped, _ = fit(LINEAR, TRAIN, optimizer=optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(1.0)), **options)
    free, clipped, start = (
        np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(end.params)])
        for end in (free, clipped, start)
    )
    assert np.linalg.norm(free - start) > 0.1
    np.testing.assert_allclose(clipped - start, 0.01 * (free - start) / np.linalg.norm(free - start), atol=1e-7)


def everything():
    """Groups, one of which is frozen, with clipping, masked decay, a schedule, and accumulation that ends mid-epoch."""
    trained = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.cosine_onecycle_schedule(STEPS, 1e-2), weight_decay=0.1, mask=decayed),
    )
    labels = functools.partial(group_params, patterns={"batch_norm1/bias": "frozen"}, default="trained")
    return optax.MultiSteps(optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels), 2)


def test_all_of_it_is_resumed_to_the_bit(tmp_path):
    initial = WHOLE.init(jax.random.key(8))
    options = {
        "validation": TEST,
        "batch_size": 32,
        "augment": augment.shift(1),
        "initial": initial,
        "ema": 0.8,
        "policy": Policy(compute=jax.numpy.bfloat16),
    }
    expected, expected_history = fit(WHOLE, TRAIN, epochs=3, optimizer=everything(), **options)
    fit(WHOLE, TRAIN, epochs=1, optimizer=everything(), run_dir=tmp_path, **options)
    for changed, words in (
        ({"ema": None}, r"ema was 0\.8, is None"),
        ({"policy": None}, "policy was 'param float32, compute bfloat16, output float32', is None"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(WHOLE, TRAIN, epochs=3, optimizer=everything(), run_dir=tmp_path, resume=True, **options | changed)
    resumed, history = fit(WHOLE, TRAIN, epochs=3, optimizer=everything(), run_dir=tmp_path, resume=True, **options)
    assert_same_bits(resumed, expected)
    assert but_seconds(history) == but_seconds(expected_history)
    assert int(expected.opt_state.mini_step) == 1 and int(expected.opt_state.gradient_step) == 4
    assert_same_bits(resumed.params["batch_norm1"]["bias"], initial[0]["batch_norm1"]["bias"])
