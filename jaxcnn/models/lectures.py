"""The small networks of the lectures, and ours for the embedded digits. Each is a list of widths."""

from jaxcnn.layers import AvgPool, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Relu, Tanh, serial
from jaxcnn.models.model import Model


def lenet5(*, num_classes: int = 10, classic: bool = False) -> Model:
    """LeNet-5 on 28×28 digits, padded by 2 to the paper's 32×32; 61,706 parameters.

    Args:
      num_classes: units of the last layer.
      classic: tanh and average pooling as in the paper, instead of ReLU and max pooling. (The paper's trainable
        pooling coefficients, partial connections and RBF output are left out, as everywhere today.)

    Source: LeCun et al., Gradient-based learning applied to document recognition (1998), figure 2.
    """
    activation, pool = (Tanh, AvgPool) if classic else (Relu, MaxPool)
    layer = serial(
        Conv(6, 5, padding=2),
        activation(),
        pool(2),
        Conv(16, 5),
        activation(),
        pool(2),
        Flatten(),
        Dense(120),
        activation(),
        Dense(84),
        activation(),
        Dense(num_classes),
    )
    return Model("lenet5", layer, (28, 28, 1), num_classes)


def mnist_cnn(*, num_classes: int = 10) -> Model:
    """The Keras MNIST lab: two 3×3 convolutions, each pooled, and a hidden layer; 421,642 parameters."""
    layer = serial(
        *_conv_relu(32, padding="SAME"),
        MaxPool(2),
        *_conv_relu(64, padding="SAME"),
        MaxPool(2),
        *_head(128, num_classes),
    )
    return Model("mnist_cnn", layer, (28, 28, 1), num_classes)


def mnist_baseline(*, num_classes: int = 10) -> Model:
    """One 5×5 convolution, pooling, dropout and a hidden layer; 592,074 parameters."""
    layer = serial(*_conv_relu(32, 5), MaxPool(2), Dropout(0.2), *_head(128, num_classes))
    return Model("mnist_baseline", layer, (28, 28, 1), num_classes)


def cifar10_cnn(*, num_classes: int = 10, dropout: bool = True) -> Model:
    """The Keras CIFAR-10 lab: two pairs of 3×3 convolutions with dropout; 1,250,858 parameters.

    Args:
      num_classes: units of the last layer.
      dropout: whether to drop (0.25 after each pool, 0.5 before the last layer).
    """

    def drop(rate: float) -> tuple[Layer, ...]:
        return (Dropout(rate),) if dropout else ()

    layer = serial(
        *_conv_relu(32, padding="SAME"),
        *_conv_relu(32),
        MaxPool(2),
        *drop(0.25),
        *_conv_relu(64, padding="SAME"),
        *_conv_relu(64),
        MaxPool(2),
        *drop(0.25),
        Flatten(),
        Dense(512),
        Relu(),
        *drop(0.5),
        Dense(num_classes),
    )
    return Model("cifar10_cnn", layer, (32, 32, 3), num_classes)


def zero_one(*, filters: int = 5) -> Model:
    """The from-scratch library's classifier of the digits 0 and 1: one unit with a sigmoid per class, log loss.

    Args:
      filters: of the convolution; the lecture's listing leaves it open. As there, nothing stands between it and the
        pool.
    """
    layer = serial(Conv(filters, 3), MaxPool(2), *_head(100, 2))
    return Model("zero_one", layer, (28, 28, 1), 2, loss="sigmoid_binary_cross_entropy")


def cats_vs_dogs_cnn(*, logits: int = 1) -> Model:
    """Three 3×3 convolutions, each pooled, on photos of 150×150; 19,024,513 parameters.

    Args:
      logits: 1, the lecture's single sigmoid unit, or 2 for a softmax.
    """
    if logits not in (1, 2):
        raise ValueError(f"cats_vs_dogs_cnn: `logits` must be 1 (sigmoid) or 2 (softmax); got {logits!r}")
    layer = serial(
        *_conv_relu(16),
        MaxPool(2),
        *_conv_relu(64),
        MaxPool(2),
        *_conv_relu(128),
        MaxPool(2),
        *_head(512, logits),
    )
    loss = "sigmoid_binary_cross_entropy" if logits == 1 else "softmax_cross_entropy"
    return Model("cats_vs_dogs_cnn", layer, (150, 150, 3), 2, loss)


def digits_cnn(*, num_classes: int = 10) -> Model:
    """Ours, for 8×8 scans: three 3×3 convolutions, one pool, a hidden layer, with He's initial values.

    Args:
      num_classes: units of the last layer.

    Source: He et al., Delving deep into rectifiers (2015), for the initial values: with Glorot's it takes five epochs
    to start learning.
    """
    he = "he_normal"
    layer = serial(
        Conv(32, 3, padding="SAME", kernel_init=he),
        Relu(),
        Conv(32, 3, padding="SAME", kernel_init=he),
        Relu(),
        MaxPool(2),
        Conv(64, 3, padding="SAME", kernel_init=he),
        Relu(),
        Dropout(0.25),
        Flatten(),
        Dense(128, kernel_init=he),
        Relu(),
        Dropout(0.5),
        Dense(num_classes),
    )
    return Model("digits_cnn", layer, (8, 8, 1), num_classes)


def _conv_relu(channels: int, size: int = 3, padding: str = "VALID") -> tuple[Layer, ...]:
    return Conv(channels, size, padding=padding), Relu()


def _head(hidden: int, outputs: int) -> tuple[Layer, ...]:
    return Flatten(), Dense(hidden), Relu(), Dense(outputs)
