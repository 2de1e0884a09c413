"""Which algorithm computes a window product: the one place where that is decided, by platform and static shape."""

from types import ModuleType

from jaxcnn.ops.algorithms import patches, taps
from jaxcnn.ops.geometry import Window

ALGORITHMS: dict[str, ModuleType] = {"patches": patches, "taps": taps}
NAMES = ("auto", *ALGORITHMS)


def choose(algorithm: str, platform: str | None, window: Window, channels: tuple[int, int]) -> ModuleType:
    """The module for a product of `channels` = (in, out) per group.

    The user's word holds where that algorithm can compute the product. A gradient of it may lie outside (the transpose
    of a depthwise product with a multiplier, say); then, as for "auto":

    - one tap: a plain matrix product, which `taps` is then; nothing is copied.
    - one channel in and one out per group (depthwise): multiply-add per tap, since a matrix product would be 1 × 1.
    - else patches, in tiles that stay in cache.
    """
    if algorithm != "auto" and ALGORITHMS[algorithm].fits(window, channels):
        return ALGORITHMS[algorithm]
    return taps if taps.fits(window, channels) else patches


def refuse_unfit(op: str, algorithm: str, window: Window, channels: tuple[int, int]) -> None:
    """ValueError unless `algorithm` is known and can compute this product."""
    if algorithm not in NAMES:
        raise ValueError(f"{op}: `algorithm` must be one of {', '.join(NAMES)}; got {algorithm!r}")
    if algorithm != "auto" and not ALGORITHMS[algorithm].fits(window, channels):
        raise ValueError(
            f"{op}: `algorithm` {algorithm!r} cannot compute this product: it {ALGORITHMS[algorithm].CLAIM}; got "
            f"window {window.size} and {channels[0]} input, {channels[1]} output channels per group"
        )
