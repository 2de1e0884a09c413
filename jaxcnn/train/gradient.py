"""Gradients in an order that keeps intermediate results in a CPU's cache: of slices of a batch, of members in turn.

Slices: the gradient of a sum is the sum of the gradients, so a batch may be computed in parts. The forward result of a
layer is needed again in its backward pass, after all other layers. For a whole batch it goes through main memory
meanwhile; for a slice it stays in cache, and no new memory pages are needed: on 2 cores the gradient of 128 images
takes mnist_cnn 27 ms in four slices instead of 42.

Turns: a model whose intermediate results fill a cache is trained fastest alone. `jax.vmap` computes each layer for all
members of an ensemble before the next layer, so every result goes through main memory: a step of ten mnist_cnn on 32
images each takes 124 ms, and 85 ms one member after the other. Small models, and all models on an accelerator, are
faster together.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.ops import jaxprs, machine
from jaxcnn.ops.machine import Machine

MOVES = ("reshape", "transpose", "broadcast_in_dim", "squeeze", "convert_element_type")  # take no memory of their own

Tree = Any


def value_and_grad(loss: Callable, *, slices: int | None = None) -> Callable:
    """`jax.value_and_grad(loss)` for a mean over a batch; on a CPU up to twice as fast as JAX's.

        value = 1/S Σ_s loss(params, *batch[s]),   gradient = 1/S Σ_s ∂loss(params, *batch[s]) / ∂params

    Args:
      loss: `(params, *batch) -> ()`, a mean over the examples in which no example depends on another; so no batch
        normalization in training.
      slices: S, a divisor of the batch size; None means as many as keep a slice in cache on a CPU, else 1.

    Returns:
      `(params, *batch) -> (value, gradient)`; batch: arrays, or trees of arrays, `(N, …)`.

    Raises:
      ValueError: when called, arrays without one leading axis N, slices that do not divide it.

    Example:
      >>> loss = lambda w, x: jnp.mean((w * x) ** 2)
      >>> value_and_grad(loss, slices=2)(jnp.float32(1), jnp.arange(4.0))
      (Array(3.5, dtype=float32), Array(7., dtype=float32))
    """

    @in_turn
    def function(params, *batch):
        def in_slices(count, params, *batch):
            (value, ()), gradient = summed_gradients(lambda p, _, *part: (loss(p, *part), ()), params, batch, count)
            return jax.tree.map(lambda leaf: leaf / count, (value, gradient))

        if slices is not None:
            return in_slices(slices, params, *batch)
        return machine.decided(slices_for(loss, params, *batch), in_slices, params, *batch)

    return function


def summed_gradients(function: Callable, params: Tree, batch: tuple[Tree, ...], slices: int) -> tuple[Tree, Tree]:
    """The sums over slices of `function(params, s, *slice) -> (value, more)` and of ∂value/∂params."""
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(f"`batch` must be arrays with one leading axis; got leading axes {sorted(lengths)}")
    ((length,),) = lengths
    if slices < 1 or length % slices:
        raise ValueError(f"`slices` must divide the batch of {length}; got {slices}")
    gradient = jax.value_and_grad(function, has_aux=True)
    if slices == 1:
        return gradient(params, 0, *batch)
    # Slice s has every S-th example, from s on: if devices share the batch out, each has its part of every slice.
    parts = jax.tree.map(lambda leaf: jnp.reshape(leaf, (length // slices, slices, *jnp.shape(leaf)[1:])), batch)

    def add(total, s):
        part = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, s, 1, keepdims=False), parts)
        return jax.tree.map(jnp.add, total, gradient(params, s, *part)), None

    first = jax.eval_shape(gradient, params, 0, *jax.tree.map(lambda leaf: leaf[:, 0], parts))
    zero = jax.tree.map(jnp.zeros_like, first)  # like the first result, it varies over the axes of a shard_map
    total, _ = lax.scan(add, zero, jnp.arange(slices))
    return total


def slices_for(function: Callable, *arguments: Tree) -> Callable[[Machine], int]:
    """How many slices keep the intermediate results of `function(params, *batch)` in the cache of a machine.

    The number is bounded, because each slice also adds up a whole gradient.
    """
    params, *batch = arguments
    leaves = jax.tree.leaves(batch)
    length = min((jnp.shape(leaf)[0] for leaf in leaves if jnp.ndim(leaf)), default=1)
    added = sum(nbytes(jax.typeof(leaf)) for leaf in jax.tree.leaves(params))

    @functools.cache
    def results() -> int:
        return results_bytes(jax.make_jaxpr(function)(*arguments).jaxpr)

    def count(here: Machine) -> int:
        cache = here.cache
        if cache is None or length < 2 * cache.least_examples:
            return 1
        slices = 1
        while results() > slices * cache.slice_bytes and results() >= 2 * slices * added and length % (2 * slices) == 0:
            least = cache.least_examples // 2 if results() > slices * cache.mapped_bytes else cache.least_examples
            if length < 2 * slices * least:
                break
            slices *= 2
        return slices

    return count


def in_turn(function: Callable) -> Callable:
    """`function`, computed under `jax.vmap` one member at a time where that is faster. Forward derivatives only."""

    @functools.wraps(function)
    def called(*arguments):
        flat, tree = jax.tree.flatten(arguments)
        closed, shapes = jax.make_jaxpr(lambda *flat: function(*tree.unflatten(flat)), return_shape=True)(*flat)

        # Arrays that the function closes over may be mapped, too, so they become arguments.
        @jax.custom_batching.custom_vmap
        def alone(consts, flat):
            return jax.core.eval_jaxpr(closed.jaxpr, consts, *flat)

        @alone.def_vmap
        def _(_, mapped, consts, flat):
            chosen = jax.tree.leaves(mapped)
            results = jax.tree.map(lambda _: any(chosen), closed.out_avals)
            if not any(chosen):  # if only tangents are mapped, JAX asks for the values alone
                return alone.fun(consts, flat), results

            def takes_turns(here):
                return here.cache is not None and results_bytes(closed.jaxpr) >= here.cache.turn_bytes

            def members(in_turns, consts, flat):
                if not in_turns:
                    return jax.vmap(alone.fun, jax.tree.map(lambda each: 0 if each else None, mapped))(consts, flat)
                leaves, structure = jax.tree.flatten((consts, flat))

                def one(own):
                    own = iter(own)
                    every = [next(own) if each else leaf for leaf, each in zip(leaves, chosen, strict=True)]
                    return alone(*structure.unflatten(every))

                return lax.map(one, [leaf for leaf, each in zip(leaves, chosen, strict=True) if each])

            return machine.decided(takes_turns, members, consts, flat), results

        return jax.tree.unflatten(jax.tree.structure(shapes), alone(list(closed.consts), flat))

    return called


def results_bytes(jaxpr: Any) -> int:
    """The bytes of all intermediate results of a program: in a loop once for each iteration, in the largest branch."""

    def results(equation):
        return 0 if equation.primitive.name in MOVES else sum(nbytes(v.aval) for v in equation.outvars)

    return jaxprs.total(jaxpr, results)


def nbytes(aval: Any) -> int:
    """The bytes of an array of this type."""
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)
