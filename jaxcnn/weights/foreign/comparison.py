"""Compare two networks step by step, from the last to the first, and say where they compute different things."""

import math
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any

from jaxcnn.layers.roles import ROLES, WITH_ARRAYS, role_of
from jaxcnn.ops.geometry import Window, sliding_window
from jaxcnn.weights.foreign.steps import MERGES, Node
from jaxcnn.weights.settings.plain import size_name

CLOSE = 1e-6  # relative: files keep some numbers in single precision
ORDERS = 24  # of a sum's inputs, tried at most: more than four inputs are compared in the order they come
IMPLIED = {"data_format": "channels_last", "rms_scaling": False}  # what layers here always do, so have no setting for
OF_BOTH = (*WITH_ARRAYS, "activation", "pool")  # the roles of layers that both libraries have
KNOWN = {"input", *MERGES, *(kind for kind, role in ROLES.items() if role in OF_BOTH)} - {"adaptive_avg_pool"}


class Comparison:
    """The differences between a file's network and a model, and the doubts about what cannot be compared.

    Args:
      theirs, ours: the last steps of the file's network and of the model.
      names: the file's name of each layer with arrays, by its path in the model.
      flattens: whether the model flattens a map, in which case the size of the input must be the same.

    Both are lists of sentences in the order of computation, `differences` and `doubts`.
    """

    def __init__(self, theirs: Node, ours: Node, names: Mapping[str, str], flattens: bool) -> None:
        self.names, self.flattens = names, flattens
        self._found: list[tuple[int, str]] = []
        self._doubted: list[tuple[int, str]] = []
        self._compare(theirs, ours)
        self.differences = [said for _, said in sorted(self._found)]
        self.doubts = [said for _, said in sorted(self._doubted)]

    def _compare(self, theirs: Node, ours: Node) -> None:
        waiting = [(theirs, ours, ours.shape)]
        done: set[tuple[int, int]] = set()
        while waiting:
            t, o, shape = waiting.pop()
            if (id(t), id(o)) in done:
                continue
            done.add((id(t), id(o)))
            if t.kind == o.kind or (t.role == o.role and t.role != "input") or _are_alike(t, o):
                self._pair(t, o)
                waiting += [(a, b, o.shape) for a, b in self._inputs(t, o)]
            elif t.kind == "reshape" and _reaches(t.settings["shape"], shape):
                waiting.append((t.inputs[0], o, shape))
            elif t.role not in ("arrays", "input", "merge") and len(t.inputs) == 1:
                if o.kind not in KNOWN and t.kind not in KNOWN:  # both are functions of the user
                    self._doubt(t, f"what {_called(t)} does cannot be compared with {o.kind} at {o.name} in the model")
                    waiting.append((t.inputs[0], o.inputs[0], o.shape))
                else:
                    self._differ(t, f"{_called(t)} is in the file, nothing like it in the model {_after(o)}{_cure(t)}")
                    waiting.append((t.inputs[0], o, shape))
            elif o.role not in ("arrays", "input", "merge") and len(o.inputs) == 1:
                where = f"'{t.name}'" if t.kind != "input" else "the input"
                self._differ(t, f"{o.kind} at {o.name} is in the model, nothing like it in the file after {where}")
                waiting.append((t, o.inputs[0], o.shape))
            else:
                self._differ(t, f"{_called(t)} is in the file where the model has {o.kind} at {o.name}")

    def _pair(self, t: Node, o: Node) -> None:
        """Compare the kinds and settings of two steps that have the same role."""
        if t.kind == "input":
            self._input(t, o)
            return
        if t.kind != o.kind and not _are_alike(t, o):
            self._differ(t, f"{_called(t)} is in the file, {o.kind} in the model at {o.name}")
            return
        if role_of(t.kind) in WITH_ARRAYS and self.names.get(o.name, t.name) != t.name:
            self._differ(
                t,
                f"{t.name!r} is in the file where the model has {o.name}, whose arrays are those of "
                f"{self.names[o.name]!r}",
            )
        for name, there, here in _differing(t, o):
            word = t.words.get(name, name)
            self._differ(t, f"{word} {there} in the file, {here} in the model at {o.name}")

    def _input(self, t: Node, o: Node) -> None:
        if not self.flattens or t.shape is None or o.shape is None or len(t.shape) != len(o.shape):
            return  # unknown shapes, or a reshape lies between the two, which was compared already
        if any(a is not None and a != b for a, b in zip(t.shape, o.shape, strict=True)):
            self._differ(t, f"input shape {tuple(t.shape)} in the file, {o.shape} in the model")

    def _inputs(self, t: Node, o: Node) -> Iterator[tuple[Node, Node]]:
        if len(t.inputs) != len(o.inputs):
            self._differ(
                t, f"{_called(t)} takes {len(t.inputs)} inputs, {o.kind} at {o.name} in the model {len(o.inputs)}"
            )
            return iter(())
        if t.kind != "add" or math.factorial(len(t.inputs)) > ORDERS:
            return zip(t.inputs, o.inputs, strict=True)
        # A sum is the same in any order of its inputs: choose the order in which most inputs come from the same layers.
        return max(
            (list(zip(order, o.inputs, strict=True)) for order in permutations(t.inputs)),
            key=lambda pairs: sum(self._share(a, b) for a, b in pairs),
        ).__iter__()

    def _share(self, t: Node, o: Node) -> float:
        """The share of layers with arrays (`sources`) that two steps have in common."""
        ours = {self.names.get(name, name) for name in o.sources}
        return len(t.sources & ours) / max(len(t.sources | ours), 1)

    def _differ(self, t: Node, said: str) -> None:
        self._found.append((t.place, said))

    def _doubt(self, t: Node, said: str) -> None:
        self._doubted.append((t.place, said))


