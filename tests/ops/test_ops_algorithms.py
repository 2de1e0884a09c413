"""The laws of the algorithms: each gives the numbers of the definition wherever it claims a product, cut into tiles or
not, for one kernel or many; and how far rounding takes it from them."""

import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import ops_table
import oracles
import pytest
from jax import lax
from ops_table import check_conv, tiles_of
from tolerances import assert_same

from jaxcnn import ops
from jaxcnn.ops.algorithms import borders, tiles, winograd

NAMES = [name for name in ops.ALGORITHMS if name not in ("auto", "pallas")]  # test_ops_pallas.py has that one

# (batch, size, window, stride, pads, dilation), (groups, channels in, out). From 8 images on the batch is innermost.
GEOMETRIES = {
    "1-D": (((1,), (11,), (3,), (1,), ((2, 0),), (1,)), (1, 3, 4)),
    "1-D, many images, dilated": (((9,), (9,), (3,), (1,), ((5, 1),), (2,)), (1, 2, 3)),
    "many images": (((9,), (7, 6), (3, 3), (1, 1), ((1, 0), (0, 2)), (1, 1)), (1, 4, 3)),
    "padding beyond the window": (((1,), (3, 2), (3, 2), (1, 1), ((4, 5), (0, 4)), (1, 1)), (1, 2, 2)),
    "one row high": (((9,), (3, 10), (1, 3), (1, 1), ((0, 2), (1, 0)), (1, 1)), (1, 3, 2)),
    "low": (((2,), (7, 9), (3, 5), (1, 1), ((1, 1), (2, 1)), (1, 1)), (1, 3, 2)),
    "high": (((9,), (9, 6), (5, 3), (1, 1), ((0, 2), (1, 1)), (1, 1)), (1, 3, 2)),
    "volumes": (((2,), (4, 5, 3), (3, 3, 3), (1, 1, 1), ((1, 1), (0, 1), (2, 0)), (1, 1, 1)), (1, 2, 3)),
    "many volumes": (((9,), (4, 2, 5), (3, 1, 3), (1, 1, 1), ((1, 0), (0, 0), (0, 1)), (1, 1, 1)), (1, 2, 2)),
    "groups": (((9,), (5, 6), (3, 2), (1, 1), ((1, 1), (0, 0)), (1, 1)), (2, 4, 6)),
    "strided": (((2,), (8, 9), (3, 2), (2, 3), ((0, 3), (1, 1)), (1, 1)), (1, 2, 3)),
    "stride above the window": (((9,), (8, 10), (2, 1), (3, 2), ((1, 0), (0, 0)), (1, 1)), (1, 2, 3)),
    "strided and dilated": (((9,), (9, 8), (2, 3), (2, 1), ((1, 2), (0, 4)), (2, 1)), (2, 4, 2)),
    "strided this way, dilated that way": (((2,), (7, 8), (3, 2), (3, 1), ((2, 0), (1, 3)), (1, 3)), (1, 2, 2)),
    "many channels": (((9,), (7, 6), (3, 2), (1, 1), ((1, 0), (0, 2)), (1, 1)), (1, 7, 6)),
    "few channels out of many": (((2,), (7, 6), (3, 2), (1, 1), ((1, 0), (0, 2)), (2, 1)), (2, 20, 4)),
    "few channels out of many, strided": (((9,), (7, 6), (3, 3), (2, 1), ((1, 0), (0, 2)), (1, 1)), (1, 10, 1)),
    "one tap": (((9,), (4, 5), (1, 1), (1, 1), ((0, 1), (0, 0)), (1, 1)), (1, 40, 3)),
    "depthwise": (((2,), (6, 7), (3, 2), (1, 1), ((1, 2), (0, 1)), (1, 1)), (3, 3, 3)),
    "depthwise, strided, of more taps": (((1,), (12, 9), (11, 11), (2, 2), ((5, 5), (4, 6)), (1, 1)), (2, 2, 2)),
    "depthwise, strided, dilated": (((9,), (9, 8), (2, 3), (2, 1), ((3, 0), (1, 1)), (2, 2)), (3, 3, 3)),
}


