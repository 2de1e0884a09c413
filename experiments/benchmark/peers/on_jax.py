"""What every library on JAX does alike, once its network is a function `apply(params, x) -> logits`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmark.networks import Network
from benchmark.timing import Program, compiled

CLIP_NORM = 1.0
OPTIMIZER = optax.adam(1e-3)
STEPS = 2  # in a scan


class OnJax:
    """A library on JAX: training steps. Subclasses say what a network is.

    Args:
      dtype: of parameters and inputs.
    """

    value_and_grad = staticmethod(jax.value_and_grad)  # of a batch's mean loss

    def __init__(self, dtype: Any = jnp.float32) -> None:
        self.dtype = jnp.dtype(dtype)

    def make_step(self, apply: Callable) -> Callable:
        """`((params, opt_state), (x, labels)) -> ((params, opt_state), loss)`."""
        return make_step(apply, self.value_and_grad)

    def network(self, net: Network, key: jax.Array) -> tuple[Any, Callable]:
        """(params, apply), `apply(params, x) -> logits`."""
        raise NotImplementedError

    def images(self, x: np.ndarray) -> jax.Array:
        """`(N, H, W, C)` on the device, as the library wants it."""
        return jnp.asarray(x, self.dtype)

    def checked_network(self, net: Network) -> tuple[Any, Callable]:
        """`network`, and a ValueError if it is not the one that is described."""
        params, apply = self.network(net, jax.random.key(0))
        check_parameters(
            net.name, net.parameters(), sum(leaf.size for leaf in jax.tree.leaves(params)), type(self).__name__
        )
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), params), apply

    def training_step(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """Loss, gradient and Adam on one batch."""
        params, apply = self.checked_network(net)
        carry = params, OPTIMIZER.init(params)
        return compiled(self.make_step(apply), carry, (self.images(x), jnp.asarray(labels)), compared=_loss)


class WithTransformations(OnJax):
    """Also inference, training under `scan` and `vmap`, and gradients per example."""

    def inference(self, net: Network, x: np.ndarray) -> Program:
        """Logits of a batch."""
        params, apply = self.checked_network(net)
        return compiled(apply, params, self.images(x))

    def scan(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """`STEPS` training steps inside `lax.scan`."""
        params, apply = self.checked_network(net)
        carry = params, OPTIMIZER.init(params)
        batches = jax.tree.map(lambda a: jnp.stack([a] * STEPS), (self.images(x), jnp.asarray(labels)))
        step = self.make_step(apply)
        return compiled(lambda carry, batches: lax.scan(step, carry, batches), carry, batches, compared=_loss)

    def steps(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """The same `STEPS` steps, one call each."""
        params, apply = self.checked_network(net)
        carry, batch = (params, OPTIMIZER.init(params)), (self.images(x), jnp.asarray(labels))
        step = jax.jit(self.make_step(apply)).lower(carry, batch).compile()

        def run():
            state = carry
            for _ in range(STEPS):
                state, loss = step(state, batch)
            return jax.block_until_ready((state, loss))

        return Program(run)

    def ensemble(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """A training step of many models, vmapped: x `(models, N, H, W, C)`, each with its own batch."""
        carry, apply = self._ensemble(net, len(x))
        return compiled(jax.vmap(self.make_step(apply)), carry, (self.images(x), jnp.asarray(labels)), compared=_loss)

    def ensemble_loop(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """The same models, a step of each in turn."""
        stacked, apply = self._ensemble(net, len(x))
        carries = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(x))]
        batches = [(self.images(images), jnp.asarray(label)) for images, label in zip(x, labels, strict=True)]
        step = jax.jit(self.make_step(apply)).lower(carries[0], batches[0]).compile()
        pairs = list(zip(carries, batches, strict=True))
        return Program(lambda: jax.block_until_ready([step(carry, batch) for carry, batch in pairs]))

    def _ensemble(self, net: Network, models: int) -> tuple[tuple, Callable]:
        """Parameters and optimizer states of all models, stacked; and `apply` of one."""
        _, apply = self.checked_network(net)
        params = jax.vmap(lambda key: self.network(net, key)[0])(jax.random.split(jax.random.key(0), models))
        params = jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)
        return (params, jax.vmap(OPTIMIZER.init)(params)), apply

    def per_example(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """The mean of the examples' gradients, each clipped to `CLIP_NORM`; and their norms before."""
        params, apply = self.checked_network(net)
        images, labels = self.images(x), jnp.asarray(labels)
        program = compiled(clipped_mean(apply), params, images, labels)
        check_norms(program.run()[1], jax.jit(gradients_of(apply))(params, images, labels))
        return program

    def gradient(self, net: Network, x: np.ndarray, labels: np.ndarray) -> Program:
        """The plain gradient of the batch's mean loss."""
        params, apply = self.checked_network(net)
        gradient = jax.grad(mean_loss)
        return compiled(lambda *args: gradient(args[0], apply, *args[1:]), params, self.images(x), jnp.asarray(labels))


def mean_loss(params: Any, apply: Callable, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross entropy."""
    logits = apply(params, x).astype(jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_step(apply: Callable, value_and_grad: Callable) -> Callable:
    """`((params, opt_state), (x, labels)) -> ((params, opt_state), loss)`."""

    def step(carry, batch):
        params, opt_state = carry
        loss, gradients = value_and_grad(lambda params, *batch: mean_loss(params, apply, *batch))(params, *batch)
        updates, opt_state = OPTIMIZER.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return step


def gradients_of(apply: Callable) -> Callable:
    """`(params, x, labels) -> ` the gradient of each example's loss, `(N, …)`."""

    def one(params, image, label):
        return jax.grad(mean_loss)(params, apply, image[None], label[None])

    return jax.vmap(one, (None, 0, 0))


def clipped_mean(apply: Callable) -> Callable:
    """`(params, x, labels) -> (mean of the clipped gradients, norms (N,))`."""

    def function(params, x, labels):
        # jaxlib 0.10.2 on CPU sums squares wrongly where it fuses them with the product that made the gradients
        # (jax issue 39103); the barrier keeps the two apart.
        gradients = lax.optimization_barrier(gradients_of(apply)(params, x, labels))
        norms = jax.vmap(optax.global_norm)(gradients)
        scale = jnp.minimum(1, CLIP_NORM / norms)
        return jax.tree.map(lambda g: jnp.tensordot(scale, g, 1) / len(x), gradients), norms

    return function


def check_norms(norms: jax.Array, gradients: Any) -> None:
    """ValueError if norms are not those of the gradients, taken in NumPy."""
    leaves = [np.asarray(leaf, np.float64).reshape(len(leaf), -1) for leaf in jax.tree.leaves(gradients)]
    right = np.sqrt(sum(np.square(leaf).sum(1) for leaf in leaves))
    error = float(np.max(np.abs(np.asarray(norms, np.float64) / right - 1)))
    if error > 10 * jnp.finfo(norms.dtype).eps ** 0.5:
        raise ValueError(f"the norms of the gradients are wrong, by up to {error:.2g} of their size (jax issue 39103?)")


def check_parameters(name: str, expected: int, found: int, library: str) -> None:
    """ValueError if a library's network has not as many parameters as the description, or as jaxcnn's."""
    if found != expected:
        raise ValueError(f"{library}: {name} must have {expected:,} parameters; it has {found:,}")


def _loss(result: tuple) -> jax.Array:
    return result[1]
