"""One table of operations, for the tests that are laws over all of them; each with a reference that shares no code.

A reference gathers every window by integer indexing, then contracts, and leaves its derivatives to JAX: no padding,
spreading or rotation rule of ours, and no convolution of XLA.
"""

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import oracles
from jax.flatten_util import ravel_pytree
from tolerances import assert_same

from jaxcnn import ops
from jaxcnn.ops import machine


def windows(x, window, stride, pads, dilation, fill=0.0):
    """Every window of x, `(N, *out, taps, C)`."""
    rank = len(window)
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    for axis, (k, s, d) in enumerate(zip(window, stride, dilation, strict=True)):
        out = (x.shape[1 + 2 * axis] - d * (k - 1) - 1) // s + 1
        x = jnp.take(x, np.arange(out)[:, None] * s + np.arange(k) * d, axis=1 + 2 * axis)
    outs, taps = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    x = x.transpose(0, *outs, *taps, 2 * rank + 1)
    return x.reshape(*x.shape[: rank + 1], math.prod(window), x.shape[-1])


def conv(x, w, stride, pads, dilation, groups):
    seen = windows(x, w.shape[:-2], stride, pads, dilation)
    seen = seen.reshape(*seen.shape[:-1], groups, -1)
    w = w.reshape(-1, w.shape[-2], groups, w.shape[-1] // groups)
    y = jnp.einsum("...kgc,kcgd->...gd", seen, w)
    return y.reshape(*y.shape[:-2], -1)


def conv_transpose(x, w, size, **geometry):
    channels = w.shape[-2] * geometry["groups"]
    like = jax.ShapeDtypeStruct((x.shape[0], *size, channels), x.dtype)
    (y,) = jax.linear_transpose(lambda u: conv(u, w, **geometry), like)(x)
    return y


def max_pool(x, **geometry):
    return windows(x, fill=-jnp.inf, **geometry).max(axis=-2)


def avg_pool(x, **geometry):
    return windows(x, **geometry).sum(axis=-2) / windows(jnp.ones_like(x), **geometry).sum(axis=-2)


def lp_pool(x, p, **geometry):
    return (jnp.abs(windows(x, **geometry)) ** p).sum(axis=-2) ** (1 / p)


@dataclass(frozen=True)
class Case:
    """An operation at one geometry: the function under test, its reference, and the shapes it is tried at."""

    name: str
    function: Callable
    reference: Callable
    shapes: tuple[tuple[int, ...], ...]

    @property
    def has_kernel(self) -> bool:
        return len(self.shapes) == 2

    def arguments(self, seed: int = 0, lead: tuple[tuple[int, ...], ...] = ((), ())) -> list[jax.Array]:
        """Distinct values between −2 and 2, none of them 0: no two maxima are equal, no power has a kink."""
        rng = np.random.default_rng(seed)
        shapes = [(*extra, *shape) for extra, shape in zip(lead, self.shapes, strict=False)]
        sizes = [2 * -(-math.prod(shape) // 2) for shape in shapes]  # even, so that 0 is between two values
        values = [rng.permutation(np.linspace(-2, 2, n))[: math.prod(s)] for n, s in zip(sizes, shapes, strict=True)]
        return [jnp.asarray(v.reshape(s)) for v, s in zip(values, shapes, strict=True)]


def _conv_case(name, x, w, *, stride=(1, 1), pads=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    return Case(
        name,
        functools.partial(ops.conv, stride=stride, padding=pads, dilation=dilation, groups=groups),
        functools.partial(conv, stride=stride, pads=pads, dilation=dilation, groups=groups),
        (x, w),
    )


def _pool_case(name, function, reference, x, window, stride, pads=((0, 0), (0, 0)), dilation=(1, 1), **options):
    return Case(
        name,
        functools.partial(function, window=window, stride=stride, padding=pads, dilation=dilation, **options),
        functools.partial(reference, window=window, stride=stride, pads=pads, dilation=dilation, **options),
        (x,),
    )


CASES = [
    _conv_case("conv", (2, 4, 3, 2), (3, 2, 2, 3), pads=((1, 0), (0, 2))),
    _conv_case("depthwise", (2, 3, 3, 3), (2, 2, 1, 6), groups=3, pads=((0, 1), (0, 0))),
    _conv_case("one_by_one", (2, 3, 2, 2), (1, 1, 2, 3)),
    _conv_case(
        "strided_dilated_grouped",
        (2, 5, 4, 4),
        (2, 3, 2, 4),
        stride=(2, 1),
        pads=((1, 2), (0, 1)),
        dilation=(2, 1),
        groups=2,
    ),
    Case(
        "conv_transpose",
        functools.partial(
            ops.conv_transpose, stride=2, padding=((1, 0), (0, 1)), dilation=(1, 2), output_padding=(1, 0)
        ),
        functools.partial(conv_transpose, size=(6, 4), stride=(2, 2), pads=((1, 0), (0, 1)), dilation=(1, 2), groups=1),
        ((2, 3, 2, 2), (2, 2, 3, 2)),
    ),
    _pool_case("max_pool", ops.max_pool, max_pool, (2, 4, 4, 2), (2, 2), (2, 2)),
    _pool_case("max_pool_overlapping", ops.max_pool, max_pool, (2, 5, 4, 2), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2)),
    _pool_case("avg_pool", ops.avg_pool, avg_pool, (2, 5, 4, 2), (3, 2), (2, 1), ((1, 1), (0, 1))),
    _pool_case("lp_pool", ops.lp_pool, lp_pool, (2, 5, 4, 2), (3, 2), (2, 1), ((1, 1), (0, 1)), p=3),
    Case("global_max_pool", ops.global_max_pool, lambda x: x.max((-3, -2)), ((2, 3, 4, 2),)),
    Case("global_avg_pool", ops.global_avg_pool, lambda x: x.mean((-3, -2)), ((2, 3, 4, 2),)),
]
KERNEL_CASES = [case for case in CASES if case.has_kernel]
TILED_CASES = [case for case in KERNEL_CASES if case.name not in ("one_by_one", "depthwise")]  # those take no patches


def loss(function, *arguments):
    """A scalar with a dense Hessian."""
    return jnp.sum(jnp.sin(function(*arguments)))


@dataclass(frozen=True)
class Expected:
    """What a case gives at its arguments, all of them raveled into one vector; from the reference, in float64."""

    at: jax.Array
    unravel: Callable
    value: np.ndarray
    jacobian: np.ndarray
    gradient: np.ndarray  # of the loss
    hessian: np.ndarray  # of the loss

    def flat(self, function: Callable) -> Callable:
        """`function` from one vector to one vector."""
        return lambda flat: function(*self.unravel(flat)).ravel()


@functools.cache
def expected(name: str) -> Expected:
    """The reference's numbers for the case of this name; to be called where x64 is on."""
    (case,) = (case for case in CASES if case.name == name)
    at, unravel = ravel_pytree(case.arguments())
    assert at.dtype == jnp.float64

    def f(flat):
        return case.reference(*unravel(flat)).ravel()

    def scalar(flat):
        return loss(f, flat)

    numbers = jax.jit(lambda a: (f(a), jax.jacrev(f)(a), jax.grad(scalar)(a), jax.hessian(scalar)(a)))(at)
    return Expected(at, unravel, *map(np.asarray, numbers))


def direction(n: int, seed: int) -> np.ndarray:
    """A vector to take a directional derivative along."""
    return np.random.default_rng(seed).standard_normal(n)


@contextlib.contextmanager
def tiles_of(budget):
    """Tiles of at most `budget` bytes. It is read when a program is traced, so no trace may outlive it."""
    jax.clear_caches()
    with machine.assume(replace(machine.CPU, tile_bytes=budget)):
        yield
    jax.clear_caches()


@contextlib.contextmanager
def every_window_is_large():
    """Pools go axis by axis and loop over their taps, as they do for windows too large to test against loops."""
    jax.clear_caches()
    with machine.assume(replace(machine.CPU, most_unrolled_taps=1, most_unrolled_along_axis=1)):
        yield
    jax.clear_caches()


# ----------------------------------------------------------------------------------------- against the loops


def whole_numbers(rng, *shape):
    return rng.integers(-3, 4, shape).astype(np.float64)


def value_and_pullback(function, *arguments, seed=0):
    """The value, a cotangent, and what the cotangent is pulled back to; each with its batch axes."""
    shape = jax.eval_shape(function, *arguments).shape
    ct = whole_numbers(np.random.default_rng(seed), *shape)

    @jax.jit
    def both(ct, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, pull(ct)

    y, gradients = both(ct, *arguments)
    return np.asarray(y), ct, [np.asarray(g) for g in gradients]


def one_batch(a, rank):
    """`a` with all its batch axes as one, as the oracle takes it."""
    return a.reshape(math.prod(a.shape[: a.ndim - rank - 1]), *a.shape[a.ndim - rank - 1 :])


def check_conv(geometry, channels, algorithm="auto"):
    batch, size, window, stride, pads, dilation = geometry
    groups, c_in, c_out = channels
    rng = np.random.default_rng(0)
    x = whole_numbers(rng, *batch, *size, c_in)
    w = whole_numbers(rng, *window, c_in // groups, c_out)
    conv = functools.partial(
        ops.conv, stride=stride, padding=pads, dilation=dilation, groups=groups, algorithm=algorithm
    )
    y, dy, (dx, dw) = value_and_pullback(conv, x, w)
    loops = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    assert y.shape[: len(batch)] == batch
    flat_x, flat_y, flat_dy, flat_dx = (one_batch(a, len(size)) for a in (x, y, dy, dx))
    assert_same(flat_y, oracles.conv(flat_x, w, **loops))
    assert_same(flat_dx, oracles.conv_input_gradient(flat_dy, w, flat_x.shape, **loops))
    assert_same(dw, oracles.conv_kernel_gradient(flat_x, flat_dy, w.shape, **loops))


def check_pool(geometry, function, value, gradient, **options):
    """`gradient(dy, x)` is the oracle's; options and geometry go to all three."""
    batch, size, window, stride, pads, dilation = geometry
    x = whole_numbers(np.random.default_rng(0), *batch, *size, 2)
    pool = functools.partial(function, window=window, stride=stride, padding=pads, dilation=dilation, **options)
    y, dy, (dx,) = value_and_pullback(pool, x)
    flat_x, flat_y, flat_dy, flat_dx = (one_batch(a, len(size)) for a in (x, y, dy, dx))
    loops = {"window": window, "stride": stride, "pads": pads, "dilation": dilation, **options}
    assert_same(flat_y, value(flat_x, **loops))
    assert_same(flat_dx, gradient(flat_dy, flat_x, **loops))
