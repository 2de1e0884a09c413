"""Rules: for each primitive, which box of the input its result sees, given the boxes of its operands.

The boxes of an array's values are arrays of the same shape, two per spatial axis of the input: the first position that
each value sees, and minus the last one. A value that depends on several others sees the smallest box around their
boxes, which is the minimum of those arrays. They are `np.broadcast_to` views, a few numbers in memory: an edge that is
the same for all channels is there once.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.ops.bilinear import OPERATIONS
from jaxcnn.ops.geometry import Slide, Window
from jaxcnn.ops.jaxprs import Equation

NOTHING = 1 << 30  # the edge of a value that sees nothing: the minimum with any other edge is the other edge
Edges = tuple[np.ndarray, ...]  # first and minus last of axis 0, first and minus last of axis 1, …
Edge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Boxes:
    """The boxes of all values of an array.

    Args:
      seen: the edges of the boxes in the input; a padded value sees nothing.
      wide: the edges if the image went on forever in place of padding; only these lie on a regular grid.
      step: for each axis of the input, how far the wide boxes of neighbors are apart. The edges say so, too, except on
        an axis with a single position.
    """

    seen: Edges
    wide: Edges
    step: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.seen[0].shape

    def map(self, function: Edge) -> "Boxes":
        """The boxes with `function` applied to all edges."""
        return Boxes(tuple(map(function, self.seen)), tuple(map(function, self.wide)), self.step)

    def broadcast(self, shape: tuple[int, ...]) -> "Boxes":
        """The same boxes for an array of this shape."""
        return self.map(lambda edge: np.broadcast_to(edge, shape))

    def closed(self, function: Edge) -> "Boxes":
        """`map` for a function that sees all positions at once; after it no box reaches beyond the image."""
        seen = tuple(map(function, self.seen))
        return Boxes(seen, seen, (0,) * len(self.step))


def blind(shape: tuple[int, ...], rank: int) -> Boxes:
    """The boxes of an array that does not depend on the input."""
    edges = (np.broadcast_to(NOTHING, shape),) * (2 * rank)
    return Boxes(edges, edges, (0,) * rank)


def _union(several: Sequence[Boxes]) -> Boxes:
    """The smallest boxes around the boxes of several arrays, value by value."""

    def around(edges):
        return np.minimum.reduce(np.broadcast_arrays(*map(_thin, edges)))

    seen = tuple(map(around, zip(*(s.seen for s in several), strict=True)))
    wide = tuple(map(around, zip(*(s.wide for s in several), strict=True)))
    return Boxes(seen, wide, tuple(map(max, zip(*(s.step for s in several), strict=True))))


def _reduced(x: Boxes, axes: Sequence[int]) -> Boxes:
    """The boxes around whole axes. A reduction over the last axis, the channels, keeps the grid of positions."""
    of_channels = tuple(axes) == (len(x.shape) - 1,)
    return (x.map if of_channels else x.closed)(lambda edge: _thin(edge).min(axis=tuple(axes)))


def _thin(edge: np.ndarray) -> np.ndarray:
    """The edge with axes of stride 0, along which nothing changes, cut to length 1."""
    return edge[tuple(slice(None) if stride else slice(1) for stride in edge.strides)]


# ---------------------------------------------------------------------------------------------------------------------
# Windows


def _slide(x: Boxes, axis: int, index: np.ndarray, along: int | None) -> Boxes:
    """Output o sees the positions index[o, :] along an axis; a NaN is no position, and positions outside are padding.

    `along` is the axis of the input that this axis follows; None for channels, which have no padding.
    """
    shape = (*x.shape[:axis], len(index), *x.shape[axis + 1 :])
    n, column = x.shape[axis], (...,) + (None,) * (len(x.shape) - 1 - axis)
    place = np.nan_to_num(index).astype(int)
    nearest = np.clip(place, 0, n - 1)
    beyond = (place - nearest)[column]  # how many positions outside it is
    none = np.isnan(index)[column]

    def take(edge, hidden, slope_if_single):
        thin = _thin(edge)
        values = np.broadcast_to(thin, (*thin.shape[:axis], n, *thin.shape[axis + 1 :]))
        low, high = slope_if_single, slope_if_single
        if n > 1:
            ends = values.take([0, 1, n - 2, n - 1], axis)
            low, high = (np.expand_dims(np.diff(ends.take(pair, axis), axis=axis), axis) for pair in ([0, 1], [2, 3]))
        values = values.take(nearest, axis) + beyond * np.where(beyond < 0, low, high)
        return np.broadcast_to(np.where(hidden, NOTHING, values).min(axis + 1), shape)

    seen = tuple(take(edge, none | (beyond != 0), 0) for edge in x.seen)
    if along is None:
        return Boxes(seen, tuple(take(edge, none | (beyond != 0), 0) for edge in x.wide), x.step)
    slopes = [0] * len(x.wide)
    slopes[2 * along : 2 * along + 2] = x.step[along], -x.step[along]
    wide = tuple(take(edge, none, slope) for edge, slope in zip(x.wide, slopes, strict=True))
    return Boxes(seen, wide, x.step)


def _through(window: Window, x: Boxes, first_axis: int) -> Boxes:
    """The boxes through a window: output o sees s·o + δ·k − p."""
    step = list(x.step)
    for a, n in enumerate(window.output_size(x.shape[first_axis : first_axis + window.rank])):
        taps = window.dilation[a] * np.arange(window.size[a]) - window.padding[a][0]
        x = _slide(x, first_axis + a, window.stride[a] * np.arange(float(n))[:, None] + taps, a)
        step[a] *= window.stride[a]
    return Boxes(x.seen, x.wide, tuple(step))


def _back(window: Window, size: Sequence[int], x: Boxes, first_axis: int) -> Boxes:
    """The boxes through a transposed window: i sees (i + p − δ·k) / s where that is whole."""
    for a, n in enumerate(size):
        taps = window.dilation[a] * np.arange(window.size[a]) - window.padding[a][0]
        index = (np.arange(n)[:, None] - taps) / window.stride[a]
        x = _slide(x, first_axis + a, np.where(index % 1, np.nan, index), a)
    return x


def _slid(eqn: Equation, x: Any, *others: Any) -> Boxes:
    """The rule of our own operations, from the window that they say slides over their first operand."""
    slide: Slide = OPERATIONS[eqn.primitive].slides(**eqn.params)  # type: ignore[misc]  # `rule_of` has looked
    if not isinstance(x, Boxes) or (slide.groups and any(isinstance(other, Boxes) for other in others)):
        raise ValueError("receptive_field: the layer makes a kernel of its input, so windows have no fixed geometry")
    first = len(x.shape) - slide.window.rank - 1
    if slide.groups:
        x = x.map(functools.partial(_of_groups, slide.groups))
    x = _through(slide.window, x, first) if slide.back_to is None else _back(slide.window, slide.back_to, x, first)
    if slide.groups in (None, 1):
        return x
    times = eqn.outvars[0].aval.shape[-1] // slide.groups
    return x.map(lambda edge: edge.repeat(times, axis=-1))


def _of_groups(groups: int, edge: np.ndarray) -> np.ndarray:
    """The edge of the channels of each group together."""
    thin = _thin(edge)
    by_group = thin.reshape(*thin.shape[:-1], -1, max(thin.shape[-1] // groups, 1)).min(axis=-1)
    return np.broadcast_to(by_group, (*edge.shape[:-1], groups))


def _pad(eqn: Equation, x: Boxes, value: Any) -> Boxes:
    for axis, (before, _, between) in enumerate(eqn.params["padding_config"]):
        index = (np.arange(eqn.outvars[0].aval.shape[axis])[:, None] - before) / (between + 1)
        spatial = 1 <= axis <= len(x.step) and axis < len(x.shape) - 1
        if tuple(eqn.params["padding_config"][axis]) != (0, 0, 0):
            x = _slide(x, axis, np.where(index % 1, np.nan, index), axis - 1 if spatial else None)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# Products and rearrangements


def _dot(eqn: Equation, *operands: Any) -> Boxes:
    """Each output of a product sees what it sums over; its axes are (batch, free of the left, free of the right)."""
    contracted, batch = eqn.params["dimension_numbers"]
    free = [
        [a for a in range(v.aval.ndim) if a not in (*contracted[side], *batch[side])]
        for side, v in enumerate(eqn.invars)
    ]

    def arranged(side, x):
        kept = sorted((*batch[side], *free[side]))
        order = [kept.index(a) for a in (*batch[side], *free[side])]
        others = len(batch[0]) + (0 if side else len(free[0])) + np.arange(len(free[1 - side]))
        reduced = _reduced(x, contracted[side])
        return reduced.map(lambda edge: np.expand_dims(edge.transpose(order), tuple(others)))

    return _union([arranged(side, x) for side, x in enumerate(operands) if isinstance(x, Boxes)])


def _concatenate(eqn: Equation, *operands: Any) -> Boxes:
    """The boxes of the operands side by side; an operand that does not depend on the input sees nothing."""
    axis = eqn.params["dimension"] if "dimension" in eqn.params else eqn.params["axis"]
    some = next(x for x in operands if isinstance(x, Boxes))
    several = [
        x if isinstance(x, Boxes) else blind(v.aval.shape, len(some.step))
        for x, v in zip(operands, eqn.invars, strict=True)
    ]
    if eqn.primitive.name == "stack":
        several = [x.map(lambda edge: np.expand_dims(edge, axis)) for x in several]

    def joined(edges):
        changes = [a == axis or any(e.strides[a] for e in edges) for a in range(edges[0].ndim)]
        return np.concatenate([e[tuple(slice(None if c else 1) for c in changes)] for e in edges], axis)

    seen, wide = (
        tuple(map(joined, zip(*of, strict=True))) for of in ([s.seen for s in several], [s.wide for s in several])
    )
    return Boxes(seen, wide, tuple(map(max, zip(*(s.step for s in several), strict=True))))


def _gather(eqn: Equation, x: Any, indices: Any) -> Boxes:
    """The boxes of the values at known indices; of all values if the indices are not known."""
    if isinstance(x, Boxes) and indices is not None and not isinstance(indices, Boxes):
        return x.map(  # in floats, which can be filled with NaN outside; edges are exact in floats
            lambda edge: np.asarray(eqn.primitive.bind(jnp.asarray(edge, jnp.float32), indices, **eqn.params)).astype(
                int
            )
        )
    return _union([s.closed(lambda edge: _thin(edge).min()) for s in (x, indices) if isinstance(s, Boxes)])


def _slice(eqn: Equation, x: Boxes) -> Boxes:
    starts, stops, strides = (eqn.params[f"{name}"] for name in ("start_indices", "limit_indices", "strides"))
    strides = strides or (1,) * len(starts)
    step = tuple(s * strides[a] for a, s in enumerate(x.step, start=1)) if len(x.shape) == len(x.step) + 2 else x.step
    cut = x.map(lambda edge: edge[tuple(map(slice, starts, stops, strides))])
    return Boxes(cut.seen, cut.wide, step)


def _split(eqn: Equation, x: Boxes) -> list[Boxes]:
    axis = eqn.params["axis"]

    def part(start, end):
        cut = (slice(None),) * axis + (slice(start, end),)
        return x.map(lambda edge: edge[cut])

    ends = np.cumsum(eqn.params["sizes"])
    return [part(end - size, end) for size, end in zip(eqn.params["sizes"], ends, strict=True)]


def _reshape(eqn: Equation, x: Boxes) -> Boxes:
    return x.map(lambda edge: edge.reshape(eqn.outvars[0].aval.shape))


def _broadcast(eqn: Equation, x: Boxes) -> Boxes:
    shape = np.ones(len(eqn.params["shape"]), int)
    shape[list(eqn.params["broadcast_dimensions"])] = x.shape
    return x.map(lambda edge: edge.reshape(shape))


# A rule is given the equation and its operands, each a Boxes, an array (a known constant) or None (a parameter). The
# edges that it returns broadcast to the shape of the result.
Rule = Callable[..., Boxes | list[Boxes]]

ON_EACH_VALUE = """
abs add and atan2 cbrt ceil clamp convert_element_type copy copy_p cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor
ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow reduce_precision rem round rsqrt
select_n sign sin sinh sqrt square stop_gradient sub tan tanh xor
"""
ELEMENTWISE: dict[str, Rule] = dict.fromkeys(
    ON_EACH_VALUE.split(), lambda eqn, *operands: _union([x for x in operands if isinstance(x, Boxes)])
)
REDUCTIONS: dict[str, Rule] = dict.fromkeys(
    ("argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"),
    lambda eqn, x: _reduced(x, eqn.params["axes"]),
)
RULES_OF_JAX: dict[str, Rule] = {
    **ELEMENTWISE,
    **REDUCTIONS,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "gather": _gather,
    "pad": _pad,
    "reshape": _reshape,
    "rev": lambda eqn, x: x.map(lambda edge: np.flip(edge, eqn.params["dimensions"])),
    "slice": _slice,
    "split": _split,
    "squeeze": _reshape,
    "stack": _concatenate,
    "transpose": lambda eqn, x: x.map(lambda edge: edge.transpose(eqn.params["permutation"])),
}


def rule_of(eqn: Equation) -> Rule:
    """The rule for an equation; ValueError if there is none."""
    operation, name = OPERATIONS.get(eqn.primitive), eqn.primitive.name
    if operation and operation.slides:
        return _slid
    if operation or name not in RULES_OF_JAX:
        raise ValueError(f"receptive_field: there is no rule for the primitive {name!r}, which the layer computes")
    return RULES_OF_JAX[name]
