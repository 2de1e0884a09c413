"""One training step, and many of them in one dispatch."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn.data import to_float
from jaxcnn.ops import machine
from jaxcnn.ops.arguments import is_number
from jaxcnn.ops.sharding import rows
from jaxcnn.train.gradient import in_turn, slices_for, summed_gradients
from jaxcnn.train.losses import LossFunction, counted, loss_function, right
from jaxcnn.train.state import TrainState


def make_step(
    apply: Callable,
    optimizer: optax.GradientTransformation,
    augment: Callable | None = None,
    *,
    slices: int | None = None,
    ema: float | None = None,
    auxiliary_weight: float = 0.3,
) -> Callable:
    """A pure training step `(train_state, images, labels, mask, key) -> (train_state, (loss_sum, correct, count))`.

    Args:
      apply: `(params, state, x, *, train, key) -> (logits, state)`; a `Policy` makes one of mixed precision. In place
        of logits it may return a tuple (logits, *auxiliary) of a main classifier and auxiliary ones
        (`models.googlenet`).
      optimizer: an optax transformation.
      augment: `(key, images) -> images` on a batch of floats.
      slices: in how many parts of the batch, one after the other, the gradient is computed; None means as many as keep
        a part in cache (see `jaxcnn.train.value_and_grad`). A model with state, such as batch statistics, needs whole
        batches.
      ema: d in [0, 1), the decay of the moving averages of parameters and state in `train_state.ema`. Start them as
        (params, state), whose values do not count:

            average_T = Σ_t d^(T−t) params_t / Σ_t d^(T−t),   t = 1 … T

      auxiliary_weight: the weight of each auxiliary classifier's loss beside the main one's; only the main classifier
        counts for accuracy. 0.3 is the weight of Szegedy et al. (2014), section 5.

    Returns:
      The step. Only examples whose mask is True, and whose label the loss does not ignore, count in the sums; the step
      minimizes their mean loss. `correct` is 0 for a loss function of your own (see
      `jaxcnn.train.losses.Classification`), and a sum of shares if an example has several labels.

    Raises:
      ValueError: an ema outside [0, 1). When the step is called: slices that do not divide the batch, more than one
        slice for a model with state, or an ema and a train state without moving averages.
    """
    ema = check_ema("make_step", ema)

    def step(train_state: TrainState, images, labels, mask, key):
        augment_key, dropout_key = jax.random.split(key)
        x = to_float(images)
        x = augment(augment_key, x) if augment else x
        mask = mask & counted(train_state.loss, labels)
        count = mask.sum()
        if bool(train_state.ema) != (ema is not None):
            raise ValueError(
                f"make_step: `ema` must be given where train_state.ema is (params, state), and only there; got {ema}"
            )
        whole = bool(jax.tree.leaves(train_state.state))
        if whole and slices not in (None, 1):
            raise ValueError(f"make_step: `slices` must be 1 for a model with state; got {slices}")

        def share(params, s, x, labels, mask):
            """The part of one slice in the mean loss and in the sums."""
            outputs, state = apply(params, train_state.state, x, train=True, key=jax.random.fold_in(dropout_key, s))
            logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = loss_function(train_state.loss)
            losses = loss(logits, labels) + sum(auxiliary_weight * loss(other, labels) for other in auxiliary)
            total, told = _sums(train_state.loss, losses, logits, labels, mask)
            return total / jnp.maximum(count, 1).astype(total.dtype), (state, total, told)

        @in_turn
        def gradient(params, *batch):
            def in_slices(parts, params, *batch):
                return summed_gradients(share, params, batch, parts)

            if whole or slices is not None:
                return in_slices(1 if whole else slices, params, *batch)
            parts = slices_for(lambda params, *batch: share(params, 0, *batch), params, *batch)
            return machine.decided(parts, in_slices, params, *batch)

        (_, (state, total, told)), gradients = gradient(train_state.params, x, labels, mask)
        updates, opt_state = optimizer.update(gradients, train_state.opt_state, train_state.params)
        params = optax.apply_updates(train_state.params, updates)
        number = train_state.step + 1
        average = train_state.ema if ema is None else _averaged(train_state.ema, (params, state), ema, number)
        return TrainState(params, state, opt_state, number, train_state.loss, average), (total, told, count)

    return step


def make_steps(step: Callable, *, mesh: Mesh | None = None) -> Callable:
    """Many steps in one dispatch: `(train_state, images, labels, indices, mask, count, key) -> (train_state, sums)`.

    The examples stay on the device, and each step gathers its batch. The loop runs `count` steps of the `(steps,
    batch)` plan; `count` is not compiled in, so an epoch's last, shorter dispatch runs the same program. `sums` has one
    row per step of the plan, the sums of `step`. The train state's buffers are donated, which means reused: to keep
    one, copy it first, `jax.tree.map(jnp.copy, train_state)`.

    With a mesh, its devices share each batch: give the train state and the examples whole to each of them, and plans
    that are cut along the batch, `NamedSharding(mesh, PartitionSpec(None, axis))`.
    """
    results = None if mesh is None else NamedSharding(mesh, PartitionSpec())

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=results)
    def steps(train_state, images, labels, indices, mask, count, key):
        def one(i, carry):
            train_state, sums = carry
            chosen = indices[i]
            step_key = jax.random.fold_in(key, train_state.step)
            train_state, new = step(train_state, rows(images, chosen), rows(labels, chosen), mask[i], step_key)
            return train_state, sums.at[i].set(jnp.stack([jnp.asarray(v, sums.dtype) for v in new]))

        return lax.fori_loop(0, count, one, (train_state, jnp.zeros((len(indices), 3))))

    return steps


def make_evaluation(apply: Callable) -> Callable:
    """`(train_state, images, labels, indices, mask) -> (loss_sum, correct, count)` over a whole plan, per batch."""

    @jax.jit
    def evaluation(train_state, images, labels, indices, mask):
        sums = batch_sums(apply, train_state.loss)

        def of_batch(batch):
            chosen, use = batch
            return sums(*train_state.weights, rows(images, chosen), rows(labels, chosen), use)

        return lax.map(of_batch, (indices, mask))

    return evaluation


def batch_sums(apply: Callable, loss: str | LossFunction | None) -> Callable:
    """`(params, state, images, labels, mask) -> (loss_sum, correct, count)` of one batch, with `train=False`."""

    def sums(params, state, images, labels, mask):
        mask = mask & counted(loss, labels)
        logits, _ = apply(params, state, to_float(images), train=False)
        return *_sums(loss, loss_function(loss)(logits, labels), logits, labels, mask), mask.sum()

    return sums


def check_alive(op: str, train_state: Any) -> None:
    """ValueError where a later step has reused the arrays for its results."""
    leaves = jax.tree.leaves(train_state)
    if any(isinstance(a, jax.Array) and not isinstance(a, jax.core.Tracer) and a.is_deleted() for a in leaves):
        raise ValueError(
            f"{op}: the arrays of `train_state` are gone: `make_steps` reuses those that it is given. Go on with the "
            "train state that it returns, and copy one that is to be kept: jax.tree.map(jnp.copy, train_state)"
        )


def check_ema(op: str, ema: float | None) -> float | None:
    """The decay as a float; ValueError unless it is a number in [0, 1) or None."""
    if ema is not None and (not is_number(ema) or not 0 <= ema < 1):
        raise ValueError(f"{op}: `ema` is the decay of an average and must be in [0, 1); got {ema!r}")
    return None if ema is None else float(ema)


def _sums(loss: str | LossFunction | None, losses: jax.Array, logits: jax.Array, labels: jax.Array, mask: jax.Array):
    """The sum of losses, the sum of right answers and the count, in float32 at least."""
    losses = losses.astype(jnp.promote_types(losses.dtype, jnp.float32))
    return jnp.where(mask, losses, 0).sum(), jnp.where(mask, right(loss, logits, labels), 0).sum()


def _averaged(average: Any, new: Any, decay: float, number: jax.Array) -> Any:
    """The moving average after `number` steps; of a parameter that never changes, its value. Integers are copied."""
    steps = jnp.asarray(number, float)
    share = (1 - decay) / -jnp.expm1(steps * math.log(decay)) if decay else 1.0  # at first 1: the start does not count

    def moved(old, value):
        return old + (share * (value - old)).astype(old.dtype) if jnp.issubdtype(old.dtype, jnp.floating) else value

    return jax.tree.map(moved, average, new)
