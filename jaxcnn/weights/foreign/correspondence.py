"""Which array of another library becomes which array of a model.

Each array of the source is used once and each array of the model is filled once; else an error lists what does not fit.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.files.errors import WeightsError
from jaxcnn.files.tensors import check_finite
from jaxcnn.files.trees import counted, flatten
from jaxcnn.layers.layer import Tree
from jaxcnn.models import Model
from jaxcnn.weights.foreign.dialects import Dialect
from jaxcnn.weights.foreign.transforms import Transform, cast
from jaxcnn.weights.parts import Part
from jaxcnn.weights.settings.own import settings_of

SHOWN = 8  # names of each kind of mistake in a message; the error's fields have them all

FOLDING = (
    "a bias in front of a batch norm is subtracted from the norm's mean, since the convolutions here have none: "
    "norm(x + b) with mean m is norm(x) with mean m − b"
)


class Mismatch(WeightsError):
    """The error for arrays whose names or shapes do not fit a model.

    Args:
      message: the error's message.
      missing: names that the model needs and the source lacks.
      unused: names in the source that the model has no use for.
      misshaped: names in the source of arrays of another shape than the model needs.
    """

    def __init__(self, message: str, missing: Iterable[str], unused: Iterable[str], misshaped: Iterable[str]):
        super().__init__(message)
        self.missing, self.unused, self.misshaped = tuple(missing), tuple(unused), tuple(misshaped)


@dataclass(frozen=True)
class Assignment:
    """Where one array of the model comes from: the source's array, and the transforms applied to it, in order.

    `minus` names a bias in the source that, where it exists, is subtracted from a running mean.
    """

    target: str
    source: str
    shape: tuple[int, ...]
    dtype: np.dtype
    transforms: tuple[Transform, ...]
    minus: str | None = None

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape that the source's array should have."""
        value = np.broadcast_to(np.uint8(0), self.shape)
        for transform in reversed(self.transforms):
            value = transform.invert(value)
        return value.shape

    def shape_from(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape that the transforms give an array of `shape`; None if they cannot be applied to it."""
        value = np.broadcast_to(np.uint8(0), shape)
        try:
            for transform in self.transforms:
                value = transform.apply(value)
        except ValueError:
            return None
        return value.shape


@dataclass(frozen=True)
class Correspondence:
    """All assignments of a model, in the order of computation; printing them gives a table with the reasons.

    Args:
      model: the model whose arrays are filled.
      dialect: the dialect of the source's library.
      assignments: one for each array of the model.
      ignored: (pattern of names, reason) pairs for arrays that a source may hold besides the model's.
    """

    model: Model
    dialect: Dialect
    assignments: tuple[Assignment, ...]
    ignored: tuple[tuple[str, str], ...]

    def fill(self, arrays: Mapping[str, np.ndarray], where: str, strict: bool = True) -> tuple[Tree, Tree]:
        """The model's (params, state) from another library's arrays by name.

        With `strict=False` a warning lists what does not fit, and missing or misshaped arrays are as `init` makes them.

        Raises:
          Mismatch: missing, unused or misshaped names. WeightsError: values that are not finite, or not floating-point.
        """
        tree: Tree = {"params": {}, "state": {}}
        lacking: set[str] = set()
        try:
            self._check_names(arrays, where)
        except Mismatch as mismatch:
            lacking = {*mismatch.missing, *mismatch.misshaped}
            if strict or len(lacking) == len(self.assignments):
                raise
            warnings.warn(f"{mismatch}. The rest is taken", stacklevel=4)
            params, state = jax.tree.map(lambda leaf: leaf, self.model.init(jax.random.key(0)))
            tree = {"params": params, "state": state}
        for one in self.assignments:
            if one.source in lacking:
                continue
            value = _floats(one.source, arrays[one.source], where)
            changes = one.transforms if value.dtype == one.dtype else (*one.transforms, cast(value.dtype, one.dtype))
            for transform in changes:
                value = transform.apply(value)
            if one.minus is not None and one.minus in arrays:
                value = value - _floats(one.minus, arrays[one.minus], where).astype(value.dtype)
            *way, leaf = one.target.split("/")
            branch: Tree = tree
            for name in way:
                branch = branch.setdefault(name, {})
            branch[leaf] = jnp.array(value)  # a copy, since asarray may share memory with the source
        return tree["params"], tree["state"]

    def invert(self, params: Tree, state: Tree) -> dict[str, np.ndarray]:
        """The other library's arrays by name, made from a model's arrays."""
        values = flatten({"params": params, "state": state})
        out = {}
        for one in self.assignments:
            value = np.asarray(values[one.target])
            for transform in reversed(one.transforms):
                value = transform.invert(value)
            out[one.source] = np.array(value, order="C")  # a copy: asarray shares memory with the JAX array
        return out

    def reasons(self) -> dict[str, str]:
        """The reason of each transform, by the transform's name."""
        found = {t.name: t.reason for one in self.assignments for t in one.transforms}
        return found | ({"− bias": FOLDING} if any(one.minus for one in self.assignments) else {})

    def __str__(self) -> str:
        rows = [
            (one.target, one.source, ", ".join([*(t.name for t in one.transforms), *["− bias"] * bool(one.minus)]))
            for one in self.assignments
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{self.model.name} from {self.dialect.name}",
            *("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows),
            *(f"{name}: {reason}" for name, reason in self.reasons().items()),
            *(f"ignored {pattern}: {reason}" for pattern, reason in self.ignored),
            *(self._settings() if self.dialect.says_settings else ()),
        ]
        return "\n".join(lines)

    def _settings(self) -> list[str]:
        """The settings that a source's configuration is compared with: one line for each layer that has settings."""
        found = settings_of(self.model.layer)
        said = {
            path: [f"{name}={value}" for name, value in one.items() if name != "kind"] for path, one in found.items()
        }
        return [f"compared {path}: {found[path]['kind']} {', '.join(one)}" for path, one in said.items() if one]

    def _check_names(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        used = {one.source for one in self.assignments} | {one.minus for one in self.assignments}
        ignored = [re.compile(pattern) for pattern, _ in self.ignored]
        missing = [one.source for one in self.assignments if one.source not in arrays]
        unused = [name for name in arrays if name not in used and not any(p.fullmatch(name) for p in ignored)]
        wrong = [
            one
            for one in self.assignments
            if one.source in arrays and one.shape_from(np.shape(arrays[one.source])) != one.shape
        ]
        if not (missing or unused or wrong):
            return
        shapes = [f"{one.source} is {np.shape(arrays[one.source])}, needed {one.source_shape}" for one in wrong]
        said = counted({"missing": missing, "unused": unused, "misshaped": shapes}, SHOWN)
        raise Mismatch(
            f"{where}: the arrays do not fit {self.model.name}; {'; '.join(said)}{self._hint(arrays, wrong)}",
            missing,
            unused,
            [one.source for one in wrong],
        )

    def _hint(self, arrays: Mapping[str, np.ndarray], wrong: list[Assignment]) -> str:
        """Advice to end the message with, if only the number of classes differs or a BatchNorm lacks an array."""
        if without := [leaf for leaf in ("scale", "bias") if self._lacks(arrays, leaf)]:
            said = " and ".join(f"use_{leaf}=False" for leaf in without)
            return f". A BatchNorm of the source has no such array; make the model's with {said}"
        classes = set()
        for one in wrong:
            shape = one.shape_from(np.shape(arrays[one.source]))
            if not shape or shape[:-1] != one.shape[:-1] or one.shape[-1] != self.model.num_classes:
                return ""
            classes.add(shape[-1])
        if len(classes) != 1:
            return ""
        return (
            f". The arrays tell {classes.pop()} classes apart, the model {self.model.num_classes}: create it with that "
            "many (num_classes=…), and give it another head afterwards (models.with_head)"
        )

    def _lacks(self, arrays: Mapping[str, np.ndarray], leaf: str) -> bool:
        """Whether the source has the statistics of some BatchNorm but not its `leaf`."""
        statistics = {
            one.target[len("state/") : -len("/mean")]
            for one in self.assignments
            if one.source in arrays and one.target.endswith("/mean")
        }
        return any(
            one.source not in arrays and one.target == f"params/{path}/{leaf}"
            for one in self.assignments
            for path in statistics
        )


def correspond(
    model: Model,
    parts: Iterable[Part],
    dialect: Dialect,
    names: Mapping[str, str],
    ignored: Iterable[tuple[str, str]] = (),
    strict: bool = True,
) -> Correspondence:
    """Build the correspondence that follows from the other library's name of each layer.

    Args:
      model, parts: the model to fill, and its parts.
      dialect: the library's dialect.
      names: the library's name of each part, by path.
      ignored: further (pattern, reason) pairs besides those of the dialect.
      strict: False allows parts without a name in `names`; they are called as they are here.

    Raises:
      ValueError: `names` that leaves out a part, has a path that no part has, or gives two parts one name.
    """
    parts = list(parts)
    paths = [part.path for part in parts]
    if not strict:
        names = {path: path.replace("/", dialect.joint) for path in paths} | dict(names)
    without, unknown = [p for p in paths if p not in names], [p for p in names if p not in paths]
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if without or unknown or twice:
        said = (("without a name", without), ("no layer of the model", unknown), ("named twice", twice))
        raise ValueError(
            f"`names` must give each layer of {model.name} a name of its own; "
            + "; ".join(f"{what}: {', '.join(found)}" for what, found in said if found)
        )
    biases = {part.norm: names[part.path] for part in parts if part.norm and "bias" not in part.arrays}
    assignments = []
    for part in parts:
        minus = f"{biases[part.path]}{dialect.joint}bias" if dialect.folds_bias and part.path in biases else None
        assignments += assign(part, dialect, names[part.path], minus)
    return Correspondence(model, dialect, tuple(assignments), (*dialect.ignored, *ignored))


def assign(part: Part, dialect: Dialect, name: str, minus: str | None = None) -> list[Assignment]:
    """The assignments of one part, if the library calls its layer `name`; `minus` goes to its running mean."""
    out = []
    for leaf, (target, like) in part.arrays.items():
        source, transforms = dialect.leaf(part, leaf)
        out.append(
            Assignment(
                target,
                f"{name}{dialect.joint}{source}",
                like.shape,
                np.dtype(like.dtype),
                transforms,
                minus if leaf == "mean" else None,
            )
        )
    return out


def _floats(name: str, value: np.ndarray, where: str) -> np.ndarray:
    value = np.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise WeightsError(f"{where}: {name} must hold floating-point numbers; got {value.dtype}")
    check_finite(name, value, where)
    return value
