"""Window geometry in integers: strings and ints become one static `Window` here and go no further.

Nothing in this file knows about arrays; it imports no JAX. Every bad argument is refused here, with the operation, the
argument, the relation it breaks and what was received.
"""

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import SupportsIndex, TypeGuard

Pairs = tuple[tuple[int, int], ...]
Padding = str | int | Sequence[Sequence[int]]
PADDING_WORDS = ("VALID", "SAME", "SAME_LOWER", "FULL")


@dataclass(frozen=True)
class Window:
    """A window that slides: output `o` and tap `k` meet at input position `stride·o + dilation·k − before`."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @property
    def taps(self) -> int:
        """How many positions one window looks at."""
        return math.prod(self.size)

    @property
    def extent(self) -> tuple[int, ...]:
        """The length that the window spans on each axis: d(k − 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Each tap's offset d·k in the padded input, in row-major order."""
        return itertools.product(*(range(0, k * d, d) for k, d in zip(self.size, self.dilation, strict=True)))

    def lines(self) -> Iterator["Window"]:
        """Windows along one axis each which, one after the other, see what this window sees; without padding."""
        for axis in range(self.rank):
            if self.size[axis] * self.stride[axis] > 1:
                yield self.unpadded().along(axis)

    def along(self, axis: int) -> "Window":
        """This window on one axis; on the others it sees one position at a time."""
        values = tuple(zip(self.size, self.stride, self.dilation, strict=True))
        size, stride, dilation = zip(*(v if a == axis else (1, 1, 1) for a, v in enumerate(values)), strict=True)
        padding = tuple(pair if a == axis else (0, 0) for a, pair in enumerate(self.padding))
        return Window(size, stride, padding, dilation)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The number of places where the window fits: floor((n + before + after − extent) / stride) + 1."""
        return tuple(
            (n + before + after - e) // s + 1
            for n, (before, after), e, s in zip(size, self.padding, self.extent, self.stride, strict=True)
        )

    def unpadded(self) -> "Window":
        """The same window over an input that is padded already."""
        return replace(self, padding=((0, 0),) * self.rank)

    def adjoint(self, size: Sequence[int]) -> "Window":
        """The window that carries a cotangent, once spread by the stride, back to an input of `size`.

        Full padding is `extent − 1` on both sides. In front, the padding of the forward pass is subtracted from it. At
        the end, the positions that no window reached are added: `n + before + after − extent` need not be a multiple of
        the stride. A side that becomes negative crops.
        """
        spread = [(o - 1) * s + 1 for o, s in zip(self.output_size(size), self.stride, strict=True)]
        before = [e - 1 - b for e, (b, _) in zip(self.extent, self.padding, strict=True)]
        after = [n + e - 1 - m - b for n, e, m, b in zip(size, self.extent, spread, before, strict=True)]
        return Window(self.size, (1,) * self.rank, tuple(zip(before, after, strict=True)), self.dilation)

    def counts(self, size: Sequence[int], padding: Pairs) -> list[list[int]]:
        """Per axis and output, the taps that fall inside `[−before, n + after)`; their product is a window's count."""
        return [
            [sum(-lo <= s * o + d * tap - before < n + hi for tap in range(k)) for o in range(out)]
            for out, s, d, k, n, (before, _), (lo, hi) in zip(
                self.output_size(size), self.stride, self.dilation, self.size, size, self.padding, padding, strict=True
            )
        ]


@dataclass(frozen=True)
class Slide:
    """How each position of an array sees another array through a window.

    Args:
      window: output `o` sees input positions `stride·o + dilation·k − before`.
      back_to: None, or the spatial size of the input if it is the other way round: input positions see the outputs
        that see them.
      groups: a value sees all channels of its group; None if it sees its own channel alone.
    """

    window: Window
    back_to: tuple[int, ...] | None = None
    groups: int | None = None


def sliding_window(
    op: str,
    size: Sequence[int],
    *,
    window: Sequence[int],
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int],
    ceil_mode: bool = False,
    argument: str = "window",
) -> Window:
    """The `Window` of an operation's arguments on an input of spatial `size`; ValueError where it fits nowhere.

    `argument` is the name of the window's size in errors: `kernel` for a convolution, `window` for a pool.
    """
    rank = len(window)
    if not all(map(_is_int, size)):
        raise ValueError(
            f"{op}: the spatial axes of `x` must have known sizes; got {', '.join(map(str, size))}. A program that is "
            "exported may leave open how many images there are, not how large they are: export one for each size."
        )
    window = per_axis(op, argument, window, rank)
    stride = per_axis(op, "stride", stride, rank)
    dilation = per_axis(op, "dilation", dilation, rank)
    result = Window(window, stride, ((0, 0),) * rank, dilation)
    result = replace(result, padding=padding_pairs(op, padding, result, size))
    if ceil_mode:
        result = _ceil(result, size)
    for axis, (n, (before, after), e) in enumerate(zip(size, result.padding, result.extent, strict=True)):
        if n + before + after < e:
            raise ValueError(
                f"{op}: `{argument}` must fit into the padded input, but on spatial axis {axis} it spans {e} and the "
                f"input has {n} + {before} + {after}; input {tuple(size)}, window {window}, dilation {dilation}, "
                f"padding {padding!r}. Pad more, or use a smaller window or dilation."
            )
    return result


