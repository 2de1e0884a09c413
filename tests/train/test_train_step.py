"""One step against plain JAX, many steps against one at a time, and what a mask may do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tolerances import assert_sum_close
from train_tiny import CONV, DIGITS, LINEAR, WHOLE, assert_same_bits, differs

from jaxcnn.data import epoch_plan
from jaxcnn.data.augment import chain, cutout, flip, normalize, per_image, shift
from jaxcnn.layers import Layer, serial
from jaxcnn.train import TrainState, make_step, make_steps
from jaxcnn.train.losses import loss_function, probabilities
from jaxcnn.train.step import batch_sums

IMAGES, LABELS = jnp.asarray(DIGITS.train.images[:64]), jnp.asarray(DIGITS.train.labels[:64])
KEY = jax.random.key(7)


def fresh(model, optimizer, loss="softmax_cross_entropy"):
    params, state = model.init(jax.random.key(0))
    train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), loss)
    return jax.tree.map(jnp.copy, train_state)  # jit may give one buffer for two equal leaves; steps donate them


def test_a_step_is_the_one_written_by_hand():
    optimizer = optax.sgd(0.5, momentum=0.9)
    train_state = fresh(CONV, optimizer)
    mask = jnp.arange(16) < 13

    def mean_loss(params):
        x, kernel = IMAGES[:13] / 255.0, params["conv1"]["kernel"]
        y = sum(x[:, i : i + 5 : 2, j : j + 5 : 2] @ kernel[i, j] for i in range(3) for j in range(3))
        y = jax.nn.relu(y + params["conv1"]["bias"]).reshape(13, -1)  # jnp.maximum has slope 1/2 on black corners
        log_p = jax.nn.log_softmax(y @ params["dense1"]["kernel"] + params["dense1"]["bias"])
        return -log_p[jnp.arange(13), LABELS[:13]].mean(), log_p

    (loss, log_p), gradients = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))(train_state.params)
    updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
    expected = optax.apply_updates(train_state.params, updates)

    step = jax.jit(make_step(CONV.apply, optimizer))
    new, (loss_sum, right, count) = step(train_state, IMAGES[:16], LABELS[:16], mask, KEY)
    assert differs(new.params, train_state.params)
    for actual, wanted in ((new.params, expected), (new.opt_state, opt_state)):
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
            assert_sum_close(a, b, 1, jnp.float32, terms=13 * 9)
    assert_sum_close(loss_sum, 13 * loss, 13 * 3, jnp.float32, terms=18)
    assert int(right) == (log_p.argmax(axis=1) == LABELS[:13]).sum() and int(count) == 13
    assert int(new.step) == 1 and new.loss == train_state.loss


def test_masked_examples_have_no_influence():
    step = jax.jit(make_step(CONV.apply, optax.adam(1e-2)))
    train_state, mask = fresh(CONV, optax.adam(1e-2)), np.arange(16) % 3 > 0
    expected = step(train_state, IMAGES[:16], LABELS[:16], mask, KEY)
    masked = ~mask
    other_images = IMAGES[:16].at[masked].set(255)
    other_labels = LABELS[:16].at[masked].set(9 - LABELS[:16][masked])
    assert_same_bits(step(train_state, other_images, other_labels, mask, KEY), expected)
    assert differs(step(train_state, other_images, other_labels, np.ones(16, bool), KEY)[0].params, expected[0].params)


def test_a_batch_of_masked_examples_changes_nothing():
    train_state = fresh(LINEAR, optax.sgd(1.0))
    step = jax.jit(make_step(LINEAR.apply, optax.sgd(1.0)))
    new, sums = step(train_state, IMAGES[:4], LABELS[:4], jnp.zeros(4, bool), KEY)
    assert_same_bits(new.params, train_state.params)
    assert [float(value) for value in sums] == [0.0, 0.0, 0.0]


def test_many_steps_are_one_at_a_time():
    """Bits included; rows beyond the count are not run, or the NaN they point to would be seen."""
    optimizer = optax.adam(optax.linear_schedule(1e-2, 1e-3, 5))
    step = make_step(WHOLE.apply, optimizer)
    images = jnp.concatenate([IMAGES / 255.0, jnp.full((1, 8, 8, 1), jnp.nan)])
    labels = jnp.append(LABELS, 0)
    indices, mask = epoch_plan(60, 16, seed=0)  # the last batch is partial
    indices, mask = np.concatenate([indices, np.full((2, 16), 64, np.int32)]), np.pad(mask, [(0, 2), (0, 0)])

    new, sums = make_steps(step)(fresh(WHOLE, optimizer), images, labels, indices, mask, 4, KEY)
    assert sums.shape == (6, 3) and not sums[4:].any()

    one_at_a_time, expected = make_steps(step), fresh(WHOLE, optimizer)
    for i in range(4):  # by the same program: XLA may compile another number of rows to another order of sums
        rest = np.roll(indices, -i, axis=0), np.roll(mask, -i, axis=0)
        expected, row = one_at_a_time(expected, images, labels, *rest, 1, KEY)
        assert_same_bits(sums[i], row[0])
    assert_same_bits(new, expected)
    assert int(new.step) == 4

    # And the single step itself, compiled on its own, up to rounding.
    expected, alone = fresh(WHOLE, optimizer), jax.jit(step)
    for i in range(4):
        key = jax.random.fold_in(KEY, i)
        expected, _ = alone(expected, images[indices[i]], labels[indices[i]], mask[i], key)
    for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)  # Adam divides by the root of small squares


def test_no_step_changes_nothing():
    steps = make_steps(make_step(LINEAR.apply, optax.sgd(1.0)))
    plan = epoch_plan(8, 4)
    new, sums = steps(fresh(LINEAR, optax.sgd(1.0)), IMAGES, LABELS, *plan, 0, KEY)
    assert_same_bits(new, fresh(LINEAR, optax.sgd(1.0)))
    assert not sums.any()


def test_the_train_state_is_donated():
    train_state = fresh(LINEAR, optax.adam(1e-3))
    steps = make_steps(make_step(LINEAR.apply, optax.adam(1e-3)))
    new, _ = steps(train_state, IMAGES, LABELS, *epoch_plan(8, 4), 2, KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(train_state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, IMAGES, LABELS)))


def recorder(steps: int, draws: bool) -> Layer:
    """Writes down what it meets in each training step: a number drawn from its key, or the batch's pixels."""

    def apply(params, state, x, *, train=False, key=None):
        if not train:
            return x, state
        met = jax.random.uniform(key, (2,)) if draws else x.ravel()
        return x, {"met": state["met"].at[state["at"]].set(met), "at": state["at"] + 1}

    def init(key, input_shape):
        return {}, {"met": jnp.zeros((steps, 2)), "at": jnp.zeros((), jnp.int32)}

    return Layer(init, apply, "recorder")


