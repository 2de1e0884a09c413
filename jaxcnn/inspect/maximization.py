"""Activation maximization: the image that excites a layer's channel the most, as an array."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxcnn.inspect.attribution import Network, layer_at
from jaxcnn.inspect.images import check_rank
from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.models.surgery import features
from jaxcnn.train.integers import whole

LEARNING_RATE = 0.05
START = 0.01  # standard deviation of the first coefficients; it is so small that they hardly matter after a few steps
SHIFT = 16  # the image is shifted by at most this part of its side before each step


def maximal_input(
    model: Model | Layer,
    params: Tree,
    state: Tree,
    *,
    layer: str,
    channel: int,
    steps: int = 128,
    key: jax.Array,
    input_shape: tuple[int, int, int] | None = None,
) -> jax.Array:
    """An image that makes a channel's mean over all positions as large as `steps` of gradient ascent can.

    The image is sigmoid(z), and z is kept at mean z² = 1: otherwise ascent would only raise the contrast. z is a sum of
    waves, irfft2(a / f), where f is a wave's frequency. Adam moves their coefficients a, so coarse shapes grow before
    fine noise does. Before each step the image is shifted at random, by up to a sixteenth of its side, so that the
    result does not depend on the exact place of a pattern.

    Args:
      model: a `Model`, or a `Layer` together with its input_shape.
      params, state: its own.
      layer: the path of a layer, as in `models.features`. Choose convolutions and logits, not the ReLU after them: a
        ReLU passes no gradient where the first image does not excite it.
      channel: which channel, in the last axis of the layer's output; for the layer of the logits, a class.
      steps: how many steps of gradient ascent.
      key: the random key of the first image and of the shifts.
      input_shape: (H, W, C); a `Model` knows its own.

    Returns:
      (H, W, C), values 0 to 1.

    Raises:
      ValueError: no such layer, naming those there are, or no such channel; steps below 1; a Layer without an
        input_shape, or an input that is no image. TypeError: neither a Model nor a Layer.

    Example:
      >>> from jaxcnn import models
      >>> model = models.create("lenet5")
      >>> trees = model.init(jax.random.key(0))
      >>> maximal_input(model, *trees, layer="conv1", channel=0, steps=2, key=jax.random.key(1)).shape
      (28, 28, 1)

    Source: Erhan et al., Visualizing higher-layer features of a deep network (2009), section 3.1; Simonyan et al.,
    Deep inside convolutional networks (2013), section 2, for classes; Olah et al., Feature visualization (2017), for
    waves and shifts.
    """
    return maximized("inspect.maximal_input", model, params, state, layer, channel, steps, key, input_shape)[0]


# ---------------------------------------------------------------------------------------------------------------------


def maximized(
    op: str,
    model: Model | Layer,
    params: Tree,
    state: Tree,
    path: str,
    channel: int,
    steps: int,
    key: jax.Array,
    input_shape: tuple[int, int, int] | None,
) -> tuple[jax.Array, jax.Array]:
    """The `maximal_input` of a channel, and the channel's mean for it; `op` is the function's name, for messages."""
    network = Network(op, model)
    if input_shape is None:
        check_rank(op, model)
    shape: Any = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if shape is None or len(shape) != 3:
        raise ValueError(f"{op}: `input_shape` must be (H, W, C), and given for a Layer; got {shape}")
    steps = whole(op, "steps", steps, 1)
    image, means = _ascended(network, params, state, operator.index(channel), key, op, path, steps, tuple(shape))
    if not 0 <= channel < means.size:  # known only now: the layer says how many there are
        raise ValueError(f"{op}: a channel of {path!r} must be 0 to {means.size - 1}; got {channel}")
    return image, means[channel]


@functools.partial(jax.jit, static_argnums=(0, 5, 6, 7, 8))
def _ascended(network, params, state, channel, key, op, path, steps, shape):
    """The image, and the means of all channels for it."""
    layer_at(op, network, path)  # refuses a wrong path
    until, *trees = features(network.layer, params, state, until=path)
    height, width, _ = shape
    cycles = jnp.fft.fftfreq(height)[:, None], jnp.fft.rfftfreq(width)[None]
    frequency = jnp.hypot(*cycles)  # (H, W // 2 + 1), cycles a pixel
    amplitude = (1 / jnp.maximum(frequency, 1 / max(height, width)))[..., None]
    farthest = jnp.array([height // SHIFT, width // SHIFT])
    optimizer = optax.adam(LEARNING_RATE)

    def drawn(waves):
        real, imaginary = waves
        z = jnp.fft.irfft2(amplitude * (real + 1j * imaginary), s=(height, width), axes=(0, 1), norm="ortho")
        return jax.nn.sigmoid(z * lax.rsqrt(jnp.square(z).mean()))

    def means(image):
        y, _ = until.apply(*trees, image[None])
        return y.reshape(-1, y.shape[-1]).mean(axis=0)

    def step(carry, key):
        waves, moments = carry
        shift = jax.random.randint(key, (2,), -farthest, farthest + 1)
        gradient = jax.grad(lambda waves: -means(jnp.roll(drawn(waves), shift, (0, 1)))[channel])(waves)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(waves, updates), moments), None

    start_key, shift_key = jax.random.split(key)
    waves = START * jax.random.normal(start_key, (2, *amplitude.shape[:2], shape[-1]))
    (waves, _), _ = lax.scan(step, (waves, optimizer.init(waves)), jax.random.split(shift_key, steps))
    image = drawn(waves)
    return image, means(image)
