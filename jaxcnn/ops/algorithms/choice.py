"""Which algorithm computes a window product: the one place where that is decided, by platform and static shape."""

from types import ModuleType

from jaxcnn.ops.algorithms import patches, taps, winograd
from jaxcnn.ops.algorithms.product import Product

ALGORITHMS: dict[str, ModuleType] = {"patches": patches, "taps": taps, "winograd": winograd}
NAMES = ("auto", *ALGORITHMS)


def choose(algorithm: str, p: Product) -> ModuleType:
    """The module for a product.

    The user's word holds where that algorithm can compute the product. A gradient of it may lie outside (the transpose
    of a depthwise product with a multiplier, say); then, as for "auto":

    - one tap: a plain matrix product, which `taps` is then; nothing is copied.
    - one channel in and one out per group (depthwise): multiply-add per tap, since a matrix product would be 1 × 1.
    - else patches, in tiles that stay in cache.
    """
    if algorithm != "auto" and ALGORITHMS[algorithm].fits(p):
        return ALGORITHMS[algorithm]
    if taps.fits(p):
        return taps
    if p.platform == "cpu" and p.dtype == "float32" and winograd.fits(p) and min(p.channels) >= 16:
        return winograd
    return patches


def refuse_unfit(op: str, algorithm: str, p: Product) -> None:
    """ValueError unless `algorithm` is known and can compute this product."""
    if algorithm not in NAMES:
        raise ValueError(f"{op}: `algorithm` must be one of {', '.join(NAMES)}; got {algorithm!r}")
    if algorithm != "auto" and not ALGORITHMS[algorithm].fits(p):
        w = p.window
        raise ValueError(
            f"{op}: `algorithm` {algorithm!r} cannot compute this product: it {ALGORITHMS[algorithm].CLAIM}; got "
            f"{p.dtype.name}, window {w.size}, stride {w.stride}, dilation {w.dilation}, {p.channels[0]} input, "
            f"{p.channels[1]} output channels per group, precision {p.precision and p.precision.name.lower()}"
        )
