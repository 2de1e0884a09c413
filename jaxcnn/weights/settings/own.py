"""The settings of a network's layers in the files that `weights.save` writes, and where they differ from a model's."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcnn.layers import Layer
from jaxcnn.layers.walk import visit
from jaxcnn.models import Model
from jaxcnn.weights.parts import parts_of
from jaxcnn.weights.settings.plain import plain


def settings_of(layer: Layer) -> dict[str, dict[str, Any]]:
    """The kind and the settings of each layer that does something at inference, by the layer's path.

    Example:
      >>> from jaxcnn.layers import BatchNorm, Dropout, serial
      >>> settings_of(serial(Dropout(0.5), norm=BatchNorm()))["norm"]["eps"]
      1e-05
    """
    return {
        place.path: {"kind": place.layer.kind, **plain(place.layer)}
        for place in visit(layer)
        if place.layer.role != "dropout" and not place.layer.chained  # the order of paths tells the order of a chain
    }


def differences(about: Mapping[str, Any], model: Model) -> list[str]:
    """Where a file's description and the model differ, as phrases; what the description leaves out is not compared."""
    found = [
        f"{what} {about[what]!r} in the file, {ours!r} in the model"
        for what, ours in (("model", model.name), ("loss", model.loss))
        if about.get(what) is not None and about[what] != ours  # a loss that the user wrote has no name
    ]
    shape = tuple(about.get("input_shape", model.input_shape))
    if shape != model.input_shape and _flattened(model, shape) != _flattened(model, model.input_shape):
        found.append(
            f"input_shape {list(shape)} in the file, {list(model.input_shape)} in the model, which flattens it"
        )
    if "layers" in about:
        found += _of_layers(about["layers"], settings_of(model.layer))
    return found


def _of_layers(theirs: Mapping[str, Any], ours: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    for path in dict.fromkeys((*theirs, *ours)):
        there, here = theirs.get(path), ours.get(path)
        if not isinstance(there, Mapping) or here is None:
            side, said = ("model", here) if here else ("file", there)
            kind = said.get("kind") if isinstance(said, Mapping) else said
            found.append(f"{path} ({kind}) is in the {side} only")
        elif there.get("kind") != here["kind"]:
            found.append(f"{path} is {there.get('kind')} in the file, {here['kind']} in the model")
        else:
            # a setting that only one side has was added or removed between two versions of jaxcnn
            found += [
                f"{name} {there[name]} in the file, {here[name]} in the model at {path or here['kind']}"
                for name in here
                if name in there and there[name] != here[name]
            ]
    if not found and list(theirs) != list(ours):
        found.append("the layers are the same in another order")
    return found


def _flattened(model: Model, input_shape: tuple[int, ...]) -> list[Any] | None:
    """The map whose flattening orders each part's inputs, in a list; None if the model cannot take `input_shape`."""
    try:
        return [part.flattened for part in parts_of(dataclasses.replace(model, input_shape=input_shape))]
    except (TypeError, ValueError):
        return None
