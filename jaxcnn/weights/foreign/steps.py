"""A network as a graph of the steps it computes, in words that two libraries share.

Each step is a node with the nodes it takes its inputs from. Layers that do nothing at inference (dropout) are no steps,
and neither are those that only reorder values (flattening: the shapes of kernels tell what it did). A fused activation
is a step of its own; a separable convolution is two steps.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxcnn.layers.roles import WITH_ARRAYS, role_of
from jaxcnn.layers.walk import Place, Shape, flow, shapes, whole
from jaxcnn.models import Model
from jaxcnn.weights.parts import template
from jaxcnn.weights.settings.plain import plain, transposed

MERGES = ("add", "concatenate")


@dataclass(frozen=True, eq=False)
class Node:
    """One step of a network.

    Args:
      kind: what the step does ("conv", "relu", "add", "input", …).
      name: the layer's name in its library.
      settings: the layer's settings, by our names of them.
      inputs: the nodes whose outputs the step takes.
      shape: the shape of the first input without the batch axis; None if it is not known.
      words: the library's own words for the settings ("epsilon" for eps), for messages.
      place: the number of steps before this one, as the library counts them; orders messages.
      sources: the step itself if it has arrays or is the input; else the nearest such steps before it, by name.
    """

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple["Node", ...] = ()
    shape: tuple[int | None, ...] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    place: int = 0

    def __post_init__(self) -> None:
        has_arrays = role_of(self.kind) in WITH_ARRAYS or self.kind == "input"
        before = frozenset().union(*(node.sources for node in self.inputs))
        object.__setattr__(self, "sources", frozenset({self.name}) if has_arrays else before)

    sources: frozenset[str] = field(init=False, default=frozenset())

    @property
    def role(self) -> str:
        """Steps of one role can be compared: "arrays", "merge", "pool", "activation"; for other steps, the kind."""
        role = role_of(self.kind)
        if role in WITH_ARRAYS:
            return "arrays"
        if self.kind in MERGES:
            return "merge"
        return role if role in ("pool", "activation") else self.kind


def activation(kind: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind and settings that an activation has here: relu6 is relu with a largest value, and swish is silu."""
    defaults: dict[str, dict[str, Any]] = {
        "relu": {"max_value": None},
        "leaky_relu": {"negative_slope": 0.01},
        "elu": {"alpha": 1.0},
        "gelu": {"approximate": False},
    }
    if kind == "relu6":
        return "relu", {"max_value": 6.0}
    kind = {"swish": "silu"}.get(kind, kind)
    return kind, {**defaults.get(kind, {}), **settings}


def graph_of(model: Model) -> Node:
    """The last step of a model at inference. Only shapes are traced; nothing is computed.

    Example:
      >>> from jaxcnn import models
      >>> last = graph_of(models.create("lenet5"))
      >>> last.kind, last.name, last.inputs[0].kind, last.inputs[0].inputs[0].name
      ('dense', 'dense3', 'relu', 'dense2')
    """
    params, state = template(model)
    reached = shapes(model.layer, model.input_shape, params, state)
    places = itertools.count(1)

    def node(kind: str, path: str, settings: Mapping[str, Any], inputs: Sequence[Node], shape: Shape) -> Node:
        return Node(kind, path, settings, tuple(inputs), shape, place=next(places))

    def step(place: Place, before: Node) -> Node:
        layer, (shape, after) = place.layer, reached[place.path]
        kind, settings = layer.kind, plain(layer)
        if place.training_only or layer.role in ("dropout", "shape"):
            return before
        if kind == "adaptive_avg_pool" and after == shape:
            return before
        if layer.role == "activation":
            kind, settings = activation(kind, settings)
        elif kind == "conv_transpose":
            settings = transposed(settings)
        elif kind == "adaptive_avg_pool" and set(after[:-1]) == {1}:
            kind, settings = "global_avg_pool", {}
        return node(kind, place.name, settings, [before], shape)

    def join(place: Place, before: Node, results: Sequence[Node]) -> Node:
        layer, path, shape = place.layer, place.path, reached[next(place.children()).path].output
        if layer.kind == "branches":
            return node("concatenate", path, {}, results, shape)
        total = node("add", path, {}, results if len(results) > 1 else [*results, before], shape)
        if after := layer.settings.get("activation"):
            kind, settings = activation(after, {})
            total = node(kind, path, settings, [total], shape)
        return total

    start = Node("input", "input", shape=model.input_shape)
    return flow(whole(model.layer, params, state), start, step, join, _is_step)


def _is_step(place: Place) -> bool:
    layer = place.layer
    left_out = place.training_only or layer.role == "dropout"
    return left_out or not (layer.chained or layer.kind in ("residual", "branches"))
