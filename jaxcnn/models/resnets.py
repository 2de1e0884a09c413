"""Residual networks: those for ImageNet, and the narrow ones for CIFAR-10."""

import functools

import jax
import jax.numpy as jnp

from jaxcnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    GlobalAvgPool,
    Layer,
    MaxPool,
    Relu,
    checkpointed,
    residual,
    serial,
    stateless,
)
from jaxcnn.models.model import Model, count, image_shape, one_of

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CIFAR_DEPTHS = (20, 32, 44, 56, 110)


def resnet(
    depth: int,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: int | tuple[int, int] = 224,
    include_top: bool = True,
    form: str = "torch",
    remat: bool = False,
) -> Model:
    """ResNet for ImageNet, of 18, 34, 50, 101 or 152 layers; 11,689,512 parameters with 18, 25,557,032 with 50.

    Args:
      depth: how many convolutions (without the shortcuts') and dense layers there are; from 50 on, a block is a
        bottleneck.
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both.
      include_top: without it, the feature map of H/32×W/32 and 512 channels, 2,048 from 50 layers on.
      form: "torch" has a bottleneck's stride in its 3×3 convolution, as torchvision (there called v1.5); "keras" in
        its first 1×1, as the paper and `keras.applications`, and with the eps of `keras.applications`. The parameters
        are the same.
      remat: whether training keeps the input of each block only, and computes the rest again for the gradient.

    Source: He et al., Deep residual learning for image recognition (2015), table 1.
    """
    name = f"resnet{one_of('resnet', 'depth', depth, list(BLOCKS))}"
    shape = image_shape(name, input_size, in_channels, least=1)
    norm = {"torch": BatchNorm(), "keras": BatchNorm(eps=1.001e-5)}[one_of(name, "form", form, ("torch", "keras"))]
    conv = functools.partial(_conv, kernel_init="he_normal_fan_out")

    def block(channels: int, width: int, stride: int) -> Layer:
        body: tuple[Layer, ...]
        if depth < 50:
            body = (conv(width, 3, stride), norm, Relu(), conv(width, 3), norm)
        else:
            first, second = (stride, 1) if form == "keras" else (1, stride)
            body = (
                conv(width, 1, first),
                norm,
                Relu(),
                conv(width, 3, second),
                norm,
                Relu(),
                conv(out(width), 1),
                norm,
            )
        change = channels != out(width) or stride > 1
        return residual(serial(*body), serial(conv(out(width), 1, stride), norm) if change else None, jax.nn.relu)

    def out(width: int) -> int:
        return width if depth < 50 else 4 * width

    stem = (conv(64, 7, 2), norm, Relu(), MaxPool(3, stride=2, padding=1))
    stages, channels = {}, 64
    for i, blocks in enumerate(BLOCKS[depth]):
        width = 64 * 2**i
        stages[f"stage{i + 1}"] = _stage(block, blocks, channels, width, out(width), 2 if i else 1, remat)
        channels = out(width)
    if include_top:
        dense = Dense(count(name, "num_classes", num_classes), kernel_init="pytorch", bias_init="pytorch")
        stages["top"] = serial(GlobalAvgPool(), dense)
    return Model(name, serial(*stem, **stages), shape, num_classes if include_top else 0)


def cifar_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    input_size: int | tuple[int, int] = 32,
    include_top: bool = True,
    remat: bool = False,
) -> Model:
    """ResNet for CIFAR-10, of 20, 32, 44, 56 or 110 layers and 16, 32, 64 channels; 269,722 parameters with 20.

    Where the channels double, the shortcut has no parameters (option A of the paper): it takes every other row and
    column, and adds channels of zeros, half of them on either side.

    Args:
      depth: 6n + 2, where n is the number of blocks in each of the three stages.
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both.
      include_top: without it, the feature map of H/4×W/4×64.
      remat: whether training keeps the input of each block only, and computes the rest again for the gradient.

    Source: He et al., Deep residual learning for image recognition (2015), section 4.2.
    """
    name = f"resnet{one_of('cifar_resnet', 'depth', depth, CIFAR_DEPTHS)}"
    shape = image_shape(name, input_size, in_channels, least=1)
    conv = functools.partial(_conv, kernel_init="he_normal")

    def block(channels: int, width: int, stride: int) -> Layer:
        body = serial(conv(width, 3, stride), BatchNorm(), Relu(), conv(width, 3), BatchNorm())
        return residual(body, _zero_padded_shortcut(width - channels) if stride > 1 else None, jax.nn.relu)

    stages, channels = {}, 16
    for i, width in enumerate((16, 32, 64)):
        stages[f"stage{i + 1}"] = _stage(block, (depth - 2) // 6, channels, width, width, 2 if i else 1, remat)
        channels = width
    if include_top:
        top = Dense(count(name, "num_classes", num_classes), kernel_init="he_normal")
        stages["top"] = serial(GlobalAvgPool(), top)
    return Model(name, serial(conv(16, 3), BatchNorm(), Relu(), **stages), shape, num_classes if include_top else 0)


def _stage(block, blocks: int, channels: int, width: int, out: int, stride: int, remat: bool) -> Layer:
    """A stage: block1 has the stride and changes the channels, the other blocks keep size and channels."""
    layers = [block(channels, width, stride), *(block(out, width, 1) for _ in range(blocks - 1))]
    return serial(**{f"block{i}": checkpointed(b) if remat else b for i, b in enumerate(layers, start=1)})


def _conv(channels: int, size: int, stride: int = 1, *, kernel_init: str) -> Layer:
    return Conv(channels, size, stride=stride, padding=size // 2, use_bias=False, kernel_init=kernel_init)


def _zero_padded_shortcut(new_channels: int) -> Layer:
    half = new_channels // 2

    def shortcut(x):
        return jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(half, new_channels - half)])

    return stateless("zero_padded", shortcut)


resnet18, resnet34, resnet50, resnet101, resnet152 = (functools.partial(resnet, depth) for depth in BLOCKS)
resnet20, resnet32, resnet44, resnet56, resnet110 = (functools.partial(cifar_resnet, depth) for depth in CIFAR_DEPTHS)
