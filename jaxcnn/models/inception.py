"""Inception modules: windows of several sizes on the same input, side by side in the channels."""

from collections.abc import Callable, Sequence

from jaxcnn.layers import Conv, Layer, MaxPool, Relu, branches, serial
from jaxcnn.models.model import count

Units = Callable[[int, int], tuple[Layer, ...]]  # (channels, window) -> a convolution and what follows it


def conv_relu(channels: int, window: int) -> tuple[Layer, ...]:
    """A convolution that keeps the size, and ReLU."""
    return Conv(channels, window, padding=window // 2), Relu()


def naive_inception(filters: int | Sequence[int]) -> Layer:
    """1×1, 3×3 and 5×5 convolutions and a 3×3 max pool of one input, all with stride 1.

    The pool passes all channels on, so each such module has more channels than the one before.

    Args:
      filters: of the 1×1, 3×3 and 5×5 convolutions, or one number for each of them.

    Returns:
      A Layer with the parameters one/conv1, three/conv1, five/conv1.

    Raises:
      ValueError, TypeError: not one or three positive ints.

    Example:
      >>> import jax
      >>> params, _ = naive_inception(8).init(jax.random.key(0), (28, 28, 256))
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      71704

    Source: Szegedy et al., Going deeper with convolutions (2014), figure 2(a).
    """
    one, three, five = _widths("naive_inception", filters, 3)
    return branches(
        one=serial(*conv_relu(one, 1)),
        three=serial(*conv_relu(three, 3)),
        five=serial(*conv_relu(five, 5)),
        pool=MaxPool(3, stride=1, padding=1),
    )


def reduced_inception(filters: int | Sequence[int], *, units: Units = conv_relu, five: int = 5) -> Layer:
    """An Inception module with 1×1 convolutions, which reduce the channels before 3×3 and 5×5 and after the pool.

    Args:
      filters: in the order of the paper's table: 1×1; 1×1 before 3×3, 3×3; 1×1 before 5×5, 5×5; 1×1 after the pool.
        Or one number for each of them.
      units: `(channels, window) -> layers`, a convolution and what follows it; by default with bias, and ReLU.
      five: the third window; 3 in torchvision's GoogLeNet.

    Returns:
      A Layer with the parameters one/conv1; three/conv1, three/conv2; five/conv1, five/conv2; pool/conv1.

    Raises:
      ValueError, TypeError: not one or six positive ints.

    Example:
      >>> import jax
      >>> params, _ = reduced_inception(8).init(jax.random.key(0), (28, 28, 256))
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      10416

    Source: Szegedy et al., Going deeper with convolutions (2014), figure 2(b).
    """
    one, before_three, three, before_five, fives, after_pool = _widths("reduced_inception", filters, 6)
    return branches(
        one=serial(*units(one, 1)),
        three=serial(*units(before_three, 1), *units(three, 3)),
        five=serial(*units(before_five, 1), *units(fives, five)),
        pool=serial(MaxPool(3, stride=1, padding=1), *units(after_pool, 1)),
    )


def _widths(name: str, filters: int | Sequence[int], number: int) -> list[int]:
    widths = list(filters) if isinstance(filters, Sequence) and not isinstance(filters, str) else [filters] * number
    if len(widths) != number:
        raise ValueError(f"{name}: `filters` must be an int or {number} of them; got {filters!r}")
    return [count(name, "filters", width) for width in widths]
