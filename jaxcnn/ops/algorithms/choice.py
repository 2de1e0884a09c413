"""Which algorithm computes a window product: an ordered list of rules for y, and one for dw.

The first rule that suits a product decides. An algorithm that names its platforms is skipped on all others. The
figures are milliseconds on 2 cores of an AMD EPYC (AVX-512), jaxlib 0.10.2, float32, 128 images where not said
otherwise; the thresholds stand in `ops/machine.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from jax import lax

from jaxcnn.ops.algorithms import blocks, fft, overlap, taps, winograd
from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.blocks import BLOCKS
from jaxcnn.ops.algorithms.channels_last import CHANNELS_LAST
from jaxcnn.ops.algorithms.depthwise import DEPTHWISE
from jaxcnn.ops.algorithms.fft import FFT
from jaxcnn.ops.algorithms.layouts import Layout
from jaxcnn.ops.algorithms.overlap import OVERLAP
from jaxcnn.ops.algorithms.pallas import PALLAS
from jaxcnn.ops.algorithms.patches import PATCHES
from jaxcnn.ops.algorithms.product import Product
from jaxcnn.ops.algorithms.taps import TAPS
from jaxcnn.ops.algorithms.winograd import WINOGRAD

ALGORITHMS = {
    each.name: each for each in (BLOCKS, CHANNELS_LAST, DEPTHWISE, FFT, OVERLAP, PALLAS, PATCHES, TAPS, WINOGRAD)
}
NAMES = ("auto", *ALGORITHMS)


@dataclass(frozen=True)
class Choice:
    """The algorithm for a product, the reason, and another algorithm for values with which the first would be wrong."""

    algorithm: Algorithm
    why: str
    otherwise: Algorithm | None = None

    def product(self, x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
        """y = x ⊗ w."""
        return self._run("product", x, w, p)

    def kernel_gradient(self, x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
        """dw = x ⊗ dy."""
        return self._run("kernel_gradient", x, dy, p)

    def input_gradient(self, dy: jax.Array, w: jax.Array, p: Product) -> jax.Array:
        """dx as a whole, phases included."""
        return self._run("input_gradient", dy, w, p)

    def _run(self, what: str, a: jax.Array, b: jax.Array, p: Product) -> jax.Array:
        def by(algorithm):
            def run(a, b):
                with jax.named_scope(algorithm.name):  # the name shows in profiles and in compiled programs
                    return getattr(algorithm, what)(a, b, p)

            return run

        if self.otherwise is None:
            return by(self.algorithm)(a, b)
        return lax.cond(fft.is_safe(a, b), by(self.algorithm), by(self.otherwise), a, b)


@dataclass(frozen=True)
class Rule:
    """`algorithm` is taken where it can compute the product and `suits` holds, for the reason `why`."""

    algorithm: Algorithm
    why: str | Callable[[Product], str]
    suits: Callable[[Product], bool] = lambda p: True
    otherwise: Algorithm | None = None


def choose(asked: str, p: Product, *, kernel: bool = False, layout: Layout | None = None) -> Choice:
    """How to compute y = x ⊗ w, or with `kernel` dw = x ⊗ dy.

    A named algorithm is used wherever it can compute the product. A gradient that it cannot compute (the gradient of a
    strided product, say) falls back to "auto".

    Args:
      asked: "auto", or the name of an algorithm.
      p: the product.
      kernel: whether to compute dw.
      layout: if given, only algorithms of this layout are taken.
    """
    found = _first(asked, p, "kernel_gradient" if kernel else "product", KERNEL_RULES if kernel else RULES, layout)
    if found is None:
        raise AssertionError("the last rule takes every product")
    return found


def choose_whole(asked: str, p: Product) -> Choice | None:
    """How to compute dx as a whole, phases included; None if no algorithm does that."""
    return _first(asked, p, "input_gradient", WHOLE_RULES, None)


def _first(asked: str, p: Product, what: str, rules: Sequence[Rule], layout: Layout | None) -> Choice | None:
    if asked != "auto" and ALGORITHMS[asked].can(p, what) and layout in (None, ALGORITHMS[asked].layout):
        return Choice(ALGORITHMS[asked], "asked for")
    for rule in rules:
        one = rule.algorithm
        here = one.platforms is None or p.machine.platform in one.platforms
        if here and layout in (None, one.layout) and one.can(p, what) and rule.suits(p):
            return Choice(one, rule.why if isinstance(rule.why, str) else rule.why(p), rule.otherwise)
    return None


def check_claim(op: str, asked: str, p: Product) -> None:
    """ValueError unless `asked` is known and can compute this product."""
    if asked not in NAMES:
        raise ValueError(f"{op}: `algorithm` must be one of {', '.join(NAMES)}; got {asked!r}")
    if asked != "auto" and not ALGORITHMS[asked].can(p):
        w, claim = p.window, ALGORITHMS[asked].claim.format_map(vars(p.machine))
        raise ValueError(
            f"{op}: `algorithm` {asked!r} cannot compute this product: it {claim}; got "
            f"{p.dtype.name}, window {w.size}, stride {w.stride}, dilation {w.dilation}, {p.channels[0]} input, "
            f"{p.channels[1]} output channels per group, precision {p.precision and p.precision.name.lower()}"
        )


# ---------------------------------------------------------------------------------------------------------------------


def _is_thin(p: Product) -> bool:
    """Whether it has few output channels for many input channels, and the array to be summed stays in cache."""
    thin = 2 * p.channels[1] <= p.channels[0] and overlap.built_bytes(p) <= p.machine.most_overlap_bytes
    return thin and (not _transforms(p) or p.window.taps * p.channels[1] <= p.machine.most_tap_weights)


def _transforms(p: Product) -> bool:
    """Whether Winograd's transforms save enough; never for the phases of a stride (see `Product.phase`)."""
    suits = p.dtype == "float32" and not p.phase
    return suits and winograd.fits(p) and winograd.saving(p) > p.machine.least_winograd_saving


