"""The layers of a model that hold arrays, in the order of computation: what foreign weights are assigned to."""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp

from jaxcnn.layers.layer import Layer, Tree, output_shape
from jaxcnn.models import Model

KINDS = {
    "conv": "convolution",
    "depthwise_conv": "convolution",
    "conv_transpose": "convolution",
    "dense": "dense",
    "batch_norm": "norm",
    "layer_norm": "norm",
    "group_norm": "norm",
}


@dataclass(frozen=True)
class Part:
    """One layer with arrays.

    Args:
      path: the names on the way to it, joined by slashes.
      kind: the layer's ("conv", "dense", …).
      arrays: by leaf name ("kernel", "mean", …): its name in the whole tree ("params/conv1/kernel"), shape and dtype.
      flattened: (H, W, C) of the map whose flattening orders this layer's input features; None where none is.
      norm: the path of the batch norm that takes this layer's output in a chain, or None.
    """

    path: str
    kind: str
    arrays: Mapping[str, tuple[str, jax.ShapeDtypeStruct]]
    flattened: tuple[int, ...] | None = None
    norm: str | None = None


def parts_of(model: Model) -> tuple[Part, ...]:
    """The parts of a model in the order of computation; shapes only, nothing is computed.

    Example:
      >>> from jaxcnn import models
      >>> [(part.path, part.flattened) for part in parts_of(models.create("lenet5"))][1:3]
      [('conv2', None), ('dense1', (5, 5, 16))]
    """
    params, state = template(model)
    parts: list[Part] = []
    _walk(parts, model.layer, "", params, state, model.input_shape, None, None)
    return tuple(parts)


def template(model: Model) -> tuple[Tree, Tree]:
    """Shapes and dtypes of a model's (params, state), to be read only: traced once for each layer and kept with it."""
    key = (id(model.layer), model.input_shape, jnp.result_type(float))  # which says whether 64 bits are on
    if key not in _templates:
        _templates[key] = jax.eval_shape(model.init, jax.random.key(0))
        weakref.finalize(model.layer, _templates.pop, key, None)
    return _templates[key]


_templates: dict[tuple, tuple[Tree, Tree]] = {}  # a layer of dicts has no hash, so its identity stands for it


Shape = tuple[int, ...]


def _walk(
    parts: list[Part],
    layer: Layer,
    path: str,
    params: Tree,
    state: Tree,
    shape: Shape,
    flattened: Shape | None,
    norm: str | None,
) -> Shape | None:
    """Append the parts of a layer whose input has `shape`; the map that orders its output features, if one does."""
    if not layer.children:
        return _leaf(parts, layer, path, params, state, shape, flattened, norm)
    after = None
    chain = [name for name in layer.children if layer.chained and name not in layer.aside]
    norms = {a: f"{path}{b}" for a, b in pairwise(chain) if layer.children[b].kind == "batch_norm"}
    last = max((i for i, child in enumerate(layer.children.values()) if _flattens(child)), default=-1)
    for i, (name, child) in enumerate(layer.children.items()):
        p, s = params.get(name, {}), state.get(name, {})
        # only a dense layer's own path is without the slash that leads on to its children
        way = f"{path}{name}{'/' if child.children else ''}"
        reached = _walk(parts, child, way, p, s, shape, flattened, norms.get(name))
        if name in chain:
            after = flattened = reached
            if i < last:  # shapes are traced only as far as a flattening needs them
                shape = output_shape(child, p, s, shape)
    return after


def _leaf(parts, layer, path, params, state, shape, flattened, norm) -> Shape | None:
    if layer.kind == "flatten":
        return shape if math.prod(shape[:-1]) > 1 else None  # one position: C, H, W and H, W, C are the same order
    arrays = {
        leaf: (f"{tree}/{path}/{leaf}", value)
        for tree, values in (("params", params), ("state", state))
        for leaf, value in values.items()
    }
    if arrays:
        parts.append(Part(path, layer.kind, arrays, flattened, norm))
    return None if layer.kind == "dense" else flattened  # its units are in no such order


def _flattens(layer: Layer) -> bool:
    return layer.kind == "flatten" or any(_flattens(child) for child in layer.children.values())
