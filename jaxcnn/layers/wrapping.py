"""Wrappers of a layer: `checkpointed` computes inner values twice to save memory, `frozen` leaves its parameters alone.

A wrapped layer has the kind, the children and the names of the layer inside, so that the same parameters fit both.
"""

import dataclasses

import jax
from jax import lax

from jaxcnn.layers.given import check_layer
from jaxcnn.layers.layer import Layer, makes_layer


@makes_layer
def checkpointed(layer: Layer) -> Layer:
    """The same layer; training keeps only its input and computes the rest again for the gradient, to save memory.

    Args:
      layer: any; a block of a deep network, such as `residual(…)`.

    Returns:
      A Layer with the same parameters, values and gradients.

    Raises:
      TypeError: something that is not a Layer.

    Example:
      >>> from jaxcnn.layers import Dense, Relu, serial
      >>> net = checkpointed(serial(Dense(8), Relu(), Dense(3)))
      >>> list(net.init(jax.random.key(0), (5,))[0])
      ['dense1', 'dense2']

    Source: Chen et al., Training deep nets with sublinear memory cost (2016); `jax.checkpoint`.
    """
    check_layer("checkpointed", layer)

    def apply(params, state, x, *, train=False, key=None):
        def again(params, state, x, key):
            return layer.apply(params, state, x, train=train, key=key)

        return jax.checkpoint(again)(params, state, x, key)

    return _wrapped(layer, apply, checkpointed)


@makes_layer
def frozen(layer: Layer) -> Layer:
    """The layer as at inference, also in training: no gradient reaches its parameters.

    Batch norm uses its running statistics and does not change them, and dropout drops nothing. Gradients go through the
    layer to the layers before it.

    Args:
      layer: any; the pretrained part of a network.

    Returns:
      A Layer with the same parameters, whose gradients are zero.

    Raises:
      TypeError: something that is not a Layer.

    Example:
      >>> from jaxcnn.layers import Dense
      >>> layer = frozen(Dense(1, kernel_init="he_normal"))
      >>> params, _ = layer.init(jax.random.key(0), (3,))
      >>> jax.grad(lambda p: layer.apply(p, {}, jax.numpy.ones((2, 3)), train=True)[0].sum())(params)["bias"]
      Array([0.], dtype=float32)
    """
    check_layer("frozen", layer)

    def apply(params, state, x, *, train=False, key=None):
        y, _ = layer.apply(lax.stop_gradient(params), lax.stop_gradient(state), x, train=False)
        return y, state

    return _wrapped(layer, apply, frozen)


def _wrapped(layer, apply, wrap) -> Layer:
    combine = None if layer.combine is None else lambda children: wrap(layer.combine(children))
    return dataclasses.replace(layer, apply=apply, combine=combine)
