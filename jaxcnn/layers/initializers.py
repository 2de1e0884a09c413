"""Initial values by name, or by any function `(key, shape, dtype) -> array` such as those of `jax.nn.initializers`.

Fans are those of a convolution kernel (*window, in, out): fan_in = window·in, fan_out = window·out. A dense kernel has
no window.

XLA compiles each new shape of a draw, which takes half a second. So a flat array of a rounded size is drawn, and a
kernel takes the first numbers of it: many layers then share one program.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import initializers

Initializer = Callable[..., jax.Array]

ROUNDED = (
    2**22
)  # rows up to this size are rounded up to a power of 2; for longer ones that would cost more than it saves
DISTRIBUTIONS: dict[str, Callable[..., jax.Array]] = {  # each of variance 1
    "normal": jax.random.normal,
    "truncated_normal": lambda key, shape, dtype: jax.random.truncated_normal(key, -2, 2, shape, dtype) / 0.87962566,
    "uniform": lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -math.sqrt(3), math.sqrt(3)),
}


def normal(stddev: float) -> Initializer:
    """Normal draws of mean 0 and this standard deviation, whatever the shape."""
    return lambda key, shape, dtype=jnp.float32: _drawn("normal", key, shape, dtype, stddev)


def variance_scaling(scale: float, fan: str, distribution: str) -> Initializer:
    """Draws of variance scale/fan; the fan is "fan_in", "fan_out" or their mean, "fan_avg"."""

    def initializer(key, shape, dtype=jnp.float32):
        inputs, outputs = (max(math.prod(shape[:-2]) * channels, 1) for channels in shape[-2:])
        n = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[fan]
        return _drawn(distribution, key, shape, dtype, math.sqrt(scale / n))

    return initializer


KERNEL: dict[str, Initializer] = {
    "he_normal": variance_scaling(2, "fan_in", "truncated_normal"),
    "he_uniform": variance_scaling(2, "fan_in", "uniform"),
    # torch's kaiming_normal_(mode="fan_out"): keeps the size of gradients on their way back; not truncated
    "he_normal_fan_out": variance_scaling(2, "fan_out", "normal"),
    "glorot_normal": variance_scaling(1, "fan_avg", "truncated_normal"),
    "glorot_uniform": variance_scaling(1, "fan_avg", "uniform"),
    "lecun_normal": variance_scaling(1, "fan_in", "truncated_normal"),
    "lecun_uniform": variance_scaling(1, "fan_in", "uniform"),
    "zeros": initializers.zeros,
    "keras": variance_scaling(1, "fan_avg", "uniform"),
    # torch's kaiming_uniform_(a=√5): uniform in ±1/√fan_in, so the variance is 1/(3·fan_in)
    "pytorch": variance_scaling(1 / 3, "fan_in", "uniform"),
}


def _uniform_by_fan_in(kernel_shape: tuple[int, ...]) -> Initializer:
    deviation = 1 / math.sqrt(3 * max(math.prod(kernel_shape[:-1]), 1))
    return lambda key, shape, dtype=jnp.float32: _drawn("uniform", key, shape, dtype, deviation)


BIAS: dict[str, Callable[[tuple[int, ...]], Initializer]] = {
    "zeros": lambda kernel_shape: initializers.zeros,
    "keras": lambda kernel_shape: initializers.zeros,
    "pytorch": _uniform_by_fan_in,
}


def kernel_initializer(layer: str, init: str | Initializer) -> Initializer:
    """The initializer of a name; ValueError for an unknown name."""
    if callable(init):
        return init
    if not isinstance(init, str) or init not in KERNEL:
        raise ValueError(f"{layer}: `kernel_init` must be a function or one of {', '.join(KERNEL)}; got {init!r}")
    return KERNEL[init]


def bias_initializer(layer: str, init: str | Initializer, kernel_shape: tuple[int, ...]) -> Initializer:
    """The initializer of a name; ValueError for an unknown name. torch's biases depend on the kernel's fan_in."""
    if callable(init):
        return init
    if not isinstance(init, str) or init not in BIAS:
        raise ValueError(f"{layer}: `bias_init` must be a function or one of {', '.join(BIAS)}; got {init!r}")
    return BIAS[init](kernel_shape)


def _drawn(distribution: str, key: jax.Array, shape: tuple[int, ...], dtype, deviation: float) -> jax.Array:
    size = math.prod(shape)
    rounded = size if size > ROUNDED else max(256, 1 << (size - 1).bit_length())
    return _shaped(_row(distribution, key, rounded, dtype), deviation, tuple(shape))


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def _row(distribution: str, key: jax.Array, size: int, dtype) -> jax.Array:
    return DISTRIBUTIONS[distribution](key, (size,), dtype)


@functools.partial(jax.jit, static_argnums=2)
def _shaped(row: jax.Array, deviation: float, shape: tuple[int, ...]) -> jax.Array:
    return deviation * row[: math.prod(shape)].reshape(shape)
