"""The static form of a convolution, from arguments that are checked here."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from jaxcnn.ops.algorithms import Product, depthwise
from jaxcnn.ops.bilinear import Target
from jaxcnn.ops.geometry import Padding, Window, sliding_window

Ints = int | tuple[int, ...]
Precision = jax.lax.Precision | jax.lax.DotAlgorithmPreset
MANY = 128  # images, for what is decided by their number where that is known only when an exported program runs
Shaped = jax.Array | jax.ShapeDtypeStruct


@dataclass(frozen=True)
class Form:
    """What is static in T(x, w, y): the window, the spatial size of x, and how to compute."""

    window: Window
    size: tuple[int, ...]
    groups: int
    channels: tuple[int, int]  # of a group, in x and in y
    algorithm: str
    precision: Precision | None
    members: int = 0  # axes of an ensemble, in front of all three arrays

    @property
    def depthwise(self) -> bool:
        """Whether it is computed by `depthwise`."""
        return depthwise.computes(self.channels, self.window) and self.algorithm in ("auto", "depthwise")

    def product(self, x: jax.Array, channels: tuple[int, int], target: Target, phase: bool = False) -> Product:
        """y = x ⊗ w as the algorithms see it, for x arranged as they want it, and the channels of a group."""
        outer, inner = (n if isinstance(n, int) else MANY for n in (x.shape[2], x.shape[-1]))
        images, dtype, platform = (outer, inner), x.dtype, target.platform
        return Product(self.window, self.size, images, len(x), channels, dtype, self.precision, platform, phase)


def form_of(
    op: str,
    x: Shaped,
    kernel: Shaped,
    stride: Ints,
    padding: Padding,
    dilation: Ints,
    groups: int,
    algorithm: str,
    precision: Precision | str | None,
) -> tuple[Form, int]:
    """The form of a convolution of arrays like these, checked, and the number of its images."""
    rank = spatial_rank(op, x, kernel)
    groups = check_groups(op, groups)
    check_channels(op, x, kernel, kernel.shape[-2] * groups, groups)
    size = x.shape[-rank - 1 : -1]
    window = window_of(op, size, kernel, stride, padding, dilation)
    channels = (kernel.shape[-2], kernel.shape[-1] // groups)
    form = Form(window, size, groups, channels, algorithm, precision_of(op, precision))
    return form, math.prod(x.shape[: -rank - 1])


def spatial_rank(op: str, x: Shaped, kernel: Shaped) -> int:
    """How many window axes the kernel has; ValueError if that does not go with x."""
    rank = kernel.ndim - 2
    if rank < 1:
        raise ValueError(
            f"{op}: `kernel` must have at least one window axis and two channel axes, (*window, in, out); "
            f"got kernel {kernel.shape}"
        )
    if x.ndim < rank + 1:
        raise ValueError(
            f"{op}: `x` must have {rank} spatial axes and a channel axis, (*batch, *spatial, channels), for a kernel "
            f"with {rank} window axes; got x {x.shape}, kernel {kernel.shape}. Is the channel axis missing?"
        )
    return rank


def window_of(op: str, size, kernel: Shaped, stride: Ints, padding: Padding, dilation: Ints) -> Window:
    """The window that these arguments mean."""
    return sliding_window(
        op,
        size,
        window=kernel.shape[:-2],
        stride=stride,
        padding=padding,
        dilation=dilation,
        argument="kernel",
    )


def precision_of(op: str, precision: Precision | str | None) -> Precision | None:
    """`precision` as JAX's value, or where it is None, what `jax.default_matmul_precision` asks for (None: nothing)."""
    context: Any = jax.config
    asked = context.jax_default_matmul_precision if precision is None else precision
    presets = jax.lax.DotAlgorithmPreset
    if asked is None or isinstance(asked, presets):
        return asked
    if asked in presets.__members__:
        return presets[str(asked)]
    try:
        return jax.lax.Precision(asked)
    except ValueError:
        known = ", ".join(p.name.lower() for p in jax.lax.Precision)
        raise ValueError(f"{op}: `precision` must be None or one of {known}; got {precision!r}") from None


def check_groups(op: str, groups: int) -> int:
    """`groups`, an int of at least 1."""
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{op}: `groups` must be an int; got {groups!r}")
    if groups < 1:
        raise ValueError(f"{op}: `groups` must be at least 1; got {groups}")
    return int(groups)


def check_channels(op: str, x: Shaped, kernel: Shaped, expected: int, groups: int) -> None:
    """ValueError unless groups, channels and kernel fit together."""
    received = f"x {x.shape}, kernel {kernel.shape}, groups {groups}."
    if x.shape[-1] % groups or kernel.shape[-1] % groups:
        raise ValueError(
            f"{op}: `groups` must divide the channels of `x` ({x.shape[-1]}) and the last axis of `kernel` "
            f"({kernel.shape[-1]}); {received}"
        )
    if x.shape[-1] != expected:
        raise ValueError(f"{op}: `kernel` expects {expected} input channels but `x` has {x.shape[-1]}; {received}")