def claims(name, geometry, channels):
    """What each algorithm says it takes, once more."""
    (_, _, window, stride, _, dilation), (groups, c_in, c_out) = geometry, channels
    return {
        "blocks": math.prod(window) <= 49 and not (2 * c_out <= c_in and c_out // groups <= 4),
        "channels_last": math.prod(window) <= 49,
        "depthwise": c_in == c_out == groups and math.prod(window) <= 100,
        "fft": max(stride) == 1,
        "overlap": max(stride) == 1,
        "patches": True,
        "taps": max(window) == 1 or math.prod(window) * c_in // groups <= 32,
        "winograd": max(stride) == max(dilation) == 1 and any(1 < k < 8 for k in window),
    }[name]


PAIRS = list(itertools.product(NAMES, GEOMETRIES))
CLAIMED = [(name, g) for name, g in PAIRS if claims(name, *GEOMETRIES[g])]


@pytest.mark.parametrize(("name", "geometry"), CLAIMED)
def test_loops_where_it_claims_the_product(float64, name, geometry):
    """The value and both gradients. A gradient may lie outside the claim (of a strided one, say): then by another."""
    check_conv(*GEOMETRIES[geometry], name)


@pytest.mark.parametrize(("name", "geometry"), sorted(set(PAIRS) - set(CLAIMED)))
def test_refused_where_it_does_not(name, geometry):
    """Nothing is computed another way behind the user's back."""
    (batch, size, window, stride, pads, dilation), (groups, c_in, c_out) = GEOMETRIES[geometry]
    x, w = jnp.zeros((*batch, *size, c_in)), jnp.zeros((*window, c_in // groups, c_out))
    with pytest.raises(ValueError, match=f"conv: `algorithm` '{name}' cannot compute"):
        ops.conv(x, w, stride=stride, padding=pads, dilation=dilation, groups=groups, algorithm=name)


# ------------------------------------------------------------------------------------------------------- tiles
# The rows a tile may hold, images, groups; and whether groups, images, rows are cut.
CUTS = {
    "rows": (4, 1, 1, (False, False, True)),
    "images and rows": (4, 3, 1, (False, True, True)),
    "images": (14, 3, 1, (False, True, False)),
    "pairs of images": (30, 4, 1, (False, True, False)),
    "groups": (40, 3, 2, (True, False, False)),
    "groups, images and rows": (4, 2, 2, (True, True, True)),
    "groups and rows of many images": (4, 9, 2, (True, False, True)),
}


@pytest.mark.parametrize("name", ["patches", "winograd"])
@pytest.mark.parametrize("cut", CUTS)
def test_loops_in_tiles(float64, monkeypatch, name, cut):
    """The two that build more than they read. Of 11 rows in and 13 out no band is a share, so the last one overlaps."""
    rows, images, groups, axes = CUTS[cut]
    made, init = [], tiles.Tiles.__init__

    def spy(self, product, row_bytes, **options):
        init(self, product, 1, **options)
        made.append(self)

    monkeypatch.setattr(tiles.Tiles, "__init__", spy)
    geometry = ((images,), (11, 8), (3, 3), (1, 1), ((3, 1), (0, 1)), (1, 1))
    with tiles_of(rows):
        check_conv(geometry, (groups, 2 * groups, 2 * groups), name)
    assert [tuple(n > 1 for n in tile.grid) for tile in made] == [axes] * 3, "y, dx, dw"


def test_bands_in_the_padding(float64):
    """Strided and dilated, in bands of one row: the last ones look at zeros alone, the first at zeros and the image."""
    with tiles_of(1):
        check_conv(((2,), (4, 3), (2, 2), (3, 1), ((3, 9), (1, 0)), (2, 1)), (1, 3, 2), "patches")


# ------------------------------------------------------------------------------------------------------ phases
# n, window (below, at, above the stride), stride, padding before and after; inputs no window reaches, windows of zeros.
AXES = [
    (n, k, s, before, after)
    for n, (k, s), (before, after) in itertools.product(
        (1, 4, 7), ((1, 2), (1, 3), (2, 2), (2, 3), (3, 2), (5, 2), (4, 3)), ((0, 0), (1, 0), (0, 2), (4, 3))
    )
    if n + before + after >= k
]


def test_phases_on_every_axis(float64):
    """The input's gradient of a strided convolution; all of them in one program."""
    assert len(AXES) > 60
    rng = np.random.default_rng(0)
    kernels = {k: rng.standard_normal((k, 2, 3)) for k in range(1, 6)}
    cotangents = [rng.standard_normal((2, oracles.output_size(n, k, s, pads), 3)) for n, k, s, *pads in AXES]

    def gradient(axis, dy):
        n, k, s, *pair = axis
        conv = functools.partial(ops.conv, kernel=kernels[k], stride=s, padding=(pair,))
        return jax.linear_transpose(conv, jax.ShapeDtypeStruct((2, n, 2), dy.dtype))(dy)[0]

    gradients = jax.jit(lambda cotangents: list(map(gradient, AXES, cotangents)))(cotangents)
    for (n, k, s, *pair), dy, dx in zip(AXES, cotangents, gradients, strict=True):
        assert_same(dx, oracles.conv_input_gradient(dy, kernels[k], (2, n, 2), s, [pair]))


INTERIOR = re.compile(r"stablehlo\.pad .*interior = \[[0, ]*[1-9]")


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("window", [(2, 2), (3, 3), (4, 1)], ids=str)
def test_no_zeros_are_inserted(window, dilation, monkeypatch):
    """But where a weight is not finite: what borders.py puts in place is multiplied already."""
    monkeypatch.setattr(borders, "kept", lambda dx, *_: dx)
    w, x, dy = jnp.ones((*window, 4, 5)), jnp.ones((2, 9, 9, 4)), jnp.ones((2, 3, 3, 5))
    conv = functools.partial(ops.conv, kernel=w, stride=2, padding=1, dilation=dilation)
    transpose = functools.partial(ops.conv_transpose, kernel=w, stride=2, padding=0, dilation=dilation)
    gradient = jax.jit(lambda x: jax.vjp(conv, x)[1](conv(x))).lower(x).as_text()
    for text in (gradient, jax.jit(transpose).lower(dy).as_text()):
        assert not INTERIOR.search(text)


def test_the_search_for_inserted_zeros_finds_them():
    spread = jax.jit(lambda x: lax.pad(x, 0.0, [(0, 0, 1), (0, 0, 0)])).lower(jnp.ones((3, 3))).as_text()
    assert INTERIOR.search(spread)


# ----------------------------------------------------------------------------------------------------- members
# The maps, the outermost first, as in_axes; and the images of one call.
MAPS = {
    "over kernels": ([(None, 0)], 9),
    "over both": ([(0, 0)], 2),
    "per example": ([(0, None)], 1),
    "examples of an ensemble": ([(None, 0), (0, None)], 9),
}


def loop(function, maps, x, w):
    """`vmap`, as Python loops."""
    if not maps:
        return function(x, w)
    (by_x, by_w), *rest = maps
    n = len(x) if by_x == 0 else len(w)
    each = [loop(function, rest, x if by_x is None else x[i], w if by_w is None else w[i]) for i in range(n)]
    return [jnp.stack(parts) for parts in zip(*each, strict=True)]


def all_three(function):
    """y, and dx and dw for a cotangent, or for y itself."""

    def numbers(x, w, dy=None):
        y, pull = jax.vjp(function, x, w)
        return y, *pull(y if dy is None else dy)

    return numbers


@functools.cache
def reference(groups):
    conv = functools.partial(ops_table.conv, stride=(1, 1), pads=((1, 0), (0, 2)), dilation=(1, 1), groups=groups)
    return jax.jit(all_three(conv))


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize("name", NAMES)
def test_members(float64, name, maps):
    """Ensembles and per-example gradients: each member gets what a call of its own would give it."""
    groups = 3 if name == "depthwise" else 1
    steps, images = MAPS[maps]
    lead_x, lead_w = ([2 for step in steps if step[i] == 0] for i in (0, 1))
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((*lead_x, images, 4, 6, 3)), rng.standard_normal((*lead_w, 3, 2, 3 // groups, 3))
    mapped = all_three(functools.partial(ops.conv, padding=((1, 0), (0, 2)), groups=groups, algorithm=name))
    for step in reversed(steps):
        mapped = jax.vmap(mapped, step)
    for actual, expected in zip(jax.jit(mapped)(x, w), loop(reference(groups), steps, x, w), strict=True):
        assert_same(actual, expected)


# ------------------------------------------------------------------------------------------------------ rounding
# The largest error of y, dx and dw over the draws below, as a share of the largest number in the same array.
MAX_ERROR = {
    ("blocks", "float32"): 3e-6,
    ("blocks", "bfloat16"): 1e-2,
    ("channels_last", "float32"): 2e-6,
    ("channels_last", "bfloat16"): 1e-2,
    ("depthwise", "float32"): 1e-6,
    ("fft", "float32"): 1e-6,
    ("overlap", "float32"): 4e-6,
    ("patches", "float32"): 3e-6,
    ("taps", "float32"): 2e-6,
    ("winograd", "float32"): 8e-6,
    ("patches", "bfloat16"): 1e-2,
}


def geometries(name, count):
    """Random shapes of x and kernel, and groups, that this algorithm claims; all of stride 1 and "SAME"."""
    rng = np.random.default_rng(0)
    while count:
        window = tuple(rng.integers(1, 6, 2).tolist())
        n, *size = rng.integers((1, 5, 5), (12, 24, 24)).tolist()
        c, d = rng.integers(1, 48, 2).tolist()
        groups, d = (c, c) if name == "depthwise" else (1, d)
        if claims(name, ((n,), size, window, (1, 1), (), (1, 1)), (groups, c, d)):
            count -= 1
            yield (n, *size, c), (*window, c // groups, d), groups


def errors(name, dtype, x_shape, w_shape, groups, draws):
    """Of y, dx and dw, in each draw, against XLA in float64 from the same, already rounded, numbers."""
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
    ours = jax.jit(all_three(functools.partial(ops.conv, padding="SAME", groups=groups, algorithm=name)))
    exact = jax.jit(all_three(lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", **layout)))
    rng = np.random.default_rng(1)
    for _ in range(draws):
        x, w = (jnp.asarray(rng.standard_normal(shape), dtype) for shape in (x_shape, w_shape))
        actual = [np.asarray(a, np.float64) for a in ours(x, w)]
        with jax.enable_x64(True):
            expected = [np.asarray(e) for e in exact(np.asarray(x, float), np.asarray(w, float), actual[0])]
        yield [float(abs(a - e).max() / abs(e).max()) for a, e in zip(actual, expected, strict=True)]


@pytest.mark.parametrize(("name", "dtype"), MAX_ERROR)
def test_rounding(name, dtype):
    """Seven draws of numbers at each of three geometries."""
    found = [e for geometry in geometries(name, 3) for e in errors(name, dtype, *geometry, draws=7)]
    assert np.max(found) <= MAX_ERROR[name, dtype], np.max(found, axis=0)


# -------------------------------------------------------------------------------------------- Winograd's algorithm


@pytest.mark.parametrize(("m", "r"), [(m, r) for r in range(2, 8) for m in range(1, 10 - r)])
def test_minimal_filtering(m, r):
    """Aᵀ [(G w) ⊙ (Bᵀ x)] is the correlation, with m + r − 1 products; and its adjoint in w is the one for dw."""
    at, g, bt = winograd.matrices(m, r)
    assert (at.shape, g.shape, bt.shape) == ((m, m + r - 1), (m + r - 1, r), (m + r - 1, m + r - 1))
    rng = np.random.default_rng(0)
    x, w, dy = rng.standard_normal(m + r - 1), rng.standard_normal(r), rng.standard_normal(m)
    assert_same(at @ ((g @ w) * (bt @ x)), np.correlate(x, w, "valid"), 1e-12)
    assert_same(g.T @ ((bt @ x) * (at.T @ dy)), np.correlate(x, dy, "valid"), 1e-12)


def test_matrices_of_the_paper():
    """Lavin and Gray's F(4, 3), but for factors of each point's three rows that cancel."""
    bt = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0]]
    bt += [[0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    g = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
    at = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    ours = winograd.matrices(4, 3)
    factors = []
    for own, paper in zip((ours[0].T, *ours[1:]), (np.transpose(at), g, np.array(bt)), strict=True):
        factors.append((own * paper).sum(1) / (paper * paper).sum(1))
        assert_same(own, factors[-1][:, None] * paper, 1e-12)
    assert_same(math.prod(factors), np.ones(6), 1e-12)


KINDS = [("bfloat16", None), ("float16", None), ("float32", "high"), ("float32", "highest"), ("float32", None)]


@pytest.mark.parametrize(("dtype", "precision"), KINDS)
def test_winograd_is_not_used_where_digits_are_few_or_wanted(dtype, precision):
    """Refused by name; and "auto" is patches to the last bit, where for plain float32 it is not."""
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((2, 24, 24, 24), (3, 3, 24, 24)))

    def numbers(algorithm):
        conv = functools.partial(ops.conv, padding="SAME", algorithm=algorithm, precision=precision)
        return [np.asarray(a) for a in jax.jit(all_three(conv))(x, w)]

    plain = (dtype, precision) == ("float32", None)
    if not plain:
        with pytest.raises(ValueError, match="'winograd' cannot compute this product: it takes float32 and float64"):
            numbers("winograd")
    same = [np.array_equal(a, b) for a, b in zip(numbers("auto"), numbers("patches"), strict=True)]
    assert same == [not plain] * 3
