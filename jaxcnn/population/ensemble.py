"""Several models of one architecture side by side: every array of a `TrainState` has a leading axis of members.

`jax.vmap` over that axis trains them all in one compiled step. The members differ in their initial values, in the
random numbers of training and, if you like, in their batches and hyper-parameters:

>>> import jax, optax
>>> from jaxcnn import data, models, train, weights
>>> from jaxcnn.population import ensemble
>>> model, digits = models.create("digits_cnn"), data.load("digits")
>>> optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)
>>> train_state = ensemble.start(model, jax.random.key(0), 3, optimizer)
>>> train_state = ensemble.sweep(train_state, learning_rate=[1e-2, 1e-3, 1e-4])
>>> steps = ensemble.make_steps(train.make_step(model.apply, optimizer))
>>> images, labels = digits.train.images[:64], digits.train.labels[:64]
>>> for epoch in range(2):
...     indices, mask = data.epoch_plan(len(images), 32, seed=0, epoch=epoch)
...     train_state, sums = steps(train_state, images, labels, indices, mask, len(indices), jax.random.key(1))
>>> sums.shape                              # loss, correct and count of each member's two steps
(3, 2, 3)
>>> mean, each = ensemble.predict(model, train_state, digits.test.images[:5], batch_size=5)
>>> mean.shape, each.shape
((5, 10), (3, 5, 10))
>>> best = ensemble.member(train_state, 1)  # an ordinary TrainState: evaluate it, or weights.save its params and state
>>> train.evaluate(model, best, digits.test[:20], batch_size=20)
{'loss': ..., 'accuracy': ...}
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.tree_util import DictKey, GetAttrKey

from jaxcnn import train
from jaxcnn.data import to_float
from jaxcnn.population.members import devices_of, members_of, on_devices, over_members
from jaxcnn.train import TrainState
from jaxcnn.train.compiled import kept
from jaxcnn.train.devices import Devices, devices_for
from jaxcnn.train.evaluation import in_batches
from jaxcnn.train.examples import match_images
from jaxcnn.train.integers import whole
from jaxcnn.train.losses import LossFunction, meaning, probabilities
from jaxcnn.train.network import Network
from jaxcnn.train.step import check_alive

Tree = Any

# ---------------------------------------------------------------------------------------------- into and out of a stack


def init(model: Network, key: jax.Array, members: int) -> tuple[Tree, Tree]:
    """Fresh parameters and state of every member.

        params[m], state[m] = model.init(split(key, members)[m])

    Args:
      model: a `jaxcnn.models.Model`.
      key: split into one for each member.
      members: how many, at least 1.

    Returns:
      (params, state), each array `(members, *shape)`.

    Raises:
      ValueError: members below 1 or no integer.

    Example:
      >>> from jaxcnn import models
      >>> params, _ = init(models.create("lenet5"), jax.random.key(0), 10)
      >>> params["conv1"]["kernel"].shape
      (10, 5, 5, 1, 6)
    """
    return jax.vmap(model.init)(jax.random.split(key, whole("ensemble.init", "members", members, 1)))


def start(
    model: Network,
    key: jax.Array,
    members: int,
    optimizer: optax.GradientTransformation,
    *,
    loss: str | LossFunction | None = None,
) -> TrainState:
    """The train state of an ensemble before its first step.

    Args:
      model, key, members: as in `init`.
      optimizer: an optax transformation; one from `optax.inject_hyperparams` lets `sweep` set its numbers.
      loss: as in `jaxcnn.train.fit`; without one, the model's.

    Returns:
      A `TrainState`, each array `(members, *shape)`, including the step and the optimizer's counts.

    Raises:
      ValueError: as `init`.
    """
    params, state = init(model, key, members)
    opt_state = jax.vmap(optimizer.init)(params)
    train_state = TrainState(params, state, opt_state, jnp.zeros(members, jnp.int32), loss or model.loss)
    return jax.tree.map(jnp.copy, train_state)  # an optimizer may keep params itself: a buffer cannot be donated twice


def stack(train_states: Sequence[TrainState]) -> TrainState:
    """An ensemble of train states that were made one by one, for instance loaded.

    Args:
      train_states: one for each member, all of one model, optimizer and loss.

    Returns:
      A `TrainState`, each array `(members, *shape)`.

    Raises:
      ValueError: no train states, or ones that differ in structure, loss or shapes.
    """
    if not train_states:
        raise ValueError("ensemble.stack: `train_states` must hold one member at least; got none")
    kinds = [(jax.tree.structure(t), [jnp.shape(leaf) for leaf in jax.tree.leaves(t)]) for t in train_states]
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise ValueError(
                "ensemble.stack: `train_states` must be of one model, optimizer and loss; got at 0 "
                f"{kinds[0]}, at {i} {kind}"
            )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *train_states)


def member(train_state: TrainState, index: int) -> TrainState:
    """One model out of an ensemble.

    Args:
      train_state: the ensemble's.
      index: which member, from 0; from −1 backwards.

      Returns:
        The member's `TrainState`, for `jaxcnn.train`; its params and state are for `jaxcnn.weights.save`.

    Raises:
      ValueError: an index out of range, a train state that is no ensemble's.
    """
    check_alive("ensemble.member", train_state)
    members = members_of("member", train_state)
    if not -members <= operator.index(index) < members:
        raise ValueError(f"ensemble.member: `index` must be {-members} to {members - 1}; got {index}")
    return jax.tree.map(lambda leaf: leaf[index], train_state)


# ------------------------------------------------------------------------------------------------------------ training


def sweep(train_state: TrainState, **hyperparameters: jax.typing.ArrayLike) -> TrainState:
    """Set a hyper-parameter of the optimizer for each member.

    Args:
      train_state: of an ensemble whose optimizer was made by `optax.inject_hyperparams`.
      **hyperparameters: by their names in that call, values `(members,)`.

    Returns:
      The train state with these values.

    Raises:
      ValueError: a name that the optimizer does not have, or that is a schedule; values that are not one for each
        member.

    Example:
      >>> from jaxcnn import models
      >>> optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9)
      >>> train_state = start(models.create("lenet5"), jax.random.key(0), 3, optimizer)
      >>> train_state = sweep(train_state, learning_rate=[0.1, 0.2, 0.4], momentum=[0.9, 0.9, 0.0])
    """
    members = members_of("sweep", train_state)
    values = {name: jnp.asarray(given) for name, given in hyperparameters.items()}
    scheduled = _injected(train_state.opt_state, "hyperparams_states")
    settable = _injected(train_state.opt_state, "hyperparams") - scheduled
    for name, value in values.items():
        if name not in settable:
            raise ValueError(
                f"ensemble.sweep: `{name}` must be a number given to optax.inject_hyperparams(...), one of "
                f"{sorted(settable)}; it is {'a schedule' if name in scheduled else 'not there'}"
            )
        if value.shape != (members,):
            raise ValueError(
                f"ensemble.sweep: `{name}` must be one value for each member, ({members},); got {value.shape}"
            )

    def new(path, leaf):
        name = path[-1].key if path[-2:-1] == (GetAttrKey("hyperparams"),) else None
        return jnp.array(values[name], leaf.dtype) if name in values else leaf

    return dataclasses.replace(train_state, opt_state=jax.tree.map_with_path(new, train_state.opt_state))


def make_step(step: Callable, *, own_batches: bool = False) -> Callable:
    """The training step of an ensemble, made from the step of one model.

    Args:
      step: from `jaxcnn.train.make_step`.
      own_batches: whether each member has a batch of its own, `(members, N, …)`; else all share one, `(N, …)`.

    Returns:
      `(train_state, images, labels, mask, key) -> (train_state, (loss_sum, correct, count))`, the sums `(members,)`.
      Each member has its own key, from `jax.random.split(key, members)`. The step is pure, for use in jit or scan.

    Raises:
      ValueError: when called, a train state that is no ensemble's; batches that are not one for each member.
    """
    return over_members("make_step", step, ("images", "labels", "mask"), ("images", "labels", "mask"), own_batches)


def make_steps(step: Callable, *, own_batches: bool = False, mesh: Mesh | None = None) -> Callable:
    """Many steps of an ensemble in one dispatch, made from the step of one model.

    Args:
      step: from `jaxcnn.train.make_step`.
      own_batches: whether each member has a plan of its own, `(members, steps, batch)`; else all share one.
      mesh: the devices, such as `train.device_mesh(4)`; by default all accelerators of this process. Each has an equal
        number of members, which it trains alone; so as many take part as divide the members. Examples that are on each
        of them, by `jax.device_put(images, NamedSharding(mesh, PartitionSpec()))`, are not sent again by each call.

    Returns:
      `(train_state, images, labels, indices, mask, count, key) -> (train_state, sums)` as of `jaxcnn.train.make_steps`,
      the sums `(members, steps, 3)`. All members use one copy of the examples on the device. The train state's buffers
      are donated, which means reused: to keep one, copy it first, `jax.tree.map(jnp.copy, train_state)`.

    Raises:
      ValueError: as `make_step`.
    """
    arguments = ("images", "labels", "indices", "mask", "count")
    several = train.make_steps(step)

    @functools.cache
    def program(mesh: Mesh | None) -> Callable:
        mapped = over_members("make_steps", several, arguments, ("indices", "mask"), own_batches, mesh)
        return jax.jit(mapped, donate_argnums=0)

    if devices_for("ensemble.make_steps", mesh).mesh is None:
        return program(None)

    def steps(train_state, *rest):
        devices = devices_of("make_steps", mesh, train_state)
        return program(devices.mesh)(devices.shared(train_state), *devices.everywhere(rest))

    return steps


# ---------------------------------------------------------------------------------------------------------- prediction


def predict(
    model: Network, train_state: TrainState, x: Any, *, batch_size: int, mesh: Mesh | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities of an ensemble, the mean over its members; plain outputs after a loss function of your own.

        mean = 1/M Σ_m each[m]

    Args:
      model: the model of all members.
      train_state: the ensemble's.
      x: images `(N, *input_shape)`, uint8 or floating.
      batch_size: images at a time.
      mesh: the devices, as in `make_steps`; members that lie on several devices already stay there.

    Returns:
      (mean, each): `(N, classes)`, and the probabilities of each member, `(members, N, classes)`, as NumPy arrays.

    Raises:
      ValueError: images that are not of the model's shape, a train state that is no ensemble's.

    Source: Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles (2017).
    """
    match_images("ensemble.predict", model, x, "x")
    check_alive("ensemble.predict", train_state.weights)
    # a train state without an optimizer's state will do
    weights, devices = train_state.weights, devices_of("predict", mesh, train_state.weights)
    loss = train_state.loss

    def make(apply):
        def one(params, state, x):
            return probabilities(loss, apply(params, state, to_float(x))[0])

        every = jax.vmap(one, in_axes=(0, 0, None), out_axes=1)  # images first: (N, members, …)
        return jax.jit(on_devices(devices.mesh, every, (0, 0, None), 1))

    function = kept(model.apply, ("ensemble", meaning(loss).activation, devices.mesh), make)
    # the members are in their places, and the images go to all of them
    params, state = devices.shared(weights)
    each = in_batches("ensemble.predict", function, params, state, x, batch_size, Devices())
    each = np.moveaxis(each, 1, 0)
    return each.mean(axis=0), each


# ---------------------------------------------------------------------------------------------------------------------


def _injected(opt_state: Tree, field: str) -> set[str]:
    """The names under `field` in the state of `optax.inject_hyperparams`, wherever it is in a chain."""
    paths = [path for path, _ in jax.tree.leaves_with_path(opt_state)]
    steps = [step for path in paths for step in itertools.pairwise(path)]
    return {entry.key for at, entry in steps if at == GetAttrKey(field) and isinstance(entry, DictKey)}
