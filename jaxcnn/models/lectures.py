"""The small networks of the lectures, and ours for the embedded digits. Each is a list of widths.

All of them have the options `in_channels` and `input_size` (an int or (height, width)) of the image, and `include_top`:
without it the network ends before the dense layers, with a feature map.
"""

from collections.abc import Sequence

from jaxcnn.layers import AvgPool, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Relu, Tanh, serial
from jaxcnn.models.model import Model, count, image_shape

Size = int | tuple[int, int]


def lenet5(
    *,
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: Size = 28,
    include_top: bool = True,
    classic: bool = False,
) -> Model:
    """LeNet-5 on 28×28 digits, padded by 2 to the paper's 32×32; 61,706 parameters.

    Args:
      num_classes: units of the last layer.
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 12.
      classic: tanh and average pooling as in the paper, instead of ReLU and max pooling. (The paper's trainable
        pooling coefficients, partial connections and RBF output are left out, as everywhere today.)

    Source: LeCun et al., Gradient-based learning applied to document recognition (1998), figure 2.
    """
    activation, pool = (Tanh, AvgPool) if classic else (Relu, MaxPool)
    features = (Conv(6, 5, padding=2), activation(), pool(2), Conv(16, 5), activation(), pool(2))
    top = (Flatten(), Dense(120), activation(), Dense(84), activation(), _last("lenet5", num_classes))
    shape = image_shape("lenet5", input_size, in_channels, least=12)
    return _model("lenet5", shape, features, top, num_classes, include_top)


def mnist_cnn(*, num_classes: int = 10, in_channels: int = 1, input_size: Size = 28, include_top: bool = True) -> Model:
    """The Keras MNIST lab: two 3×3 convolutions, each pooled, and a hidden layer; 421,642 parameters.

    Args:
      num_classes: units of the last layer.
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 4.
    """
    features = (*_conv_relu(32, padding="SAME"), MaxPool(2), *_conv_relu(64, padding="SAME"), MaxPool(2))
    top = (*_hidden(128), _last("mnist_cnn", num_classes))
    shape = image_shape("mnist_cnn", input_size, in_channels, least=4)
    return _model("mnist_cnn", shape, features, top, num_classes, include_top)


def mnist_baseline(
    *, num_classes: int = 10, in_channels: int = 1, input_size: Size = 28, include_top: bool = True
) -> Model:
    """One 5×5 convolution, pooling, dropout and a hidden layer; 592,074 parameters.

    Args:
      num_classes: units of the last layer.
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 6.
    """
    features = (*_conv_relu(32, 5), MaxPool(2))
    top = (Dropout(0.2), *_hidden(128), _last("mnist_baseline", num_classes))
    shape = image_shape("mnist_baseline", input_size, in_channels, least=6)
    return _model("mnist_baseline", shape, features, top, num_classes, include_top)


def cifar10_cnn(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    input_size: Size = 32,
    include_top: bool = True,
    dropout: bool = True,
) -> Model:
    """The Keras CIFAR-10 lab: two pairs of 3×3 convolutions with dropout; 1,250,858 parameters.

    Args:
      num_classes: units of the last layer.
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 10.
      dropout: whether to drop (0.25 after each pool, 0.5 before the last layer).
    """

    def drop(rate: float) -> tuple[Layer, ...]:
        return (Dropout(rate),) if dropout else ()

    def pair(channels: int) -> tuple[Layer, ...]:
        return *_conv_relu(channels, padding="SAME"), *_conv_relu(channels), MaxPool(2), *drop(0.25)

    top = (*_hidden(512), *drop(0.5), _last("cifar10_cnn", num_classes))
    shape = image_shape("cifar10_cnn", input_size, in_channels, least=10)
    return _model("cifar10_cnn", shape, (*pair(32), *pair(64)), top, num_classes, include_top)


def zero_one(*, in_channels: int = 1, input_size: Size = 28, include_top: bool = True, filters: int = 5) -> Model:
    """The from-scratch library's classifier of the digits 0 and 1: one unit with a sigmoid per class, log loss.

    Args:
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 4.
      filters: how many filters the convolution has; the lecture's listing leaves that open. As in the listing, no
        activation is between convolution and pool.
    """
    top = (*_hidden(100), _last("zero_one", 2))
    shape = image_shape("zero_one", input_size, in_channels, least=4)
    return _model("zero_one", shape, (Conv(filters, 3), MaxPool(2)), top, 2, include_top, SIGMOID)


def cats_vs_dogs_cnn(
    *, in_channels: int = 3, input_size: Size = 150, include_top: bool = True, logits: int = 1
) -> Model:
    """Three 3×3 convolutions, each pooled, on photos of 150×150; 19,024,513 parameters.

    Args:
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 22.
      logits: 1, the lecture's single sigmoid unit, or 2 for a softmax.
    """
    if logits not in (1, 2):
        raise ValueError(f"cats_vs_dogs_cnn: `logits` must be 1 (sigmoid) or 2 (softmax); got {logits!r}")
    features = (*_conv_relu(16), MaxPool(2), *_conv_relu(64), MaxPool(2), *_conv_relu(128), MaxPool(2))
    top = (*_hidden(512), _last("cats_vs_dogs_cnn", logits))
    shape = image_shape("cats_vs_dogs_cnn", input_size, in_channels, least=22)
    return _model("cats_vs_dogs_cnn", shape, features, top, 2, include_top, SIGMOID if logits == 1 else SOFTMAX)


def digits_cnn(*, num_classes: int = 10, in_channels: int = 1, input_size: Size = 8, include_top: bool = True) -> Model:
    """A network of our own for 8×8 scans: three 3×3 convolutions, one pool, a hidden layer, with He's initial values.

    Args:
      num_classes: units of the last layer.
      in_channels, input_size, include_top: channels and size of the image, and whether there are dense layers; size
        from 2.

    Source: He et al., Delving deep into rectifiers (2015), for the initial values: with Glorot's it takes five epochs
    to start learning.
    """
    he = "he_normal"
    features = (
        *_conv_relu(32, padding="SAME", kernel_init=he),
        *_conv_relu(32, padding="SAME", kernel_init=he),
        MaxPool(2),
        *_conv_relu(64, padding="SAME", kernel_init=he),
    )
    top = (Dropout(0.25), *_hidden(128, kernel_init=he), Dropout(0.5), _last("digits_cnn", num_classes))
    shape = image_shape("digits_cnn", input_size, in_channels, least=2)
    return _model("digits_cnn", shape, features, top, num_classes, include_top)


SOFTMAX, SIGMOID = "softmax_cross_entropy", "sigmoid_binary_cross_entropy"
GLOROT = "glorot_uniform"


def _model(
    name: str,
    shape: tuple[int, int, int],
    features: Sequence[Layer],
    top: Sequence[Layer],
    num_classes: int,
    include_top: bool,
    loss: str = SOFTMAX,
) -> Model:
    layer = serial(*features, *(top if include_top else ()))
    return Model(name, layer, shape, num_classes if include_top else 0, loss)


def _conv_relu(channels: int, size: int = 3, *, padding: str = "VALID", kernel_init: str = GLOROT) -> tuple[Layer, ...]:
    return Conv(channels, size, padding=padding, kernel_init=kernel_init), Relu()


def _hidden(units: int, *, kernel_init: str = GLOROT) -> tuple[Layer, ...]:
    return Flatten(), Dense(units, kernel_init=kernel_init), Relu()


def _last(model: str, num_classes: int) -> Layer:
    return Dense(count(model, "num_classes", num_classes))
