"""The arrays in what Keras keeps: a live model, the archive .keras, weights of Keras 3, HDF5 of Keras 2 and 3.

Whatever the source, an array is named `layer/variable`, the variables by their names of today: kernel, bias, gamma,
beta, moving_mean, moving_variance. A separable convolution counts as two layers, `layer/depthwise` and
`layer/pointwise`, as it does here. A layer in a nested model has its own name, with the nested model's in front where
several layers are called the same.
"""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.models import Model
from jaxcnn.weights.foreign.keras.graph import layers_in
from jaxcnn.weights.foreign.keras.hdf5 import Group, content
from jaxcnn.weights.foreign.keras.layers import Config, snake_case, variables_of
from jaxcnn.weights.foreign.limits import bytes_of
from jaxcnn.weights.parts import parts_of

Way = tuple[str, ...]  # the names of the nested models, then the layer's
Found = tuple[Way, str, np.ndarray]  # layer, variable, value
VARIABLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")  # of the layers there are here
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the second until Keras 2.14


@dataclass(frozen=True)
class Contents:
    """The content of a Keras source.

    Args:
      arrays: by name.
      order: the layers with arrays in the order of computation; None where the source does not tell.
      names: the name of each layer, by the names of the nested models around it.
      config: the model's configuration; None in files of weights alone.
      where: the name of the source for messages.
      is_live: whether the source is a model rather than a file.
    """

    arrays: Mapping[str, np.ndarray]
    order: list[str] | None
    names: Mapping[Way, str]
    config: Config | None
    where: str
    is_live: bool = False


def read(source: Any, model: Model) -> Contents:
    """Read a source. The model bounds the size of a file, and tells what ambiguous variables are.

    Raises:
      FileNotFoundError, ImportError, TypeError, WeightsError: as `from_keras`.
    """
    if hasattr(source, "weights") and hasattr(source, "layers"):
        where = f"Keras model {getattr(source, 'name', '')}".rstrip()
        return dataclasses.replace(_collected(_of_model(source, ()), where, _live_config(source)), is_live=True)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"from_keras: `source` must be a Keras model or a path; got {type(source).__name__}")
    path = Path(source)
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"from_keras: `source` must end in .keras, .weights.h5 or .h5; got {path}")
    file, text = content(path, bytes_of(model))
    try:
        if text is None and "model_config" in file.attributes:
            (text,) = file.attributes["model_config"]
        config = None if text is None else _mapping(json.loads(text))
        if "model_weights" in file or _has(file, "layer_names"):
            return _collected(_of_layers(file, layers_in(config)), str(path), config)
        single = _single_norm_variable(model)
        if config is not None and layers_in(config) is not None:
            return _collected(_of_archive(file, config, (), single), str(path), config)
        return _collected(_of_weights(file, single), str(path), config, ordered=_is_ordered(file))
    except WeightsError:
        raise
    except Exception as error:  # wrong types in a configuration or in groups lead to all kinds of errors
        size, said = path.stat().st_size, " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: expected a {path.suffix} file of Keras, found {size:,} bytes: {said or type(error).__name__}"
        ) from None


def _mapping(config: Any) -> Config:
    if not isinstance(config, Mapping):
        raise ValueError(f"the configuration is no mapping but {type(config).__name__}")
    return config


def _live_config(model: Any) -> Config | None:
    """A live model's configuration as its file would hold it; None if the model has none of its own."""
    try:
        config = {"class_name": type(model).__name__, "config": model.get_config()}
    except Exception:  # classes that the user wrote need not have a configuration
        return None
    return config if layers_in(config) is not None else None


def _collected(found: Iterator[Found], where: str, config: Config | None, ordered: bool = True) -> Contents:
    layers: dict[Way, dict[str, np.ndarray]] = {}
    for way, variable, value in found:
        if variable in layers.setdefault(way, {}):
            raise WeightsError(
                f"{where}: {'/'.join(way)}/{variable} occurs twice; the layers must have names of their own"
            )
        layers[way][variable] = value
    counts = Counter(way[-1] for way in layers)
    names = {way: way[-1] if counts[way[-1]] == 1 else "/".join(way) for way in layers}
    arrays: dict[str, np.ndarray] = {}
    for way, variables in layers.items():
        arrays |= _renamed(names[way], variables)
    unknown = {name.rpartition("/")[0] for name in arrays if name.rpartition("/")[2] not in VARIABLES}
    order = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
    order = [layer for layer in order if layer not in unknown]
    return Contents(arrays, order if ordered else None, names, config, where)