def _fft_saving(p: Product) -> float:
    """How many times longer patches would take than Fourier transforms; 0 where the spectra are too large."""
    if FFT.at_once(p) > p.machine.most_spectra_bytes:
        return 0
    return (p.multiply_adds + p.machine.byte_cost * PATCHES.built_bytes(p)) / fft.multiply_adds(p)


def _fft_pays(p: Product, least: float = 1) -> bool:
    return _fft_saving(p) > least * (winograd.saving(p) if _transforms(p) else 1)


def _why_fft(p: Product) -> str:
    return (
        f"a window so large that patches would take {_fft_saving(p):.1f} times as long (they do it where values are "
        f"not finite, or beyond {fft.largest(p.dtype):.0e})"
    )


def _why_winograd(p: Product) -> str:
    saved = f"{winograd.saving(p):.1f} times fewer multiplications, its sums counted"
    return f"{saved}; NaN and ∞ reach all {winograd.tile(p)} outputs of a tile"


RULES = (
    Rule(PALLAS, "a kernel of ours: all taps read an image in the chip's memory", lambda p: p.window.taps > 1),
    # No other algorithm is without needless work: 14×14×256 takes 14, by taps on arranged arrays 25.
    Rule(DEPTHWISE, "each channel has its own kernel"),
    Rule(BLOCKS, blocks.why),
    Rule(CHANNELS_LAST, "XLA lays out what the taps see, and sums it on the chip"),
    Rule(TAPS, "one tap: a matrix product as it stands", lambda p: p.window.taps == 1),
    # 3×3, 3 to 32 channels, 32×32: 2.5 against 6.5 by patches.
    Rule(TAPS, lambda p: f"{p.window.taps * p.channels[0]} weights per output, which patches would be copied for"),
    # 5×5 full, 16 to 6 channels, 10×10: 0.8 against 4.5.
    Rule(
        OVERLAP,
        lambda p: f"{p.channels[1]} channels out of {p.channels[0]} in: less to move after the product",
        _is_thin,
    ),
    # 31×31, 16 to 16, 64×64, 8 images: 8 against 179 by patches; 9×9, 64 to 64, 32×32, 32 images: 57 against 135;
    # 13×13 depthwise, 64 channels, 28×28: 21 against 119.
    Rule(FFT, _why_fft, _fft_pays, otherwise=PATCHES),
    # 3×3, 32 to 32 channels, 32×32, 32 images: 3.0 against 5.9 by patches; 5×5, 32 to 48, 28×28: 6.9 against 17.3;
    # and as much with few channels: 6 to 16, 28×28: 0.8 against 2.2.
    Rule(WINOGRAD, _why_winograd, _transforms),
    Rule(PATCHES, "the one for every window"),
)
KERNEL_RULES = (
    Rule(PALLAS, "a kernel of ours: all taps read an image in the chip's memory", lambda p: p.window.taps > 1),
    Rule(DEPTHWISE, "each channel has its own kernel"),
    Rule(BLOCKS, blocks.why),
    Rule(CHANNELS_LAST, "XLA lays out what the taps see"),
    Rule(TAPS, "one tap, or one row: nothing to gain from copies"),
    Rule(PATCHES, "few weights: no sums are worth it", taps.fits),
    Rule(FFT, _why_fft, lambda p: _fft_pays(p, p.machine.least_kernel_fft_saving), otherwise=PATCHES),
    # 3×3, 32 to 32 channels, 28×28: 11 against 25 by patches; 3 to 32, 32×32, 32 images: 1.5 against 1.3.
    Rule(WINOGRAD, _why_winograd, _transforms),
    Rule(PATCHES, "the one for every window"),
)
WHOLE_RULES = (Rule(PALLAS, "a kernel of ours, the phases of a stride included", lambda p: p.window.taps > 1),)
