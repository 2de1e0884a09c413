"""The full connection, and the flattening before it."""

import math

from jaxcnn.layers.affine import Init, affine, count
from jaxcnn.layers.layer import Layer, makes_layer, stateless


@makes_layer
def Dense(
    out_features: int, *, use_bias: bool = True, kernel_init: Init = "glorot_uniform", bias_init: Init = "zeros"
) -> Layer:
    """A full connection: y = x·kernel + bias, on the last axis.

    Args:
      out_features: the number of units.
      use_bias, kernel_init, bias_init: as in `Conv`.

    Returns:
      A Layer with params `{"kernel": (in, out_features), "bias": (out_features,)}`.

    Raises:
      ValueError, TypeError: as `Conv`.

    Example:
      >>> import jax
      >>> params, _ = Dense(10).init(jax.random.key(0), (84,))
      >>> params["kernel"].shape
      (84, 10)
    """
    out_features = count("Dense", "out_features", out_features)

    def product(x, kernel):
        if x.shape[-1] != kernel.shape[0]:
            raise ValueError(
                f"dense: `kernel` expects {kernel.shape[0]} input features but `x` has {x.shape[-1]}; x {x.shape}, "
                f"kernel {kernel.shape}"
            )
        return x @ kernel

    return affine(
        "Dense", "dense", product, lambda shape: (shape[-1], out_features), {}, use_bias, kernel_init, bias_init
    )


@makes_layer
def Flatten() -> Layer:
    """All axes but the first as one: (N, H, W, C) to (N, H·W·C).

    Example:
      >>> from jax import numpy as jnp
      >>> y, _ = Flatten().apply({}, {}, jnp.ones((2, 5, 5, 16)))
      >>> y.shape
      (2, 400)
    """
    return stateless("flatten", lambda x: x.reshape(x.shape[0], math.prod(x.shape[1:])))
