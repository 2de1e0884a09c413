"""Which pools a TPU computes by the kernels of `pool_kernels.py`."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.ops import machine
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.machine import LANES, SUBLANES, Machine, images_in_lanes
from jaxcnn.ops.windows import is_large


def or_kernel(name: str) -> Callable:
    """A function of `pool_kernels.py` in place of the decorated one: on a TPU, for windows that lie side by side."""

    def decorate(compute):
        @functools.wraps(compute)
        def wrapped(*arrays, window, lowering, **static):
            here, tail = machine.of(lowering.platform), window.rank + 1
            batch, size = arrays[0].shape[:-tail], static.get("size", arrays[0].shape[-tail:-1])
            if not _has_kernel(arrays[0], window, size, here):
                return compute(*arrays, window=window, lowering=lowering, **static)
            from jaxcnn.ops import pool_kernels  # at first use: Pallas takes an eighth of the time to import jaxcnn

            settled = {"switches": (jnp.dtype(jnp.uint8),), "give": (size,)}.get(name, ())
            merged = [a.reshape(math.prod(batch), *a.shape[-tail:]) for a in arrays]
            y = getattr(pool_kernels, name)(*merged, window, *settled, here)
            return y.reshape(*batch, *y.shape[1:])

        return wrapped

    return decorate


def _has_kernel(x: jax.Array, window: Window, size: tuple[int, ...], here: Machine) -> bool:
    """Whether windows lie side by side from the first input on, tiles are full, and some images fit the chip."""
    batch, channels = x.shape[: -window.rank - 1], x.shape[-1]
    if (
        here.platform != "tpu"
        or x.dtype not in (jnp.float32, jnp.bfloat16)
        or not all(isinstance(n, int) for n in batch)
    ):
        return False
    first = all(before == 0 for before, _ in window.padding)
    apart = window.size == window.stride and window.dilation == (1,) * window.rank
    inside = all(o * k <= n for o, k, n in zip(window.output_size(size), window.size, size, strict=True))
    n = math.prod(batch)
    values = LANES * -(-channels // SUBLANES) * SUBLANES if images_in_lanes(n, channels) else 32 * channels
    fits = 4 * x.dtype.itemsize * math.prod(size) * values <= here.kernel_bytes
    full = n % LANES == 0 or (channels % LANES == 0 and n % 32 == 0)
    return first and apart and inside and fits and full and not is_large(window)
