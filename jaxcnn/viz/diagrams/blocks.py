"""A network taken apart into the boxes of a diagram."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import jax

from jaxcnn.layers import Layer
from jaxcnn.layers.given import template
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.roles import Role
from jaxcnn.layers.walk import Place, Shapes, shapes, whole


@dataclass(frozen=True)
class Block:
    """A box of the diagram, or a group of parallel ways from one input to one output.

    Args:
      name: names joined by slashes.
      kind, role: the layer's.
      window: such as "3×3", of a layer with a kernel.
      shape: of the output, without the batch axis.
      parameters: trainable, of all that is inside.
      followers: names of layers without parameters of their own shape that come next: activations, norms, dropout.
      ways: chains from the input to the output, side by side; an empty one hands on the input as it is.
      times: how often it comes, one after the other.
      like: the name of a block before it that has the same pattern, with other channels.
      aside: whether its output leaves the network, and only in training.
    """

    name: str
    kind: str
    role: Role
    window: str
    shape: tuple[int, ...]
    parameters: int
    followers: tuple[str, ...] = ()
    ways: tuple[tuple["Block", ...], ...] = ()
    times: int = 1
    like: str = ""
    aside: bool = False

    @property
    def pattern(self) -> tuple:
        """What equal blocks of other widths and sizes have in common, followers not counted."""
        return self.kind, self.window, tuple(tuple((b.pattern, b.followers) for b in way) for way in self.ways)


def blocks_of(layer: Layer, shape: tuple[int, ...]) -> list[Block]:
    """The boxes of a layer, from its input on; what repeats is folded. Nothing is computed but shapes."""
    params, state = template(layer, shape)
    reached = shapes(layer, shape, params, state)
    start = Block("input", "input", "other", "", shape, 0)
    return [start, *_folded(list(_chain(whole(layer, params, state), "", reached)))]


# ---------------------------------------------------------------------------------------------------------------------


def _chain(place: Place, name: str, reached: Mapping[str, Shapes]) -> Iterator[Block]:
    """The blocks of a layer, one after the other; what is a chain of chains is one chain."""
    if not (place.layer.children and place.layer.chained):
        yield _block(place, name, reached)
        return
    last: Block | None = None
    for child in place.children():
        path = f"{name}/{child.own_name}" if name else child.own_name
        if child.aside:
            if last:
                yield last
            last = None
            end, kind = reached[child.path].output, child.layer.kind
            yield Block(path, kind, child.layer.role, "", end, _size(child.params), aside=True)
            continue
        for block in _chain(child, path, reached):
            if last and _follows(block, last):
                last = replace(
                    last,
                    followers=(*last.followers, block.name.split("/")[-1]),
                    parameters=last.parameters + block.parameters,
                )
            else:
                if last:
                    yield last
                last = block
    if last:
        yield last


def _follows(block: Block, last: Block) -> bool:
    """Whether a layer acts on each value alone, so that it has its place in the box before it."""
    alone = not block.ways and not block.window and block.role not in ("pool", "dense", "shape")
    return alone and block.shape == last.shape and not block.aside


def _block(place: Place, name: str, reached: Mapping[str, Shapes]) -> Block:
    layer, end = place.layer, reached[place.path].output
    name, size = name or layer.kind, _size(place.params)
    if not layer.children:
        kernel = getattr(place.params.get("kernel"), "shape", ())
        return Block(name, layer.kind, layer.role, "×".join(map(str, kernel[:-2])), end, size)
    ways = [
        tuple(_chain(child, "" if child.own_name == "body" else child.own_name, reached)) for child in place.children()
    ]
    if layer.kind == "residual" and len(ways) == 1:
        ways.append(())
    return Block(name, layer.kind, layer.role, "", end, size, ways=tuple(ways))


def _folded(blocks: Sequence[Block]) -> Iterator[Block]:
    """Equal groups in a row become one with a count; a group whose pattern was drawn before becomes a plain box."""
    kept: list[Block] = []
    for block in blocks:
        before = kept[-1] if kept else None
        if before and block.ways and replace(block, name=before.name, times=before.times) == before:
            kept[-1] = replace(before, times=before.times + 1)
        else:
            kept.append(block)
    seen: dict[tuple, str] = {}
    for block in kept:
        if not block.ways:
            yield block
        elif block.pattern in seen:
            yield replace(block, like=seen[block.pattern], ways=())
        else:
            seen[block.pattern] = block.name
            yield block


def _size(params: Tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
