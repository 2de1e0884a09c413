"""What each value of a network can see of its input, read from the network's jaxpr.

Every layer becomes a few primitives whose parameters hold its geometry: windows with stride, padding and dilation,
reductions, products, reshapes. So no layer has to be known here by name, and branches and residual blocks join where
their values meet.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.inspect.box_rules import Boxes, blind, rule_of
from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree
from jaxcnn.ops.jaxprs import Equation, evaluated


def boxes_of(layer: Layer, params: Tree, state: Tree, input_shape: tuple[int, ...]) -> Boxes:
    """The boxes of a layer's output for one image, edges of shape (1, *output shape).

    Args:
      layer: any layer.
      params, state: the layer's, or their shapes.
      input_shape: (*spatial, C).

    Raises:
      ValueError: a primitive that has no rule in `box_rules.py`.
    """
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda params, state, x: layer.apply(params, state, x)[0])(params, state, x)
    edges = []
    for axis in range(1, len(input_shape)):
        position = np.arange(x.shape[axis]).reshape(-1, *(1,) * (len(input_shape) - axis))
        edges += [np.broadcast_to(position, x.shape), np.broadcast_to(-position, x.shape)]
    pixels = Boxes(tuple(edges), tuple(edges), (1,) * (len(input_shape) - 1))
    (result,) = evaluated(jaxpr, [*[None] * (len(jaxpr.in_avals) - 1), pixels], _results)
    return result if isinstance(result, Boxes) else blind(jaxpr.out_avals[0].shape, len(pixels.step))


# ---------------------------------------------------------------------------------------------------------------------
# A value is a Boxes if it depends on the input, an array if it is a known constant, and None if it is a parameter.


def _results(equation: Equation, values: list[Any]) -> list[Any]:
    seeing = [value for value in values if isinstance(value, Boxes)]
    if not seeing:
        if any(value is None for value in values):
            return [None] * len(equation.outvars)
        result = equation.primitive.bind(*values, **equation.params)  # such as the indices that an older JAX slices by
        return list(result) if equation.primitive.multiple_results else [result]
    result = rule_of(equation)(equation, *values)
    results = [result] if isinstance(result, Boxes) else result
    return [part.broadcast(v.aval.shape) for part, v in zip(results, equation.outvars, strict=True)]
