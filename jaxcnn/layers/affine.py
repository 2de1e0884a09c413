"""What all layers with a kernel share: y = product(x, kernel) + bias."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.layers.initializers import Initializer, bias_initializer, kernel_initializer
from jaxcnn.layers.layer import Layer, Tree, along_channels, fold_name
from jaxcnn.ops.arguments import check_bool
from jaxcnn.ops.geometry import per_axis

Init = str | Initializer


def affine(
    name: str,
    kind: str,
    product: Callable[[jax.Array, jax.Array], jax.Array],
    kernel_shape: Callable[[Sequence[int]], tuple[int, ...]],
    settings: Mapping[str, Any],
    use_bias: bool,
    kernel_init: Init,
    bias_init: Init,
    out_channels: int | None = None,
) -> Layer:
    """product(x, kernel) + bias: the layer of a product with a kernel."""
    use_bias = check_bool(name, "use_bias", use_bias)
    draw_kernel = kernel_initializer(name, kernel_init)
    bias_initializer(name, bias_init, (1, 1))  # refuse an unknown name now, not at init
    spatial_rank = len(settings.get("kernel_size", ()))

    def init(key, input_shape):
        if len(input_shape) < 1 or (spatial_rank and len(input_shape) != spatial_rank + 1):
            raise ValueError(
                f"{kind}: `input_shape` must have {spatial_rank} spatial axes and a channel axis; got {input_shape}. "
                "A `kernel_size` of one int is a 2-D window; (3,) is a 1-D and (3, 3, 3) a 3-D one."
            )
        shape = kernel_shape(input_shape)
        params: Tree = {"kernel": draw_kernel(fold_name(key, "kernel"), shape, jnp.float32)}
        if use_bias:
            draw_bias = bias_initializer(name, bias_init, shape)
            params["bias"] = draw_bias(fold_name(key, "bias"), (out_channels or shape[-1],), jnp.float32)
        return params, {}

    def apply(params, state, x, *, train=False, key=None):
        y = product(x, params["kernel"])
        return (y + along_channels(params["bias"], y) if use_bias else y), state

    return Layer(init, apply, kind, settings={**settings, "use_bias": use_bias})


def count(layer: str, argument: str, value: int) -> int:
    """An int of at least 1; ValueError or TypeError for anything else."""
    return per_axis(layer, argument, value, 1)[0]
