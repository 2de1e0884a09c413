"""Weights from PyTorch, and back."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.tensors import opened
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.dialects import TORCH
from jaxcnn.weights.foreign.limits import bytes_of
from jaxcnn.weights.foreign.matching import expected_names, explain, fill
from jaxcnn.weights.foreign.pickles import unpickle
from jaxcnn.weights.foreign.state_dicts import arrays_in, without_prefix

PICKLED = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")


def from_torch(
    source: Mapping[str, Any] | str | os.PathLike,
    model: Model,
    *,
    names: Mapping[str, str] | None = None,
    strict: bool = True,
) -> tuple[Tree, Tree]:
    """Make a model's (params, state) from a PyTorch state dict.

    Every array of the source is used exactly once and every array of the model is filled exactly once;
    `explain(model, "torch")` shows which array goes where and why it is transposed.

    Args:
      source: a state dict (`module.state_dict()`, of tensors or NumPy arrays), the path of a .safetensors file, or of a
        .pth (.pt, .th, .bin) file. A .pth file is a pickle: reading it needs PyTorch, and `torch.load` with
        `weights_only=True` runs no code in it. A checkpoint may hold its one state dict at any depth and under any
        name. Prefixes that wrappers put before all names ("module.", "_orig_mod.", "backbone.", …) are taken away.
      model: a model with as many classes as the source. For models of the catalogue that torchvision has, the source's
        names must be torchvision's; for CIFAR residual networks, those of akamaster/pytorch_resnet_cifar10.
      names: for other networks, the source's name of each layer: `{"conv1": "features.0"}`. Without it, the source's
        layers must have our names ("block.body.conv1"), or be those of one nn.Sequential, in the model's order, or
        differ in their shapes.
      strict: False takes the arrays that fit and warns with a list of the others. Arrays that the source lacks or has
        in another shape are as `model.init(jax.random.key(0))` makes them, and `names` may leave layers out.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: missing, unused or misshaped names; the error lists them.
      WeightsError: a damaged file, a pickle that is not weights, several state dicts, NaN or infinity among the values,
        or layers that can be matched in several ways.
      FileNotFoundError: no such file. ImportError: a .pth file without PyTorch. TypeError: a source of another type.
      ValueError: `names` that do not name every layer.

    Example:
      >>> from jaxcnn import models
      >>> model = models.create("lenet5")
      >>> shapes = {"0": (6, 1, 5, 5), "3": (16, 6, 5, 5), "7": (120, 400), "9": (84, 120), "11": (10, 84)}
      >>> sequential = {f"{i}.weight": np.ones(shape) for i, shape in shapes.items()}
      >>> sequential |= {f"{i}.bias": np.zeros(shape[0]) for i, shape in shapes.items()}
      >>> params, state = from_torch(sequential, model)
      >>> params["conv2"]["kernel"].shape
      (5, 5, 6, 16)
    """
    arrays, where = _read(source, model)
    arrays = without_prefix(arrays, expected_names(model, TORCH, names))
    return fill(model, TORCH, arrays, names=names, order=_order(arrays), where=where, strict=strict)


def to_torch(params: Tree, state: Tree, model: Model) -> dict[str, np.ndarray]:
    """Make a PyTorch state dict of NumPy arrays from a model's arrays; the inverse of `from_torch`.

    Args:
      params, state: the model's arrays.
      model: the model. Its layers get the names that `from_torch` expects; where no table has the names, they keep the
        names that they have here, joined by dots.

    Returns:
      `{name: array}`; for `module.load_state_dict`, make tensors: `{name: torch.from_numpy(a) for name, a in …}`.

    Raises:
      KeyError: arrays that are not the model's own.

    Example:
      >>> import jax
      >>> from jaxcnn import models
      >>> model = models.create("resnet20")
      >>> arrays = to_torch(*model.init(jax.random.key(0)), model)
      >>> arrays["layer2.0.conv1.weight"].shape
      (32, 16, 3, 3)
    """
    return explain(model, "torch").invert(params, state)


# ---------------------------------------------------------------------------------------------------------- reading


def _read(source: Mapping[str, Any] | str | os.PathLike, model: Model) -> tuple[dict[str, np.ndarray], str]:
    """The source's arrays by name, and what messages call the source."""
    if isinstance(source, Mapping):
        return arrays_in(source, "state dict", "source"), "state dict"
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"from_torch: `source` must be a state dict or a path; got {type(source).__name__}. For a module, give "
            "module.state_dict()"
        )
    path = Path(source)
    if path.suffix == ".safetensors":
        with opened(path, "flax") as file:  # JAX's reader knows bfloat16, NumPy's does not
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays_in(tensors, str(path), "the file"), str(path)
    if path.suffix in PICKLED:
        loading = f"torch.load({str(path)!r}, weights_only=True)"
        return arrays_in(unpickle(path, bytes_of(model)), str(path), loading), str(path)
    raise ValueError(f"from_torch: `source` must end in .safetensors, {', '.join(PICKLED[:-1])}; got {path}")


def _order(arrays: Mapping[str, np.ndarray]) -> list[str] | None:
    """The layers in order if all names are numbers, as in an nn.Sequential; None otherwise."""
    layers = {name.rpartition(".")[0] for name in arrays}
    if not all(re.fullmatch(r"\d+(\.\d+)*", layer) for layer in layers):
        return None
    return sorted(layers, key=lambda layer: [int(number) for number in layer.split(".")])
