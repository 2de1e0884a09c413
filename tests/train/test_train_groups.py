"""Labels by name, and what an optimizer that is divided by them moves and leaves alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_tiny import DIGITS, WHOLE, assert_same_bits, differs

from jaxcnn.layers import BatchNorm, Dense, Dropout, Flatten, Relu, frozen, serial
from jaxcnn.models import Model
from jaxcnn.train import TrainState, decayed, fit, group_params, make_step

TRAIN = DIGITS.train[:90]
NAMES = {
    "stem": {"conv1": {"bias": "sb", "kernel": "sk"}, "norm": {"bias": "nb", "scale": "ns"}},
    "stem2": {"kernel": "s2"},
    "head": {"bias": "hb", "kernel": "hk"},
}


@pytest.mark.parametrize(
    ("patterns", "labeled"),
    [
        ({}, {}),
        ({"head": "a"}, {"hb": "a", "hk": "a"}),
        ({"stem": "a"}, {"sb": "a", "sk": "a", "nb": "a", "ns": "a"}),  # stem2 is another layer
        ({"stem*": "a"}, {"sb": "a", "sk": "a", "nb": "a", "ns": "a", "s2": "a"}),
        ({"stem?": "a"}, {"s2": "a"}),
        ({"stem/conv1/kernel": "a", "stem/norm": "b"}, {"sk": "a", "nb": "b", "ns": "b"}),
        ({"*/bias": "a"}, {"sb": "a", "nb": "a", "hb": "a"}),
        ({"*/kernel": "a", "stem": "b"}, {"sk": "a", "s2": "a", "hk": "a", "sb": "b", "nb": "b", "ns": "b"}),
        ({"stem": "b", "*/kernel": "a"}, {"sk": "b", "s2": "a", "hk": "a", "sb": "b", "nb": "b", "ns": "b"}),
    ],
)
def test_labels_by_name(patterns, labeled):
    labels = group_params(NAMES, patterns, default="rest")
    assert labels == jax.tree.map(lambda leaf: labeled.get(leaf, "rest"), NAMES)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ({"body": "a"}, ["'body' labels none", "the parameters are head/bias, head/kernel, stem/conv1/bias"]),
        ({"hea": "a", "head": "b"}, ["'hea' labels none"]),
        ({"stem/conv": "a", "kernel": "b"}, ["'stem/conv', 'kernel' label none"]),
        ({"head": "a", "head/bias": "b"}, ["'head/bias' labels none that no earlier one does"]),
    ],
)
def test_a_pattern_that_labels_nothing_is_refused(patterns, words):
    with pytest.raises(ValueError) as error:
        group_params(NAMES, patterns, default="rest")
    for word in ["group_params: `patterns` must each label a parameter", *words]:
        assert word in str(error.value)


def test_decay_is_of_kernels():
    """Gradients of zero, so that what moves, moves by decay."""
    optimizer = optax.chain(optax.add_decayed_weights(0.25, mask=decayed), optax.sgd(1.0))
    params = {"kernel": jnp.ones((3, 3, 1, 2)), "dense": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    assert {name: float(u.mean()) for name, u in updates.items()} == {
        "kernel": -0.25,
        "dense": -0.25,
        "bias": 0.0,
        "scale": 0.0,
    }


def test_groups_have_their_own_rates():
    """Plain descent with rate 1 gives the gradient; a group's step is its rate times that."""
    labels = {"batch_norm1": "norm", "dense1/bias": "bias"}
    rates = {"norm": optax.sgd(0.5), "bias": optax.sgd(0.125), "rest": optax.sgd(2.0)}
    grouped = optax.partition(rates, functools.partial(group_params, patterns=labels, default="rest"))
    params, state = WHOLE.init(jax.random.key(0))

    def moved(optimizer):
        train_state = TrainState(params, state, optimizer.init(params), jnp.zeros((), jnp.int32))
        step = jax.jit(make_step(WHOLE.apply, optimizer))
        new, _ = step(train_state, TRAIN.images[:32], TRAIN.labels[:32], np.ones(32, bool), jax.random.key(1))
        return jax.tree.map(jnp.subtract, params, new.params)

    gradient, step = moved(optax.sgd(1.0)), moved(grouped)
    for layer, leaf, rate in (
        ("batch_norm1", "scale", 0.5),
        ("batch_norm1", "bias", 0.5),
        ("dense1", "bias", 0.125),
        ("dense1", "kernel", 2.0),
    ):
        assert np.abs(gradient[layer][leaf]).max() > 1e-3
        np.testing.assert_allclose(step[layer][leaf], rate * gradient[layer][leaf], rtol=1e-4, atol=1e-6)


BODY = serial(flatten=Flatten(), norm=BatchNorm(), drop=Dropout(0.5), hidden=Dense(8), relu=Relu())
THAWED = Model("thawed", serial(body=BODY, head=Dense(10)), (8, 8, 1), 10)
FROZEN = Model("frozen", serial(body=frozen(BODY), head=Dense(10)), (8, 8, 1), 10)
HEAD_ONLY = optax.partition(
    {"head": optax.adamw(1e-2, weight_decay=0.1), "frozen": optax.set_to_zero()},
    functools.partial(group_params, patterns={"head": "head"}, default="frozen"),
)


@pytest.fixture(scope="module")
def initial():
    params, state = FROZEN.init(jax.random.key(0))
    return params, jax.tree.map(lambda a: a + 0.3, state)


@pytest.mark.parametrize("model", [FROZEN, THAWED], ids=lambda model: model.name)
def test_frozen_parameters_do_not_move(model, initial):
    """Nor do statistics below `frozen`; a label alone holds only the parameters."""
    options = {"epochs": 2, "batch_size": 32, "optimizer": HEAD_ONLY, "initial": initial}
    train_state, history = fit(model, TRAIN, **options)
    assert_same_bits(train_state.params["body"], initial[0]["body"])
    assert differs(train_state.params["head"], initial[0]["head"])
    assert history["loss"][-1] < history["loss"][0]
    assert differs(train_state.state, initial[1]) is (model is THAWED)
    kept = {leaf.shape for leaf in jax.tree.leaves(train_state.opt_state) if leaf.ndim}
    assert kept == {(8, 10), (10,)}  # no moments of what is frozen


def test_unfreezing_in_phases(initial):
    """Each phase starts from where the last one ended, and moves what it has labeled."""
    before = initial[0]
    train_state = initial
    for names in (["head"], ["head", "body/hidden"], ["head", "body"]):
        labels = group_params(before, dict.fromkeys(names, "trained"), default="frozen")
        optimizer = optax.partition({"trained": optax.sgd(0.1), "frozen": optax.set_to_zero()}, labels)
        train_state, _ = fit(THAWED, TRAIN, epochs=1, batch_size=32, optimizer=optimizer, initial=train_state)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, train_state.params)
        assert moved == jax.tree.map(lambda label: label == "trained", labels)
        before = train_state.params
