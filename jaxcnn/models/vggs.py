"""VGG: pairs, threes and fours of 3×3 convolutions, each followed by a pool, and three dense layers."""

import functools

from jaxcnn.layers import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Relu,
    checkpointed,
    serial,
)
from jaxcnn.layers.initializers import normal
from jaxcnn.models.model import Model, count, image_shape, one_of

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    depth: int,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: int | tuple[int, int] = 224,
    include_top: bool = True,
    batch_norm: bool = False,
    remat: bool = False,
) -> Model:
    """VGG of 11, 13, 16 or 19 layers; 138,357,544 parameters with 16, 143,667,240 with 19.

    Args:
      depth: convolutions and dense layers together.
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both; at least 32.
      include_top: without it, the feature map of H/32×W/32×512 after the last pool.
      batch_norm: whether a batch norm follows each convolution.
      remat: whether training keeps the input of each stage only, and computes the rest again for the gradient.

    Source: Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition (2014), table 1:
    configurations A, B, D, E. For inputs of other sizes the features are averaged to 7×7, as torchvision does.
    """
    name = f"vgg{one_of('vgg', 'depth', depth, list(CONVOLUTIONS))}"
    shape = image_shape(name, input_size, in_channels, least=32)
    stages = {
        f"stage{i}": _stage(width, convolutions, batch_norm)
        for i, (width, convolutions) in enumerate(zip(WIDTHS, CONVOLUTIONS[depth], strict=True), start=1)
    }
    if remat:
        stages = {stage: checkpointed(layer) for stage, layer in stages.items()}
    if include_top:
        stages["top"] = _top(count(name, "num_classes", num_classes))
    return Model(name, serial(**stages), shape, num_classes if include_top else 0)


def _stage(width: int, convolutions: int, batch_norm: bool) -> Layer:
    one = (
        Conv(width, 3, padding=1, kernel_init="he_normal_fan_out"),
        *((BatchNorm(),) if batch_norm else ()),
        Relu(),
    )
    return serial(*one * convolutions, MaxPool(2))


def _top(num_classes: int) -> Layer:
    dense = functools.partial(Dense, kernel_init=normal(0.01))
    return serial(
        AdaptiveAvgPool(7),
        Flatten(),
        dense(4096),
        Relu(),
        Dropout(0.5),
        dense(4096),
        Relu(),
        Dropout(0.5),
        dense(num_classes),
    )


vgg11, vgg13, vgg16, vgg19 = (functools.partial(vgg, depth) for depth in CONVOLUTIONS)
