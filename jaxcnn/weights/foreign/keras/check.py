"""Whether a Keras model and a model of ours compute the same."""

import dataclasses
from collections.abc import Mapping

from jaxcnn.files.errors import WeightsError
from jaxcnn.models import Model
from jaxcnn.weights.foreign.comparison import Comparison
from jaxcnn.weights.foreign.keras.contents import Contents
from jaxcnn.weights.foreign.keras.graph import graph_from, layers_in
from jaxcnn.weights.foreign.keras.layers import is_unit_scale
from jaxcnn.weights.foreign.steps import Node, graph_of
from jaxcnn.weights.parts import parts_of

SHOWN = 8
LOSSES = {"softmax": "softmax_cross_entropy", "sigmoid": "sigmoid_binary_cross_entropy"}


def differences(source: Contents, model: Model, names: Mapping[str, str]) -> list[str]:
    """Compare a Keras model with ours; return sentences about what cannot be compared.

    Args:
      source: the source; without a configuration there is nothing to compare.
      model: the model that gets the arrays.
      names: Keras' name of each layer with arrays, by its path in the model.

    Raises:
      WeightsError: what the two compute differently, in the order of computation.
    """
    if source.config is None and source.is_live:
        return ["its settings were not compared with the model's, since it is of a class of its own; only arrays were"]
    if source.config is None:
        return []
    if layers_in(source.config) is None:
        return ["its settings were not compared with the model's, since its configuration lists no layers"]
    try:
        theirs = graph_from(source.config, source.names)
        doubts: list[str] = []
        ours = graph_of(model)
        theirs = _without_last_activation(theirs, ours, model, doubts)
        theirs = _without_scaling(theirs, ours, doubts)
        flattens = any(part.flattened for part in parts_of(model))
        found = Comparison(theirs, ours, names, flattens)
    except Exception as error:  # wrong types in a configuration lead to all kinds of errors
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(f"{source.where}: its configuration cannot be understood: {said}") from None
    if found.differences:
        more = len(found.differences) - SHOWN
        raise WeightsError(
            f"{source.where}: the arrays are for a network that computes something else than {model.name}; "
            + "; ".join(found.differences[:SHOWN])
            + (f"; and {more} more" if more > 0 else "")
            + ". Give the model's layers the file's settings"
        )
    return doubts + found.doubts


def _without_last_activation(theirs: Node, ours: Node, model: Model, doubts: list[str]) -> Node:
    """The step that gives the logits: models here end in logits, and the activation belongs to the loss."""
    if theirs.kind not in LOSSES or ours.kind == theirs.kind:
        return theirs
    if model.num_classes and model.loss != LOSSES[theirs.kind]:
        doubts.append(
            f"it ends in a {theirs.kind}, and {model.name} has the loss {model.loss!r}, whose predictions are others; "
            f"loss={LOSSES[theirs.kind]!r} is that of a {theirs.kind}"
        )
    return theirs.inputs[0]


def _without_scaling(theirs: Node, ours: Node, doubts: list[str]) -> Node:
    """The network without a Rescaling(1/255) directly after the input, since images here are scaled already."""
    first = _first(theirs)
    if first is None or first.kind != "rescaling" or not is_unit_scale(first.settings):
        return theirs
    start = _first(ours)
    if start is not None and start.kind == "rescaling":
        return theirs
    doubts.append(
        f"its {first.name!r} divides images by 255, and the model has no such layer: it takes values of 0 to 1, which "
        "jaxcnn makes of uint8 images itself; floats of 0 to 255 must be divided before"
    )
    return _replaced(theirs, first, first.inputs[0])


def _first(node: Node) -> Node | None:
    """The step that takes the input, if there is exactly one such step and one input."""
    found = {id(n): n for n in _all(node) if any(before.kind == "input" for before in n.inputs)}
    return next(iter(found.values())) if len(found) == 1 else None


def _all(last: Node) -> list[Node]:
    """All steps, each after the steps of its inputs."""
    done: dict[int, Node] = {}
    waiting = [last]
    while waiting:
        node = waiting[-1]
        missing = [before for before in node.inputs if id(before) not in done]
        if not missing:
            done[id(node)] = waiting.pop()
        waiting += missing
    return list(done.values())


def _replaced(last: Node, old: Node, new: Node) -> Node:
    """The graph with one step replaced by another."""
    made = {id(old): new}
    for node in _all(last):
        if id(node) not in made:
            made[id(node)] = dataclasses.replace(node, inputs=tuple(made[id(before)] for before in node.inputs))
    return made[id(last)]
