"""The arrays in what Keras keeps: a live model, the archive .keras, weights of Keras 3, HDF5 of Keras 2 and 3.

Whatever the source, an array is named `layer/variable`, the variables by their names of today: kernel, bias, gamma,
beta, moving_mean, moving_variance. A separable convolution counts as two layers, `layer/depthwise` and
`layer/pointwise`, as it does here.
"""

import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.weights.errors import WeightsError

Found = tuple[str, str, np.ndarray]  # layer, variable, value


def read(source: Any) -> tuple[dict[str, np.ndarray], list[str] | None, str]:
    """Arrays by name, the layers in the order of computation if the source has it, and what to call it in messages.

    Raises:
      FileNotFoundError, ImportError, TypeError, WeightsError: as `from_keras`.
    """
    if hasattr(source, "weights") and hasattr(source, "layers"):
        where = f"Keras model {getattr(source, 'name', '')}".rstrip()
        return *_collected(_of_model(source), where), where
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"from_keras: `source` must be a Keras model or a path; got {type(source).__name__}")
    path = Path(source)
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"from_keras: `source` must end in .keras, .weights.h5 or .h5; got {path}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        import h5py  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise ImportError(
            f"{path} needs the package `h5py`, which is not installed: pip install 'jaxcnn[parity]'", name="h5py"
        ) from None
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read("config.json"))
                content = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(content, "r") as file:
                return *_collected(_of_archive(file, config), str(path)), str(path)
        with h5py.File(path, "r") as file:
            if "model_weights" in file or _has(file, "layer_names"):
                return *_collected(_of_layers(file), str(path)), str(path)
            arrays, order = _collected(_of_weights(file), str(path))
            return arrays, order if _is_ordered(file) else None, str(path)
    except (OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError, EOFError, RuntimeError) as error:
        size = path.stat().st_size
        raise WeightsError(f"{path}: expected a {path.suffix} file of Keras, found {size:,} bytes: {error}") from None


def _collected(found: Iterator[Found] | Sequence[Found], where: str) -> tuple[dict[str, np.ndarray], list[str]]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for layer, variable, value in found:
        if variable in layers.setdefault(layer, {}):
            raise WeightsError(f"{where}: {layer}/{variable} occurs twice; the layers must have names of their own")
        layers[layer][variable] = value
    arrays: dict[str, np.ndarray] = {}
    for layer, variables in layers.items():
        arrays |= _renamed(layer, variables)
    return arrays, list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))


