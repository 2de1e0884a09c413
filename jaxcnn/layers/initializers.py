"""Initial values by name, or by any function `(key, shape, dtype) -> array` such as those of `jax.nn.initializers`.

Fans are those of a convolution kernel (*window, in, out): fan_in = window·in, fan_out = window·out. A dense kernel is
the case without a window.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import initializers

Initializer = Callable[..., jax.Array]

KERNEL: dict[str, Initializer] = {
    "he_normal": initializers.he_normal(),
    "he_uniform": initializers.he_uniform(),
    "glorot_normal": initializers.glorot_normal(),
    "glorot_uniform": initializers.glorot_uniform(),
    "lecun_normal": initializers.lecun_normal(),
    "lecun_uniform": initializers.lecun_uniform(),
    "zeros": initializers.zeros,
    "keras": initializers.glorot_uniform(),
    # torch's kaiming_uniform_(a=√5): uniform in ±1/√fan_in, so the variance is 1/(3·fan_in)
    "pytorch": initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


def _uniform_by_fan_in(kernel_shape: tuple[int, ...]) -> Initializer:
    bound = 1 / math.sqrt(max(math.prod(kernel_shape[:-1]), 1))
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


BIAS: dict[str, Callable[[tuple[int, ...]], Initializer]] = {
    "zeros": lambda kernel_shape: initializers.zeros,
    "keras": lambda kernel_shape: initializers.zeros,
    "pytorch": _uniform_by_fan_in,
}


def kernel_initializer(layer: str, init: str | Initializer) -> Initializer:
    """The function behind a name; ValueError for an unknown name."""
    if callable(init):
        return init
    if init not in KERNEL:
        raise ValueError(f"{layer}: `kernel_init` must be a function or one of {', '.join(KERNEL)}; got {init!r}")
    return KERNEL[init]


def bias_initializer(layer: str, init: str | Initializer, kernel_shape: tuple[int, ...]) -> Initializer:
    """The function behind a name (torch's biases depend on the kernel's fan_in); ValueError for an unknown name."""
    if callable(init):
        return init
    if init not in BIAS:
        raise ValueError(f"{layer}: `bias_init` must be a function or one of {', '.join(BIAS)}; got {init!r}")
    return BIAS[init](kernel_shape)
