"""A training step of each family on a batch that four devices share out, on a mesh of Explicit axes; of Auto ones too.

What one device computes; nothing but the gradients, batch statistics and sums is sent, each by at most one all-reduce.
"""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import models, train

NETWORKS = {
    "digits_cnn": {},
    "lenet5": {},
    "mnist_baseline": {},
    "zero_one": {},
    "cifar10_cnn": {},
    "resnet20": {},
    "alexnet": {"input_size": 67},
    "squeezenet1_1": {"input_size": 33},
    "googlenet": {"input_size": 32},
    "vgg11": {"input_size": 32},
    "mobilenet_v2": {"input_size": 32},
}
SMALL = ("digits_cnn", "lenet5", "mnist_baseline", "zero_one", "cifar10_cnn")  # those compile in seconds
MOVES = r" (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\("
IMAGES, DEVICES = 8, 4
KINDS = (AxisType.Auto, AxisType.Explicit)


def training(name):
    """A step and its arguments."""
    model = models.create(name, **NETWORKS[name])
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(IMAGES, *model.input_shape)).astype(np.float32)
    labels = rng.integers(0, model.num_classes, IMAGES).astype(np.int32)
    params, state = model.init(jax.random.key(0))
    optimizer = optax.sgd(0.01)
    train_state = train.TrainState(params, state, optimizer.init(params), jnp.int32(0))
    return jax.jit(train.make_step(model.apply, optimizer)), train_state, x, labels, np.ones(IMAGES, bool)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.long) for name in NETWORKS]
)
def test_step(name):
    step, train_state, *batch = training(name)
    key = jax.random.key(1)
    alone = step.lower(train_state, *batch, key).compile()
    expected = alone(train_state, *batch, key)
    # one for each gradient, two forward and two backward for each batch normalization, one for each sum
    most = len(jax.tree.leaves(train_state.params)) + 2 * len(jax.tree.leaves(train_state.state)) + 3
    for kind in KINDS:
        mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,), devices=jax.devices()[:DEVICES])
        with jax.set_mesh(mesh) if kind == AxisType.Explicit else contextlib.nullcontext():
            shared = [jax.device_put(a, NamedSharding(mesh, P("data"))) for a in batch]
            arguments = jax.device_put(train_state, NamedSharding(mesh, P())), *shared, key
            compiled = step.lower(*arguments).compile()
            sent = re.findall(MOVES, compiled.as_text())
            assert set(sent) == {"all-reduce"}
            assert len(sent) <= most
            assert compiled.cost_analysis()["flops"] * DEVICES < 1.5 * alone.cost_analysis()["flops"]
            result = step(*arguments)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(result[0].params))
        np.testing.assert_allclose(result[1], expected[1], rtol=1e-3)
        actual, wanted = (moved(train_state, new) for new in (result[0], expected[0]))
        assert np.linalg.norm(actual - wanted) < 0.02 * np.linalg.norm(wanted)  # two images suit another algorithm


def moved(old, new):
    """By how much a step changes the parameters."""
    changes = jax.tree.map(lambda a, b: (np.asarray(b) - np.asarray(a)).ravel(), old.params, new.params)
    return np.concatenate(jax.tree.leaves(changes))