def _renamed(layer: str, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "pointwise_kernel" in variables:
        places = {
            "depthwise_kernel": "depthwise/kernel",
            "pointwise_kernel": "pointwise/kernel",
            "bias": "pointwise/bias",
        }
        return {f"{layer}/{places.get(name, name)}": value for name, value in variables.items()}
    # Keras 2's name for the kernel of a depthwise convolution
    return {f"{layer}/{'kernel' if name == 'depthwise_kernel' else name}": value for name, value in variables.items()}


# ------------------------------------------------------------------------------------- a live model, and the old HDF5


def _of_model(model: Any, way: Way) -> Iterator[Found]:
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _of_model(layer, (*way, layer.name))
        else:
            for variable in layer.weights:
                yield (*way, layer.name), _variable(variable.path), np.asarray(variable)


def _of_layers(file: Group, layers: list[Config] | None) -> Iterator[Found]:
    """Groups named like the layers; each lists the names of its weights, in a nested model with the inner layers'."""
    group = file.get("model_weights", file)
    nested = {
        layer["config"]["name"] for layer in layers or [] if layers_in(layer) is not None and "name" in layer["config"]
    }
    for layer in _texts(group, "layer_names"):
        names = _texts(group.at(layer), "weight_names")
        inner = {name.split("/")[-2] if "/" in name else layer for name in names}
        for name in names:
            way = (layer, name.split("/")[-2]) if len(inner) > 1 or layer in nested else (layer,)
            yield way, _variable(name), group.at(f"{layer}/{name}")


def _has(group: Group, attribute: str) -> bool:
    return attribute in group.attributes or f"{attribute}0" in group.attributes


def _texts(group: Group, attribute: str) -> list[str]:
    """A list of names. A list too long for HDF5 is stored in parts, whose names end in numbers."""
    if not _has(group, attribute):
        raise KeyError(f"{group.name} has no attribute {attribute}")
    count = len(group.attributes)
    parts = [attribute] if attribute in group.attributes else [f"{attribute}{i}" for i in range(count)]
    return [name for part in parts for name in group.attributes.get(part, ())]


def _variable(path: str) -> str:
    """The variable that a name means: `block1_conv1/kernel:0` is the kernel, and so is the old `block1_conv1_W_1:0`."""
    name = path.rpartition("/")[2].removesuffix(":0")
    if old := re.fullmatch(r".*_(W|b|gamma|beta|running_mean|running_std)(_\d+)?", name):
        today = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}
        return today.get(old[1], old[1])
    return name


# --------------------------------------------------------------------------------------------------- Keras 3's files


def _container(group: Group) -> Group | None:
    """The group that holds the layers of a model."""
    found = [inner for name in CONTAINERS if (inner := group.groups().get(name)) is not None and inner.groups()]
    return found[0] if found else None


def _of_weights(group: Group, single: str | None, way: Way = ()) -> Iterator[Found]:
    """Groups named by the layers' classes and counted (conv2d, conv2d_1), each with numbered variables.

    Newer versions of Keras also write the layer's name; without it, the group's stands for it, which in a model of a
    class of its own is the name of the attribute.
    """
    layers = _container(group)
    if layers is None:
        if not way and not any(_values(inner) for inner in group.groups().values()):
            raise KeyError("no layers in it")
        layers = group
    for key in sorted(layers.groups(), key=_counted):
        inner = layers[key]
        if _container(inner) is not None:
            yield from _of_weights(inner, single, (*way, key))
        elif values := _values(inner):
            name = inner["vars"].attributes.get("name", [key])[0]
            base = _counted(key)[0]
            yield from _named((*way, name), values, _by_class(base, len(values), single) or _by_rank(values))


