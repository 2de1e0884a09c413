"""A network taken apart into the boxes of a diagram."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax

from jaxcnn.layers import Layer
from jaxcnn.layers.layer import Tree, output_shape


@dataclass(frozen=True)
class Block:
    """A box of the diagram, or a group of parallel ways from one input to one output.

    Args:
      name: names joined by slashes.
      kind: the layer's kind.
      window: such as "3×3", for a layer with a kernel.
      shape: the output's shape without the batch axis.
      parameters: how many trainable parameters are inside.
      followers: names of the layers after it that are drawn in its box: activations, norms, dropout.
      ways: chains from the input to the output, side by side; an empty chain passes the input on.
      times: how often the block is repeated.
      like: the name of an earlier block that differs only in its channels.
      aside: whether its output leaves the network, which only auxiliary classifiers in training have.
    """

    name: str
    kind: str
    window: str
    shape: tuple[int, ...]
    parameters: int
    followers: tuple[str, ...] = ()
    ways: tuple[tuple["Block", ...], ...] = ()
    times: int = 1
    like: str = ""
    aside: bool = False

    @property
    def form(self) -> tuple:
        """What equal blocks of other widths and sizes have in common, followers not counted."""
        return self.kind, self.window, tuple(tuple((b.form, b.followers) for b in way) for way in self.ways)


def blocks_of(layer: Layer, shape: tuple[int, ...]) -> list[Block]:
    """The boxes of a layer, from its input on, with repeated groups folded; only shapes are computed."""
    params, state = jax.eval_shape(lambda key: layer.init(key, shape), jax.random.key(0))
    return [Block("input", "input", "", shape, 0), *_folded(list(_chain(layer, "", params, state, shape)))]


# ---------------------------------------------------------------------------------------------------------------------


def _chain(layer: Layer, name: str, params: Tree, state: Tree, shape: tuple[int, ...]) -> Iterator[Block]:
    """The blocks of a layer, one after the other; a chain of chains becomes one chain."""
    if not (layer.children and layer.chained):
        yield _block(layer, name, params, state, shape)
        return
    last: Block | None = None
    for child_name, child in layer.children.items():
        path = f"{name}/{child_name}" if name else child_name
        part = params.get(child_name, {}), state.get(child_name, {})
        if child_name in layer.aside:
            end = output_shape(child, *part, shape)
            if last:
                yield last
            last = None
            yield Block(path, child.kind, "", end, _size(part[0]), aside=True)
            continue
        for block in _chain(child, path, *part, shape):
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
            shape = block.shape
    if last:
        yield last


def _follows(block: Block, last: Block) -> bool:
    """Whether a layer acts on each value by itself, so that it is drawn in the box before it."""
    alone = not block.ways and not block.window and "pool" not in block.kind and block.kind not in ("dense", "flatten")
    return alone and block.shape == last.shape and not block.aside


def _block(layer: Layer, name: str, params: Tree, state: Tree, shape: tuple[int, ...]) -> Block:
    end = output_shape(layer, params, state, shape)
    name = name or layer.kind
    if not layer.children:
        kernel = getattr(params.get("kernel"), "shape", ())
        return Block(name, layer.kind, "×".join(map(str, kernel[:-2])), end, _size(params))
    ways = [
        tuple(_chain(child, "" if way == "body" else way, params.get(way, {}), state.get(way, {}), shape))
        for way, child in layer.children.items()
    ]
    if layer.kind == "residual" and len(ways) == 1:
        ways.append(())
    return Block(name, layer.kind, "", end, _size(params), ways=tuple(ways))


def _folded(blocks: Sequence[Block]) -> Iterator[Block]:
    """Equal groups in a row become one with a count; a group whose form was drawn before becomes a plain box."""
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
        elif block.form in seen:
            yield replace(block, like=seen[block.form], ways=())
        else:
            seen[block.form] = block.name
            yield block


def _size(params: Tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
