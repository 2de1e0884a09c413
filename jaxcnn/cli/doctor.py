"""`jaxcnn doctor`: is this machine, with these versions, in order?"""

import jax
import jax.numpy as jnp

from jaxcnn import ops, textbook
from jaxcnn.train.run_folder import versions

FLAG = "XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-reduce"


def doctor() -> int:
    """Print versions and devices, check the fast convolution against the textbook's, and test this jaxlib for a
    known miscompilation of sums on CPU."""
    for name, value in versions().items():
        print(f"{name:12} {value}")
    print(f"{'devices':12} {', '.join(str(device) for device in jax.devices())}")
    error = convolution_error()
    right = error < 1e-4
    print(f"{'conv':12} {'right' if right else 'WRONG'}: against the textbook, value and gradients to {error:.1e}")
    error = sum_error()
    if error < 1e-5:
        print(f"{'sums':12} right: sum((matrix @ vector)²) under jit to {error:.1e}")
    else:
        print(
            f"{'sums':12} WRONG: this jaxlib compiles sum((matrix @ vector)²) on CPU to a wrong program (off by "
            f"{error:.1e}; jax issue 39103). Norms of per-example gradients are such sums. To avoid it, set {FLAG}"
        )
    return 0 if right else 1


def convolution_error() -> float:
    """The largest relative difference of `ops.conv` and `textbook.conv2d`, in value and both gradients."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, w = jax.random.normal(keys[0], (4, 12, 12, 5)), jax.random.normal(keys[1], (3, 3, 5, 7))
    y, fast = jax.vjp(lambda x, w: ops.conv(x, w, padding="SAME"), x, w)
    expected, slow = jax.vjp(lambda x, w: textbook.conv2d(x, w, padding="SAME"), x, w)
    dy = jax.random.normal(keys[2], y.shape)
    pairs = zip((y, *fast(dy)), (expected, *slow(dy)), strict=True)
    return max(float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in pairs)


def sum_error() -> float:
    """The relative error of a jitted "dot, square, sum" at a size where jaxlib 0.10.2 gets it wrong on CPU."""
    n = 32_769
    i = jnp.arange(n, dtype=jnp.float32)
    rows = jnp.stack([i, jnp.zeros_like(i), jnp.zeros_like(i)], axis=1)
    identity = jnp.eye(3)
    norms = jax.jit(jax.vmap(lambda row: jnp.sum((identity @ row) ** 2)))(rows)
    return float(jnp.abs(norms - i**2).max() / (i**2).max())
