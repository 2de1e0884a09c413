"""Winograd's minimal filtering along one axis: F(m, r) gives m outputs of a filter of r taps from m + r − 1 products.

F(4, 3) needs 6 products where the definition needs 12, so there is half the work in matrix products; in return there
are sums of a few neighbors before and after. Along the other axes the taps are laid out as in patches. In matrices,

    y = Aᵀ [(G w) ⊙ (Bᵀ x)]      dw = Gᵀ [(Bᵀ x) ⊙ (A dy)]

with ⊙ elementwise over the points and a matrix product over the channels. There are m + r − 1 points, out of 0, ±1, ±2,
±½ and ∞. The sums have powers of the points as weights, so rounding errors grow with the number of points: there are at
most eight, and only one axis is transformed (float32 loses less than one digit).

Source: Winograd, Arithmetic complexity of computations (1980); Lavin, Gray, Fast algorithms for convolutional neural
networks (2015).
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.ops.algorithms.algorithm import Algorithm
from jaxcnn.ops.algorithms.layouts import ARRANGED
from jaxcnn.ops.algorithms.product import Product, correlate, multiply
from jaxcnn.ops.algorithms.tiles import Tiles, of_a_tile
from jaxcnn.ops.geometry import Window
from jaxcnn.ops.windows import nothing, patches, sees_some, total

POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))  # and ∞


def fits(p: Product) -> bool:
    """Whether some axis can be transformed."""
    unit = (1,) * p.window.rank
    plain = p.precision in (None, lax.Precision.DEFAULT) and p.dtype in (jnp.float32, jnp.float64)
    return plain and p.window.stride == p.window.dilation == unit and any(map(_suits, p.window.size))


def multiply_adds(p: Product) -> int:
    """How many the products take, without the sums before and after."""
    cut = _Cut(p)
    out, r = p.out[cut.axis], p.window.size[cut.axis]
    return p.multiply_adds * cut.points * -(-out // cut.m) // (out * r)


def built_bytes(p: Product) -> int:
    """The bytes of the transforms of x, with the other axes' taps, and of y."""
    cut = _Cut(p)
    positions = math.prod(p.images) * math.prod(p.out) // p.out[cut.axis] * -(-p.out[cut.axis] // cut.m)
    rows = cut.other.taps * p.channels[0] + p.channels[1]
    return p.groups * rows * cut.points * positions * p.dtype.itemsize


def saving(p: Product) -> float:
    """How many times fewer products it takes than the definition, with the sums counted, for a product that fits."""
    axis, sums = _axis(p), p.machine.winograd_sum_cost
    m, r = _minimal(p.out[axis], p.window.size[axis], sums)
    return p.out[axis] * r / _cost(p.out[axis], m, r, sums)


def tile(p: Product) -> int:
    """How many neighboring outputs are computed together, for a product that fits."""
    axis = _axis(p)
    return _minimal(p.out[axis], p.window.size[axis], p.machine.winograd_sum_cost)[0]


def _suits(r: int) -> bool:
    return 2 <= r < len(POINTS) + 1


def _axis(p: Product) -> int:
    """The axis to transform: a step of m outputs along it should pass over long vectors in memory."""
    axes = [axis for axis, r in enumerate(p.window.size) if _suits(r)]
    return axes[-1] if p.images[1] >= p.machine.lanes else axes[0]


def _minimal(length: int, r: int, sum_cost: float) -> tuple[int, int]:
    """(m, r) of the least cost, for an axis of `length` outputs."""
    return min(range(2, len(POINTS) + 3 - r), key=lambda m: _cost(length, m, r, sum_cost)), r