@pytest.mark.parametrize("draws", [True, False], ids=["dropout", "augmentation"])
def test_every_step_draws_anew(draws):
    """No two steps have the same key, nor, in augmentation, two images of a step; another key gives others."""
    layer = serial(recorder(6, draws), *LINEAR.layer.children.values())

    def noise(key, image):
        return image + jax.random.uniform(key, ())

    step = make_step(layer.apply, optax.sgd(0.0), None if draws else per_image(noise))
    params, state = layer.init(jax.random.key(0), (1, 1, 1))

    def met(key):
        train_state = TrainState(params, state, optax.sgd(0.0).init(params), jnp.zeros((), jnp.int32))
        train_state = jax.tree.map(jnp.copy, train_state)
        plan = np.zeros((3, 2), np.int32), np.ones((3, 2), bool)
        for _ in range(2):  # two dispatches: the second must not repeat the first
            train_state, _ = steps(train_state, jnp.zeros((2, 1, 1, 1)), jnp.zeros(2, jnp.int32), *plan, 3, key)
        return np.asarray(train_state.state["recorder1"]["met"]).ravel().tolist()

    steps = make_steps(step)
    first = met(jax.random.key(0))
    assert len(set(first)) == 12
    assert first == met(jax.random.key(0))
    assert not set(first) & set(met(jax.random.key(1)))


def three_heads(params, state, x, *, train=False, key=None):
    x = x.reshape(len(x), -1)
    logits = tuple(x @ params[name] for name in ("main", "first", "second"))
    return logits if train else logits[0], state


@pytest.mark.parametrize("weight", [0.3, 0.5])
def test_auxiliary_classifiers_have_their_part(weight):
    """By hand: main + weight · (first + second), and each head's gradient, x ⊗ (p − one-hot) / N, by its weight."""
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((64, 10)) / 8 for name in ("main", "first", "second")}
    x, labels = np.asarray(IMAGES[:16], np.float64).reshape(16, 64) / 255, np.asarray(LABELS[:16])
    losses, gradients = {}, {}
    for name, kernel in params.items():
        logits = x @ kernel
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        losses[name] = -np.log(p[np.arange(16), labels]).sum()
        gradients[name] = x.T @ (p - np.eye(10)[labels]) / 16
        if name == "main":
            right = (p.argmax(axis=1) == labels).sum()

    start = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    train_state = TrainState(start, {}, optax.sgd(1.0).init(start), jnp.zeros((), jnp.int32))
    step = jax.jit(make_step(three_heads, optax.sgd(1.0), auxiliary_weight=weight))
    new, (loss, correct, count) = step(train_state, IMAGES[:16], LABELS[:16], np.ones(16, bool), KEY)
    expected = losses["main"] + weight * (losses["first"] + losses["second"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert (int(correct), int(count)) == (right, 16)
    for name, share in (("main", 1.0), ("first", weight), ("second", weight)):
        np.testing.assert_allclose(start[name] - new.params[name], share * gradients[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_binary_cross_entropy"])
@pytest.mark.parametrize("hot", [False, True])
def test_nothing_is_promoted(loss, hot):
    """Nor promoted to another dtype: `jax_numpy_rank_promotion="raise"` and `jax_numpy_dtype_promotion="strict"`.

    Of optax's optimizers some promote integers, sgd does not.
    """
    optimizer, augment = optax.sgd(1e-2), per_image(chain(flip(), shift(1), cutout(2), normalize([0.5], 0.2)))
    step = make_step(WHOLE.apply, optimizer, augment, ema=0.9)
    train_state = fresh(WHOLE, optimizer, loss)
    train_state = dataclasses.replace(train_state, ema=(train_state.params, train_state.state))
    labels = jnp.eye(10)[LABELS[:8]] if hot else LABELS[:8]
    mask = jnp.ones(8, bool)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(step, train_state, IMAGES[:8], labels, mask, KEY)
        jax.eval_shape(batch_sums(WHOLE.apply, loss), *train_state.weights, IMAGES[:8], labels, mask)
        jax.eval_shape(lambda x: probabilities(loss, x), jnp.ones((8, 1)))
        jax.eval_shape(lambda x, y: loss_function(loss)(x, y).sum(), jnp.ones((8, 2)), LABELS[:8])
