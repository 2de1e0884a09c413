"""An ensemble against its members, one after the other, by the functions for one model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxcnn import train, weights
from jaxcnn.data import augment, epoch_plan
from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Relu, serial
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.train import TrainState

# All that a run carries along: running statistics, keys for dropout, and a convolution whose kernel is mapped.
WHOLE = Model("whole", serial(Conv(2, 3), BatchNorm(), Relu(), Flatten(), Dropout(0.2), Dense(4)), (6, 6, 1), 4)
LINEAR = Model("linear", serial(Flatten(), Dense(4)), (6, 6, 1), 4)
MEMBERS = 3
KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.uniform(size=(24, 6, 6, 1)).astype(np.float32), RNG.integers(0, 4, 24)
MOMENTUM = optax.sgd(0.1, momentum=0.9)


def fresh(model=WHOLE, optimizer=MOMENTUM, members=MEMBERS):
    return ensemble.start(model, jax.random.key(0), members, optimizer)


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


def assert_close(actual, expected):
    """Up to the rounding of another order of sums: values of about 1, a few steps."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def differ(a, b):
    return any(np.any(np.asarray(x) != np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


# ---------------------------------------------------------------------------------------------- into and out of a stack


def test_each_member_starts_as_a_model_of_its_key():
    params, state = ensemble.init(WHOLE, KEY, MEMBERS)
    for m, key in enumerate(jax.random.split(KEY, MEMBERS)):
        assert_same_bits(jax.tree.map(lambda leaf, m=m: leaf[m], (params, state)), WHOLE.init(key))


def test_members_start_apart():
    train_state = fresh()
    assert differ(ensemble.member(train_state, 0).params, ensemble.member(train_state, 1).params)


@pytest.mark.parametrize("optimizer", [MOMENTUM, optax.inject_hyperparams(optax.adam)(learning_rate=0.1)])
def test_a_member_is_a_train_state_of_one_model(optimizer):
    train_state = fresh(optimizer=optimizer)
    for m, key in enumerate(jax.random.split(jax.random.key(0), MEMBERS)):
        params, state = WHOLE.init(key)
        expected = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32), WHOLE.loss)
        assert_same_bits(ensemble.member(train_state, m), expected)
        assert_same_bits(ensemble.member(train_state, m - MEMBERS), expected)


def test_the_loss_is_the_models_or_the_one_given():
    model = Model("one", serial(Flatten(), Dense(1)), (6, 6, 1), 2, "sigmoid_binary_cross_entropy")
    assert ensemble.start(model, KEY, 2, MOMENTUM).loss == model.loss
    assert ensemble.start(model, KEY, 2, MOMENTUM, loss="softmax_cross_entropy").loss == "softmax_cross_entropy"


def test_stacking_undoes_taking_out():
    train_state = fresh()
    assert_same_bits(ensemble.stack([ensemble.member(train_state, m) for m in range(MEMBERS)]), train_state)


def test_members_are_saved_and_loaded_as_models(tmp_path):
    train_state = fresh()
    loaded = []
    for m in range(MEMBERS):
        one = ensemble.member(train_state, m)
        weights.save(tmp_path / f"{m}.safetensors", WHOLE, one.params, one.state)
        loaded.append(TrainState(*weights.load(tmp_path / f"{m}.safetensors", WHOLE)))
    together = ensemble.stack(loaded)
    assert_same_bits((together.params, together.state), (train_state.params, train_state.state))
    expected = ensemble.predict(WHOLE, train_state, IMAGES, batch_size=8)
    assert_same_bits(ensemble.predict(WHOLE, together, IMAGES, batch_size=8), expected)


# ------------------------------------------------------------------------------------------------------------ training


def batch_of(own, steps=()):
    """Images, labels and mask: for all, or one for each member; every mask leaves other examples out."""
    members = (MEMBERS,) if own else ()
    chosen = np.random.default_rng(1).integers(0, 24, (*steps, *members, 8))
    return jnp.asarray(IMAGES[chosen]), jnp.asarray(LABELS[chosen]), jnp.asarray(chosen % 5 > 0)


def members_one_by_one(step, train_state, batch, key, own):
    """The same by the step of one model."""
    results = []
    for m, member_key in enumerate(jax.random.split(key, MEMBERS)):
        mine = [part[m] for part in batch] if own else batch
        results.append(step(ensemble.member(train_state, m), *mine, member_key))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


shared_or_own = pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
ONE = train.make_step(WHOLE.apply, MOMENTUM, augment.per_image(augment.shift(1)))
ALONE, ALONE_MANY = jax.jit(ONE), train.make_steps(ONE)  # compiled once for all tests


