"""The borders of dx, where a weight is not finite.

dx = dy ⊗ rot180(w) is computed under full padding, which most algorithms multiply by the weights. 0 · ∞ is NaN, but the
definition has no such term: input i is reached by tap k only where output (i + p − δ·k) / s exists. So a kernel with
weights that are not finite is gone over tap by tap, and each tap's products are put where they belong. The check costs
a training step 0 to 3 % of its time, and its compilation 5 to 15.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops.algorithms.layouts import Layout
from jaxcnn.ops.bilinear import varying_like
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.windows import accumulator, every, pad


def kept(dx: jax.Array, y: jax.Array, w: jax.Array, window: Window, layout: Layout) -> jax.Array:
    """dx as it is, or tap by tap where a weight is not finite.

    Args:
      dx, y, w: in this layout; w as in the convolution, not rotated.
      window: of the convolution.
      layout: of all three.
    """
    if not jnp.issubdtype(w.dtype, jnp.floating):
        return dx
    first = layout.lead + 2  # the first spatial axis
    axes = range(first, first + window.rank)
    size, out = [dx.shape[a] for a in axes], [y.shape[a] for a in axes]
    befores = [before for before, _ in window.padding]
    reach = [d * (k - 1) for d, k in zip(window.dilation, window.size, strict=True)]
    spans = [(o - 1) * s + 1 for o, s in zip(out, window.stride, strict=True)]
    sides = tuple(
        (before, max(0, n + p - span)) for before, n, p, span in zip(reach, size, befores, spans, strict=True)
    )
    around = Window(window.size, window.stride, sides, window.dilation)
    starts = jnp.asarray(np.add(reach, befores) - list(window.offsets()), jnp.int32)  # (taps, rank)

    def add(k, total):
        placed = pad(layout.through_tap(y, w, k), around, spread=window.stride, axis=first)
        start = [jnp.int32(0)] * dx.ndim
        start[first : first + window.rank] = list(starts[k])
        return total + lax.dynamic_slice(placed, start, dx.shape).astype(total.dtype)

    def tap_by_tap(dx):
        zero = varying_like(jnp.zeros(dx.shape, accumulator(dx.dtype)), dx)
        return lax.fori_loop(0, window.taps, add, zero).astype(dx.dtype)

    finite = every(jnp.isfinite(w))
    if max(window.stride) > 1:  # XLA moves the phases' change of places into a conditional: 16 ms, with a loop 19
        return lax.cond(finite, lambda dx: dx, tap_by_tap, dx)
    done = varying_like(jnp.array(True), w)
    # a loop of one turn at most works in place; a conditional copies dx: 150 ms a step of cifar10_cnn instead of 137
    return lax.while_loop(lambda state: ~state[0], lambda state: (done, tap_by_tap(state[1])), (finite, dx))[1]
