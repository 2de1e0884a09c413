"""Batch normalization folded into the convolution before it, for inference.

With fixed statistics it is a·y + b per channel, and a·(x ⊗ kernel + bias) + b = x ⊗ (a·kernel) + (a·bias + b).
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn.layers.given import check_layer
from jaxcnn.layers.layer import Layer, Tree, along_channels, output_shape
from jaxcnn.layers.roles import AFFINE
from jaxcnn.layers.walk import next_in_chain, put, replace, visit


def fold_batch_norm(layer: Layer, params: Tree, state: Tree) -> tuple[Layer, Tree, Tree]:
    """The network without the batch norms that follow a convolution or dense layer; the same at inference.

    Every `Conv`, `DepthwiseConv`, `ConvTranspose` or `Dense` that stands right before a `BatchNorm` in a `serial`, at
    any depth, takes its statistics, scale and bias into its own kernel and bias (it gains one if it had none). The
    names of what remains are the same. Other batch norms stay.

    Args:
      layer: any.
      params, state: its own, trained.

    Returns:
      (layer, params, state) for inference: training it would no longer normalize.

    Raises:
      TypeError: something that is not a Layer.

    Example:
      >>> from jaxcnn.layers import BatchNorm, Conv, Relu, serial
      >>> net = serial(Conv(4, 3, use_bias=False), BatchNorm(), Relu())
      >>> params, state = net.init(jax.random.key(0), (5, 5, 1))
      >>> folded, params, state = fold_batch_norm(net, params, state)
      >>> list(folded.children), sorted(params["conv1"]), state
      (['conv1', 'relu1'], ['bias', 'kernel'], {})

    Source: Jacob et al., Quantization and training of neural networks (2017), section 3.2.
    """
    check_layer("fold_batch_norm", layer)
    places = {place.path: place for place in visit(layer, params, state)}
    closed = [f"{path}/" for path, place in places.items() if place.layer.children and place.layer.combine is None]
    for path, after in next_in_chain(layer).items():
        affine, norm = places[path], places[after]
        if affine.layer.role in AFFINE and norm.layer.kind == "batch_norm" and not path.startswith(tuple(closed)):
            new, part = _folded(affine.layer, affine.params, *_scale_and_shift(norm.layer, norm.params, norm.state))
            layer = replace(replace(layer, path, new), after, None)
            params, state = put(put(params, path, part), after, {}), put(state, after, {})
    return layer, params, state


def _scale_and_shift(norm: Layer, params: Tree, state: Tree) -> tuple[jax.Array, jax.Array]:
    """a and b of what the norm does to y at inference, a·y + b: its derivative, and its value at 0."""
    zeros = jnp.zeros((1, *state["mean"].shape), jnp.result_type(*state.values(), *params.values(), jnp.float32))
    b, a = jax.jvp(lambda y: norm.apply(params, state, y)[0], (zeros,), (jnp.ones_like(zeros),))
    return a[0], b[0]


def _folded(layer: Layer, params: Tree, a: jax.Array, b: jax.Array) -> tuple[Layer, Tree]:
    kernel = params["kernel"]
    new = {"kernel": kernel * _along_outputs(layer.kind, a, kernel.shape), "bias": params.get("bias", 0) * a + b}
    new = {name: value.astype(kernel.dtype) for name, value in new.items()}
    return layer if "bias" in params else _with_bias(layer), new


def _along_outputs(kind: str, a: jax.Array, kernel_shape: tuple[int, ...]) -> jax.Array:
    if kind != "conv_transpose":
        return a
    # (*window, outputs of a group, inputs of all groups): an input's group is known by its place
    outputs, inputs = kernel_shape[-2:]
    groups = a.size // outputs
    return jnp.repeat(a.reshape(groups, outputs).T, inputs // groups, axis=1)


def _with_bias(layer: Layer) -> Layer:
    def init(key, input_shape):
        params, state = layer.init(key, input_shape)
        channels = output_shape(layer, params, state, input_shape)[-1]
        return {**params, "bias": jnp.zeros(channels, jnp.float32)}, state

    def apply(params, state, x, *, train=False, key=None):
        y, state = layer.apply(params, state, x, train=train, key=key)
        return y + along_channels(params["bias"], y), state

    config = layer.config and layer.config.but(use_bias=True)
    settings = {**layer.settings, "use_bias": True}
    return dataclasses.replace(layer, init=init, apply=apply, settings=settings, config=config)
