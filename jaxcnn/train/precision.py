"""The dtypes of a network's parameters, layers and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Policy:
    """Mixed precision: parameters in one dtype, layers in a smaller one, logits and losses in a larger one.

    Call the policy with an `apply` to get one in these dtypes. Sums inside convolutions, dense layers and norms are in
    float32 at least, whatever the dtypes; running statistics keep their dtype; gradients have that of the parameters.
    bfloat16 has the range of float32 and needs no loss scaling; float16 would, so train with bfloat16.

    Args:
      param: dtype of the parameters, and so of the optimizer's state. In bfloat16, small updates of large parameters
        are lost.
      compute: dtype of images and parameters inside the network.
      output: dtype of the network's outputs.

    Raises:
      ValueError: a dtype that is not floating.

    Example:
      >>> from jaxcnn.layers import Dense
      >>> layer, half = Dense(2), Policy(compute=jnp.bfloat16)
      >>> params, state = layer.init(jax.random.key(0), (3,))
      >>> y, _ = half(layer.apply)(params, state, jnp.ones((1, 3)))
      >>> y.dtype, bool((y == y.astype(jnp.bfloat16)).all())
      (dtype('float32'), True)

    Source: Micikevicius et al., Mixed precision training (2017); the three dtypes are those of DeepMind's jmp.
    """

    param: Any = jnp.float32
    compute: Any = jnp.float32
    output: Any = jnp.float32

    def __post_init__(self) -> None:
        for name in ("param", "compute", "output"):
            given = getattr(self, name)
            try:
                dtype = jnp.dtype(given)
            except TypeError:
                dtype = None
            if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(f"Policy: `{name}` must be a floating dtype, such as jnp.bfloat16; got {given!r}")
            object.__setattr__(self, name, dtype)

    def __call__(self, apply: Callable) -> Callable:
        """`apply` with its images and parameters cast to `compute`, its outputs to `output`."""

        def cast_apply(params, state, x, *, train=False, key=None):
            params, x = cast((params, x), self.compute)
            outputs, state = apply(params, state, x, train=train, key=key)
            return cast(outputs, self.output), state

        return cast_apply

    def __str__(self) -> str:
        return f"param {self.param}, compute {self.compute}, output {self.output}"


def cast(tree: Any, dtype: Any) -> Any:
    """The tree with its floating arrays in `dtype`."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)
