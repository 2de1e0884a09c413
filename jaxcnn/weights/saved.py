"""Files of our own with the parameters and state of a model: save, load, describe, load_model."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxcnn import models
from jaxcnn.files import tensors
from jaxcnn.files.errors import WeightsError
from jaxcnn.files.json_files import write_json
from jaxcnn.files.trees import flatten
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.parts import template
from jaxcnn.weights.preprocessing import Preprocessing
from jaxcnn.weights.settings.own import differences, settings_of


def save(
    path: str | os.PathLike,
    model: Model,
    params: Tree,
    state: Tree,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write a model's arrays to a safetensors file, and a description of them to a small JSON file beside it.

    Args:
      path: the .safetensors file. The description goes into its metadata and to a file of this name with .json.
      model: the model that the arrays belong to.
      params, state: the arrays, from `model.init` or from training.
      classes: the names of the classes, for predictions.
      preprocessing: how images are prepared for the model; None if they only become floats of 0 to 1.

    Raises:
      ValueError: the names, shapes or dtypes of the arrays are not the model's; the number of `classes` is not the
        model's; or `path` does not end in .safetensors.

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
    if classes is not None and not are_named(model, classes):
        raise ValueError(
            f"weights.save: `classes` must be the names of the {model.num_classes} classes of {model.name}; got "
            f"{len(classes)}"
        )
    expected = jax.tree.map(lambda a: (a.shape, str(a.dtype)), _template(model))
    received = jax.tree.map(lambda a: (a.shape, str(a.dtype)), {"params": params, "state": state})
    if expected != received:
        raise ValueError(f"weights.save: the arrays are not those of {model.name}; expected {expected}, got {received}")
    about: dict[str, Any] = {
        "model": model.name,
        "options": dict(model.options),
        "input_shape": list(model.input_shape),
        "num_classes": model.num_classes,
        "loss": model.loss,
        "classes": None if classes is None else list(classes),
        "preprocessing": None if preprocessing is None else preprocessing.to_json(),
    }
    tensors.write(path, {"params": params, "state": state}, about | {"layers": settings_of(model.layer)})
    write_json(path.with_suffix(".json"), about)


def are_named(model: Model, classes: Sequence[str]) -> bool:
    """Whether there is a class name for each output of a model; a single output may have two, for no and for yes."""
    return not model.num_classes or len(classes) in (model.num_classes, max(model.num_classes, 2))


def load(path: str | os.PathLike, model: Model) -> tuple[Tree, Tree]:
    """Read the (params, state) of a file that `save` wrote, and check that they are the model's.

    The file holds a hash of its content, the settings of the layers (eps, strides, activations, …), and the name and
    loss of the model. All of these are compared. `save` has an example.

    Args:
      path: the .safetensors file.
      model: the model that the file was written for.

    Returns:
      (params, state).

    Raises:
      FileNotFoundError: there is no such file. ValueError: `path` does not end in .safetensors.
      WeightsError: the file is damaged, or a newer jaxcnn wrote it; arrays are missing, unknown or of another shape or
        dtype, as those for another number of classes are; the file is of another model or of layers with other
        settings; or values are NaN or infinite.
    """
    path = _safetensors(path)
    try:
        tree = tensors.read(path, _template(model))
    except WeightsError as error:
        raise WeightsError(f"{error}{_other_classes(path, model)}") from None
    if differing := differences(_described(path), model):
        raise WeightsError(f"{path}: the file is not of this {model.name}; {'; '.join(differing[:8])}")
    for name, leaf in flatten(tree).items():
        tensors.check_finite(name, leaf, path)
    return tree["params"], tree["state"]


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """Read the description of the model that `save` wrote to a .safetensors file.

    Returns:
      A dict with the keys model (a name), options, input_shape, num_classes, loss, classes and preprocessing.

    Raises:
      FileNotFoundError: there is no such file. ValueError: `path` does not end in .safetensors.
      WeightsError: the file is damaged, or is not the file of a jaxcnn model.
    """
    about = _described(_safetensors(path))
    about.pop("layers", None)  # only `load` needs them, to compare
    return about


def load_model(path: str | os.PathLike) -> tuple[Model, Tree, Tree, dict[str, Any]]:
    """Make the model that a .safetensors file belongs to, by name and options, and read its weights from the file.

    Returns:
      (model, params, state, about): the model has the loss that the file names, and about is what `describe` returns.

    Raises:
      FileNotFoundError, ValueError, WeightsError: as for `load`. WeightsError, too, if the catalogue cannot make the
        model; if the network is your own, use `load(path, model)`.
    """
    about = describe(path)
    if about["model"] not in models.names():
        raise WeightsError(
            f"{path}: holds the weights of {about['model']!r}, which is none of models.names(); make that model, and "
            "weights.load(path, model) fills it"
        )
    try:
        model = models.create(about["model"], **about["options"])
    except (TypeError, ValueError, ArithmeticError) as error:  # options of another version, or damaged ones
        raise WeightsError(f"{path}: {about['model']} cannot be made with the options in the file: {error}") from None
    model = dataclasses.replace(model, loss=about.get("loss", model.loss))
    return model, *load(path, model), about


def _described(path: Path) -> dict[str, Any]:
    """The metadata of a model's file, after a check that each field has its type."""
    about = tensors.metadata(path)
    if "model" not in about:
        raise WeightsError(f"{path}: expected the weights of a jaxcnn model, but its metadata name no model")
    for field, is_right, what in FIELDS:
        if field in about and not is_right(about[field]):
            raise WeightsError(f"{path}: `{field}` in the metadata must be {what}; got {str(about[field])[:100]}")
    written = about.get("preprocessing")
    try:
        return {"options": {}, **about, "preprocessing": None if written is None else Preprocessing.from_json(written)}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: `preprocessing` in the metadata cannot be used: {error}") from None


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(side) is int and side > 0 for side in value)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


FIELDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("model", lambda value: isinstance(value, str), "a name"),
    ("options", lambda value: isinstance(value, dict), "options by name"),
    ("input_shape", _is_shape, "a list of positive ints"),
    ("num_classes", lambda value: type(value) is int and value >= 0, "a number of classes"),
    ("loss", lambda value: value is None or isinstance(value, str), "a name, or null for a loss of one's own"),
    ("classes", _are_names, "a list of names or null"),
    ("preprocessing", lambda value: value is None or isinstance(value, dict), "its arguments by name or null"),
    ("layers", lambda value: isinstance(value, dict), "settings by layer"),
)


def _other_classes(path: Path, model: Model) -> str:
    """What to do about a file that was written for another number of classes; "" if it has the model's number."""
    try:
        about = _described(path)
    except WeightsError:
        return ""
    if about.get("num_classes", model.num_classes) == model.num_classes:
        return ""
    return (
        f". The file's {about['model']} tells {about['num_classes']} classes apart, this {model.name} "
        f"{model.num_classes}: create it with that many (num_classes=…), or by weights.load_model"
    )


def _template(model: Model) -> Tree:
    params, state = template(model)
    return {"params": params, "state": state}


def _safetensors(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"`path` must end in .safetensors; got {path}")
    return path
