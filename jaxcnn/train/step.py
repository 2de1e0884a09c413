"""One training step, and many of them in one dispatch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcnn.data import to_float
from jaxcnn.train.losses import LossFunction, loss_function
from jaxcnn.train.metrics import correct
from jaxcnn.train.slices import count_slices, summed_gradients
from jaxcnn.train.turns import in_turn


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params", "state", "opt_state", "step"], meta_fields=["loss"]
)
@dataclass
class TrainState:
    """All that training changes.

    Args:
      params, state: the model's.
      opt_state: the optimizer's; empty for a state that is only evaluated.
      step: how many steps were taken, int32.
      loss: what the logits were trained for; it says how they become probabilities.
    """

    params: Any
    state: Any
    opt_state: Any = ()
    step: Any = 0
    loss: str | LossFunction = "softmax_cross_entropy"


def make_step(
    apply: Callable,
    optimizer: optax.GradientTransformation,
    augment: Callable | None = None,
    *,
    slices: int | None = None,
) -> Callable:
    """A pure training step `(train_state, images, labels, mask, key) -> (train_state, (loss_sum, correct, count))`.

    Args:
      apply: `(params, state, x, *, train, key) -> (logits, state)`.
      optimizer: an optax transformation.
      augment: `(key, images) -> images` on a batch of floats.
      slices: in how many parts of the batch, one after the other, the gradient is computed; when None, as many as keep
        a part in cache (see `jaxcnn.train.value_and_grad`). A model with state, batch statistics, takes batches whole.

    Returns:
      The step. Only examples whose mask is True have a part in the loss and in the sums; the loss that is minimized
      is their mean.

    Raises:
      ValueError: when called, slices that do not divide the batch, or more than one and a model with state.
    """

    def step(train_state: TrainState, images, labels, mask, key):
        augment_key, dropout_key = jax.random.split(key)
        x = to_float(images)
        x = augment(augment_key, x) if augment else x
        count = mask.sum()
        whole = bool(jax.tree.leaves(train_state.state))
        if whole and slices not in (None, 1):
            raise ValueError(f"make_step: `slices` must be 1 for a model with state; got {slices}")

        def share(params, s, x, labels, mask):
            """Of a slice in the mean loss, and its part of the sums."""
            logits, state = apply(params, train_state.state, x, train=True, key=jax.random.fold_in(dropout_key, s))
            losses = loss_function(train_state.loss)(logits, labels)
            total = jnp.where(mask, losses, 0).sum()
            return total / jnp.maximum(count, 1), (state, total, (correct(logits, labels) & mask).sum())

        @in_turn
        def gradient(params, *batch):
            parts = 1 if whole else slices
            if parts is None:
                parts = count_slices(lambda params, *batch: share(params, 0, *batch), params, *batch)
            return summed_gradients(share, params, batch, parts)

        (_, (state, total, right)), gradients = gradient(train_state.params, x, labels, mask)
        updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
        params = optax.apply_updates(train_state.params, updates)
        return TrainState(params, state, opt_state, train_state.step + 1, train_state.loss), (total, right, count)

    return step


def make_steps(step: Callable) -> Callable:
    """Many steps in one dispatch: `(train_state, images, labels, indices, mask, count, key) -> (train_state, sums)`.

    The examples stay on the device; each step gathers its own. The loop runs `count` steps of the `(steps, batch)`
    plan, a number that is not compiled in, so an epoch's last, shorter dispatch needs no second program. The sums are
    those of `step`, one row per step of the plan. The train state's buffers are reused (donated).
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(train_state, images, labels, indices, mask, count, key):
        def one(i, carry):
            train_state, sums = carry
            chosen = indices[i]
            step_key = jax.random.fold_in(key, train_state.step)
            train_state, new = step(train_state, images[chosen], labels[chosen], mask[i], step_key)
            return train_state, sums.at[i].set(jnp.stack([jnp.asarray(v, sums.dtype) for v in new]))

        return lax.fori_loop(0, count, one, (train_state, jnp.zeros((len(indices), 3))))

    return steps


def make_evaluation(apply: Callable) -> Callable:
    """`(train_state, images, labels, indices, mask) -> (loss_sum, correct, count)` over a whole plan, per batch."""

    @jax.jit
    def evaluation(train_state, images, labels, indices, mask):
        def one(batch):
            chosen, use = batch
            x, y = to_float(images[chosen]), labels[chosen]
            logits, _ = apply(train_state.params, train_state.state, x, train=False)
            losses = loss_function(train_state.loss)(logits, y)
            return jnp.where(use, losses, 0).sum(), (correct(logits, y) & use).sum(), use.sum()

        return lax.map(one, (indices, mask))

    return evaluation
