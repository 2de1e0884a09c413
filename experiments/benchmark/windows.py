"""Single layers that are timed, described without any library."""

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A convolution of a batch, or the transpose of one.

    Args:
      x: (N, *spatial, C_in).
      kernel: (*window, C_in // groups, C_out); of a transposed one (*window, C_out, C_in).
      padding: zeros on both sides of every axis.
    """

    x: Shape
    kernel: Shape
    stride: int = 1
    padding: int = 0
    groups: int = 1
    transposed: bool = False

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return len(self.kernel) - 2

    @property
    def y(self) -> Shape:
        """(N, *out, C_out)."""
        small_or_large = [
            (n - 1) * self.stride + k - 2 * self.padding
            if self.transposed
            else (n + 2 * self.padding - k) // self.stride + 1
            for n, k in zip(self.x[1:-1], self.kernel[: self.rank], strict=True)
        ]
        return self.x[0], *small_or_large, self.kernel[-2 if self.transposed else -1]

    @property
    def multiply_adds(self) -> int:
        """Of the product, and of each of its two gradients."""
        positions = self.x[:-1] if self.transposed else self.y[:-1]
        return math.prod(positions) * math.prod(self.kernel)


@dataclass(frozen=True)
class MaxPool:
    """A max pool of a batch `x`, (N, *spatial, C), without padding."""

    x: Shape
    window: int
    stride: int


CIFAR10 = {  # the convolutions of cifar10_cnn at batch 128
    "3x3 3-32 32x32": Convolution((128, 32, 32, 3), (3, 3, 3, 32), padding=1),
    "3x3 32-32 32x32": Convolution((128, 32, 32, 32), (3, 3, 32, 32)),
    "3x3 32-64 15x15": Convolution((128, 15, 15, 32), (3, 3, 32, 64), padding=1),
    "3x3 64-64 15x15": Convolution((128, 15, 15, 64), (3, 3, 64, 64)),
}
LARGE = "3x3 128-256 56x56"
DEPTHWISE = {
    "depthwise 3x3 256 14x14": Convolution((128, 14, 14, 256), (3, 3, 1, 256), padding=1, groups=256),
    "depthwise 3x3 64 56x56": Convolution((32, 56, 56, 64), (3, 3, 1, 64), padding=1, groups=64),
}
CONVOLUTIONS = {
    LARGE: Convolution((4, 56, 56, 128), (3, 3, 128, 256), padding=1),
    **CIFAR10,
    "7x7 stride 2 3-64 224x224": Convolution((4, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3),
    "3x3 stride 2 64-128 56x56": Convolution((8, 56, 56, 64), (3, 3, 64, 128), stride=2, padding=1),
    "1x1 64-256 56x56": Convolution((8, 56, 56, 64), (1, 1, 64, 256)),
    **DEPTHWISE,
    "transposed 4x4 stride 2 128-64 16x16": Convolution(
        (32, 16, 16, 128), (4, 4, 64, 128), stride=2, padding=1, transposed=True
    ),
    "1-D 9 32-64 4096": Convolution((32, 4096, 32), (9, 32, 64), padding=4),
    "3-D 3x3x3 16-32 16x32x32": Convolution((4, 16, 32, 32, 16), (3, 3, 3, 16, 32), padding=1),
}
POOLS = {
    "max pool 2x2 32x32 32": MaxPool((128, 32, 32, 32), 2, 2),
    "max pool 3x3 stride 2 112x112 64": MaxPool((4, 112, 112, 64), 3, 2),
}
TURNS = 4  # of a loop over
LOOP = Convolution((32, 32, 32, 64), (3, 3, 64, 64), padding=1)
