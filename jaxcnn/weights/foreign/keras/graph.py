"""The network that a Keras configuration describes, as steps of `jaxcnn/weights/foreign/steps.py`."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxcnn.layers.roles import WITH_ARRAYS, role_of
from jaxcnn.weights.foreign.keras.layers import Config, steps_of
from jaxcnn.weights.foreign.steps import Node

NOT_NEGATIVE = ("relu", "sigmoid", "softmax", "input")  # steps after which zeros around a map cannot win in a max pool
Tensor = tuple[str, int, int]  # the layer, the number of the call, the number of the output


def layers_in(config: Any) -> list[Config] | None:
    """The layers of a Sequential or functional model's configuration; None for any other model."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    if isinstance(inner, list):  # a Sequential model of Keras before 2.2
        return inner
    layers = inner.get("layers") if isinstance(inner, Mapping) else None
    return layers if isinstance(layers, list) else None


def graph_from(config: Config, names: Mapping[tuple[str, ...], str]) -> Node:
    """The last step of a model.

    Args:
      config: the configuration ("class_name" and "config") of a model in which `layers_in` finds layers.
      names: names for the layers in nested models, by the names of those models; by default the layers' own names.

    Raises:
      Exception: the configuration is malformed; the kind of exception depends on how.
    """
    return _Builder(names).model(config, None, ())


class _Builder:
    def __init__(self, names: Mapping[tuple[str, ...], str]) -> None:
        self.names, self.count = names, 0

    def model(self, config: Config, given: Sequence[Node] | None, way: tuple[str, ...]) -> Node:
        """The output of a model for given inputs; for its own input layers if none are given."""
        layers = layers_in(config) or []
        if isinstance(config["config"], Mapping) and "output_layers" in config["config"]:
            return self._functional(config["config"], layers, given, way)
        return self._chain(layers, given, way)

    def _chain(self, layers: Sequence[Config], given: Sequence[Node] | None, way: tuple[str, ...]) -> Node:
        before = given[0] if given else None
        for layer in layers:
            shape = _input_shape(layer["config"])
            if before is None:
                before = Node("input", "input", shape=shape, place=self._next())
            if layer["class_name"] != "InputLayer":
                before = self._call(layer, [before], 0, way)
        if before is None:
            raise ValueError("a model without layers")
        return before

    def _functional(
        self, config: Config, layers: Sequence[Config], given: Sequence[Node] | None, way: tuple[str, ...]
    ) -> Node:
        reached: dict[Tensor, Node] = {}
        starts = [name for name, _, _ in _tensors(config["input_layers"])]
        for i, name in enumerate(starts):
            own = next(layer for layer in layers if _name(layer) == name)
            fresh = Node("input", "input" if len(starts) == 1 else name, shape=_input_shape(own["config"]))
            reached[name, 0, 0] = given[i] if given else fresh
        calls = [
            (layer, i, call)
            for layer in layers
            if _name(layer) not in starts
            for i, call in enumerate(layer.get("inbound_nodes") or [])
        ]
        while calls:
            later = []
            for layer, i, call in calls:
                tensors = list(_tensors(call))
                if all(tensor in reached for tensor in tensors):
                    inputs = [reached[tensor] for tensor in tensors]
                    reached[_name(layer), i, 0] = self._call(layer, inputs, i, way, _constants(call))
                else:
                    later.append((layer, i, call))
            if len(later) == len(calls):
                raise ValueError(f"the inputs of {_name(later[0][0])!r} come from no layer before it")
            calls = later
        ends = [reached[tensor] for tensor in _tensors(config["output_layers"])]
        if len(ends) == 1:
            return ends[0]
        return Node("several outputs", str(config.get("name", "")), {}, tuple(ends), place=self._next())

    def _call(
        self, layer: Config, inputs: list[Node], call: int, way: tuple[str, ...], constants: Sequence[Any] = ()
    ) -> Node:
        way = (*way, _name(layer))
        if layers_in(layer) is not None:
            if call:
                return Node("second call of a model", _name(layer), {}, tuple(inputs), place=self._next())
            return self.model(layer, inputs, way)
        class_name = str(layer["class_name"]).rpartition(">")[2]
        for kind, suffix, settings, words in steps_of(class_name, layer["config"]):
            if call and role_of(kind) in WITH_ARRAYS:
                kind = f"second call of {kind}"
            if constants:
                settings = {**settings, "arguments": list(constants)}
            name = f"{self.names.get(way, way[-1])}{suffix}"
            node = Node(kind, name, settings, tuple(inputs), words=words, place=self._next())
            inputs = [_with_padding(node)]
        if len(inputs) != 1:
            raise ValueError(f"{_name(layer)!r} takes {len(inputs)} inputs")
        return inputs[0]

    def _next(self) -> int:
        self.count += 1
        return self.count


def _with_padding(node: Node) -> Node:
    """Take a layer of zero padding into the convolution or pool after it, since here these have the padding."""
    before = node.inputs[0] if len(node.inputs) == 1 else None
    if before is None or before.kind != "zero_padding" or not _is_valid(node.settings.get("padding")):
        return node
    more: dict[str, Any] = {"padding": before.settings["padding"]}
    if node.kind == "avg_pool":
        more["count_include_pad"] = True
    elif node.kind == "max_pool":
        if before.inputs[0].kind not in NOT_NEGATIVE:
            return node
    elif node.kind not in ("conv", "depthwise_conv"):
        return node
    return dataclasses.replace(node, settings={**node.settings, **more}, inputs=before.inputs)


def _is_valid(padding: Any) -> bool:
    return isinstance(padding, list) and not any(side for pair in padding for side in pair)


def _name(layer: Config) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _input_shape(config: Config) -> tuple[int | None, ...] | None:
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    return tuple(shape[1:]) if isinstance(shape, list | tuple) else None


def _tensors(value: Any) -> Iterator[Tensor]:
    """All references to outputs of layers: ["name", call, output, …] in Keras 2, mappings with a history in Keras 3."""
    if isinstance(value, Mapping):
        history = value["config"].get("keras_history") if value.get("class_name") == "__keras_tensor__" else None
        if history is not None:
            yield str(history[0]), int(history[1]), int(history[2])
        else:
            for part in value.values():
                yield from _tensors(part)
    elif isinstance(value, list | tuple):
        if len(value) >= 3 and isinstance(value[0], str) and all(type(part) is int for part in value[1:3]):
            if value[0] != "_CONSTANT_VALUE":
                yield value[0], value[1], value[2]
            value = value[3:]
        for part in value:
            yield from _tensors(part)


def _constants(call: Any) -> list[Any]:
    """The numbers among the arguments of a call in Keras 3, as in x * 2."""
    arguments = call.get("args", ()) if isinstance(call, Mapping) else ()
    return [value for value in arguments if isinstance(value, int | float) and not isinstance(value, bool)]