@pytest.mark.parametrize(
    ("own", "transform"),
    [(False, jax.jit), (True, jax.jit), (True, lambda f: f)],
    ids=["shared", "own", "own, eager"],
)
def test_a_step_is_that_of_each_member(own, transform):
    step = transform(ensemble.make_step(ONE, own_batches=own))
    train_state, batch = fresh(), batch_of(own)
    new, sums = step(train_state, *batch, KEY)
    assert_close((new, sums), members_one_by_one(ALONE, train_state, batch, KEY, own))
    assert sums[0].shape == sums[1].shape == sums[2].shape == (MEMBERS,)
    assert differ(new.params, train_state.params) and new.step.tolist() == [1] * MEMBERS


@shared_or_own
def test_steps_inside_scan(own):
    step = ensemble.make_step(ONE, own_batches=own)
    batches, keys = batch_of(own, steps=(3,)), jax.random.split(KEY, 3)

    def body(train_state, inputs):
        *batch, key = inputs
        return step(train_state, *batch, key)

    actual, sums = jax.jit(functools.partial(lax.scan, body))(fresh(), (*batches, keys))
    expected, all_sums = fresh(), []
    for i in range(3):
        batch = [part[i] for part in batches]
        expected, row = members_one_by_one(ALONE, expected, batch, keys[i], own)
        all_sums.append(row)
    assert_close((actual, sums), (expected, jax.tree.map(lambda *rows: np.stack(rows), *all_sums)))


@shared_or_own
def test_many_steps_are_those_of_each_member(own):
    """By the plan; a step beyond the count is not run."""
    plans = [epoch_plan(22, 8, seed=m) for m in range(MEMBERS)]
    indices, mask = map(np.stack, zip(*plans, strict=True)) if own else plans[0]
    data = jnp.asarray(IMAGES), jnp.asarray(LABELS)
    new, sums = ensemble.make_steps(ONE, own_batches=own)(fresh(), *data, indices, mask, 2, KEY)
    assert sums.shape == (MEMBERS, 3, 3) and not sums[:, 2].any() and new.step.tolist() == [2] * MEMBERS
    for m, key in enumerate(jax.random.split(KEY, MEMBERS)):
        plan = plans[m] if own else plans[0]
        expected = ALONE_MANY(ensemble.member(fresh(), m), *data, *plan, 2, key)
        assert_close((ensemble.member(new, m), sums[m]), expected)


def test_the_train_state_is_donated_and_nothing_else():
    steps = ensemble.make_steps(train.make_step(LINEAR.apply, optax.adam(1e-3)))
    train_state, data = fresh(LINEAR, optax.adam(1e-3)), (jnp.asarray(IMAGES), jnp.asarray(LABELS))
    new, _ = steps(train_state, *data, *epoch_plan(24, 8), 2, KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(train_state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, data)))


def test_optimizers_that_hold_a_buffer_twice():
    """It keeps the parameters in its own state; a buffer cannot be donated twice."""
    optimizer = optax.contrib.prodigy()
    steps = ensemble.make_steps(train.make_step(LINEAR.apply, optimizer))
    new, _ = steps(fresh(LINEAR, optimizer), IMAGES, LABELS, *epoch_plan(24, 8), 1, KEY)
    assert new.step.tolist() == [1] * MEMBERS


def test_members_do_not_touch_each_other():
    """One that diverged leaves the others as they are, to the bit."""
    step = jax.jit(ensemble.make_step(train.make_step(LINEAR.apply, MOMENTUM)))
    sound = fresh(LINEAR)
    broken = dataclasses.replace(sound, params=jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), sound.params))
    expected, _ = step(sound, *batch_of(False), KEY)
    new, _ = step(broken, *batch_of(False), KEY)
    for m in (0, 2):
        assert_same_bits(ensemble.member(new, m), ensemble.member(expected, m))
    assert np.isnan(ensemble.member(new, 1).params["dense1"]["kernel"]).all()


def test_it_learns():
    labels = (IMAGES.mean(axis=(1, 2, 3)) > np.median(IMAGES.mean(axis=(1, 2, 3)))).astype(np.int32)
    images = IMAGES - IMAGES.mean()
    steps = ensemble.make_steps(train.make_step(LINEAR.apply, optax.adam(3e-2)))
    train_state = fresh(LINEAR, optax.adam(3e-2))
    for epoch in range(20):
        train_state, sums = steps(train_state, images, labels, *epoch_plan(24, 8, seed=0, epoch=epoch), 3, KEY)
    assert (sums[:, :, 1].sum(axis=1) >= 23).all()


# -------------------------------------------------------------------------------------------------------------- sweeps

RATES, MOMENTA = [0.0, 0.1, 0.4], [0.9, 0.5, 0.0]


