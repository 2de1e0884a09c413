"""Batch normalization folded into the convolution before it, for inference.

With fixed statistics it is a·y + b per channel, and a·(x ⊗ kernel + bias) + b = x ⊗ (a·kernel) + (a·bias + b).
"""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp

from jaxcnn.layers.layer import Layer, Tree, along_channels, output_shape

AFFINE = ("conv", "depthwise_conv", "conv_transpose", "dense")


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
    if not isinstance(layer, Layer):
        raise TypeError(f"fold_batch_norm: `layer` must be a Layer; got {layer!r}")
    if layer.combine is None:
        return layer, params, state
    children, new_params, new_state = {}, {}, {}
    norms = _norms_after_affine(layer)
    kept = [name for name in layer.children if name not in norms.values()]
    for name in kept:
        child, p, s = fold_batch_norm(layer.children[name], params.get(name, {}), state.get(name, {}))
        if norm := norms.get(name):
            child, p = _folded(child, p, *_scale_and_shift(layer.children[norm], params.get(norm, {}), state[norm]))
        children[name] = child
        if p:
            new_params[name] = p
        if s:
            new_state[name] = s
    return layer.combine(children), new_params, new_state


def _norms_after_affine(layer: Layer) -> dict[str, str]:
    """{name of an affine layer: name of the batch norm right after it in the chain}."""
    if not layer.chained:
        return {}
    chain = [(name, child.kind) for name, child in layer.children.items() if name not in layer.aside]
    return {a: b for (a, first), (b, second) in pairwise(chain) if first in AFFINE and second == "batch_norm"}


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

    return dataclasses.replace(layer, init=init, apply=apply, settings={**layer.settings, "use_bias": True})
