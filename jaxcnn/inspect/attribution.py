"""Which pixels of an image raise the score of a class: saliency, SmoothGrad and Grad-CAM, as arrays.

The score of a class is its logit. A single logit (a sigmoid unit) is the score of class 1, and its negative is the
score of class 0.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.inspect.images import SHAPES, image_of
from jaxcnn.layers import Layer
from jaxcnn.layers.given import layer_of
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.walk import at, replace
from jaxcnn.models import Model
from jaxcnn.models.surgery import features
from jaxcnn.ops.arguments import is_number
from jaxcnn.train.integers import whole

AT_ONCE = 8  # noisy images in a batch: larger batches are no faster on a CPU and need more memory


def saliency_map(
    model: Model | Layer, params: Tree, state: Tree, image: Any, *, target: int | None = None
) -> jax.Array:
    """How much a change of each pixel changes the score of a class: max_c |∂score/∂x_c|.

    Args:
      model: a `Model` or a `Layer` that gives logits (N, classes).
      params, state: its own.
      image: (H, W, C), uint8 or floating of 0 to 1, as `train.fit` takes them; (L, C) or (D, H, W, C) for a model of
        such inputs.
      target: the class; None for the one the model predicts.

    Returns:
      (H, W), as many spatial axes as the image has, in units of the score per unit of intensity.

    Raises:
      ValueError: an image of another shape, a class that is not there, a model without logits.
      TypeError: what is neither a Model nor a Layer, a target that is no integer.

    Example:
      >>> from jaxcnn import models
      >>> model = models.create("lenet5")
      >>> saliency_map(model, *model.init(jax.random.key(0)), jnp.ones((28, 28, 1)), target=3).shape
      (28, 28)

    Source: Simonyan, Vedaldi, Zisserman, Deep inside convolutional networks (2013), section 3.
    """
    return _attributed("inspect.saliency_map", _saliency, model, params, state, image, target)


def smooth_grad_map(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    image: Any,
    *,
    target: int | None = None,
    noise: float = 0.15,
    samples: int = 32,
    key: jax.Array,
) -> jax.Array:
    """The saliency of the gradient's mean over noisy copies of the image: max_c |mean_i ∂score/∂x_c at x + n_i|.

    Args:
      model, params, state, image: as in `saliency_map`.
      target: the class; None for the one the model predicts for the image without noise.
      noise: standard deviation of the noise, as a share of the image's range (max − min).
      samples: how many noisy copies.
      key: the random key of the noise.

    Returns:
      (H, W).

    Raises:
      ValueError: as `saliency_map`; noise below 0, samples below 1. TypeError: as `saliency_map`.

    Source: Smilkov et al., SmoothGrad: removing noise by adding noise (2017), section 3.
    """
    if not is_number(noise) or not noise >= 0:
        raise ValueError(
            f"inspect.smooth_grad_map: `noise` is a share of the range and must be at least 0; got {noise!r}"
        )
    samples = whole("inspect.smooth_grad_map", "samples", samples, 1)
    return _attributed(
        "inspect.smooth_grad_map", _smooth_grad, model, params, state, image, target, key, noise, samples=samples
    )


def grad_cam_map(
    model: Model | Layer, params: Tree, state: Tree, image: Any, *, layer: str, target: int | None = None
) -> jax.Array:
    """Where in its feature map a layer sees evidence for a class: ReLU(Σ_k α_k A_k), α_k the mean of ∂score/∂A_k.

    Args:
      model, params, state, image, target: as in `saliency_map`.
      layer: the path of a layer whose output is a feature map A, as in `models.features`; usually the last such layer.

    Returns:
      (h, w), as large as the layer's feature map.

    Raises:
      ValueError: as `saliency_map`; no such layer (the message lists the layers); a layer without positions, or one on
        which the logits do not depend. TypeError: as `saliency_map`.

    Example:
      >>> from jaxcnn import models
      >>> model = models.create("lenet5")
      >>> grad_cam_map(model, *model.init(jax.random.key(0)), jnp.ones((28, 28, 1)), layer="relu2").shape
      (10, 10)

    Source: Selvaraju et al., Grad-CAM (2016), equations 1 and 2.
    """
    return _attributed("inspect.grad_cam_map", _grad_cam, model, params, state, image, target, path=layer)


def class_scores(model: Model | Layer, params: Tree, state: Tree, image: Any) -> jax.Array:
    """The score of each class: the logits, or for a single logit its negative and itself.

    Args:
      model, params, state, image: as in `saliency_map`.

    Returns:
      (classes,), at least two.

    Raises:
      ValueError, TypeError: as `saliency_map`.
    """
    op = "inspect.class_scores"
    return _forward(Network(op, model), params, state, image_of(op, model, image, ranks=SHAPES), op=op)


# ---------------------------------------------------------------------------------------------------------------------


class Network:
    """A layer as a static argument of `jax.jit`, which then compiles once for each layer."""

    def __init__(self, op: str, model: Model | Layer):
        self.layer = layer_of(op, model)

    def __hash__(self) -> int:
        return id(self.layer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.layer is other.layer


def layer_at(op: str, network: Network, path: str) -> Layer:
    """The layer at a path; ValueError for a path that leads to no layer of inference."""
    return at(network.layer, path, op=op, argument="layer", inference=True)


def _attributed(op: str, function: Callable, model, params, state, image, target, *arguments, **static) -> jax.Array:
    """Check the arguments, then call `function` for one class of one image."""
    if target is not None:
        if isinstance(target, bool) or not hasattr(target, "__index__"):
            raise TypeError(f"{op}: `target` must be the number of a class; got {target!r}")
        target = operator.index(target)
    network, x = Network(op, model), image_of(op, model, image, ranks=SHAPES)
    values, scores = function(network, params, state, x, target, *arguments, op=op, **static)
    if target is not None and not 0 <= target < scores.size:  # known only now: there is a class for each logit
        raise ValueError(f"{op}: `target` must be a class from 0 to {scores.size - 1}; got {target}")
    return values


def _scores(op: str, layer: Layer, params, state, x) -> jax.Array:
    logits, _ = layer.apply(params, state, x[None])
    if logits.ndim != 2:
        raise ValueError(f"{op}: `model` must give logits (N, classes); got {logits.shape} for one image")
    (row,) = logits
    return jnp.concatenate([-row, row]) if row.size == 1 else row


def _of_class(scores, target):
    return scores[jnp.argmax(scores) if target is None else target]


@functools.partial(jax.jit, static_argnums=0, static_argnames="op")
def _forward(network, params, state, x, *, op):
    return _scores(op, network.layer, params, state, x)


@functools.partial(jax.jit, static_argnums=0, static_argnames="op")
def _saliency(network, params, state, x, target, *, op):
    def score(x):
        scores = _scores(op, network.layer, params, state, x)
        return _of_class(scores, target), scores

    gradient, scores = jax.grad(score, has_aux=True)(x)
    return jnp.abs(gradient).max(axis=-1), scores


@functools.partial(jax.jit, static_argnums=0, static_argnames=("op", "samples"))
def _smooth_grad(network, params, state, x, target, key, noise, *, op, samples):
    scores = _scores(op, network.layer, params, state, x)
    target = jnp.argmax(scores) if target is None else target  # one class for all noisy copies
    deviation = noise * (x.max() - x.min())

    def gradient(key):
        noisy = x + deviation * jax.random.normal(key, x.shape)
        return jax.grad(lambda x: _scores(op, network.layer, params, state, x)[target])(noisy)

    gradients = lax.map(gradient, jax.random.split(key, samples), batch_size=min(samples, AT_ONCE))
    return jnp.abs(gradients.mean(axis=0)).max(axis=-1), scores


@functools.partial(jax.jit, static_argnums=0, static_argnames=("op", "path"))
def _grad_cam(network, params, state, x, target, *, op, path):
    """∂score/∂A is the derivative with respect to zeros that are added to A, wherever in the network A is."""

    def score(zeros):
        def plus_zeros(params, state, x, *, train=False, key=None):
            y, state = layer.apply(params, state, x, train=train, key=key)
            return y + zeros, state

        changed = replace(network.layer, path, Layer(layer.init, plus_zeros, layer.kind))
        scores = _scores(op, changed, params, state, x)
        return _of_class(scores, target), scores

    layer = layer_at(op, network, path)
    until, *trees = features(network.layer, params, state, until=path)
    maps, _ = until.apply(*trees, x[None])  # (1, h, w, K), or with one or three positions
    if maps.ndim != x.ndim + 1:
        raise ValueError(f"{op}: `layer` must give a feature map (h, w, channels); {path!r} gives {maps.shape[1:]}")
    gradient, scores = jax.grad(score, has_aux=True)(jnp.zeros_like(maps))
    alpha = gradient.mean(axis=tuple(range(1, maps.ndim - 1)), keepdims=True)
    return jax.nn.relu((alpha * maps).sum(axis=-1))[0], scores
