"""A network as what it computes, step by step, in words that two libraries share.

Each step is a node with the nodes it takes its inputs from. What does nothing at inference (dropout), and what only
orders values in memory (flattening; the shapes of kernels tell about it), is no step. A fused activation is one of its
own; a separable convolution is two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxcnn.layers import Layer, output_shape
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.parts import KINDS, template
from jaxcnn.weights.settings.plain import IDENTITIES, plain, transposed

POOLS = ("max_pool", "avg_pool", "lp_pool", "global_max_pool", "global_avg_pool", "adaptive_avg_pool")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softmax")
MERGES = ("add", "concatenate")


@dataclass(frozen=True, eq=False)
class Node:
    """One step.

    Args:
      kind: what it does ("conv", "relu", "add", "input", …).
      name: of the layer, in its library.
      settings: by their names here.
      inputs: the nodes whose outputs it takes.
      shape: of its first input, without the batch axis, where that is known.
      words: the library's own words for settings ("epsilon" for eps), for messages.
      place: how many steps the library counts before it.
      sources: the layers with arrays, or the input, that reach it without another one between.
    """

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple["Node", ...] = ()
    shape: tuple[int | None, ...] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    place: int = 0

    def __post_init__(self) -> None:
        has_arrays = self.kind in KINDS or self.kind == "input"
        before = frozenset().union(*(node.sources for node in self.inputs))
        object.__setattr__(self, "sources", frozenset({self.name}) if has_arrays else before)

    sources: frozenset[str] = field(init=False, default=frozenset())

    @property
    def role(self) -> str:
        """What it can be compared with: layers with arrays, pools, activations, merges, the input, anything else."""
        roles = ((KINDS, "arrays"), (POOLS, "pool"), (ACTIVATIONS, "activation"), (MERGES, "merge"))
        return next((role for kinds, role in roles if self.kind in kinds), self.kind)


def activation(kind: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind and settings of an activation by its name: relu6 is relu with a largest value, swish is silu."""
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
    """The last step of a model at inference; shapes only, nothing is computed.

    Example:
      >>> from jaxcnn import models
      >>> last = graph_of(models.create("lenet5"))
      >>> last.kind, last.name, last.inputs[0].kind, last.inputs[0].inputs[0].name
      ('dense', 'dense3', 'relu', 'dense2')
    """
    params, state = template(model)
    start = Node("input", "input", shape=model.input_shape)
    return _Walk().along(model.layer, "", params, state, start, model.input_shape)[0]


class _Walk:
    def __init__(self) -> None:
        self.count = 0
        self.shapes: dict[Any, tuple[int, ...]] = {}  # of outputs: deep networks repeat the same few layers

    def along(
        self, layer: Layer, path: str, params: Tree, state: Tree, before: Node, shape: tuple[int, ...]
    ) -> tuple[Node, tuple[int, ...]]:
        """The step that gives a layer's output, and the output's shape."""
        if layer.kind in IDENTITIES:
            return before, shape
        if layer.chained:
            for name, child in layer.children.items():
                if name not in layer.aside:
                    before, shape = self._child(name, child, path, params, state, before, shape)
            return before, shape
        if layer.kind not in ("residual", "branches"):
            return self._leaf(layer, path, params, state, before, shape)
        parts = [self._child(name, child, path, params, state, before, shape) for name, child in layer.children.items()]
        nodes, shapes = [node for node, _ in parts], [shape for _, shape in parts]
        if layer.kind == "branches":
            width = sum(each[-1] for each in shapes)
            return self._node("concatenate", path, {}, nodes, shapes[0]), (*shapes[0][:-1], width)
        total = self._node("add", path, {}, nodes if len(nodes) > 1 else [*nodes, before], shapes[0])
        if after := layer.settings.get("activation"):
            kind, settings = activation(after, {})
            total = self._node(kind, path, settings, [total], shapes[0])
        return total, shapes[0]

    def _child(self, name, child, path, params, state, before, shape):
        place = f"{path}/{name}" if path else name
        return self.along(child, place, params.get(name, {}), state.get(name, {}), before, shape)

    def _leaf(self, layer, path, params, state, before, shape):
        after = self._output_shape(layer, params, state, shape)
        if layer.kind == "flatten" or (layer.kind == "adaptive_avg_pool" and after == shape):
            return before, after
        kind, settings = layer.kind, plain(layer)
        if kind in ACTIVATIONS:
            kind, settings = activation(kind, settings)
        elif kind == "conv_transpose":
            settings = transposed(settings)
        elif kind == "adaptive_avg_pool" and set(after[:-1]) == {1}:
            kind, settings = "global_avg_pool", {}
        return self._node(kind, path or layer.kind, settings, [before], shape), after

    def _output_shape(self, layer, params, state, shape) -> tuple[int, ...]:
        if layer.kind not in KINDS:
            return output_shape(layer, params, state, shape)
        sizes = tuple((name, leaf.shape) for name, leaf in params.items())
        key = (layer.kind, repr(plain(layer)), sizes, shape)
        if key not in self.shapes:
            self.shapes[key] = output_shape(layer, params, state, shape)
        return self.shapes[key]

    def _node(self, kind, path, settings, inputs, shape) -> Node:
        self.count += 1
        return Node(kind, path, settings, tuple(inputs), shape, place=self.count)
