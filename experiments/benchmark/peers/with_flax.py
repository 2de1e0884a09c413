"""Flax: layers of `nnx`, split into parameters and a function as its guide to performance advises."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from benchmark.networks import Network, Shape
from benchmark.peers.on_jax import OnJax


class Flax(OnJax):
    """`flax.nnx`."""

    def network(self, net: Network, key: jax.Array) -> tuple[Any, Callable]:
        """`nnx.split` and `nnx.merge`."""
        rngs = nnx.Rngs(key)
        model = nnx.Sequential(*(_layer(layer, shape, rngs) for layer, shape, _ in net.shapes()))
        graph, params = nnx.split(model, nnx.Param)
        return params, lambda params, x: nnx.merge(graph, params)(x)


def _layer(layer: tuple, shape: Shape, rngs: nnx.Rngs) -> Callable:
    match layer:
        case ("conv", channels, window, padding):
            return nnx.Conv(shape[-1], channels, (window, window), padding=padding, rngs=rngs)
        case ("relu",):
            return nnx.relu
        case ("pool", window):
            return lambda x: nnx.max_pool(x, (window, window), (window, window))
        case ("flatten",):
            return lambda x: x.reshape(len(x), -1)
        case ("dense", features):
            return nnx.Linear(shape[-1], features, rngs=rngs)
    raise ValueError(f"no such layer: {layer}")
