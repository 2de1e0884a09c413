"""What each value of a network can see of its input, read from the network's jaxpr.

Every layer becomes a few primitives whose parameters hold its geometry: windows with stride, padding and dilation,
reductions, products, reshapes. So no layer has to be known here by name, and branches and residual blocks join where
their values meet.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree
from jaxcnn.viz.sight_rules import RULES, Equation, Sight, blind

CALLS = {"checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit", "remat2"}


def sight(layer: Layer, params: Tree, state: Tree, input_shape: tuple[int, ...]) -> Sight:
    """The sight of a layer's output for one image, edges of shape (1, *output shape).

    Args:
      layer: any layer.
      params, state: the layer's, or their shapes.
      input_shape: (*spatial, C).

    Raises:
      ValueError: a primitive that has no rule in `sight_rules.py`.
    """
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda params, state, x: layer.apply(params, state, x)[0])(params, state, x)
    edges = []
    for axis in range(1, len(input_shape)):
        position = np.arange(x.shape[axis]).reshape(-1, *(1,) * (len(input_shape) - axis))
        edges += [np.broadcast_to(position, x.shape), np.broadcast_to(-position, x.shape)]
    pixels = Sight(tuple(edges), tuple(edges), (1,) * (len(input_shape) - 1))
    (result,) = _run(jaxpr, [*[None] * (len(jaxpr.in_avals) - 1), pixels])
    return result if isinstance(result, Sight) else blind(jaxpr.out_avals[0].shape, len(pixels.step))


# ---------------------------------------------------------------------------------------------------------------------
# Walking a jaxpr. A value is a Sight if it depends on the input, an array if it is a known constant, and None if it is
# a parameter.


def _run(closed: ClosedJaxpr | Jaxpr, values: Sequence[Any]) -> list[Any]:
    jaxpr: Any = getattr(closed, "jaxpr", closed)
    known = dict(zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True))
    known |= dict(zip(jaxpr.invars, values, strict=True))

    def read(variable):
        return variable.val if isinstance(variable, Literal) else known[variable]

    for eqn in jaxpr.eqns:
        known |= dict(zip(eqn.outvars, _equation(eqn, [read(v) for v in eqn.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _equation(eqn: Equation, values: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    if name in CALLS:
        (inner,) = (value for value in eqn.params.values() if hasattr(value, "eqns"))
        return _run(inner, values)
    sights = [value for value in values if isinstance(value, Sight)]
    if not sights:
        if any(value is None for value in values):
            return [None] * len(eqn.outvars)
        result = eqn.primitive.bind(*values, **eqn.params)  # such as the indices that an older JAX slices by
        return list(result) if eqn.primitive.multiple_results else [result]
    if name not in RULES:
        raise ValueError(f"receptive_field: there is no rule for the primitive {name!r}, which the layer computes")
    result = RULES[name](eqn, *values)
    results = [result] if isinstance(result, Sight) else result
    return [part.broadcast(v.aval.shape) for part, v in zip(results, eqn.outvars, strict=True)]
