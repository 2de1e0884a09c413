"""The members of an ensemble on several devices: the values of one device, and nothing is sent."""

import re

import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxcnn import train
from jaxcnn.data import epoch_plan
from jaxcnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, Relu, serial
from jaxcnn.models import Model
from jaxcnn.population import ensemble
from jaxcnn.population.members import over_members

WHOLE = Model("whole", serial(Conv(2, 3), BatchNorm(), Relu(), Flatten(), Dropout(0.2), Dense(4)), (6, 6, 1), 4)
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.uniform(size=(24, 6, 6, 1)).astype(np.float32), RNG.integers(0, 4, 24)
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
SENDS = r" (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("


def trained(mesh, members=4, own_batches=False):
    train_state = ensemble.start(WHOLE, jax.random.key(0), members, OPTIMIZER)
    steps = ensemble.make_steps(train.make_step(WHOLE.apply, OPTIMIZER), own_batches=own_batches, mesh=mesh)
    plan = epoch_plan(24, 8, seed=0)
    if own_batches:
        plans = [epoch_plan(24, 8, seed=m) for m in range(members)]
        plan = tuple(np.stack(parts) for parts in zip(*plans, strict=True))
    return steps(train_state, IMAGES, LABELS, *plan, 3, jax.random.key(1))


def assert_close(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("members", "devices"), [(4, 4), (6, 3)], ids=str)
def test_members_on_devices_are_those_of_one(members, devices):
    expected = trained(None, members)
    actual = trained(train.device_mesh(4), members)
    assert_close(actual, expected)
    for leaf in jax.tree.leaves(actual):
        assert len(leaf.sharding.device_set) == devices  # the most of four that divide the members
        assert {shard.data.shape[0] for shard in leaf.addressable_shards} == {members // devices}


def test_each_member_has_its_own_batches():
    assert_close(trained(train.device_mesh(2), own_batches=True), trained(None, own_batches=True))


def test_prediction_follows_the_members():
    train_state, _ = trained(None)
    on_devices, _ = trained(train.device_mesh(4))
    expected = ensemble.predict(WHOLE, train_state, IMAGES[:5], batch_size=4)
    for given, mesh in ((train_state, train.device_mesh(2)), (on_devices, None)):
        assert_close(ensemble.predict(WHOLE, given, IMAGES[:5], batch_size=4, mesh=mesh), expected)
    best = ensemble.member(on_devices, 2)
    data = IMAGES, LABELS
    wanted = train.evaluate(WHOLE, ensemble.member(train_state, 2), data, batch_size=24)
    assert train.evaluate(WHOLE, best, data, batch_size=24) == pytest.approx(wanted, rel=1e-4)


def test_nothing_is_sent_between_devices():
    mesh = train.device_mesh(4)
    train_state, _ = trained(mesh)
    several = train.make_steps(train.make_step(WHOLE.apply, OPTIMIZER))
    over = over_members("make_steps", several, ["a", "b", "c", "d", "e"], [], False, mesh)
    whole = jax.device_put((IMAGES, LABELS, *epoch_plan(24, 8, seed=0)), NamedSharding(mesh, PartitionSpec()))
    program = jax.jit(over).lower(train_state, *whole, 3, jax.random.key(1)).compile().as_text()
    assert "while" in program
    assert not re.search(SENDS, program)
