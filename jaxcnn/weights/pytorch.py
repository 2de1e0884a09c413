"""Weights from PyTorch, and back."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.dialects import TORCH
from jaxcnn.weights.errors import WeightsError
from jaxcnn.weights.matching import explain, fill
from jaxcnn.weights.tensors import opened

PICKLED = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
INSIDE = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the state dict


def from_torch(
    source: Mapping[str, Any] | str | os.PathLike, model: Model, *, names: Mapping[str, str] | None = None
) -> tuple[Tree, Tree]:
    """A model's (params, state) from a PyTorch state dict.

    Every array of the source is used exactly once and every array of the model filled exactly once;
    `explain(model, "torch")` shows which goes where and why it is transposed.

    Args:
      source: a state dict (`module.state_dict()`, of tensors or NumPy arrays), the path of a .safetensors file, or of a
        .pth (.pt, .th, .bin) file. Such a file is a pickle; it is read by `torch.load(weights_only=True)`, which runs
        nothing that stands in it, and needs PyTorch.
      model: with as many classes as the source. Those of the catalogue that torchvision has go by torchvision's names,
        the CIFAR residual networks by those of akamaster/pytorch_resnet_cifar10.
      names: for networks of another make, the source's name of each layer: `{"conv1": "features.0"}`. Without it, they
        must have the names they have here ("block.body.conv1"), or be one nn.Sequential, whose order counts, or have
        layers that differ in their shapes.

    Returns:
      (params, state), in the model's dtypes.

    Raises:
      Mismatch: names that are missing, unused or misshaped, listed.
      WeightsError: a damaged file, a pickle that is not weights, NaN or infinity among the values, layers that might
        correspond in several ways.
      FileNotFoundError: no such file. ImportError: a .pth file without PyTorch. TypeError: a source of another kind.
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
    arrays, where = _read(source)
    return fill(model, TORCH, arrays, names=names, order=_order(arrays), where=where)


def to_torch(params: Tree, state: Tree, model: Model) -> dict[str, np.ndarray]:
    """The inverse: a model's arrays as a PyTorch state dict of NumPy arrays.

    Args:
      params, state: the model's.
      model: named as in `from_torch`; layers of networks without a table keep their names here, joined by dots.

    Returns:
      `{name: array}`. `{name: torch.from_numpy(a) for name, a in …}` is what `module.load_state_dict` takes.

    Raises:
      KeyError: arrays that are not the model's.

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


def _read(source: Mapping[str, Any] | str | os.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """Arrays by name, and what to call the source in messages."""
    if isinstance(source, Mapping):
        return _arrays(source, "state dict"), "state dict"
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"from_torch: `source` must be a state dict or a path; got {type(source).__name__}. Of a module, give "
            "module.state_dict()"
        )
    path = Path(source)
    if path.suffix == ".safetensors":
        with opened(path, "flax") as file:  # JAX's reader knows bfloat16, NumPy's does not
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _arrays(tensors, str(path)), str(path)
    if path.suffix in PICKLED:
        return _arrays(_unpickle(path), str(path)), str(path)
    raise ValueError(f"from_torch: `source` must end in .safetensors, {', '.join(PICKLED[:-1])}; got {path}")


def _unpickle(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        import torch
    except ModuleNotFoundError:
        raise ImportError(
            f"{path} is a pickle, which only PyTorch reads safely, and that is not installed: "
            "pip install 'jaxcnn[parity]'. Where it is, safetensors.torch.save_file makes a file that needs no PyTorch",
            name="torch",
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes lead to: UnpicklingError, RuntimeError, EOFError, …
        raise WeightsError(
            f"{path}: expected PyTorch weights, found {path.stat().st_size:,} bytes that are damaged or hold more than "
            f"tensors; torch.load(weights_only=True) says: {_first_line(error)}"
        ) from None
    for name in INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            return found[name]
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path}: expected a state dict, found {type(found).__name__}")
    return found


def _arrays(tensors: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    arrays = {str(name): _array(str(name), value, where) for name, value in tensors.items()}
    # DataParallel puts the module that it distributes under this name
    if arrays and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): value for name, value in arrays.items()}
    return arrays


def _array(name: str, value: Any, where: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such type, and float32 holds each of its values
            return value.float().numpy().astype(jnp.bfloat16)
        return value.numpy()
    if not hasattr(value, "__array__"):
        raise WeightsError(f"{where}: expected arrays by name, found {name}: {type(value).__name__}")
    return np.asarray(value)


def _order(arrays: Mapping[str, np.ndarray]) -> list[str] | None:
    """The layers of an nn.Sequential, whose names are numbers, in its order; None for anything else."""
    layers = {name.rpartition(".")[0] for name in arrays}
    if not all(re.fullmatch(r"\d+(\.\d+)*", layer) for layer in layers):
        return None
    return sorted(layers, key=lambda layer: [int(number) for number in layer.split(".")])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
