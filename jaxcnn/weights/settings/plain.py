"""The settings of layers in one form, so that two layers that compute the same have equal settings."""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.layers import Layer
from jaxcnn.layers.roles import role_of
from jaxcnn.ops.geometry import Window, padding_pairs, per_axis

TRAINING = ("rate", "momentum", "axis_name")  # settings that change nothing at inference


def plain(layer: Layer) -> dict[str, Any]:
    """A layer's settings at inference: strides, dilations and paddings per axis; "SAME" stays a word.

    Example:
      >>> from jaxcnn.layers import MaxPool
      >>> plain(MaxPool(2))
      {'window': [2, 2], 'stride': [2, 2], 'padding': [[0, 0], [0, 0]], 'dilation': [1, 1], 'ceil_mode': False}
    """
    found = {name: value for name, value in layer.settings.items() if name not in TRAINING}
    if name := size_name(layer.kind, found):
        found = _per_axis(layer.kind, name, found)
    return {name: _listed(value) for name, value in found.items() if _is_plain(value)}


def size_name(kind: str, settings: Mapping[str, Any]) -> str | None:
    """The setting that holds a layer's window size, "kernel_size" or "window"; None for a layer without one."""
    name = {"convolution": "kernel_size", "pool": "window"}.get(role_of(kind))
    return name if name in settings else None


def _per_axis(kind: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    size = settings[name]
    rank = len(size) if isinstance(size, tuple | list) else 2
    size = per_axis(kind, name, size, rank)
    stride = per_axis(kind, "stride", size if settings["stride"] is None else settings["stride"], rank)
    dilation, padding = per_axis(kind, "dilation", settings["dilation"], rank), settings["padding"]
    if padding not in ("SAME", "SAME_LOWER"):
        padding = padding_pairs(kind, padding, Window(size, stride, ((0, 0),) * rank, dilation), (1,) * rank)
    found = {**settings, name: size, "stride": stride, "dilation": dilation, "padding": padding}
    if "output_padding" in settings:
        found["output_padding"] = per_axis(kind, "output_padding", settings["output_padding"], rank, minimum=0)
    return found


def transposed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a transposed convolution, with all that is cut from its output written as one padding per axis.

    An output_padding of p is p less padding at the end; "SAME" cuts the output to input·stride.
    """
    extents = [d * (k - 1) + 1 for k, d in zip(settings["kernel_size"], settings["dilation"], strict=True)]
    padding, found = settings["padding"], []
    for axis, (extent, stride) in enumerate(zip(extents, settings["stride"], strict=True)):
        if isinstance(padding, str):
            half = max(extent - stride, 0) // 2 if padding == "SAME" else -(-max(extent - stride, 0) // 2)
            found.append([half, extent - stride - half])
        else:
            before, after = padding[axis]
            found.append([before, after - settings["output_padding"][axis]])
    return {name: value for name, value in settings.items() if name != "output_padding"} | {"padding": found}


def _listed(value: Any) -> Any:
    """A value in JSON's types: tuples and NumPy's arrays become lists, NumPy's numbers become Python's."""
    if isinstance(value, Mapping):
        return {str(name): _listed(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [_listed(part) for part in value]
    with contextlib.suppress(AttributeError):
        return value.tolist()  # NumPy's numbers and arrays
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray)
