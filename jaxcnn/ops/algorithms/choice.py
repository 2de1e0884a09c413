"""Which algorithm computes a window product: the one place where that is decided, by platform and static shape."""

from types import ModuleType

from jaxcnn.ops.algorithms import depthwise, overlap, patches, taps, winograd
from jaxcnn.ops.algorithms.product import Product

ALGORITHMS: dict[str, ModuleType] = {
    "depthwise": depthwise,
    "overlap": overlap,
    "patches": patches,
    "taps": taps,
    "winograd": winograd,
}
NAMES = ("auto", *ALGORITHMS)
OVERLAP_BYTES = 16 * 2**20


def choose(algorithm: str, p: Product) -> ModuleType:
    """The module for a product of arranged arrays.

    The user's word holds where that algorithm can compute the product. A gradient of it may lie outside (the transpose
    of a strided product, say); then, as for "auto":
    """
    if algorithm in ("overlap", "patches", "taps", "winograd") and ALGORITHMS[algorithm].fits(p):
        return ALGORITHMS[algorithm]
    if taps.fits(p):
        return taps
    if p.platform != "cpu":
        return patches
    few = overlap.fits(p) and overlap.bytes_moved(p) <= OVERLAP_BYTES and 2 * p.channels[1] <= p.channels[0]
    if few and (not _transforms(p) or p.window.taps * p.channels[1] <= 32):
        return overlap
    return winograd if _transforms(p) else patches


def choose_gradient(algorithm: str, p: Product) -> ModuleType:
    """The module for a kernel's gradient."""
    if algorithm in ("patches", "winograd") and ALGORITHMS[algorithm].fits(p):
        return ALGORITHMS[algorithm]
    if taps.fits_gradient(p):
        return taps
    return winograd if _transforms(p) and not taps.fits(p) else patches


def _transforms(p: Product) -> bool:
    return p.platform == "cpu" and p.dtype == "float32" and winograd.fits(p) and winograd.saving(p) > 1.2


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
