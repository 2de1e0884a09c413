"""Known faults of jaxlib, each with a small program that shows whether this jaxlib has it.

jaxcnn's own functions avoid these faults; a program of your own may meet them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@dataclass(frozen=True)
class Fault:
    """A fault of some versions.

    Args:
      name: one word.
      found: runs the program, and says what is wrong on the default device; "" if nothing is.
      about: what the fault is, where it is reported, and how to avoid it.
    """

    name: str
    found: Callable[[], str]
    about: str


def sums() -> str:
    """jit(dot, square, sum) at a size where jaxlib 0.10.2 compiles it wrongly on CPU."""
    n = 32_769
    i = jnp.arange(n, dtype=jnp.float32)
    rows = jnp.stack([i, jnp.zeros_like(i), jnp.zeros_like(i)], axis=1)
    identity = jnp.eye(3)
    norms = jax.jit(jax.vmap(lambda row: jnp.sum((identity @ row) ** 2)))(rows)
    error = float(jnp.abs(norms - i**2).max() / (i**2).max())
    # On a device that multiplies in few bits all sums are off by up to 2**-7; the first sum is exact everywhere.
    return f"off by {error:.1e}" if error > 1e-4 and float(norms[1]) == 1 else ""


def shifts() -> str:
    """Writing a shifted slice of an array into itself and reshaping it, which should give [1, 1, 2, 3]."""

    def shifted(x):
        base = x + np.int32(1)
        return lax.dynamic_update_slice(base, base[:3], (1, 0, 0)).reshape((1, 4, 1))

    found = np.asarray(jax.jit(shifted)(np.arange(4, dtype=np.int32).reshape(4, 1, 1))).ravel().tolist()
    return "" if found == [1, 1, 2, 3] else f"{found} in place of [1, 1, 2, 3]"


def maxima() -> str:
    """The maximum of some thousand numbers, one of which is NaN."""
    found = float(jax.jit(jnp.max)(jnp.ones(4096).at[0].set(jnp.nan)))
    return "" if np.isnan(found) else f"{found:g} in place of nan"


def loops() -> str:
    """Writing one number at a time into a small and into a large array, which should take the same time."""
    trips, sizes = 2_000, (2_000, 1_000_000)

    def seconds(size: int) -> float:
        @jax.jit
        def fill(x):
            return lax.fori_loop(0, trips, lambda i, x: x.at[i].set(x[i] + 1), x)

        best = float("inf")
        for _ in range(4):  # the first round compiles
            x = jax.block_until_ready(jnp.zeros(size))
            start = time.perf_counter()
            jax.block_until_ready(fill(x))
            best = min(best, time.perf_counter() - start)
        return best

    small, large = map(seconds, sizes)
    slower = large / small
    return (
        f"{slower:,.0f} times slower in an array of {sizes[1]:,} than of {sizes[0]:,}"
        if large > 0.1 < slower / 20
        else ""
    )


FAULTS = (
    Fault(
        "sums",
        sums,
        "sum((matrix @ vector)²) under jit, as in norms of per-example gradients; https://github.com/jax-ml/jax/issues/"
        "39103. XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-reduce avoids it",
    ),
    Fault(
        "shifts",
        shifts,
        "x.at[1:].set(x[:-1]) and a reshape under jit; https://github.com/openxla/xla/issues/49176. "
        "jnp.concatenate([x[:1], x[:-1]]) avoids it",
    ),
    Fault(
        "maxima",
        maxima,
        "jnp.max and jnp.min of some thousand values, one of them NaN; compare https://github.com/openxla/xla/issues/"
        "21461. jnp.isnan(x).any() finds it",
    ),
    Fault(
        "loops",
        loops,
        "writing less than 256 bytes at a time into a large array in lax.fori_loop or lax.scan; "
        "https://github.com/jax-ml/jax/issues/40101. Larger pieces, or jax 0.11.0, avoid it",
    ),
)
