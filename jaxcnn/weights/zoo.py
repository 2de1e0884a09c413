"""Networks with published weights, ready to use."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxcnn import models
from jaxcnn.files.errors import WeightsError
from jaxcnn.files.remote import NotObtained, Remote, obtain
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.keras import from_keras
from jaxcnn.weights.foreign.npz import from_arrays
from jaxcnn.weights.foreign.pytorch import from_torch
from jaxcnn.weights.published import FILES, IMAGENET_CLASSES, Published

READERS: dict[str, Callable[..., tuple[Tree, Tree]]] = {
    "torch": from_torch,
    "keras": from_keras,
    "arrays": from_arrays,
}


class Pretrained(NamedTuple):
    """A model, its published weights, and the facts about these weights, `about`."""

    model: Model
    params: Tree
    state: Tree
    about: Published


def pretrained_names() -> list[str]:
    """The names that `pretrained` knows.

    Example:
      >>> [name for name in pretrained_names() if "resnet50" in name]
      ['torchvision/resnet50', 'keras/resnet50']
    """
    return [published.name for published in FILES]


def pretrained(name: str | Published, *, path: str | os.PathLike | None = None, **options: Any) -> Pretrained:
    """Make a network with published weights.

    The file is fetched once, into `JAXCNN_CACHE` or the operating system's cache, and its hash is compared each time.
    torchvision publishes the first eight digits of a file's SHA-256, Keras the MD5.

    Args:
      name: one of `pretrained_names()`, or a `Published` of your own.
      path: a copy of the file that you have; its hash is compared, too, and nothing is fetched.
      **options: options of the model besides those that the weights need: `include_top=False` for a feature map,
        `input_size`, `remat`.

    Returns:
      `Pretrained(model, params, state, about)`: `about.preprocessing(images)` makes uint8 images the model's input,
      `about.license`, `about.source` and `about.top1` describe the weights, `class_names(about)` names the classes.

    Raises:
      ValueError: an unknown name. FileNotFoundError: there is no file at `path`.
      WeightsError: the file has another hash, or cannot be fetched; the message then says what to put where by hand.
      ImportError: a PyTorch file needs torch, a Keras file h5py (both in the extra `parity`), and a download pooch.

    Example:
      >>> from jaxcnn import weights
      >>> model, params, state, about = weights.pretrained("torchvision/resnet18")  # doctest: +SKIP
      >>> logits, _ = model.apply(params, state, about.preprocessing(images))  # doctest: +SKIP
    """
    about = name if isinstance(name, Published) else _known(name)
    model = models.create(about.model, **{**about.options, **options})
    params, state = READERS[about.library](_file(about.remote, path), model)
    return Pretrained(model, params, state, about)


def class_names(about: Published, path: str | os.PathLike | None = None) -> tuple[str, ...]:
    """The names of the classes, in the order of the logits.

    Args:
      about: the field `about` of what `pretrained` returns.
      path: for ImageNet, a text file with one name per line; by default the list of keras.applications is fetched.

    Raises:
      FileNotFoundError: there is no file at `path`.
      WeightsError: the file does not hold a thousand names, or the list cannot be fetched.

    Example:
      >>> from jaxcnn.weights.published import FILES
      >>> class_names(next(published for published in FILES if published.name == "akamaster/resnet20"))[:3]
      ('airplane', 'automobile', 'bird')
    """
    if about.classes != "imagenet":
        return about.classes
    if path is None:
        index = json.loads(_file(IMAGENET_CLASSES).read_text(encoding="utf-8"))
        names = [index[str(i)][1].replace("_", " ") for i in range(len(index))]
    else:
        try:
            names = Path(path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise WeightsError(f"{path}: expected a text file in UTF-8, one name per line: {error}") from None
    if len(names) != 1000:
        raise WeightsError(f"{path}: expected the names of ImageNet's 1000 classes, one per line; found {len(names)}")
    return tuple(names)


def _file(remote: Remote, path: str | os.PathLike | None = None) -> Path:
    """The file at `path`, or else the cached one, which is fetched if it is not there; its hash is always compared."""
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such weights file")
        if not remote.agrees(path):
            algorithm, _, digits = remote.hash.partition(":")
            beginning = "" if len(digits) == hashlib.new(algorithm).digest_size * 2 else " beginning with"
            raise WeightsError(
                f"{path}: expected the published {remote.file} of about {remote.mebibytes} MiB, {algorithm}{beginning} "
                f"{digits}; found {remote.found(path)}"
            )
        return path
    try:
        return obtain(remote)
    except (NotObtained, OSError) as error:
        if isinstance(error, NotObtained) and not error.failures:
            raise WeightsError(
                f"{remote.file} is not published at an address of its own: give its path, or put a file with "
                f"{remote.hash} at {remote.place}"
            ) from None
        raise WeightsError(
            f"{error}. By hand: download it ({remote.mebibytes} MiB, {remote.hash}) and put it at {remote.place}, or "
            "give its path"
        ) from None


def _known(name: str) -> Published:
    for published in FILES:
        if published.name == name:
            return published
    raise ValueError(f"weights.pretrained: unknown name {name!r}; known are {', '.join(pretrained_names())}")