def _is_ordered(file: Group) -> bool:
    """Whether the counts give an order. They do within a class, so each kind of layer must have one class only."""
    layers = _container(file)
    if layers is None:
        return False  # attributes, in alphabetical order
    classes: dict[int, set[str]] = {}
    for key, layer in layers.groups().items():
        if _container(layer) is not None:
            return False
        for value in _values(layer):
            classes.setdefault(min(value.ndim, 3), set()).add(_counted(key)[0])
    classes[1] = classes.get(1, set()) - classes.get(2, set()) - classes.get(3, set())  # their biases
    return all(len(found) <= 1 for found in classes.values())


def _of_archive(group: Group, config: Config, way: Way, single: str | None) -> Iterator[Found]:
    """The arrays of an archive: the groups of `_of_weights`, with names and order from the configuration."""
    container = _container(group)
    groups = container.groups() if container is not None else {}
    of_class: dict[str, list[str]] = {}
    for key in sorted(groups, key=_counted):
        of_class.setdefault(_counted(key)[0], []).append(key)
    counts: Counter[str] = Counter()
    counted = container is not None and container.name.endswith(CONTAINERS[0])
    for layer in layers_in(config) or []:
        name = str(layer["class_name"]).rpartition(">")[2]
        base = snake_case(name)
        if counted:  # a layer without weights may have no group
            key = base if counts[base] == 0 else f"{base}_{counts[base]}"
        else:  # each layer has a group, but layers with weights were counted twice
            there = of_class.get(base, [])
            key = there[counts[base]] if counts[base] < len(there) else ""
        counts[base] += 1
        if key not in groups:
            continue
        here = (*way, str(layer["config"]["name"] if isinstance(layer["config"], Mapping) else layer["name"]))
        if layers_in(layer) is not None:
            yield from _of_archive(groups[key], layer, here, single)
        elif values := _values(groups[key]):
            names = variables_of(name, layer["config"])
            fits = names is not None and len(names) == len(values)
            yield from _named(here, values, (names if fits else None) or _by_rank(values))


def _values(group: Group) -> list[np.ndarray]:
    """The numbered variables of a layer."""
    found: Mapping[str, Any] = group.groups().get("vars", {})
    numbered = {key: value for key, value in found.items() if isinstance(value, np.ndarray)}
    return [numbered[key] for key in sorted(numbered, key=int)]


def _named(way: Way, values: list[np.ndarray], names: list[str]) -> Iterator[Found]:
    for name, value in zip(names, values, strict=True):
        yield way, name, value


def _by_class(base: str, count: int, single: str | None) -> list[str] | None:
    """The variables of a normalization, any of which may be absent; None if their number leaves that open."""
    statistics = ["moving_mean", "moving_variance"] if base == "batch_normalization" else []
    if base not in ("batch_normalization", "layer_normalization", "group_normalization"):
        return None
    learned = {0: [], 1: [single] if single else None, 2: ["gamma", "beta"]}.get(count - len(statistics))
    return None if learned is None else [*learned, *statistics]


def _single_norm_variable(model: Model) -> str | None:
    """What the only learned variable of a normalization is, judged by the model's; None if that leaves it open."""
    norms = [part.arrays for part in parts_of(model) if part.role == "norm"]
    found = {
        name
        for arrays in norms
        for name in ("scale", "bias")
        if name in arrays and len({"scale", "bias"} & {*arrays}) == 1
    }
    return {"scale": "gamma", "bias": "beta"}[found.pop()] if len(found) == 1 else None


def _by_rank(values: list[np.ndarray]) -> list[str]:
    """Names for numbered variables, judged by their ranks; their numbers if the ranks leave it open."""
    known: dict[tuple[int, ...], list[str]] = {(1, 1, 1, 1): ["gamma", "beta", "moving_mean", "moving_variance"]}
    for rank in (2, 3, 4, 5):
        known |= {(rank,): ["kernel"], (rank, 1): ["kernel", "bias"]}
        known |= {(rank, rank): ["depthwise_kernel", "pointwise_kernel"]}
        known |= {(rank, rank, 1): ["depthwise_kernel", "pointwise_kernel", "bias"]}
    return known.get(tuple(value.ndim for value in values), [str(i) for i in range(len(values))])


def _counted(key: str) -> tuple[str, int]:
    """A key for sorting by the number at the end of a name, so that conv2d_10 comes after conv2d_9."""
    base, _, number = key.rpartition("_")
    return (base, int(number)) if base and number.isdigit() else (key, 0)
