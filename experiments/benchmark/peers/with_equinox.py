"""Equinox: layers of `equinox.nn` on one image, channels first, and `jax.vmap` over the batch."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmark.networks import Network, Shape
from benchmark.peers.on_jax import OnJax


class Equinox(OnJax):
    """`equinox.nn`."""

    def network(self, net: Network, key: jax.Array) -> tuple[Any, Callable]:
        """`eqx.partition` and `eqx.combine`."""
        keys = jax.random.split(key, len(net.layers))
        layers = [_layer(layer, shape, key) for (layer, shape, _), key in zip(net.shapes(), keys, strict=True)]
        params, static = eqx.partition(eqx.nn.Sequential(layers), eqx.is_array)
        return params, lambda params, x: jax.vmap(eqx.combine(params, static))(x)

    def images(self, x: np.ndarray) -> jax.Array:
        """Channels first."""
        return super().images(np.moveaxis(x, -1, -3))


def _layer(layer: tuple, shape: Shape, key: jax.Array) -> Callable:
    match layer:
        case ("conv", channels, window, padding):
            return eqx.nn.Conv2d(shape[-1], channels, window, padding=padding, key=key)
        case ("relu",):
            return eqx.nn.Lambda(jax.nn.relu)
        case ("pool", window):
            return eqx.nn.MaxPool2d(window, window)
        case ("flatten",):
            return eqx.nn.Lambda(jnp.ravel)
        case ("dense", features):
            return eqx.nn.Linear(shape[-1], features, key=key)
    raise ValueError(f"no such layer: {layer}")
