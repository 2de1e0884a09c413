"""Which algorithm computes a window product: the one place where that is decided, by platform and static shape.

The figures are milliseconds on 2 cores of an AMD EPYC (AVX-512), jaxlib 0.10.2, float32, 128 images where not said
otherwise. On other platforms nothing was measured, and what needs the fewest operations of its own is taken.
"""

from dataclasses import dataclass
from types import ModuleType

import jax
from jax import lax

from jaxcnn.ops.algorithms import depthwise, fft, overlap, patches, taps, winograd
from jaxcnn.ops.algorithms.product import Product

ALGORITHMS: dict[str, ModuleType] = {
    "depthwise": depthwise,
    "fft": fft,
    "overlap": overlap,
    "patches": patches,
    "taps": taps,
    "winograd": winograd,
}
NAMES = ("auto", *ALGORITHMS)
MOST_OVERLAP_BYTES = 16 * 2**20  # beyond, what is to be summed leaves the cache: 17.5 against 4.9 by winograd for 29 MB
MOST_FFT_BYTES = 128 * 2**20  # of spectra; 512 channels and 31×31 would take 18.8 GiB, for 3 % of the time of patches
LEAST_SAVING = 1.2  # of winograd's products, below which its sums are not worth it
LEAST_FFT_SAVING = 1.7  # for dw, of which it transforms whole images back for the small corner that is the window


@dataclass(frozen=True)
class Choice:
    """The algorithm for a product, by name, and the reason; and what takes its place for values it would spoil."""

    name: str
    why: str
    otherwise: str | None = None

    @property
    def algorithm(self) -> ModuleType:
        """Its module."""
        return ALGORITHMS[self.name]

    def product(self, x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
        """y = x ⊗ w."""
        return self._run("product", x, w, p)

    def kernel_gradient(self, x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
        """dw = x ⊗ dy."""
        return self._run("kernel_gradient", x, dy, p)

    def _run(self, what: str, a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
        chosen = getattr(self.algorithm, what)
        if self.otherwise is None:
            return chosen(a, b, p)
        other = getattr(ALGORITHMS[self.otherwise], what)
        return lax.cond(fft.is_safe(a, b), lambda a, b: chosen(a, b, p), lambda a, b: other(a, b, p), a, b)


def choose(algorithm: str, p: Product) -> Choice:
    """How to compute y = x ⊗ w.

    The user's word holds where that algorithm can compute the product. A gradient of it may lie outside (the transpose
    of a strided product, say); then, as for "auto":

    - depthwise: nothing else has no work to spare there. 14 ms against 25 by taps on arranged arrays, 14×14×256.
    - one tap, or few weights: taps. 3×3, 3 to 32 channels, 32×32: 2.5 against 6.5 by patches.
    - fewer channels out than in, of which there are few: overlap. 5×5 full, 16 to 6 channels, 10×10: 0.8 against 4.5.
    - where the window is large beside the image: fft. 31×31, 16 to 16, 64×64, 8 images: 8 against 179 by patches; 9×9,
      64 to 64, 32×32, 32 images: 57 against 135; 13×13 depthwise, 64 channels, 28×28: 21 against 119.
    - where it saves products: winograd. 3×3, 32 to 32 channels, 32×32, 32 images: 3.0 against 5.9 by patches; 5×5, 32
      to 48, 28×28: 6.9 against 17.3; and as much with few channels: 6 to 16, 28×28: 0.8 against 2.2.
    - else patches.
    """
    if algorithm != "auto" and ALGORITHMS[algorithm].fits(p):
        return Choice(algorithm, "asked for")
    if depthwise.fits(p) and algorithm == "auto":
        return Choice("depthwise", "each channel has its own kernel")
    if taps.fits(p):
        weights = p.window.taps * p.channels[0]
        few = f"{weights} weights per output, which patches would be copied for"
        return Choice("taps", "one tap: a matrix product as it stands" if p.window.taps == 1 else few)
    if p.platform != "cpu":
        return Choice("patches", "the one for every window, on this platform")
    thin = overlap.fits(p) and 2 * p.channels[1] <= p.channels[0] and overlap.built_bytes(p) <= MOST_OVERLAP_BYTES
    if thin and (not _transforms(p) or p.window.taps * p.channels[1] <= taps.MOST_WEIGHTS):
        return Choice("overlap", f"{p.channels[1]} channels out of {p.channels[0]} in: less to move after the product")
    return _large(p)


def choose_gradient(algorithm: str, p: Product) -> Choice:
    """How to compute dw = x ⊗ dy, likewise: depthwise, taps, fft, winograd, or else patches.

    3×3, 32 to 32 channels, 28×28: 11 by winograd against 25 by patches; 3 to 32, 32×32, 32 images: 1.5 against 1.3.
    """
    if algorithm in ("depthwise", "fft", "patches", "winograd") and ALGORITHMS[algorithm].fits(p):
        return Choice(algorithm, "asked for")
    if depthwise.fits(p) and algorithm == "auto":
        return Choice("depthwise", "each channel has its own kernel")
    if taps.fits_gradient(p):
        return Choice("taps", "one tap, or one row: nothing to gain from copies")
    few = Choice("patches", "few weights: no sums are worth it")
    return few if taps.fits(p) else _large(p, LEAST_FFT_SAVING)


def _large(p: Product, least: float = 1) -> Choice:
    small = p.platform == "cpu" and fft.fits(p) and fft.built_bytes(p) <= MOST_FFT_BYTES
    waste = _patches_cost(p) / fft.multiply_adds(p) if small else 0
    if waste > least * (winograd.saving(p) if _transforms(p) else 1):
        why = f"a window so large that patches would take {waste:.1f} times as long (they do it where values are"
        return Choice("fft", f"{why} not finite, or beyond {fft.largest(p.dtype):.0e})", otherwise="patches")
    if not _transforms(p):
        return Choice("patches", "the one for every window")
    saved = f"{winograd.saving(p):.1f} times fewer multiplications, its sums counted"
    return Choice("winograd", f"{saved}; NaN and ∞ reach all {winograd.tile(p)} outputs of a tile")


def _patches_cost(p: Product) -> int:
    """In multiply-adds; a byte that is laid out takes the time of five."""
    return p.multiply_adds + 5 * patches.built_bytes(p)


def _transforms(p: Product) -> bool:
    suits = p.platform == "cpu" and p.dtype == "float32" and not p.phase
    return suits and winograd.fits(p) and winograd.saving(p) > LEAST_SAVING


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
