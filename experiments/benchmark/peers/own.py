"""jaxcnn itself, as its users call it."""

from collections.abc import Callable
from typing import Any

import jax

from benchmark.networks import Network
from benchmark.peers.layers_on_jax import LayersOnJax
from benchmark.peers.on_jax import CLIP_NORM, OPTIMIZER, WithTransformations, check_norms, gradients_of, mean_loss
from benchmark.timing import Program, compiled
from benchmark.windows import Convolution, MaxPool
from jaxcnn import layers, models, ops, population, train

OPTIONS: dict[str, dict] = {"cifar10_cnn": {"dropout": False}, "cats_vs_dogs_cnn": {"logits": 2}}


def model(net: Network) -> Any:
    """The network from the catalogue, or from its description where the catalogue does not have it."""
    if net.name in models.names():
        return models.create(net.name, **OPTIONS.get(net.name, {}))
    return models.Model(net.name, layers.serial(*map(_layer, net.layers)), net.input_shape, net.classes)


def _layer(layer: tuple) -> layers.Layer:
    match layer:
        case ("conv", channels, window, padding):
            return layers.Conv(channels, window, padding=padding)
        case ("relu",):
            return layers.Relu()
        case ("pool", window):
            return layers.MaxPool(window)
        case ("flatten",):
            return layers.Flatten()
        case ("dense", features):
            return layers.Dense(features)
    raise ValueError(f"no such layer: {layer}")


class Own(LayersOnJax, WithTransformations):
    """jaxcnn."""

    value_and_grad = staticmethod(train.value_and_grad)

    def whole_step(self, net: Network, x: Any, labels: Any) -> Program:
        """The training step with JAX's own `value_and_grad`, which takes the batch whole."""
        whole = Own(self.dtype)
        whole.value_and_grad = jax.value_and_grad
        return whole.training_step(net, x, labels)

    def network(self, net: Network, key: jax.Array) -> tuple[Any, Callable]:
        """Without dropout, which mnist_baseline has, so as in evaluation."""
        built = model(net)
        params, state = built.init(key)
        return params, lambda params, x: built.apply(params, state, x)[0]

    def per_example(self, net: Network, x: Any, labels: Any) -> Program:
        """By `jaxcnn.population.clipped_gradient`."""
        params, apply = self.checked_network(net)

        def clipped(params, images, labels):
            def loss(params, image, label):
                return mean_loss(params, apply, image[None], label[None])

            return population.clipped_gradient(loss, params, images, labels, max_norm=CLIP_NORM)

        images, labels = self.images(x), jax.numpy.asarray(labels)
        program = compiled(clipped, params, images, labels)
        check_norms(program.run()[1], jax.jit(gradients_of(apply))(params, images, labels))
        return program

    def catalogue_inference(self, name: str, batch: int) -> Program:
        """Logits of any model of the catalogue, at its own size of images."""
        built = models.create(name)
        params, state = built.init(jax.random.key(0))
        params, state = jax.tree.map(lambda leaf: leaf.astype(self.dtype), (params, state))
        x = jax.random.uniform(jax.random.key(1), (batch, *built.input_shape), self.dtype)
        return compiled(lambda params, state, x: built.apply(params, state, x)[0], params, state, x)

    def catalogue_step(self, name: str, batch: int) -> Program:
        """Loss, backward and Adam of any model of the catalogue."""
        built = models.create(name)
        params, state = built.init(jax.random.key(0))
        train_state = train.TrainState(params, state, OPTIMIZER.init(params), jax.numpy.int32(0), built.loss)
        x = jax.random.uniform(jax.random.key(1), (batch, *built.input_shape))
        labels, mask = jax.numpy.arange(batch) % built.num_classes, jax.numpy.ones(batch, bool)
        step = train.make_step(built.apply, OPTIMIZER)
        return compiled(step, train_state, x, labels, mask, jax.random.key(2), compared=lambda result: result[1][0])

    def conv(self, x: jax.Array, kernel: jax.Array, layer: Convolution) -> jax.Array:
        """`jaxcnn.ops.conv` and `conv_transpose`."""
        options = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
        return (ops.conv_transpose if layer.transposed else ops.conv)(x, kernel, **options)

    def max_pool(self, x: jax.Array, layer: MaxPool) -> jax.Array:
        """`jaxcnn.ops.max_pool`."""
        return ops.max_pool(x, layer.window, stride=layer.stride)
