"""Layers that slide a kernel: convolutions."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.layers.affine import Init, affine, count
from jaxcnn.layers.combining import serial
from jaxcnn.layers.initializers import kernel_initializer
from jaxcnn.layers.layer import Layer, makes_layer
from jaxcnn.ops.arguments import Ints, Precision, check_output_padding, precision_of
from jaxcnn.ops.geometry import Padding, check_window, per_axis


@makes_layer
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
    algorithm: str = "auto",
    precision: Precision | str | None = None,
) -> Layer:
    """A convolution with trainable kernel and bias: y = x ⊗ kernel + bias.

    Args:
      out_channels: the number of filters.
      kernel_size: one int for a square 2-D window, or one int per spatial axis.
      stride, padding, dilation, groups: as in `jaxcnn.ops.conv`.
      use_bias: whether to add one value per output channel.
      kernel_init, bias_init: a name ("glorot_uniform", "he_normal", "keras", "pytorch", …) or a function
        `(key, shape, dtype)`.
      algorithm, precision: as in `jaxcnn.ops.conv`: how it is computed.

    Returns:
      A Layer with params `{"kernel": (*window, C_in // groups, out_channels), "bias": (out_channels,)}`.

    Raises:
      ValueError, TypeError: sizes below 1, groups that do not divide `out_channels`, options that do not fit the
        input, unknown names.

    Example:
      >>> import jax
      >>> params, _ = Conv(32, 3).init(jax.random.key(0), (28, 28, 1))
      >>> params["kernel"].shape, params["bias"].shape
      ((3, 3, 1, 32), (32,))
    """
    out_channels, window = count("Conv", "out_channels", out_channels), _window("Conv", kernel_size)
    groups = _groups("Conv", groups, out_channels)
    how = _how("Conv", algorithm, precision)
    check_window("Conv", window=window, stride=stride, padding=padding, dilation=dilation)

    def product(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, **how)

    def shape(input_shape):
        return *window, input_shape[-1] // groups, out_channels

    settings = _geometry(window, stride, padding, dilation, groups=groups)
    return affine("Conv", "conv", product, shape, settings, use_bias, kernel_init, bias_init)


@makes_layer
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
    out_channels, window = count(name, "out_channels", out_channels), _window(name, kernel_size)
    groups = _groups(name, groups, out_channels)
    check_window(name, window=window, stride=stride, padding=padding, dilation=dilation)
    check_output_padding(name, output_padding, per_axis(name, "stride", stride, len(window)), padding)
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
    return affine(name, "conv_transpose", product, shape, settings, use_bias, draw_kernel, bias_init, out_channels)


@makes_layer
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
    algorithm: str = "auto",
    precision: Precision | str | None = None,
) -> Layer:
    """Each channel with filters of its own: `multiplier` outputs per input channel.

    Args:
      multiplier: filters per channel; output channel c·multiplier + m is filter m on channel c.
      kernel_size, stride, padding, dilation, use_bias, kernel_init, bias_init, algorithm, precision: as in
        `Conv`.

    Returns:
      A Layer with params `{"kernel": (*window, 1, C_in·multiplier), "bias": (C_in·multiplier,)}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Source: Howard et al., MobileNets (2017), section 3.1.
    """
    name = "DepthwiseConv"
    how = _how(name, algorithm, precision)
    multiplier, window = count(name, "multiplier", multiplier), _window(name, kernel_size)
    check_window(name, window=window, stride=stride, padding=padding, dilation=dilation)

    def product(x, kernel):
        return ops.conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=x.shape[-1], **how)

    def shape(input_shape):
        return *window, 1, input_shape[-1] * multiplier

    settings = _geometry(window, stride, padding, dilation, multiplier=multiplier)
    return affine(name, "depthwise_conv", product, shape, settings, use_bias, kernel_init, bias_init)


@makes_layer
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
    precision: Precision | str | None = None,
) -> Layer:
    """A depthwise convolution without bias, then a 1×1 convolution that mixes the channels.

    Args:
      As `DepthwiseConv`, but for its `algorithm`, and `out_channels` of the 1×1 convolution.

    Returns:
      A Layer with params `{"depthwise": {"kernel"}, "pointwise": {"kernel", "bias"}}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Source: Chollet, Xception (2016), section 1.2.
    """
    name = "SeparableConv"
    out_channels, window = count(name, "out_channels", out_channels), _window(name, kernel_size)
    multiplier = count(name, "multiplier", multiplier)
    check_window(name, window=window, stride=stride, padding=padding, dilation=dilation)
    depthwise = DepthwiseConv(
        window,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        dilation=dilation,
        use_bias=False,
        kernel_init=kernel_init,
        precision=precision,
    )
    one = (1,) * len(window)
    pointwise = Conv(
        out_channels, one, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init, precision=precision
    )
    return serial(depthwise=depthwise, pointwise=pointwise)


def _geometry(
    kernel_size: tuple[int, ...], stride: Ints, padding: Padding, dilation: Ints, **more: Any
) -> dict[str, Any]:
    return {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, **more}


def _window(layer: str, kernel_size: Ints) -> tuple[int, ...]:
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) and kernel_size else 2
    return per_axis(layer, "kernel_size", kernel_size, rank)


def _groups(layer: str, groups: int, out_channels: int) -> int:
    groups = count(layer, "groups", groups)
    if out_channels % groups:
        raise ValueError(f"{layer}: `groups` must divide `out_channels`; got {groups} and {out_channels}")
    return groups


def _how(layer: str, algorithm: str, precision: Precision | str | None) -> dict[str, Any]:
    """The arguments that say how a product is computed, unknown ones refused."""
    if algorithm not in ops.ALGORITHMS:
        raise ValueError(f"{layer}: `algorithm` must be one of {', '.join(ops.ALGORITHMS)}; got {algorithm!r}")
    precision_of(layer, precision)
    return {"algorithm": algorithm, "precision": precision}
