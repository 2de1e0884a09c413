"""Single layers on JAX, for whoever offers a convolution and a max pool."""

import jax
import jax.numpy as jnp
from jax import lax

from benchmark.timing import Program, compiled
from benchmark.windows import TURNS, Convolution, MaxPool, Shape


class LayersOnJax:
    """Forward, input gradient and kernel gradient of single layers."""

    dtype: jnp.dtype

    def conv(self, x: jax.Array, kernel: jax.Array, layer: Convolution) -> jax.Array:
        """The convolution, or its transpose."""
        raise NotImplementedError

    def max_pool(self, x: jax.Array, layer: MaxPool) -> jax.Array:
        """The largest of each window."""
        raise NotImplementedError

    def forward(self, layer: Convolution) -> Program:
        """y."""
        x, kernel, _ = self._arrays(layer.x, layer.kernel, layer.y)
        return compiled(lambda x, kernel: self.conv(x, kernel, layer), x, kernel)

    def dx(self, layer: Convolution) -> Program:
        """The input gradient alone."""
        x, kernel, dy = self._arrays(layer.x, layer.kernel, layer.y)
        transpose = jax.linear_transpose
        return compiled(lambda kernel, dy: transpose(lambda x: self.conv(x, kernel, layer), x)(dy)[0], kernel, dy)

    def dw(self, layer: Convolution) -> Program:
        """The kernel gradient alone."""
        x, kernel, dy = self._arrays(layer.x, layer.kernel, layer.y)
        transpose = jax.linear_transpose
        return compiled(lambda x, dy: transpose(lambda kernel: self.conv(x, kernel, layer), kernel)(dy)[0], x, dy)

    def pool_forward(self, layer: MaxPool) -> Program:
        """y."""
        (x,) = self._arrays(layer.x)
        return compiled(lambda x: self.max_pool(x, layer), x)

    def pool_both(self, layer: MaxPool) -> Program:
        """y, and the input gradient for a cotangent."""
        (x,) = self._arrays(layer.x)
        (dy,) = self._arrays(jax.eval_shape(lambda x: self.max_pool(x, layer), x).shape)

        def both(x, dy):
            y, gradient = jax.vjp(lambda x: self.max_pool(x, layer), x)
            return y, gradient(dy)[0]

        return compiled(both, x, dy)

    def loop(self, layer: Convolution) -> Program:
        """`TURNS` convolutions, each of the one before, inside `lax.while_loop`."""
        x, kernel, _ = self._arrays(layer.x, layer.kernel, layer.y)
        kernel /= layer.kernel[-2] ** 0.5 * 3  # keeps the values where they are

        def turns(x, kernel):
            def turn(state):
                return state[0] + 1, self.conv(state[1], kernel, layer)

            return lax.while_loop(lambda state: state[0] < TURNS, turn, (0, x))[1]

        return compiled(turns, x, kernel)

    def _arrays(self, *shapes: Shape) -> tuple[jax.Array, ...]:
        keys = jax.random.split(jax.random.key(0), len(shapes))
        return tuple(jax.random.normal(key, shape, self.dtype) for key, shape in zip(keys, shapes, strict=True))
