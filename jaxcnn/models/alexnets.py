"""AlexNet: five convolutions and three dense layers, the network of 2012."""

import functools

from jaxcnn.layers import AdaptiveAvgPool, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Relu, serial
from jaxcnn.models.model import Model, count, image_shape

conv = functools.partial(Conv, kernel_init="pytorch", bias_init="pytorch")
dense = functools.partial(Dense, kernel_init="pytorch", bias_init="pytorch")


def alexnet(
    *, num_classes: int = 1000, in_channels: int = 3, input_size: int | tuple[int, int] = 224, include_top: bool = True
) -> Model:
    """AlexNet in its form for one processor, without local response normalization; 61,100,840 parameters.

    Args:
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both; at least 63.
      include_top: without it, the feature map of 6×6×256 that the dense layers take.

    Source: Krizhevsky, One weird trick for parallelizing convolutional neural networks (2014), as torchvision has it.
    """
    shape = image_shape("alexnet", input_size, in_channels, least=63)
    pool = MaxPool(3, stride=2)
    layer = serial(
        *_conv_relu(64, 11, stride=4, padding=2),
        pool,
        *_conv_relu(192, 5, padding=2),
        pool,
        *_conv_relu(384),
        *_conv_relu(256),
        *_conv_relu(256),
        pool,
        **({"top": _top(count("alexnet", "num_classes", num_classes))} if include_top else {}),
    )
    return Model("alexnet", layer, shape, num_classes if include_top else 0)


def _conv_relu(channels: int, size: int = 3, *, stride: int = 1, padding: int = 1) -> tuple[Layer, ...]:
    return conv(channels, size, stride=stride, padding=padding), Relu()


def _top(num_classes: int) -> Layer:
    return serial(
        AdaptiveAvgPool(6),
        Flatten(),
        Dropout(0.5),
        dense(4096),
        Relu(),
        Dropout(0.5),
        dense(4096),
        Relu(),
        dense(num_classes),
    )
