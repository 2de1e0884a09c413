"""The settings of a run, in command.json: written when it begins, read when it is resumed or evaluated."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.cli.arguments import ALL, MOST
from jaxcnn.cli.recipes import AUGMENTS, RECIPES
from jaxcnn.cli.wording import NONE, UsageError
from jaxcnn.data import DataError
from jaxcnn.files import json_files
from jaxcnn.models import create, names

FILE = "command.json"


@dataclass(frozen=True)
class Settings:
    """The flags of `train`, each with its value."""

    dataset: str
    model: str
    size: tuple[int, int] | None
    classes: tuple[str, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    augment: tuple[str, ...]
    validation: float
    keep: str
    patience: int | None
    seed: int
    skip_unreadable: bool
    devices: int | str | None
    data_dir: Path | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) that images of any size are resized to."""
        height, width, channels = create(self.model).input_shape
        return (*(self.size or (height, width)), channels)


def settings(given: Mapping[str, Any]) -> Settings:
    """The given settings, and for all others the dataset's defaults."""
    dataset = given.get("dataset", "digits")
    recipe = RECIPES[dataset]
    usual: dict[str, Any] = {
        "dataset": dataset,
        "model": recipe.model,
        "size": recipe.size if "model" not in given else None,
        "classes": (),
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": 2e-3,
        "weight_decay": 1e-2,
        "augment": recipe.augment,
        "validation": 0.1,
        "keep": "last",
        "patience": None,
        "seed": 0,
        "skip_unreadable": False,
        "devices": None,
        "data_dir": None,
    }
    return _checked(Settings(**(usual | {name: given[name] for name in given if name in usual})))


def _checked(asked: Settings) -> Settings:
    """The settings; UsageError if flags contradict each other."""
    if asked.patience is not None and asked.keep != "best":
        raise UsageError(
            "--patience stops after the best epoch, whose model only --keep best keeps: give both, or neither"
        )
    if asked.keep == "best" and not asked.validation:
        raise UsageError("--keep best chooses by the validation images, and --validation 0 leaves none")
    if asked.dataset != "image_folder":
        for name, value in (("--size", asked.size), ("--skip-unreadable", asked.skip_unreadable)):
            if value:
                raise UsageError(f"{name} is for --dataset image_folder; the images of {asked.dataset} are as they are")
    if asked.dataset == "digits" and asked.data_dir is not None:
        raise UsageError("--data-dir is of no use to the digits; did you mean --dataset image_folder?")
    return asked


def gone_on_with(recorded: Settings, given: Mapping[str, Any], run_dir: Path, finished: int) -> Settings:
    """The settings of a run that is resumed: its own, but `given` may have more epochs, other devices and
    another folder of the data.

    Raises:
      UsageError: another value of any other flag; the message names both values.
    """
    may_change = {"epochs", "devices", "data_dir"}
    differing = [
        f"{_flag(name)} {_written(given[name])} (it began with {_written(value)})"
        for name, value in vars(recorded).items()
        if name in given and name not in may_change and given[name] != value
    ]
    if differing:
        raise UsageError(
            f"{run_dir} is resumed with its own settings, so it cannot take {', '.join(differing)}; leave that out, or "
            "begin another run"
        )
    if given.get("epochs", recorded.epochs) < finished:
        raise UsageError(f"--epochs must be at least the {finished} that {run_dir} has finished; got {given['epochs']}")
    return dataclasses.replace(recorded, **{name: given[name] for name in may_change if name in given})


def write(run_dir: Path, asked: Settings) -> None:
    """Write command.json into a run folder."""
    place = str(asked.data_dir.resolve()) if asked.data_dir else None
    json_files.write_json(run_dir / FILE, vars(asked) | {"data_dir": place})


def read(run_dir: Path) -> Settings:
    """The settings of a run.

    Raises:
      UsageError: no run folder of `jaxcnn train`. DataError: a damaged file; the message says what is wrong.
    """
    path = run_dir / FILE
    if not path.exists():
        raise UsageError(f"{run_dir} is not a folder that `jaxcnn train` wrote: it has no {FILE}")
    found = read_json(path)
    for name in ("dataset", "model"):
        if name not in found:
            raise DataError(path, f"a {name}", "none")
    for name, (is_right, what) in _FIELDS.items():
        if name in found and not is_right(found[name]):
            raise DataError(path, f"{what} as the field {name!r}", f"{str(found[name])[:80]!r}")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    if given.get("data_dir") is not None:
        given["data_dir"] = Path(given["data_dir"])
    if given.get("size") is None and "size" in given:
        del given["size"]
    return settings(given)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a DataError names a file that holds anything else."""
    try:
        return json_files.read_json(path)
    except ValueError as error:
        raise DataError(path, "values by name in JSON", str(error)) from None


def as_command(asked: Settings) -> str:
    """The shortest `jaxcnn train …` that asks for the same.

    Example:
      >>> as_command(settings({"dataset": "mnist", "epochs": 5, "augment": ("flip",)}))
      'jaxcnn train --dataset mnist --epochs 5 --augment flip'
    """
    recipe = RECIPES[asked.dataset]
    start = {"dataset": asked.dataset} | ({"model": asked.model} if asked.model != recipe.model else {})
    usual = vars(settings(start)) | {"dataset": "digits", "model": recipe.model}
    words = ["jaxcnn", "train"]
    for name, value in vars(asked).items():
        if value != usual[name]:
            words += [_flag(name), *_words(value)]
    return shlex.join(words)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(value: Any) -> list[str]:
    if value is True:
        return []
    if value == ():
        return [NONE]
    if isinstance(value, tuple):
        sides = all(isinstance(part, int) for part in value) and value
        return ["x".join(map(str, value))] if sides else [str(part) for part in value]
    return [f"{value:g}" if isinstance(value, float) else str(value)]


def _written(value: Any) -> str:
    return NONE if value is None or value == () else " ".join(_words(value)) or "yes"


def _is_whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= MOST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "dataset": (lambda value: value in list(RECIPES), f"one of {', '.join(RECIPES)}"),
    "model": (lambda value: value in names(), "a model's name"),
    "size": (
        lambda value: value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_whole(1), value))),
        "(height, width)",
    ),
    "classes": (_are_words, "names"),
    "epochs": (_is_whole(1), "a whole number of at least 1"),
    "batch_size": (_is_whole(1), "a whole number of at least 1"),
    "learning_rate": (_is_number, "a number"),
    "weight_decay": (_is_number, "a number"),
    "augment": (lambda value: _are_words(value) and set(value) <= set(AUGMENTS), f"some of {', '.join(AUGMENTS)}"),
    "validation": (lambda value: _is_number(value) and value < 1, "a number below 1"),
    "keep": (lambda value: value in ("last", "best"), "last or best"),
    "patience": (lambda value: value is None or _is_whole(1)(value), "a whole number of at least 1, or null"),
    "seed": (_is_whole(0), "a whole number"),
    "skip_unreadable": (lambda value: type(value) is bool, "true or false"),
    "devices": (
        lambda value: value in (None, ALL) or _is_whole(1)(value),
        "a whole number of at least 1, all, or null",
    ),
    "data_dir": (lambda value: value is None or isinstance(value, str), "a path or null"),
}
