"""The thresholds by which a way to compute is chosen, one set of numbers per kind of machine, with their measurements.

Each convolution has among its static parameters the `Machine` that it is planned for, or None for that of the platform
it is lowered for. So JAX never takes a program from its cache that was planned for another machine. The figures are
milliseconds on 2 cores of an AMD EPYC (AVX-512), jaxlib 0.10.2, float32, 128 images where not said otherwise. On
accelerators nothing was measured: there the numbers only bound memory and compile time.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jax import lax

GPUS = ("cuda", "rocm")


LANES, SUBLANES = 128, 8  # of a TPU's register, which has 32 bits for each pair


def images_in_lanes(images: int, channels: int) -> bool:
    """Whether a TPU's lanes hold images: where channels do not fill them and images do, as XLA orders arrays."""
    return images % LANES == 0 and channels % LANES != 0


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
      lanes: a batch of at least so many images is the innermost axis; a smaller batch stands before the spatial axes.
      tile_bytes: the bytes that an algorithm builds at a time. On a CPU they stay in cache; between 3 and 24 MB no size
        is better for all layers by more than the noise. On an accelerator the number only bounds memory.
      columns: how many columns of its result a matrix product computes at once.
      products_per_byte: multiply-adds of a matrix product in the time of moving one byte: 75e9 against 8e9 a second.
      byte_cost: the time to build one byte, for instance of a patch matrix, in multiply-adds.
      most_tap_weights: up to so many weights per output channel, taps are faster than patches. For 27 weights they take
        a third to two thirds of the time of patches; for 36 and more they save nothing.
      most_thin_taps: the most taps for which a kernel gradient with few channels has one sum per tap. For 225 taps such
        a program compiles for 4 s and takes 207 ms; with Fourier transforms it takes 7 ms.
      most_depthwise_taps: the most taps in one depthwise loop. A longer one leaves the registers and compiles for
        seconds: 9×9 takes 13 ms, 13×13 takes 191 ms.
      depthwise_taps_at_once: up to so many taps (7×7) are computed in one pass; more, one row of the window after the
        other.
      most_overlap_bytes: the most bytes that overlap-add may sum; more leave the cache: 29 MB take 17.5 ms, with
        winograd 4.9 ms.
      most_spectra_bytes: the most memory for spectra. 512 channels with 31×31 windows would need 18.8 GiB, to save 97 %
        of the time of patches.
      transform_cost, spectrum_cost: the measured time of a Fourier transform per value and step, and of a product of
        two complex numbers, in multiply-adds of a matrix product.
      least_kernel_fft_saving: how many times faster transforms must be expected to be for a kernel gradient to use
        them. They transform whole images back, although only a window-sized corner is kept.
      winograd_sum_cost: the measured time of the sums that make one point, in products.
      most_products: the most taps with a product each; more are a long program.
      products_per_value: multiply-adds of a matrix product in the time of moving one value on a GPU. An A100 makes
        156e12 a second in bfloat16 and half as many in TF32 and moves 1.6e12 bytes, which is 200; an H100 comes to 300,
        a T4 in float32 to 50. A product reaches two thirds or so of it.
      most_parts: of how many views a GPU's patches are put together at most; more are a long program.
      few_channels: up to so many input channels, what all taps see stands side by side on an accelerator. By the TPU
        compiler's estimate, 7×7 stride 2, 3 channels of 224×224, 32 images, bfloat16, takes 1.4 million cycles of a
        v5e, with a product for each tap 27.
      kernel_bytes: how much of a TPU's own memory (VMEM) one step of a kernel may use: v5e and v6e have 128 MiB.
      kernel_rows: how many rows a matrix product in such a kernel has at most. For 3×3, 128 to 256 channels, 128 images
        of 28×28, a v5e takes .68 million cycles with 512 rows, .53 with 1024, .46 with 2048 and .43 with 4096.
      kernel_multiply_adds: how many are written out one after the other, for about 8,000 cycles of a v5e; more are a
        long program, fewer leave the matrix units waiting at the loop's ends.
      least_lanes: fewer channels leave too many of a register's 128 lanes empty.
      least_winograd_saving: how many times fewer products winograd must need to be worth the sums before and after.
      cache: the cache in which the intermediate results of a gradient stay; None where that gains nothing.
      most_unrolled_taps, most_unrolled_along_axis: the largest pool window, and its longest axis, computed in one pass
        without a loop; 5×5 and 3×3×3 are the largest for which that was as fast as one pass per axis.
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
    most_products: int = 49
    products_per_value: float = 150
    most_parts: int = 98
    few_channels: int = 4
    kernel_bytes: int = 64 * 2**20
    kernel_rows: int = 4096
    kernel_multiply_adds: int = 2**29
    least_lanes: int = 32
    least_winograd_saving: float = 1.2
    cache: Cache | None = None
    most_unrolled_taps: int = 27
    most_unrolled_along_axis: int = 16

    @property
    def kernel_limit(self) -> int:
        """How much of its own memory a TPU's compiler may give to a kernel, with what it keeps there beside."""
        return self.kernel_bytes * 5 // 4

    def innermost(self, images: int) -> bool:
        """Whether a batch of so many images is the innermost axis; a size known only at run time counts as large."""
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
    """The machine of the surrounding `assume`; None outside of one, where the platform decides."""
    return _assumed.get()


def unplanned() -> Machine:
    """The numbers for decisions that fall before the platform is known: those of the assumed machine, or of a CPU."""
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

    `jax.jit` traces a function once, so one that was traced outside of the block keeps its plans.
    """
    token = _assumed.set(machine)
    try:
        yield
    finally:
        _assumed.reset(token)