@pytest.mark.parametrize("chained", [False, True], ids=["alone", "in a chain"])
def test_each_member_trains_with_its_own_hyperparameters(chained):
    """As the models would whose optimizers were made with these numbers."""
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=123.0, momentum=0.5)
    front = [optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-2)] if chained else []
    optimizer = optax.chain(*front, optimizer)
    train_state = ensemble.sweep(fresh(LINEAR, optimizer), learning_rate=RATES, momentum=np.array(MOMENTA))
    step, batch = jax.jit(ensemble.make_step(train.make_step(LINEAR.apply, optimizer))), batch_of(False)
    start = train_state.params
    for _ in range(3):
        train_state, _ = step(train_state, *batch, KEY)
    for m, key in enumerate(jax.random.split(KEY, MEMBERS)):
        alone = optax.chain(*front, optax.sgd(RATES[m], MOMENTA[m]))
        params, state = LINEAR.init(jax.random.split(jax.random.key(0), MEMBERS)[m])
        expected = TrainState(params, state, alone.init(params), jnp.zeros((), jnp.int32))
        single = jax.jit(train.make_step(LINEAR.apply, alone))
        for _ in range(3):
            expected, _ = single(expected, *batch, key)
        assert_close(ensemble.member(train_state, m).params, expected.params)
    assert_same_bits(train_state.params["dense1"]["kernel"][0], start["dense1"]["kernel"][0])  # a rate of 0


def test_a_sweep_changes_what_it_names_only():
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=0.5)
    before = fresh(LINEAR, optimizer)
    after = ensemble.sweep(before, learning_rate=jnp.array(RATES))
    hyperparams = after.opt_state.hyperparams
    np.testing.assert_allclose(hyperparams["learning_rate"], RATES)
    assert hyperparams["learning_rate"].dtype == before.opt_state.hyperparams["learning_rate"].dtype
    restored = ensemble.sweep(after, learning_rate=np.full(MEMBERS, 0.1))
    assert_same_bits(restored, before)
    assert_same_bits(ensemble.sweep(before), before)


def test_a_sweep_keeps_the_dtype(float64):
    before = fresh(LINEAR, optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    after = ensemble.sweep(before, learning_rate=np.array(RATES, np.float64))
    dtype = before.opt_state.hyperparams["learning_rate"].dtype
    assert after.opt_state.hyperparams["learning_rate"].dtype == dtype == jnp.float32


def test_a_sweep_leaves_a_parameter_of_the_same_name():
    """The momentum of a bias has its name, as a hyper-parameter may."""
    optimizer = optax.inject_hyperparams(lambda bias: optax.chain(optax.trace(0.9), optax.scale(-bias)))(bias=0.1)
    before = fresh(LINEAR, optimizer)
    after = ensemble.sweep(before, bias=RATES).opt_state
    np.testing.assert_allclose(after.hyperparams["bias"], RATES)
    assert_same_bits(after.inner_state, before.opt_state.inner_state)


# ---------------------------------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("images", [IMAGES, (255 * IMAGES).astype(np.uint8)], ids=["floats", "bytes"])
@pytest.mark.parametrize("batch_size", [5, 24, 64])
def test_prediction_is_the_mean_of_the_members(images, batch_size):
    train_state = fresh()
    mean, each = ensemble.predict(WHOLE, train_state, images, batch_size=batch_size)
    assert isinstance(mean, np.ndarray) and mean.shape == (24, 4) and each.shape == (MEMBERS, 24, 4)
    for m in range(MEMBERS):
        alone = train.predict(WHOLE, ensemble.member(train_state, m), images, batch_size=24)
        np.testing.assert_allclose(each[m], alone, rtol=1e-4, atol=1e-6)
    assert differ(each[0], each[1])
    np.testing.assert_allclose(mean, sum(each) / MEMBERS, rtol=1e-6)
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-5)


def test_prediction_with_one_unit_gives_two_classes():
    model = Model("one", serial(Flatten(), Dense(1)), (6, 6, 1), 2, "sigmoid_binary_cross_entropy")
    train_state = ensemble.start(model, KEY, MEMBERS, MOMENTUM)
    mean, each = ensemble.predict(model, train_state, IMAGES, batch_size=7)
    assert mean.shape == (24, 2) and each.shape == (MEMBERS, 24, 2)
    logits = jax.vmap(lambda p: model.apply(p, {}, IMAGES)[0])(train_state.params)[..., 0]
    np.testing.assert_allclose(each[..., 1], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_prediction_of_nothing_is_empty():
    mean, each = ensemble.predict(WHOLE, fresh(), IMAGES[:0], batch_size=4)
    assert mean.shape == (0, 4) and each.shape == (MEMBERS, 0, 4)


def test_prediction_needs_no_optimizer():
    params, state = ensemble.init(WHOLE, jax.random.key(0), MEMBERS)
    alone = [TrainState(*jax.tree.map(lambda leaf, m=m: leaf[m], (params, state))) for m in range(MEMBERS)]
    expected = ensemble.predict(WHOLE, fresh(), IMAGES, batch_size=8)
    assert_same_bits(ensemble.predict(WHOLE, ensemble.stack(alone), IMAGES, batch_size=8), expected)
    assert_same_bits(ensemble.predict(WHOLE, TrainState(params, state), IMAGES, batch_size=8), expected)


# -------------------------------------------------------------------------------------------------------------- errors

INJECTED = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)
SCHEDULED = optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.1, 0.2, 3), momentum=0.9)


