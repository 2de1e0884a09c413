"""The table of a network: layer, output shape, parameters, multiply-adds and bytes."""

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxcnn.layers.given import input_shape_of, layer_of, template
from jaxcnn.layers.layer import Tree
from jaxcnn.layers.walk import Place, leaves, shapes
from jaxcnn.ops.jaxprs import multiply_adds

CUT = "…"


@dataclass(frozen=True)
class Row:
    """One layer: `path` joins the names on the way to it with slashes; shapes are without the batch axis.

    `training_only` is True for layers that inference leaves out, those of auxiliary classifiers.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    statistics: int
    multiply_adds: int
    parameter_bytes: int
    output_bytes: int
    training_only: bool = False


@dataclass(frozen=True)
class Summary:
    """The rows of a network and their totals; printing it gives the table."""

    name: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]

    def total(self, column: str) -> int:
        """The sum of a column of numbers, such as "parameters"."""
        return sum(getattr(row, column) for row in self.rows)

    def __str__(self) -> str:
        return self.table()

    def table(self, width: int | None = None) -> str:
        """The table in lines of at most `width` characters, with fewer columns and shorter names if necessary."""
        head = ("layer", "output shape", "parameters", "multiply-adds", "weights", "output")
        body = [
            (
                row.path,
                " × ".join(map(str, row.output_shape)),
                f"{row.parameters + row.statistics:,}",
                f"{row.multiply_adds:,}",
                _bytes(row.parameter_bytes),
                _bytes(row.output_bytes),
            )
            for row in self.rows
        ]
        kinds = [f" ({row.kind}{', in training' if row.training_only else ''})" for row in self.rows]
        named = [(path + kind, *cells) for (path, *cells), kind in zip(body, kinds, strict=True)]
        total = ("total", "", *(f"{n:,}" for n in (self._values(), self.total("multiply_adds"))))
        total = (*total, _bytes(self.total("parameter_bytes")), _bytes(self.total("output_bytes")))
        drop = ("output", "weights", "multiply-adds")
        for rows in (named, body):  # only the path, if there is no room for the kind
            lines = fitted([head, *rows, total], width, left=("layer", "output shape"), drop=drop)
            if not any(line.startswith(CUT) for line in lines):
                break
        rule = "─" * max(map(len, lines))
        title = f"{self.name}, input {' × '.join(map(str, self.input_shape))}, per image"
        last = f"trainable {self.total('parameters'):,} · not trainable {self.total('statistics'):,}"
        above, below = ([text] if width is None else textwrap.wrap(text, width) for text in (title, last))
        return "\n".join([*above, rule, lines[0], rule, *lines[1:-1], rule, lines[-1], *below])

    def _values(self) -> int:
        return self.total("parameters") + self.total("statistics")


def fitted(
    rows: Sequence[tuple[str, ...]], width: int | None, *, left: Collection[str], drop: Sequence[str]
) -> list[str]:
    """The lines of a table, at most `width` characters long.

    Args:
      rows: rows of cells; the first row has the names of the columns.
      width: the longest line; None for any length.
      left: the columns that are aligned to the left; all others, numbers, are aligned to the right.
      drop: the columns that are left out, one after the other, until the rest fits; if it does not, the cells of the
        first column lose their beginning.

    Example:
      >>> fitted([("layer", "bytes"), ("stage1/conv1", "320")], 14, left=("layer",), drop=())
      ['layer    bytes', '…/conv1    320']
    """
    columns = list(zip(*rows, strict=True))
    for name in (None, *drop):
        columns = [column for column in columns if column[0] != name]
        widths = [max(map(len, column)) for column in columns]
        excess = sum(widths) + 2 * (len(widths) - 1) - (width or math.inf)
        if excess <= 0:
            break
    else:
        widths[0] = max(widths[0] - int(excess), 8)
        columns[0] = tuple(_cut(cell, widths[0]) for cell in columns[0])
    return [
        "  ".join(
            cell.ljust(size) if column[0] in left else cell.rjust(size)
            for column, cell, size in zip(columns, cells, widths, strict=True)
        ).rstrip()
        for cells in zip(*columns, strict=True)
    ]


def _cut(text: str, length: int) -> str:
    """The end of a path, cut at a slash if that leaves most of it."""
    if len(text) <= length:
        return text
    end = text[len(text) - length + 1 :]
    slash = end.find("/")
    return CUT + (end[slash:] if 0 <= slash < len(end) // 2 else end)


def summary(model, input_shape: tuple[int, ...] | None = None) -> Summary:
    """The table of a model or layer.

    Args:
      model: a `Model`, or a `Layer` together with its input_shape.
      input_shape: without the batch axis; a `Model` knows its own.

    Returns:
      A `Summary`: print it, or read its rows. Multiply-adds are those of convolutions and matrix products, for one
      image; bytes are those of parameters and statistics, and of the layer's output.

    Raises:
      ValueError: a Layer without an input_shape. TypeError: neither a Model nor a Layer.

    Example:
      >>> from jaxcnn.layers import Conv, serial
      >>> print(summary(serial(Conv(8, 3)), (28, 28, 1)))
      serial, input 28 × 28 × 1, per image
      ────────────────────────────────────────────────────────────────────────
      layer         output shape  parameters  multiply-adds  weights    output
      ────────────────────────────────────────────────────────────────────────
      conv1 (conv)  26 × 26 × 8           80         48,672    320 B  21.1 KiB
      ────────────────────────────────────────────────────────────────────────
      total                               80         48,672    320 B  21.1 KiB
      trainable 80 · not trainable 0
    """
    layer = layer_of("summary", model)
    shape = input_shape_of("summary", model, input_shape)
    params, state = template(layer, shape)
    reached = shapes(layer, shape, params, state)
    rows = tuple(_row(place, reached[place.path].input) for place in leaves(layer, params, state))
    return Summary(getattr(model, "name", layer.kind), shape, rows)


def _row(place: Place, shape: tuple[int, ...]) -> Row:
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda p, s, x: place.layer.apply(p, s, x)[0])(place.params, place.state, x)
    (out,) = jaxpr.out_avals
    return Row(
        place.name,
        place.layer.kind,
        out.shape[1:],
        _size(place.params),
        _size(place.state),
        multiply_adds(jaxpr),
        _size(place.params, itemsize=True) + _size(place.state, itemsize=True),
        math.prod(out.shape) * out.dtype.itemsize,
        place.training_only,
    )


def _size(tree: Tree, itemsize: bool = False) -> int:
    return sum(math.prod(leaf.shape) * (leaf.dtype.itemsize if itemsize else 1) for leaf in jax.tree.leaves(tree))


def _bytes(n: int) -> str:
    if n < 1024:
        return f"{n} B"
    power = min((n.bit_length() - 1) // 10, 3)
    return f"{n / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"
