"""The layers of a model that hold arrays, in the order of computation; weights of other libraries go into them."""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.layers import given
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.roles import Role
from jaxcnn.layers.walk import Place, Shape, flow, next_in_chain, shapes, visit, whole
from jaxcnn.models import Model


@dataclass(frozen=True)
class Part:
    """A layer that holds arrays.

    Args:
      path: the names on the way to the layer, joined by slashes.
      kind: the kind of the layer ("conv", "dense", …).
      role: the role of the layer ("convolution", "norm", …).
      arrays: for each leaf ("kernel", "mean", …), the name in the whole tree ("params/conv1/kernel"), shape and dtype.
      flattened: (H, W, C) of the feature map that was flattened into this layer's input features, or None.
      norm: the path of the batch norm that takes this layer's output in a chain, or None.
    """

    path: str
    kind: str
    role: Role
    arrays: Mapping[str, tuple[str, jax.ShapeDtypeStruct]]
    flattened: tuple[int, ...] | None = None
    norm: str | None = None


def parts_of(model: Model) -> tuple[Part, ...]:
    """The parts of a model in the order of computation; only shapes are traced, and nothing is computed.

    Example:
      >>> from jaxcnn import models
      >>> [(part.path, part.flattened) for part in parts_of(models.create("lenet5"))][1:3]
      [('conv2', None), ('dense1', (5, 5, 16))]
    """
    params, state = template(model)
    kinds = {place.path: place.layer.kind for place in visit(model.layer)}
    after = next_in_chain(model.layer)
    reached = shapes(model.layer, model.input_shape, params, state) if "flatten" in kinds.values() else {}
    parts: list[Part] = []

    def step(place: Place, flattened: Shape | None) -> Shape | None:
        """Append a layer's part; return the (H, W, C) whose flattening orders the layer's output features, or None."""
        layer, path = place.layer, place.path
        if layer.kind == "flatten":
            shape = reached[path].input
            return shape if math.prod(shape[:-1]) > 1 else None  # with one position, C, H, W is H, W, C
        arrays = {
            leaf: (f"{tree}/{path}/{leaf}", value)
            for tree, values in (("params", place.params), ("state", place.state))
            for leaf, value in values.items()
        }
        if arrays:
            norm = after.get(path)
            norm = norm if norm and kinds[norm] == "batch_norm" else None
            parts.append(Part(path, layer.kind, layer.role, arrays, flattened, norm))
        return None if layer.role == "dense" else flattened  # units of a dense layer have no place in a map

    flow(whole(model.layer, params, state), None, step, lambda place, before, results: None)
    return tuple(parts)


def template(model: Model) -> tuple[Tree, Tree]:
    """Shapes and dtypes of a model's (params, state), traced once and kept with its layer, so not to be changed."""
    key = (id(model.layer), model.input_shape, jnp.result_type(float))  # the dtype tells whether 64 bits are on
    if key not in _templates:
        _templates[key] = given.template(model)
        weakref.finalize(model.layer, _templates.pop, key, None)
    return _templates[key]


_templates: dict[tuple, tuple[Tree, Tree]] = {}  # keyed by id: layers that hold dicts have no hash
