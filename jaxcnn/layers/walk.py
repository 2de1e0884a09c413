"""Walks over the layers of a network: all of them, the one at a path, one replaced, a value on its way through them.

A path joins the names on the way to a layer with slashes ("stage2/residual1/body/conv1"); that of the network is "".
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeVar

from jaxcnn.layers.layer import Layer, Tree, output_shape

V = TypeVar("V")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """A layer where it stands in a network.

    Args:
      path: to it.
      layer: the layer.
      params, state: its own parts of the network's; empty where it has none, or none were given.
      aside: whether it stands aside of its chain: its output leaves the network, in training alone.
      training_only: whether it, or a layer that it is a part of, stands aside.
    """

    path: str
    layer: Layer
    params: Tree = field(default_factory=dict)
    state: Tree = field(default_factory=dict)
    aside: bool = False
    training_only: bool = False

    @property
    def name(self) -> str:
        """The path; the kind of a network that has no path."""
        return self.path or self.layer.kind

    @property
    def own_name(self) -> str:
        """The last of the names in the path: by which the layer around it knows it."""
        return self.path.rpartition("/")[2]

    def children(self) -> Iterator["Place"]:
        """The layers that it is made of."""
        for name, child in self.layer.children.items():
            aside = name in self.layer.aside
            yield Place(
                f"{self.path}/{name}" if self.path else name,
                child,
                self.params.get(name, {}),
                self.state.get(name, {}),
                aside,
                self.training_only or aside,
            )


class Shapes(NamedTuple):
    """Of a layer's input and output, without the batch axis."""

    input: Shape
    output: Shape


def whole(layer: Layer, params: Tree | None = None, state: Tree | None = None) -> Place:
    """The place of a network itself, from which all others are reached."""
    return Place("", layer, params or {}, state or {})


def visit(layer: Layer, params: Tree | None = None, state: Tree | None = None) -> Iterator[Place]:
    """Every layer in the order of computation, each before those that it is made of; the network itself is the first.

    Example:
      >>> from jaxcnn.layers import Conv, Relu, residual, serial
      >>> [place.path for place in visit(serial(Conv(8, 3), residual(Relu())))]
      ['', 'conv1', 'residual1', 'residual1/body']
    """
    yield from _visited(whole(layer, params, state))


def leaves(layer: Layer, params: Tree | None = None, state: Tree | None = None) -> Iterator[Place]:
    """The layers that are made of no others, in the order of computation."""
    return (place for place in visit(layer, params, state) if not place.layer.children)


def at(layer: Layer, path: str, *, op: str = "at", argument: str = "path", inference: bool = False) -> Layer:
    """The layer at a path.

    Args:
      layer: the network.
      path: to a layer in it.
      op, argument: who asks and what the path is called there, for the message.
      inference: whether only layers that inference uses count.

    Raises:
      ValueError: a path that leads to no layer, naming those there are.
    """
    for name in path.split("/"):
        there = [child for child in layer.children if not (inference and child in layer.aside)]
        if name not in there:
            says = f"those of this {layer.kind} are {', '.join(there)}" if there else "it has none"
            wanted = "a layer that inference uses" if inference else "a layer"
            raise ValueError(f"{op}: `{argument}` must name {wanted}, but in {path!r} there is no {name!r}; {says}")
        layer = layer.children[name]
    return layer


def replace(layer: Layer, path: str, new: Layer | None, *, op: str = "replace", argument: str = "path") -> Layer:
    """The network with another layer at a path, or with none there; arguments and errors as in `at`.

    Raises:
      ValueError: also a path into a layer whose `combine` is None: it cannot be taken apart.
    """
    at(layer, path, op=op, argument=argument)
    return _replaced(layer, path.split("/"), new, path, op, argument)


def put(tree: Tree, path: str, part: Tree) -> Tree:
    """Parameters or state with another part at a path; what holds nothing then is left out."""
    name, _, rest = path.partition("/")
    inner = put(tree.get(name, {}), rest, part) if rest else part
    return {key: value for key, value in {**tree, name: inner}.items() if key != name or value}


def next_in_chain(layer: Layer) -> dict[str, str]:
    """For each layer of a chain, by path, the path of the layer that takes its output, at any depth."""
    found: dict[str, str] = {}
    for place in visit(layer):
        if place.layer.chained:
            found |= pairwise(child.path for child in place.children() if not child.aside)
    return found


def flow(
    place: Place,
    value: V,
    step: Callable[[Place, V], V],
    join: Callable[[Place, V, Sequence[V]], V],
    is_step: Callable[[Place], bool] = lambda place: not place.layer.children,
    note: Callable[[Place, V], object] = lambda place, value: None,
) -> V:
    """What becomes of a value on its way through a network.

    Args:
      place: the network, from `whole`.
      value: at its input.
      step: what a layer makes of the value at its input.
      join: what a layer makes of it whose children all take its input: of that, and of what the children make of it.
      is_step: which layers are one step; by default those made of no others. The others are gone through. What stands
        aside in a chain is gone through too, but leads nowhere.
      note: is told what each of them makes of it, chains included.
    """
    if is_step(place):
        value = step(place, value)
    else:
        start, results = value, []
        for child in place.children():
            results.append(flow(child, value, step, join, is_step, note))
            if place.layer.chained and not child.aside:
                value = results[-1]
        value = value if place.layer.chained else join(place, start, results)
    note(place, value)
    return value


def shapes(layer: Layer, input_shape: Shape, params: Tree, state: Tree) -> dict[str, Shapes]:
    """By path, the shapes of each layer's input and output, in the order of `visit`; nothing is computed.

    The network is traced once, each layer noting what it is given and what it gives. What inference leaves out, and the
    children of a layer that cannot be taken apart, are traced one by one.
    """
    seen: dict[str, Shapes] = {}
    _see(whole(layer, params, state), tuple(input_shape), seen)
    return {place.path: seen[place.path] for place in visit(layer)}


# ---------------------------------------------------------------------------------------------------------------------


def _visited(place: Place) -> Iterator[Place]:
    yield place
    for child in place.children():
        yield from _visited(child)


def _replaced(layer: Layer, way: Sequence[str], new: Layer | None, path: str, op: str, argument: str) -> Layer:
    name, *rest = way
    if layer.combine is None:
        raise ValueError(f"{op}: `{argument}` leads into {layer.kind!r}, which cannot be taken apart; got {path!r}")
    inner = _replaced(layer.children[name], rest, new, path, op, argument) if rest else new
    children = {**layer.children, name: inner}
    return layer.combine({key: child for key, child in children.items() if child is not None})


def _see(place: Place, input_shape: Shape, seen: dict[str, Shapes]) -> None:
    output_shape(_noting(place, seen), place.params, place.state, input_shape)
    for group in _visited(place):
        last = seen[group.path].input
        for child in group.children():
            if child.path not in seen:
                _see(child, last, seen)
            if group.layer.chained and not child.aside:
                last = seen[child.path].output


def _noting(place: Place, seen: dict[str, Shapes]) -> Layer:
    """The same layer; where it is applied, its shapes are noted, and those of all that it is made of."""
    layer = place.layer
    if layer.combine:
        parts = {child.own_name: _noting(child, seen) for child in place.children()}
        layer = layer.combine(parts)

    def apply(params, state, x, *, train=False, key=None):
        y, state = layer.apply(params, state, x, train=train, key=key)
        seen[place.path] = Shapes(x.shape[1:], y.shape[1:])
        return y, state

    return dataclasses.replace(place.layer, apply=apply)