def one_state(model=LINEAR):
    params, state = model.init(KEY)
    return TrainState(params, state, MOMENTUM.init(params), jnp.zeros((), jnp.int32))


def call_step(train_state, own, *batch, many=False):
    one = train.make_step(LINEAR.apply, MOMENTUM)
    make = ensemble.make_steps if many else ensemble.make_step
    return make(one, own_batches=own)(train_state, *batch, KEY)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ensemble.init(LINEAR, KEY, 0), "ensemble.init: `members` must be an integer of at least 1; got 0"),
        (lambda: ensemble.init(LINEAR, KEY, 2.0), "ensemble.init: `members` must be an integer of at least 1; got 2.0"),
        (lambda: ensemble.start(LINEAR, KEY, True, MOMENTUM), "`members` must be an integer of at least 1; got True"),
        (lambda: ensemble.stack([]), "ensemble.stack: `train_states` must hold one member at least; got none"),
        (
            lambda: ensemble.stack([one_state(), one_state(WHOLE)]),
            "ensemble.stack: `train_states` must be of one model",
        ),
        (
            lambda: ensemble.stack([one_state(), one_state(Model("m", serial(Flatten(), Dense(3)), (6, 6, 1), 3))]),
            "ensemble.stack: `train_states` must be of one model, optimizer and loss; got at 0",
        ),
        (lambda: ensemble.member(fresh(LINEAR), 3), "ensemble.member: `index` must be -3 to 2; got 3"),
        (lambda: ensemble.member(fresh(LINEAR), -4), "ensemble.member: `index` must be -3 to 2; got -4"),
        (
            lambda: ensemble.member(one_state(), 0),
            "ensemble.member: `train_state` must be an ensemble's, all its arrays",
        ),
        (
            lambda: ensemble.sweep(fresh(LINEAR, INJECTED), rate=RATES),
            "ensemble.sweep: `rate` must be a number given to optax.inject_hyperparams(...), one of ['learning_rate', "
            "'momentum']; it is not there",
        ),
        (lambda: ensemble.sweep(fresh(LINEAR), learning_rate=RATES), "one of []; it is not there"),
        (
            lambda: ensemble.sweep(fresh(LINEAR, SCHEDULED), learning_rate=RATES),
            "one of ['momentum']; it is a schedule",
        ),
        (
            lambda: ensemble.sweep(fresh(LINEAR, INJECTED), learning_rate=0.1),
            "ensemble.sweep: `learning_rate` must be one value for each member, (3,); got ()",
        ),
        (
            lambda: ensemble.sweep(fresh(LINEAR, INJECTED), momentum=[0.1]),
            "`momentum` must be one value for each member",
        ),
        (lambda: ensemble.sweep(one_state(), momentum=[0.1]), "ensemble.sweep: `train_state` must be an ensemble's"),
        (
            lambda: call_step(one_state(), False, *batch_of(False)),
            "ensemble.make_step: `train_state` must be an ensemble's, all its arrays with the members' axis first; got",
        ),
        (
            lambda: call_step(fresh(LINEAR), True, *batch_of(False)),
            "ensemble.make_step: with own_batches, `images` must have the 3 members' axis first; got (8, 6, 6, 1)",
        ),
        (
            lambda: call_step(fresh(LINEAR), True, IMAGES, LABELS, *epoch_plan(24, 12), 1, many=True),
            "ensemble.make_steps: with own_batches, `indices` must have the 3 members' axis first; got (2, 12)",
        ),
        (
            lambda: ensemble.predict(LINEAR, one_state(), IMAGES, batch_size=4),
            "ensemble.predict: `train_state` must be an ensemble's",
        ),
        (
            lambda: ensemble.predict(LINEAR, fresh(LINEAR), IMAGES[:, :5], batch_size=4),
            "`x` must hold images of (6, 6, 1) for linear; got (24, 5, 6, 1)",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    assert words in str(caught.value)
