"""A gradient for every example, their norms, and clipping by them.

All functions take a loss that is written for one example, `loss(params, *example) -> number`; `jax.vmap` does the rest.
With a model, one example is a batch of one:

    def loss(params, image, label):
        logits, _ = model.apply(params, state, image[None])
        return losses.softmax_cross_entropy(logits, label[None])[0]

For random layers, such as dropout, let the key be a part of the
example. Layers that mix examples (batch normalization in
training) have no gradient per example; with `train=False`, or GroupNorm and LayerNorm, there is one.
"""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops import machine
from jaxcnn.population.bookkeeping import squares, weighted_sum
from jaxcnn.train.gradient import slices_for

Tree = Any


def per_example_gradients(loss: Callable, params: Tree, *batch: Tree) -> Tree:
    """The gradient of every example on its own.

        gradients[n] = ∂loss(params, *batch[n]) / ∂params

    Args:
      loss: `(params, *example) -> ()`, for one example.
      params: the parameters, by which the loss is differentiated.
      *batch: the arguments of `loss` after params, each an array, or a tree of arrays, `(N, …)`.

    Returns:
      A tree like params with a leading axis: `(N, *shape)`. It is N times the size of params; `clipped_gradient`
      computes norms and the clipped mean without it.

    Raises:
      ValueError: a batch without arrays or with several N, a loss that is no single number.

    Example:
      >>> per_example_gradients(lambda w, x, y: (w * x - y) ** 2, jnp.ones(()), jnp.array([1.0, 2.0]), jnp.zeros(2))
      Array([2., 8.], dtype=float32)
    """
    _check_examples("per_example_gradients", batch)
    return _over_examples(jax.grad(_single("per_example_gradients", loss)), batch)(params, *batch)


def gradient_norms(gradients: Tree) -> jax.Array:
    """The global norm of every example's gradient, over all parameters.

        norms[n] = (Σ_leaves Σ gradients[n]²)^½

    Args:
      gradients: from `per_example_gradients`: a tree of arrays `(N, *shape)`.

    Returns:
      `(N,)`, float32 at least.

    Raises:
      ValueError: a tree without arrays or with several N.

    Example:
      >>> gradient_norms({"kernel": jnp.array([[3.0], [1.0]]), "bias": jnp.array([4.0, 0.0])})
      Array([5., 1.], dtype=float32)
    """
    _check_examples("gradient_norms", gradients, "gradients")
    return jnp.sqrt(sum(squares(leaf) for leaf in jax.tree.leaves(gradients)))


def clip_and_average(gradients: Tree, max_norm: jax.typing.ArrayLike) -> tuple[Tree, jax.Array]:
    """The mean of gradients, each scaled down to a norm of at most `max_norm`.

        mean = 1/N Σ_n gradients[n] · min(1, max_norm / norms[n])

    Args:
      gradients: from `per_example_gradients`: a tree of arrays `(N, *shape)`.
      max_norm: above 0; infinity leaves all as they are.

    Returns:
      (mean, norms): a tree of arrays `(*shape)`, and the norms before clipping, `(N,)`.

    Raises:
      ValueError: as `gradient_norms`; a max_norm not above 0.

    Example:
      >>> mean, norms = clip_and_average({"w": jnp.array([[3.0, 4.0], [0.0, 1.0]])}, max_norm=2.5)
      >>> mean["w"].tolist(), norms.tolist()
      ([0.75, 1.5], [5.0, 1.0])

    For private training add Gaussian noise of standard deviation noise_multiplier · max_norm / N to every number of the
    mean. `optax.contrib.differentially_private_aggregate` clips, averages and adds the noise by itself: as the first
    transformation of an optimizer it takes the gradients of all examples, from `per_example_gradients`, and never
    gradients that were averaged already. How private that is depends on how batches are drawn and on the number of
    steps; an accountant (Google's `dp_accounting`) tells.

    Source: Abadi et al., Deep learning with differential privacy (2016), algorithm 1, before the noise.
    """
    _check_examples("clip_and_average", gradients, "gradients")
    norms = gradient_norms(gradients)
    weights = _weights("clip_and_average", norms, max_norm)
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1), gradients), norms