def _renamed(layer: str, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "pointwise_kernel" in variables:
        places = {
            "depthwise_kernel": "depthwise/kernel",
            "pointwise_kernel": "pointwise/kernel",
            "bias": "pointwise/bias",
        }
        return {f"{layer}/{places.get(name, name)}": value for name, value in variables.items()}
    # Keras 2 called a depthwise convolution's kernel so
    return {f"{layer}/{'kernel' if name == 'depthwise_kernel' else name}": value for name, value in variables.items()}


# ------------------------------------------------------------------------------------- a live model, and the old HDF5


def _of_model(model: Any) -> Iterator[Found]:
    for layer in model.layers:
        if getattr(layer, "layers", None):
            yield from _of_model(layer)
        else:
            for variable in layer.weights:
                yield layer.name, _variable(variable.path), np.asarray(variable)


def _of_layers(file: Any) -> Iterator[Found]:
    """Groups named like the layers; each lists the names of its weights, in a nested model with the inner layers'."""
    group = file.get("model_weights", file)
    for layer in _texts(group, "layer_names"):
        names = _texts(group[layer], "weight_names")
        inner = {name.split("/")[-2] if "/" in name else layer for name in names}
        for name in names:
            yield (layer if len(inner) == 1 else name.split("/")[-2]), _variable(name), group[layer][name][()]


def _has(group: Any, attribute: str) -> bool:
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def _texts(group: Any, attribute: str) -> list[str]:
    """A list of names; one too long for HDF5 stands in parts, each with a number behind its name."""
    if not _has(group, attribute):
        raise KeyError(f"{group.name} has no attribute {attribute}")
    parts = [attribute] if attribute in group.attrs else [f"{attribute}{i}" for i in range(len(group.attrs))]
    values = [value for part in parts if part in group.attrs for value in group.attrs[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _variable(path: str) -> str:
    """`block1_conv1/kernel:0` is the kernel; so is `block1_conv1_W_1:0` in the oldest files."""
    name = path.rpartition("/")[2].removesuffix(":0")
    if old := re.fullmatch(r".*_([Wb])(_\d+)?", name):
        return {"W": "kernel", "b": "bias"}[old[1]]
    return name


# --------------------------------------------------------------------------------------------------- Keras 3's files


def _of_weights(group: Any) -> Iterator[Found]:
    """Groups named by the layers' classes and counted (conv2d, conv2d_1), each with numbered variables.

    Newer versions of Keras also write the layer's name; without it, the group's stands for it.
    """
    layers = group["layers"]
    for key in sorted(layers, key=_counted):
        if "layers" in layers[key]:
            yield from _of_weights(layers[key])
        elif "vars" in layers[key]:
            yield from _of_group(layers[key], str(layers[key]["vars"].attrs.get("name", key)))


def _is_ordered(file: Any) -> bool:
    """Whether the counts are an order: they are one within a class, so each kind of layer must be of one class."""
    classes: dict[int, set[str]] = {}
    for key, layer in file["layers"].items():
        if "layers" in layer:
            return False
        for value in layer.get("vars", {}).values():
            classes.setdefault(min(value.ndim, 3), set()).add(_counted(key)[0])
    classes[1] = classes.get(1, set()) - classes.get(2, set()) - classes.get(3, set())  # their biases
    return all(len(found) <= 1 for found in classes.values())


def _of_archive(group: Any, config: Mapping[str, Any]) -> Iterator[Found]:
    """The same groups beside a config, which has the layers' names and their order."""
    counts: Counter[str] = Counter()
    for layer in config["config"]["layers"]:
        key = _snake_case(layer["class_name"])
        counts[key] += 1
        key = key if counts[key] == 1 else f"{key}_{counts[key] - 1}"
        if key not in group["layers"]:
            continue  # layers without weights may have no group
        if "layers" in layer["config"]:
            yield from _of_archive(group["layers"][key], layer)
        elif "vars" in group["layers"][key]:
            yield from _of_group(group["layers"][key], layer["config"]["name"])


def _of_group(group: Any, layer: str) -> Iterator[Found]:
    values = [group["vars"][key][()] for key in sorted(group["vars"], key=int)]
    for name, value in zip(_variables([value.ndim for value in values]), values, strict=True):
        yield layer, name, value


def _variables(ranks: list[int]) -> list[str]:
    """What the numbered variables of a layer are, told by their ranks; their numbers where that does not tell."""
    known = {
        (1, 1): ["gamma", "beta"],
        (1, 1, 1, 1): ["gamma", "beta", "moving_mean", "moving_variance"],
    }
    for rank in (2, 3, 4, 5):
        known |= {(rank,): ["kernel"], (rank, 1): ["kernel", "bias"]}
        known |= {(rank, rank): ["depthwise_kernel", "pointwise_kernel"]}
        known |= {(rank, rank, 1): ["depthwise_kernel", "pointwise_kernel", "bias"]}
    return known.get(tuple(ranks), [str(i) for i in range(len(ranks))])


def _counted(key: str) -> tuple[str, int]:
    """conv2d_10 after conv2d_9."""
    base, _, number = key.rpartition("_")
    return (base, int(number)) if base and number.isdigit() else (key, 0)


def _snake_case(name: str) -> str:
    """As Keras does it: BatchNormalization is batch_normalization, Conv2D conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