def _called(node: Node) -> str:
    return f"{node.kind} {node.name!r}"


def _cure(node: Node) -> str:
    if node.kind in KNOWN or node.kind.startswith("second call"):
        return ""
    settings = "".join(f", {name}={value!r}" for name, value in node.settings.items() if len(repr(value)) < 40)
    return f" (a layer stateless({node.kind!r}, function{settings}) can stand for it)"


def _after(node: Node) -> str:
    return "before its first layer" if node.kind == "input" else f"after {node.name}"


def _are_alike(t: Node, o: Node) -> bool:
    """Whether the two pool alike, one globally and the other by a window as large as the map."""
    if {t.kind, o.kind} not in ({"avg_pool", "global_avg_pool"}, {"max_pool", "global_max_pool"}):
        return False
    pool = t if size_name(t.kind, t.settings) else o
    window = _window(pool, o.shape)
    return window is not None and window.size == tuple(o.shape or ())[:-1] and not any(map(any, window.padding))


def _differing(t: Node, o: Node) -> Iterator[tuple[str, Any, Any]]:
    there, here = dict(t.settings), dict(o.settings)
    if (
        t.kind == o.kind and (size := size_name(t.kind, there)) and t.kind != "conv_transpose"
    ):  # a conv_transpose slides its window over its output
        one, other = _window(t, o.shape), _window(o, o.shape)
        if one is not None and one == other:
            for name in (size, "stride", "padding", "dilation", "ceil_mode"):
                there.pop(name, None)
                here.pop(name, None)
            if not any(map(any, one.padding)):
                there.pop("count_include_pad", None)
    for name, value in there.items():
        if name in here:
            if not _is_same(value, here[name]):
                yield name, value, here[name]
        elif name == "axis":
            axes = value if isinstance(value, list | tuple) else [value]
            if len(axes) != 1 or axes[0] not in (-1, len(o.shape or ())):
                yield name, value, "the last"
        elif name in IMPLIED:
            if value != IMPLIED[name]:
                yield name, value, IMPLIED[name]
        elif t.kind == o.kind:  # else a pool is compared with a global pool, which has no such setting
            yield name, value, "not said"


def _window(node: Node, shape: tuple[int | None, ...] | None) -> Window | None:
    """The window that a step slides over an input of `shape`; None if it has no window, or one that does not fit."""
    settings = node.settings
    name = size_name(node.kind, settings)
    size = settings[name] if name else ()
    if not size or shape is None or len(shape) != len(size) + 1:
        return None
    try:
        return sliding_window(
            node.kind,
            [int(side or 0) for side in shape[:-1]],
            window=size,
            stride=settings["stride"],
            padding=settings["padding"],
            dilation=settings["dilation"],
            ceil_mode=settings.get("ceil_mode", False),
        )
    except ValueError:
        return None


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return math.isclose(a, b, rel_tol=CLOSE) if numbers else a == b


def _reaches(target: Any, shape: tuple[int | None, ...] | None) -> bool:
    """Whether a reshape to `target` gives the model's `shape`; a side of −1 fits any."""
    return (
        shape is not None
        and len(target) == len(shape)
        and all(a in (-1, b) for a, b in zip(target, shape, strict=True))
    )