def pool_window(op: str, window: int | Sequence[int]) -> tuple[int, ...]:
    """The window's size on each spatial axis: one int is a square 2-D window, several are one per axis."""
    rank = len(window) if isinstance(window, Sequence) and window else 2
    return per_axis(op, "window", window, rank)


def check_window(
    op: str,
    *,
    window: Sequence[int],
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int],
) -> None:
    """Raise the errors of `sliding_window` that do not depend on the input's size."""
    rank = len(window)
    stride, dilation = per_axis(op, "stride", stride, rank), per_axis(op, "dilation", dilation, rank)
    any_size = Window(tuple(window), stride, ((0, 0),) * rank, dilation)
    padding_pairs(op, padding, any_size, any_size.extent)


def _ceil(window: Window, size: Sequence[int]) -> Window:
    """Pad the end so that a last, partial window counts, if it starts inside the input or the padding before it."""
    pairs = []
    for n, (before, after), e, s in zip(size, window.padding, window.extent, window.stride, strict=True):
        steps = -(-(n + before + after - e) // s)
        if steps * s >= n + before:
            steps -= 1
        pairs.append((before, max(after, steps * s + e - n - before)))
    return replace(window, padding=tuple(pairs))


def padding_pairs(op: str, padding: Padding, window: Window, size: Sequence[int]) -> Pairs:
    """`padding` as one (before, after) pair per spatial axis, for this window on an input of `size`."""
    if isinstance(padding, str):
        if padding == "VALID":
            return ((0, 0),) * window.rank
        if padding == "FULL":
            return tuple((e - 1, e - 1) for e in window.extent)
        if padding in ("SAME", "SAME_LOWER"):
            pairs = []
            for n, e, s in zip(size, window.extent, window.stride, strict=True):
                total = max((-(-n // s) - 1) * s + e - n, 0)
                half = total // 2
                pairs.append((half, total - half) if padding == "SAME" else (total - half, half))
            return tuple(pairs)
        meant = f"; write {padding.upper()!r}" if padding.upper() in PADDING_WORDS else ""
        raise ValueError(
            f"{op}: `padding` must be one of {', '.join(PADDING_WORDS)}, an int or pairs; got {padding!r}{meant}"
        )
    if _is_int(padding):
        pairs = [(operator.index(padding), operator.index(padding))] * window.rank
    else:
        pairs = []
        for pair in _sequence(op, "padding", padding):
            if not isinstance(pair, Sequence) or len(pair) != 2 or not all(map(_is_int, pair)):
                raise ValueError(
                    f"{op}: `padding` takes one (before, after) pair of ints per spatial axis, or one int for all "
                    f"sides; got {padding!r}"
                )
            pairs.append((operator.index(pair[0]), operator.index(pair[1])))
        if len(pairs) != window.rank:
            raise ValueError(
                f"{op}: `padding` takes one (before, after) pair per spatial axis; got {len(pairs)} pairs for "
                f"{window.rank} spatial axes: {padding!r}"
            )
    if any(side < 0 for pair in pairs for side in pair):
        raise ValueError(f"{op}: `padding` must not be negative; got {padding!r}. Slice the input to crop it.")
    return tuple(pairs)


def per_axis(op: str, argument: str, value: int | Sequence[int], rank: int, minimum: int = 1) -> tuple[int, ...]:
    """One int per spatial axis; a single int stands for all of them."""
    values = (value,) * rank if _is_int(value) else tuple(_sequence(op, argument, value))
    if not all(map(_is_int, values)):
        raise TypeError(f"{op}: `{argument}` must be an int or {rank} ints; got {value!r}")
    if len(values) != rank:
        raise ValueError(f"{op}: `{argument}` needs one int per spatial axis ({rank}); got {value!r}")
    ints = tuple(operator.index(v) for v in values)
    if any(v < minimum for v in ints):
        raise ValueError(f"{op}: `{argument}` must be at least {minimum}; got {value!r}")
    return ints


def _is_int(value: object) -> TypeGuard[SupportsIndex]:
    return isinstance(value, SupportsIndex) and not isinstance(value, bool) and not getattr(value, "shape", ())


def _sequence(op: str, argument: str, value: object) -> Sequence:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{op}: `{argument}` must be an int or a sequence; got {value!r}")
    return value
