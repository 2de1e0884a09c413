"""Layers with a kernel: convolutions and dense."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.layers.initializers import Initializer, bias_initializer, kernel_initializer
from jaxcnn.layers.layer import Layer, Tree, along_channels, fold_name, serial, stateless
from jaxcnn.ops.arguments import Ints
from jaxcnn.ops.geometry import Padding, check_window, per_axis

Init = str | Initializer


def Conv(
    out_channels: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Init = "glorot_uniform",
    bias_init: Init = "zeros",
) -> Layer:
    """A convolution with trainable kernel and bias: y = x ⊗ kernel + bias.

    Args:
      out_channels: the number of filters.
      kernel_size: one int for a square 2-D window, or one int per spatial axis.
      stride, padding, dilation, groups: as in `jaxcnn.ops.conv`.
      use_bias: whether to add one value per output channel.
      kernel_init, bias_init: a name ("glorot_uniform", "he_normal", "keras", "pytorch", …) or a function
        `(key, shape, dtype)`.

    Returns:
      A Layer with params `{"kernel": (*window, C_in // groups, out_channels), "bias": (out_channels,)}`.

    Raises:
      ValueError, TypeError: sizes below 1, options that do not fit the input, unknown names.

    Example:
      >>> params, _ = Conv(32, 3).init(jax.random.key(0), (28, 28, 1))
      >>> params["kernel"].shape, params["bias"].shape
      ((3, 3, 1, 32), (32,))
    """
    out_channels, window = _count("Conv", "out_channels", out_channels), _window("Conv", kernel_size)
    groups = _count("Conv", "groups", groups)
    check_window("Conv", window=window, stride=stride, padding=padding, dilation=dilation)

    def product(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def shape(input_shape):
        return *window, input_shape[-1] // groups, out_channels

    settings = _geometry(window, stride, padding, dilation, groups=groups)
    return _affine("conv", product, shape, settings, use_bias, kernel_init, bias_init)


def ConvTranspose(
    out_channels: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    groups: int = 1,
    output_padding: Ints = 0,
    use_bias: bool = True,
    kernel_init: Init = "glorot_uniform",
    bias_init: Init = "zeros",
) -> Layer:
    """A transposed convolution with trainable kernel and bias.

    Args:
      out_channels, kernel_size, use_bias, kernel_init, bias_init: as in `Conv`; fans are counted from this layer's
        input to its output (except for "pytorch", which counts them the other way, as torch does here).
      stride, padding, dilation, groups, output_padding: as in `jaxcnn.ops.conv_transpose`.

    Returns:
      A Layer with params `{"kernel": (*window, out_channels // groups, C_in), "bias": (out_channels,)}`.

    Raises:
      ValueError, TypeError: as `Conv`.
    """
    name = "ConvTranspose"
    out_channels, window = _count(name, "out_channels", out_channels), _window(name, kernel_size)
    groups = _count(name, "groups", groups)
    check_window(name, window=window, stride=stride, padding=padding, dilation=dilation)
    per_axis(name, "output_padding", output_padding, len(window), minimum=0)
    draw = kernel_initializer(name, kernel_init)

    def product(x, kernel):
        return ops.conv_transpose(
            x,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            output_padding=output_padding,
        )

    def shape(input_shape):
        return *window, out_channels // groups, input_shape[-1]

    def draw_as_conv(key, shape, dtype):
        """Drawn in the layout of a `Conv` from this layer's input to its output, with the fans of that."""
        *spatial, outputs, inputs = shape  # outputs of one group, inputs of all groups
        kernel = draw(key, (*spatial, inputs // groups, groups * outputs), dtype)
        kernel = kernel.reshape(*spatial, inputs // groups, groups, outputs)
        return jnp.swapaxes(kernel, -1, -3).reshape(shape)

    draw_kernel = draw if kernel_init == "pytorch" else draw_as_conv
    settings = _geometry(window, stride, padding, dilation, groups=groups, output_padding=output_padding)
    return _affine("conv_transpose", product, shape, settings, use_bias, draw_kernel, bias_init, out_channels)


def DepthwiseConv(
    kernel_size: Ints,
    *,
    multiplier: int = 1,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    use_bias: bool = True,
    kernel_init: Init = "glorot_uniform",
    bias_init: Init = "zeros",
) -> Layer:
    """Each channel with filters of its own: `multiplier` outputs per input channel.

    Args:
      multiplier: filters per channel; output channel c·multiplier + m is filter m on channel c.
      kernel_size, stride, padding, dilation, use_bias, kernel_init, bias_init: as in `Conv`.

    Returns:
      A Layer with params `{"kernel": (*window, 1, C_in·multiplier), "bias": (C_in·multiplier,)}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Source: Howard et al., MobileNets (2017), section 3.1.
    """
    name = "DepthwiseConv"
    multiplier, window = _count(name, "multiplier", multiplier), _window(name, kernel_size)
    check_window(name, window=window, stride=stride, padding=padding, dilation=dilation)

    def product(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=x.shape[-1])

    def shape(input_shape):
        return *window, 1, input_shape[-1] * multiplier

    settings = _geometry(window, stride, padding, dilation, multiplier=multiplier)
    return _affine("depthwise_conv", product, shape, settings, use_bias, kernel_init, bias_init)


def SeparableConv(
    out_channels: int,
    kernel_size: Ints,
    *,
    multiplier: int = 1,
    stride: Ints = 1,
    padding: Padding = "VALID",
    dilation: Ints = 1,
    use_bias: bool = True,
    kernel_init: Init = "glorot_uniform",
    bias_init: Init = "zeros",
) -> Layer:
    """A depthwise convolution without bias, then a 1×1 convolution that mixes the channels.

    Args:
      As `DepthwiseConv`, and `out_channels` of the 1×1 convolution.

    Returns:
      A Layer with params `{"depthwise": {"kernel"}, "pointwise": {"kernel", "bias"}}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Source: Chollet, Xception (2016), section 1.2.
    """
    window = _window("SeparableConv", kernel_size)
    depthwise = DepthwiseConv(
        window,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        dilation=dilation,
        use_bias=False,
        kernel_init=kernel_init,
    )
    one = (1,) * len(window)
    pointwise = Conv(out_channels, one, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init)
    return serial(depthwise=depthwise, pointwise=pointwise)


def Dense(
    out_features: int, *, use_bias: bool = True, kernel_init: Init = "glorot_uniform", bias_init: Init = "zeros"
) -> Layer:
    """A full connection: y = x·kernel + bias, on the last axis.

    Args:
      out_features: the number of units.
      use_bias, kernel_init, bias_init: as in `Conv`.

    Returns:
      A Layer with params `{"kernel": (in, out_features), "bias": (out_features,)}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Example:
      >>> params, _ = Dense(10).init(jax.random.key(0), (84,))
      >>> params["kernel"].shape
      (84, 10)
    """
    out_features = _count("Dense", "out_features", out_features)

    def product(x, kernel):
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(
                f"dense: `kernel` expects {kernel.shape[0]} input features but `x` has {x.shape[-1]}; x {x.shape}, "
                f"kernel {kernel.shape}"
            )
        return x @ kernel

    return _affine("dense", product, lambda shape: (shape[-1], out_features), {}, use_bias, kernel_init, bias_init)


def Flatten() -> Layer:
    """All axes but the first as one: (N, H, W, C) to (N, H·W·C).

    Example:
      >>> y, _ = Flatten().apply({}, {}, jnp.ones((2, 5, 5, 16)))
      >>> y.shape
      (2, 400)
    """
    return stateless("flatten", lambda x: x.reshape(x.shape[0], math.prod(x.shape[1:])))


def _affine(
    kind: str,
    product: Callable[[jax.Array, jax.Array], jax.Array],
    kernel_shape: Callable[[Sequence[int]], tuple[int, ...]],
    settings: Mapping[str, Any],
    use_bias: bool,
    kernel_init: Init,
    bias_init: Init,
    out_channels: int | None = None,
) -> Layer:
    """product(x, kernel) + bias: what all layers of this file share."""
    draw_kernel = kernel_initializer(kind, kernel_init)
    bias_initializer(kind, bias_init, (1, 1))  # refuse an unknown name now, not at init
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
            draw_bias = bias_initializer(kind, bias_init, shape)
            params["bias"] = draw_bias(fold_name(key, "bias"), (out_channels or shape[-1],), jnp.float32)
        return params, {}

    def apply(params, state, x, *, train=False, key=None):
        y = product(x, params["kernel"])
        return (y + along_channels(params["bias"], y) if use_bias else y), state

    return Layer(init, apply, kind, settings={**settings, "use_bias": use_bias})


def _geometry(
    kernel_size: tuple[int, ...], stride: Ints, padding: Padding, dilation: Ints, **more: Any
) -> dict[str, Any]:
    return {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, **more}


def _count(layer: str, argument: str, value: int) -> int:
    return per_axis(layer, argument, value, 1)[0]


def _window(layer: str, kernel_size: Ints) -> tuple[int, ...]:
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) and kernel_size else 2
    return per_axis(layer, "kernel_size", kernel_size, rank)
