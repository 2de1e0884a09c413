"""What the choice of a way to compute has to know of a machine: every threshold, with the measurement behind it.

A `Machine` is one value of numbers. Each convolution carries the one it is planned for in its static form, or None for
that of the platform it is lowered for, so programs made for different machines never stand in for each other. The
figures are milliseconds on 2 cores of an AMD EPYC (AVX-512), jaxlib 0.10.2, float32, 128 images where not said
otherwise. On accelerators nothing was measured: there a number bounds memory and compile time, no more.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jax import lax


@dataclass(frozen=True)
class Cache:
    """How large the intermediate results of a gradient may be.

    Args:
      slice_bytes: of a slice of a batch, which is taken in halves, quarters, … while its slices have more.
      least_examples: in a slice; the matrix products of fewer are too small.
      mapped_bytes: glibc maps so much memory anew at each call, which costs more than small products do; then a slice
        may have half as many examples.
      turn_bytes: of one member of an ensemble; members with more are trained in turn.
    """

    slice_bytes: int
    least_examples: int
    mapped_bytes: int
    turn_bytes: int


@dataclass(frozen=True)
class Machine:
    """Numbers of one kind of machine.

    Args:
      platform: "cpu", "cuda", "rocm" or "tpu"; None where it is not known.
      lanes: from this many images on, the batch is the innermost axis; a smaller one stands before the spatial axes.
      tile_bytes: what an algorithm builds at a time. On a CPU it stays in cache: of 3 to 24 MB none is better by more
        than the noise for all layers. On an accelerator it only bounds the memory that is taken.
      columns: a matrix product computes so many columns of its result at once.
      products_per_byte: multiply-adds of a matrix product in the time that a byte of memory takes: 75e9 and 8e9 a
        second.
      byte_cost: the time of a byte that is built, such as one of a patch matrix, in multiply-adds.
      most_tap_weights: weights per output channel up to which taps are faster than patches; of 27 they take a third to
        two thirds of the time, of 36 and more not less.
      most_thin_taps: taps of a kernel gradient of a few channels, a sum each: 225 compile for 4 s and take 207, by
        transforms 7.
      most_depthwise_taps: a loop over more leaves the registers and compiles for seconds: 9×9 takes 13, 13×13 191.
      depthwise_taps_at_once: in one pass, 7×7; above, one row of the window after the other.
      most_overlap_bytes: beyond, what is to be summed leaves the cache: 17.5 against 4.9 by winograd for 29 MB.
      most_spectra_bytes: of Fourier transforms; 512 channels and 31×31 would take 18.8 GiB, for 3 % of the time of
        patches.
      transform_cost, spectrum_cost: a value and step of a Fourier transform, and a product of two complex numbers, in
        multiply-adds of a matrix product, as measured.
      least_kernel_fft_saving: for a kernel gradient the transform must be so much faster: it transforms whole images
        back, although only a window-sized corner is kept.
      winograd_sum_cost: of a point's sums over the others, in products, as measured.
      least_winograd_saving: of products, below which the sums around them are not worth it.
      cache: in which the intermediate results of a gradient are kept; None where nothing is gained by that.
      most_unrolled_taps, most_unrolled_along_axis: of a pool's window in one pass; 5×5 and 3×3×3 are the largest
        windows for which one pass was as fast as one pass per axis. More are gone over in a loop.
    """

    platform: str | None
    tile_bytes: int = 256 * 2**20
    lanes: int = 8
    columns: int = 16
    products_per_byte: float = 9
    byte_cost: float = 5
    most_tap_weights: int = 32
    most_thin_taps: int = 100
    most_depthwise_taps: int = 100
    depthwise_taps_at_once: int = 49
    most_overlap_bytes: int = 16 * 2**20
    most_spectra_bytes: int = 128 * 2**20
    transform_cost: float = 55
    spectrum_cost: float = 10
    least_kernel_fft_saving: float = 1.7
    winograd_sum_cost: float = 1 / 12
    least_winograd_saving: float = 1.2
    cache: Cache | None = None
    most_unrolled_taps: int = 27
    most_unrolled_along_axis: int = 16

    def innermost(self, images: int) -> bool:
        """Whether a batch of so many images is the innermost axis; a size known only when it runs counts as large."""
        return not isinstance(images, int) or images >= self.lanes


CPU = Machine(
    "cpu",
    tile_bytes=12 * 2**20,
    cache=Cache(slice_bytes=8 * 2**20, least_examples=32, mapped_bytes=32 * 2**20, turn_bytes=2**20),
)
_assumed: ContextVar[Machine | None] = ContextVar("machine", default=None)


def of(platform: str | None) -> Machine:
    """The numbers of a platform."""
    return CPU if platform == "cpu" else Machine(platform)


def assumed() -> Machine | None:
    """The machine that the surrounding `assume` says; None where the platform decides."""
    return _assumed.get()


def unplanned() -> Machine:
    """The numbers for what is decided before a platform is known: those of the assumed machine, or of a CPU."""
    return assumed() or CPU


def decided(decide: Callable[[Machine], Any], run: Callable, *operands: Any) -> Any:
    """`run(decide(machine), *operands)` for the machine that the program will be lowered for.

    JAX traces a program before it knows that machine. Where a CPU and others decide alike, that is all there is; else
    the program holds both ways until it is lowered.
    """
    assumption = assumed()
    if assumption:
        return run(decide(assumption), *operands)
    here, elsewhere = decide(CPU), decide(of(None))
    if here == elsewhere:
        return run(here, *operands)
    ways = {"cpu": functools.partial(run, here), "default": functools.partial(run, elsewhere)}
    return lax.platform_dependent(*operands, **ways)


@contextlib.contextmanager
def assume(machine: Machine) -> Iterator[None]:
    """Plan what is traced in this block for another machine than the platform's.

    A function under `jax.jit` is traced once: one that was traced outside of the block stays as it was.
    """
    token = _assumed.set(machine)
    try:
        yield
    finally:
        _assumed.reset(token)
