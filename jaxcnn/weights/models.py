"""A model's parameters and state on disk."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcnn import models
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights import tensors
from jaxcnn.weights.files import write_json
from jaxcnn.weights.preprocessing import Preprocessing


def save(
    path: str | os.PathLike,
    model: Model,
    params: Tree,
    state: Tree,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write a model's arrays as safetensors, and beside it a small json that says what they are.

    Args:
      path: of the .safetensors file; the description goes to the same name with .json, and into the file's metadata.
      model: what the arrays belong to.
      params, state: as from `model.init` or training.
      classes: the names of the classes, for predictions.
      preprocessing: what images go through before the model; None where they only become floats of 0 to 1.

    Raises:
      ValueError: arrays whose names, shapes or dtypes are not the model's; other numbers of classes; a path that does
        not end in .safetensors.

    Example:
      >>> import tempfile
      >>> from jaxcnn import models
      >>> model = models.create("lenet5")
      >>> params, state = model.init(jax.random.key(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(f"{folder}/lenet5.safetensors", model, params, state)
      ...     params, state = load(f"{folder}/lenet5.safetensors", model)
    """
    path = _safetensors(path)
    if classes is not None and model.num_classes and len(classes) != model.num_classes:
        raise ValueError(
            f"weights.save: `classes` must be the names of the {model.num_classes} classes of {model.name}; got "
            f"{len(classes)}"
        )
    expected = jax.tree.map(lambda a: (a.shape, str(a.dtype)), _template(model))
    received = jax.tree.map(lambda a: (a.shape, str(a.dtype)), {"params": params, "state": state})
    if expected != received:
        raise ValueError(f"weights.save: the arrays are not those of {model.name}; expected {expected}, got {received}")
    about = {
        "model": model.name,
        "options": dict(model.options),
        "input_shape": list(model.input_shape),
        "num_classes": model.num_classes,
        "loss": model.loss,
        "classes": None if classes is None else list(classes),
        "preprocessing": None if preprocessing is None else preprocessing.to_json(),
    }
    tensors.write(path, {"params": params, "state": state}, about)
    write_json(path.with_suffix(".json"), about)


def load(path: str | os.PathLike, model: Model) -> tuple[Tree, Tree]:
    """The (params, state) of a file that `save` wrote, checked against the model.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: a damaged file, or arrays that are not the model's: missing, unknown or of another shape or dtype,
        those of a model of other classes among them; NaN or infinity among the values.
    """
    path = _safetensors(path)
    try:
        tree = tensors.read(path, _template(model))
    except tensors.WeightsError as error:
        raise tensors.WeightsError(f"{error}{_other_classes(path, model)}") from None
    for name, leaf in tensors.flatten(tree).items():
        tensors.check_finite(name, leaf, path)
    return tree["params"], tree["state"]


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """What `save` wrote about the model: name, options, input_shape, num_classes, loss, classes, preprocessing.

    Raises:
      FileNotFoundError: no such file. WeightsError: a damaged file, or one that is no jaxcnn model's.
    """
    path = _safetensors(path)
    about = tensors.metadata(path)
    if "model" not in about:
        raise tensors.WeightsError(f"{path}: expected the weights of a jaxcnn model, found none named in the metadata")
    written = about.get("preprocessing")
    return about | {"preprocessing": None if written is None else Preprocessing.from_json(written)}


def load_model(path: str | os.PathLike) -> tuple[Model, Tree, Tree, dict[str, Any]]:
    """The model that a file belongs to, created by its name and options, with its weights.

    Returns:
      (model, params, state, about), about as from `describe`.

    Raises:
      FileNotFoundError, WeightsError: as `load`; ValueError, TypeError: a name or options that the catalogue lacks.
    """
    about = describe(path)
    model = models.create(about["model"], **about["options"])
    return model, *load(path, model), about


def _other_classes(path: Path, model: Model) -> str:
    """What to do about a file that was written for other classes; "" if it is not that."""
    try:
        about = tensors.metadata(path)
    except tensors.WeightsError:
        return ""
    if about.get("num_classes", model.num_classes) == model.num_classes:
        return ""
    return (
        f". The file's {about['model']} tells {about['num_classes']} classes apart, this {model.name} "
        f"{model.num_classes}: create it with that many (num_classes=…), or by weights.load_model"
    )


def _template(model: Model) -> Tree:
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    return {"params": params, "state": state}


def _safetensors(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"weights: `path` must end in .safetensors; got {path}")
    return path
