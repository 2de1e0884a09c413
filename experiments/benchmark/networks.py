"""The networks that are timed, described once, without any library.

A layer is a tuple: ("conv", channels, window, padding), ("relu",), ("pool", window), ("flatten",), ("dense", features).
Convolutions have stride 1 and a bias, pools take the maximum with the window's size as stride.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network by its layers.

    Args:
      name: the name in jaxcnn's catalogue, where it has one.
      input_shape: (H, W, C) of one image.
      layers: tuples, in order.
    """

    name: str
    input_shape: Shape
    layers: tuple[tuple, ...]

    @property
    def classes(self) -> int:
        """How many logits there are."""
        return self.layers[-1][1]

    def shapes(self) -> Iterator[tuple[tuple, Shape, Shape]]:
        """Each layer with the shapes of its input and of its kernel, () where it has none."""
        shape = self.input_shape
        for layer in self.layers:
            kernel: Shape = ()
            match layer:
                case ("conv", channels, window, padding):
                    kernel = window, window, shape[-1], channels
                    lost = 0 if padding == "SAME" else window - 1
                    after: Shape = (shape[0] - lost, shape[1] - lost, channels)
                case ("pool", window):
                    after = shape[0] // window, shape[1] // window, shape[2]
                case ("flatten",):
                    after = (math.prod(shape),)
                case ("dense", features):
                    kernel, after = (*shape, features), (features,)
                case _:
                    after = shape
            yield layer, shape, kernel
            shape = after

    def parameters(self) -> int:
        """How many there are, in kernels and biases."""
        return sum(math.prod(kernel) + kernel[-1] for _, _, kernel in self.shapes() if kernel)

    def multiply_adds(self, batch: int = 1, *, training: bool = False) -> int:
        """Of all convolutions and dense layers on a batch.

        Training needs three products per layer (forward, dx, dw), but no dx of the first.
        """
        counts = []
        for layer, shape, kernel in self.shapes():
            if not kernel:
                continue
            lost = 0 if layer[-1] == "SAME" else kernel[0] - 1
            positions = (shape[0] - lost) * (shape[1] - lost) if layer[0] == "conv" else 1
            counts.append(batch * positions * math.prod(kernel))
        return 3 * sum(counts) - counts[0] if training else sum(counts)


def _conv_relu(channels: int, window: int = 3, padding: str = "VALID") -> tuple[tuple, ...]:
    return ("conv", channels, window, padding), ("relu",)


def _head(*features: int) -> tuple[tuple, ...]:
    hidden = [layer for n in features[:-1] for layer in (("dense", n), ("relu",))]
    return ("flatten",), *hidden, ("dense", features[-1])


def stack(pixels: int) -> Network:
    """Two pairs of 3×3 convolutions, as in cifar10_cnn, on images of any size."""
    pairs = [layer for channels in (32, 64) for layer in (*_conv_relu(channels, 3, "SAME") * 2, ("pool", 2))]
    return Network(f"stack of {pixels}", (pixels, pixels, 3), (*pairs, *_head(10)))


def _vgg16() -> Network:
    blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    layers = [layer for channels, n in blocks for layer in (*_conv_relu(channels, 3, "SAME") * n, ("pool", 2))]
    return Network("vgg16", (224, 224, 3), (*layers, *_head(4096, 4096, 1000)))


LENET5 = Network(
    "lenet5",
    (28, 28, 1),
    (*_conv_relu(6, 5, "SAME"), ("pool", 2), *_conv_relu(16, 5), ("pool", 2), *_head(120, 84, 10)),
)
MNIST_CNN = Network(
    "mnist_cnn",
    (28, 28, 1),
    (*_conv_relu(32, 3, "SAME"), ("pool", 2), *_conv_relu(64, 3, "SAME"), ("pool", 2), *_head(128, 10)),
)
MNIST_BASELINE = Network("mnist_baseline", (28, 28, 1), (*_conv_relu(32, 5), ("pool", 2), *_head(128, 10)))
CIFAR10_CNN = Network(
    "cifar10_cnn",
    (32, 32, 3),
    (
        *(*_conv_relu(32, 3, "SAME"), *_conv_relu(32), ("pool", 2)),
        *(*_conv_relu(64, 3, "SAME"), *_conv_relu(64), ("pool", 2)),
        *_head(512, 10),
    ),
)
CATS_VS_DOGS_CNN = Network(
    "cats_vs_dogs_cnn",
    (150, 150, 3),
    (*(layer for channels in (16, 64, 128) for layer in (*_conv_relu(channels), ("pool", 2))), *_head(512, 2)),
)
NETWORKS = (LENET5, MNIST_CNN, MNIST_BASELINE, CIFAR10_CNN, CATS_VS_DOGS_CNN)
VGG16 = _vgg16()