def clipped_gradient(
    loss: Callable, params: Tree, *batch: Tree, max_norm: jax.typing.ArrayLike
) -> tuple[Tree, jax.Array]:
    """The clipped mean gradient: `clip_and_average` of `per_example_gradients`, but faster and in less memory.

        mean = 1/N Σ_n min(1, max_norm / norms[n]) · ∂loss(params, *batch[n]) / ∂params

    It takes one forward and one backward pass, as a plain gradient does. Large gradients, such as a dense layer's, are
    never stored for every example (`bookkeeping.py` says how).

    Args:
      loss, params, batch: as in `per_example_gradients`.
      max_norm: above 0; infinity leaves all as they are.

    Returns:
      (mean, norms): a tree like params, and the norms before clipping, `(N,)`.

    Raises:
      ValueError: as `per_example_gradients`; a max_norm not above 0.
      TypeError: parameters that are not floating-point.

    Example:
      >>> x = jnp.array([[3.0, 4.0], [0.0, 1.0]])
      >>> mean, norms = clipped_gradient(jnp.vdot, jnp.zeros(2), x, max_norm=2.5)
      >>> mean.tolist(), norms.tolist()
      ([0.75, 1.5], [5.0, 1.0])

    Source: Abadi et al., Deep learning with differential privacy (2016), algorithm 1, before the noise; Bu et al.,
    Differentially private optimization on large model at small cost (2023), for the single pass.
    """
    loss = _single("clipped_gradient", loss)
    _check_examples("clipped_gradient", batch)
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(f"clipped_gradient: `params` must be floating-point arrays; got {jnp.result_type(leaf)}")

    def clipped(params, *batch):
        return weighted_sum(loss, params, batch, lambda norms: _weights("clipped_gradient", norms, max_norm))

    def in_slices(slices, params, *batch):
        if slices == 1:
            return clipped(params, *batch)

        def add(total, part):
            mean, norms = clipped(params, *part)
            return jax.tree.map(lambda a, b: a + b / slices, total, mean), norms

        parts = jax.tree.map(lambda leaf: jnp.reshape(leaf, (slices, -1, *jnp.shape(leaf)[1:])), batch)
        mean, norms = lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return mean, norms.reshape(-1)

    slices = slices_for(_over_examples(loss, batch), params, *batch)  # of which x and dy stay in cache
    return machine.decided(slices, in_slices, params, *batch)


# ---------------------------------------------------------------------------------------------------------------------


def _over_examples(function: Callable, batch: tuple[Tree, ...]) -> Callable:
    return jax.vmap(function, in_axes=(None, *(0 for _ in batch)))


def _weights(op: str, norms: jax.Array, max_norm: jax.typing.ArrayLike) -> jax.Array:
    """The weight of each example in the mean."""
    if isinstance(max_norm, numbers.Real) and not max_norm > 0:  # an array may be traced, and have no value yet
        raise ValueError(f"{op}: `max_norm` must be above 0; got {max_norm!r}")
    return jnp.minimum(1, max_norm / norms) / len(norms)


def _single(op: str, loss: Callable) -> Callable:
    """The loss, checked to be a single number for one example."""

    def single(params, *example):
        value = loss(params, *example)
        if jnp.shape(value) != ():
            raise ValueError(
                f"{op}: `loss` must give a single number for one example, shape (); got {jnp.shape(value)}. "
                "It gets examples without the batch axis: image[None] is a batch of one."
            )
        return value

    return single


def _check_examples(op: str, batch: Tree, name: str = "batch") -> None:
    """ValueError unless all arrays have one leading axis, the examples'."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    counts = {shape[:1] for shape in shapes}
    if len(counts) != 1 or counts == {()}:
        raise ValueError(f"{op}: `{name}` must be arrays with one leading axis, the examples'; got shapes {shapes}")