def _cost(length: int, m: int, r: int, sum_cost: float) -> float:
    """The products per channel, plus the cost of the sums that make each point."""
    points = m + r - 1
    return -(-length // m) * points * (1 + points * sum_cost)


@functools.cache
def matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (m, α), G (α, r) and Bᵀ (α, α) of F(m, r), α = m + r − 1, by Lagrange interpolation at 0, ±1, ±2, … and ∞."""
    points = [Fraction(a) for a in POINTS[: m + r - 2]]
    infinity = np.eye(1, m, m - 1), np.eye(1, r, r - 1)
    scale = [math.prod(a - b for b in points if b != a) for a in points]
    at = np.vstack([[[float(a**i) for i in range(m)] for a in points], infinity[0]]).T
    g = np.vstack([[[float(a**k / s) for k in range(r)] for a, s in zip(points, scale, strict=True)], infinity[1]])
    rows = [_from_roots([b for b in points if b != a]) for a in points] + [_from_roots(points)]
    bt = np.array([[float(c) for c in row] + [0.0] * (m + r - 1 - len(row)) for row in rows])
    return at, g, bt


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of Π (x − root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def product(x: jax.Array, w: jax.Array, p: Product) -> jax.Array:
    """y = Aᵀ [(G w) (Bᵀ x)], a matrix product per point and group."""
    cut = _Cut(p)
    d = p.channels[1]
    u = jnp.tensordot(jnp.asarray(cut.g, p.dtype), w, (1, 3 + cut.axis))  # (α, G, D, C, *other)
    u = u.transpose(1, 0, 2, *reversed(range(4, u.ndim)), 3).reshape(p.groups, cut.points, d, -1)  # (G, α, D, K'·C)

    def step(t, weights):
        u, blank = weights
        slab = cut.tiles.input(x, t, cut.extra)
        v, shape = cut.transform(slab)
        y = multiply(u.reshape(-1, *u.shape[2:]), v, p)
        y = y.reshape(-1, cut.points, d, *shape)
        y = jnp.stack(_combine(cut.at, [y[:, a] for a in range(cut.points)]), axis=4 + cut.axis)
        y = y.reshape(*y.shape[: 3 + cut.axis], -1, *y.shape[5 + cut.axis :])
        y = lax.slice_in_dim(y, 0, cut.length, axis=3 + cut.axis)
        return jnp.where(sees_some(slab, p.window, y.shape[3:-1]), y, blank)

    blank = nothing(u[:, 0], x.ndim)  # each point has all taps: those with a factor of 0 are NaN if not finite
    return cut.tiles.output(step, x, (u, blank), p.dtype)


def kernel_gradient(x: jax.Array, dy: jax.Array, p: Product) -> jax.Array:
    """dw = Gᵀ [(A dy) (Bᵀ x)ᵀ], a matrix product per point and group."""
    cut = _Cut(p)
    c, d = p.channels

    def step(t):
        v, _ = cut.transform(cut.tiles.input(x, t, cut.extra))
        q = cut.transform_cotangent(cut.tiles.cotangent(dy, t))
        du = correlate(q, v, p)
        return du.reshape(-1, cut.points, *du.shape[1:])

    du = cut.tiles.sum(step, (cut.points, d, cut.other.taps * c), x, dy)
    dw = jnp.tensordot(jnp.asarray(cut.g, p.dtype), du, (0, 1))  # (r, G, D, K'·C)
    rest = [k for axis, k in enumerate(p.window.size) if axis != cut.axis]
    dw = dw.reshape(*dw.shape[:3], *reversed(rest), c)
    dw = dw.transpose(0, 1, 2, dw.ndim - 1, *reversed(range(3, dw.ndim - 1)))  # (r, G, D, C, *other)
    return jnp.moveaxis(dw, 0, 3 + cut.axis)


class _Cut:
    """The axis that is transformed, its matrices, and the tiles."""

    def __init__(self, p: Product):
        self.axis = _axis(p)
        m, r = _minimal(p.out[self.axis], p.window.size[self.axis], p.machine.winograd_sum_cost)
        self.m, self.points = m, m + r - 1
        self.at, self.g, self.bt = matrices(m, r)
        unit = (1,) * p.window.rank
        size = tuple(1 if axis == self.axis else k for axis, k in enumerate(p.window.size))
        self.other = Window(size, unit, ((0, 0),) * p.window.rank, unit)
        row = self.points * self.other.taps * p.channels[0] * math.prod(p.out[1:]) * p.images[1] * p.dtype.itemsize
        self.tiles = Tiles(p, row // m, multiple=m if self.axis == 0 else 1)
        self.length = self.tiles.size[2] if self.axis == 0 else p.out[self.axis]
        self.steps = -(-self.length // m)
        spare = self.steps * m - self.length
        self.extra = tuple((0, spare if axis == self.axis else 0) for axis in range(p.window.rank))

    def transform(self, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
        """Bᵀ x of a padded slab, with the other axes' taps laid out: (g·α, K'·C, positions), and the positions."""
        axis, m = 3 + self.axis, self.m
        parts = [lax.slice_in_dim(x, i, i + (self.steps - 1) * m + 1, m, axis=axis) for i in range(self.points)]
        v = jnp.stack(_combine(self.bt, parts), axis=1)  # (g, α, C, b, *slab with steps, n)
        v = patches(v, self.other, axis=4)
        return v.reshape(v.shape[0] * v.shape[1], v.shape[2], -1), v.shape[3:]

    def transform_cotangent(self, dy: jax.Array) -> jax.Array:
        """A dy: (g·α, D, positions)."""
        axis = 3 + self.axis
        dy = lax.pad(
            dy,
            jnp.zeros((), dy.dtype),
            [(0, self.steps * self.m - self.length if a == axis else 0, 0) for a in range(dy.ndim)],
        )
        dy = dy.reshape(*dy.shape[:axis], self.steps, self.m, *dy.shape[axis + 1 :])
        parts = [lax.index_in_dim(dy, i, axis + 1, keepdims=False) for i in range(self.m)]
        q = jnp.stack(_combine(self.at.T, parts), axis=1)
        return q.reshape(-1, q.shape[2], math.prod(q.shape[3:]))


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """matrix · parts, written out: most entries are 0 or ±1."""
    return [total(_times(float(c), part) for c, part in zip(row, parts, strict=True) if c) for row in matrix]


def _times(c: float, x: jax.Array) -> jax.Array:
    return x if c == 1 else -x if c == -1 else c * x


WINOGRAD = Algorithm(
    "winograd",
    "takes float32 and float64, stride and dilation 1, a window of 2 to 7 on some axis, and default precision",
    ARRANGED,
    fits=fits,
    product=product,
    kernel_gradient=kernel_gradient,
    multiply_adds=multiply_adds,
    built_bytes=built_bytes,
    temporary_bytes=of_a_tile(built_bytes),
    platforms=("cpu",),
)
