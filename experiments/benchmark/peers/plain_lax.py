"""The same networks and layers on XLA's own convolution and window reduction, with jaxcnn's parameters."""

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import numpy as np
from jax import lax

from benchmark.networks import Network
from benchmark.peers import own
from benchmark.peers.layers_on_jax import LayersOnJax
from benchmark.peers.on_jax import WithTransformations
from benchmark.timing import Program
from benchmark.windows import Convolution, MaxPool
from jaxcnn import ops
from jaxcnn.ops.geometry import sliding_window

DIMENSIONS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


class Lax(LayersOnJax, WithTransformations):
    """`lax.conv_general_dilated` and `lax.reduce_window`."""

    def network(self, net: Network, key: jax.Array) -> tuple[Any, Callable]:
        """The parameters of jaxcnn's model, in the order of its layers."""
        params, _ = own.model(net).init(key)

        def apply(params, x):
            weights = iter(_in_order(params))
            for layer in net.layers:
                x = _apply(layer, weights, x)
            return x

        return params, apply

    def catalogue_inference(self, name: str, batch: int) -> Program:
        """jaxcnn's model with its convolution and max pool exchanged for these."""
        with _exchanged():
            return own.Own(self.dtype).catalogue_inference(name, batch)

    def catalogue_step(self, name: str, batch: int) -> Program:
        """The same."""
        with _exchanged():
            return own.Own(self.dtype).catalogue_step(name, batch)

    def conv(self, x: jax.Array, kernel: jax.Array, layer: Convolution) -> jax.Array:
        """`lax.conv_general_dilated` and `lax.conv_transpose`."""
        dimensions, stride = DIMENSIONS[layer.rank], (layer.stride,) * layer.rank
        if layer.transposed:
            pads = [(k - 1 - layer.padding,) * 2 for k in layer.kernel[: layer.rank]]
            return lax.conv_transpose(x, kernel, stride, pads, dimension_numbers=dimensions, transpose_kernel=True)
        pads = [(layer.padding, layer.padding)] * layer.rank
        return lax.conv_general_dilated(
            x, kernel, stride, pads, dimension_numbers=dimensions, feature_group_count=layer.groups
        )

    def max_pool(self, x: jax.Array, layer: MaxPool) -> jax.Array:
        """`lax.reduce_window`."""
        return _max_pool(x, layer.window, layer.stride)


def _exchanged() -> contextlib.AbstractContextManager:
    """In it, jaxcnn's layers call XLA's convolution and window reduction."""

    def window_of(x, size, stride, padding, dilation, ceil_mode=False):
        options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
        return sliding_window("lax", x.shape[1:-1], window=size, **options)

    def conv(x, kernel, *, stride=1, padding="VALID", dilation=1, groups=1):
        w = window_of(x, kernel.shape[:2], stride, padding, dilation)
        return lax.conv_general_dilated(
            x, kernel, w.stride, w.padding, None, w.dilation, DIMENSIONS[2], feature_group_count=groups
        )

    def max_pool(x, window, *, stride=None, padding="VALID", dilation=1, ceil_mode=False):
        size = (window, window) if isinstance(window, int) else window
        w = window_of(x, size, stride or size, padding, dilation, ceil_mode)
        sizes, strides = (1, *w.size, 1), (1, *w.stride, 1)
        pads = ((0, 0), *w.padding, (0, 0))
        return lax.reduce_window(x, _lowest(x), lax.max, sizes, strides, pads, window_dilation=(1, *w.dilation, 1))

    return mock.patch.multiple(ops, conv=conv, max_pool=max_pool)


def _in_order(params: dict) -> list[dict]:
    """conv1, …, dense1, …, also inside stage1, …, top: in all these networks the order of their names."""
    if "kernel" in params:
        return [params]
    names = sorted(params, key=lambda name: (name.rstrip("0123456789"), len(name), name))
    return [layer for name in names for layer in _in_order(params[name])]


def _apply(layer: tuple, weights: Any, x: jax.Array) -> jax.Array:
    match layer:
        case ("conv", _, _, padding):
            w = next(weights)
            y = lax.conv_general_dilated(x, w["kernel"], (1, 1), padding, dimension_numbers=DIMENSIONS[2])
            return y + w["bias"]
        case ("relu",):
            return jax.nn.relu(x)
        case ("pool", window):
            return _max_pool(x, window, window)
        case ("flatten",):
            return x.reshape(len(x), -1)
        case ("dense", _):
            w = next(weights)
            return x @ w["kernel"] + w["bias"]
    raise ValueError(f"no such layer: {layer}")


def _max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    return lax.reduce_window(x, _lowest(x), lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID")


def _lowest(x: jax.Array) -> np.ndarray:
    """Concrete: only then JAX knows that the reduction is a maximum, and can derive it."""
    return np.array(-np.inf, x.dtype)
