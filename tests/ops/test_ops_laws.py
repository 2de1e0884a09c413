"""What convolution and pooling are, apart from how they are computed: sizes, adjoints, ties, kinks, shares. Float64."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.test_util import check_grads
from ops_table import CASES
from tolerances import ADJOINT, assert_same

from jaxcnn import ops

BILINEAR = [case for case in CASES if case.has_kernel]


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


# -------------------------------------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("case", BILINEAR, ids=lambda case: case.name)
def test_adjoint_identity(case):
    """⟨dy, conv(x, w)⟩ = ⟨x, dx⟩ = ⟨w, dw⟩: three ways to sum the same products."""
    x, w = case.arguments()
    dy = np.random.default_rng(1).standard_normal(jax.eval_shape(case.function, x, w).shape)

    @jax.jit
    def products(x, w, dy):
        y, pull = jax.vjp(case.function, x, w)
        dx, dw = pull(dy)
        return jnp.vdot(dy, y), jnp.vdot(x, dx), jnp.vdot(w, dw), jnp.vdot(abs(dy), case.function(abs(x), abs(w)))

    by_y, by_x, by_w, magnitude = map(float, products(x, w, dy))
    assert abs(by_y) > 1e-3 * magnitude, "the products cancel: the identity would show nothing"
    assert abs(by_y - by_x) <= ADJOINT * magnitude
    assert abs(by_y - by_w) <= ADJOINT * magnitude


@pytest.mark.parametrize("case", BILINEAR, ids=lambda case: case.name)
def test_finite_differences_of_bilinear_ops(case):
    """A product of its arguments has no third derivative: central differences with a step of 1 are exact.

    Second derivatives are in test_ops_transformations.
    """
    check_grads(
        jax.jit(case.function), case.arguments(), order=1, modes=("fwd", "rev"), eps=1.0, atol=1e-10, rtol=1e-10
    )


POOLS = [case for case in CASES if not case.has_kernel]


@pytest.mark.parametrize("case", POOLS, ids=lambda case: case.name)
def test_finite_differences_of_pools(case):
    """Small steps: no maximum changes its switch and no power its sign within one (the values are 0.05 apart)."""
    check_grads(jax.jit(case.function), case.arguments(), order=2, modes=("fwd", "rev"), eps=1e-4, atol=1e-5, rtol=1e-5)


# -------------------------------------------------------------------------------------------- sizes and padding


@pytest.mark.parametrize(
    ("padding", "size"),
    [
        ("VALID", lambda m, k: m - k + 1),
        ("FULL", lambda m, k: m + k - 1),
        ("SAME", lambda m, k: m),
        ("SAME_LOWER", lambda m, k: m),
        (3, lambda m, k: m + 6 - k + 1),
    ],
)
@pytest.mark.parametrize(("m", "k"), [(7, 1), (7, 2), (7, 3), (8, 5), (5, 5)])
def test_output_sizes_of_the_lectures(padding, size, m, k):
    x, w = jnp.zeros((m, 2 * m, 1)), jnp.zeros((k, k, 1, 1))
    expected = (size(m, k), size(2 * m, k), 1)
    assert jax.eval_shape(functools.partial(ops.conv, padding=padding), x, w).shape == expected
    for pool in (ops.max_pool, ops.avg_pool, ops.lp_pool):
        assert jax.eval_shape(functools.partial(pool, window=k, stride=1, padding=padding), x).shape == expected


@pytest.mark.parametrize("s", [1, 2, 3, 5])
@pytest.mark.parametrize("p", [0, 1, 4])
def test_output_size_with_stride_and_padding(s, p):
    """floor((n + 2p − k) / s) + 1."""
    for n in range(3, 12):
        y = jax.eval_shape(functools.partial(ops.conv, stride=s, padding=p), jnp.zeros((n, 1)), jnp.zeros((3, 1, 1)))
        assert y.shape == ((n + 2 * p - 3) // s + 1, 1)


WORDS = ["VALID", "SAME", "SAME_LOWER", "FULL"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2)])
def test_padding_words_of_conv(word, stride, dilation):
    """Each word is the oracle's pairs; an even window, so that SAME and SAME_LOWER differ."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 9, 8, 1)), rng.standard_normal((4, 2, 1, 2))
    pads = [oracles.pads_for(word, n, k, stride, dilation) for n, k in zip((9, 8), (4, 2), strict=True)]
    y = ops.conv(x, w, stride=stride, padding=word, dilation=dilation)
    assert_same(y, oracles.conv(x, w, stride, pads, dilation))


@pytest.mark.parametrize("word", WORDS)
def test_padding_words_of_pools(word):
    x = np.random.default_rng(0).standard_normal((1, 9, 8, 2))
    pads = [oracles.pads_for(word, n, k, 2) for n, k in zip((9, 8), (4, 3), strict=True)]
    options = {"window": (4, 3), "stride": 2}
    assert_same(ops.max_pool(x, padding=word, **options), oracles.max_pool(x, pads=pads, **options))
    assert_same(ops.lp_pool(x, padding=word, **options), oracles.lp_pool(x, pads=pads, **options))
    for counted in (False, True):
        more = {**options, "count_include_pad": counted}
        assert_same(ops.avg_pool(x, padding=word, **more), oracles.avg_pool(x, pads=pads, **more))


@pytest.mark.parametrize("word", ["VALID", "FULL", "SAME", "SAME_LOWER", 1, ((2, 0), (1, 1))], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_transpose_is_the_adjoint(word, stride):
    """⟨conv(u, w), x⟩ = ⟨u, conv_transpose(x, w)⟩ with the same arguments, for every word."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 5, 3)), rng.standard_normal((4, 3, 2, 3))
    if word == "FULL" and stride == 1:
        x = rng.standard_normal((2, 8, 9, 3))  # FULL takes 2(k − 1) off, which 4 does not have
    elif word == "FULL":
        x = rng.standard_normal((2, 5, 6, 3))
    y = ops.conv_transpose(x, w, stride=stride, padding=word)
    if word in ("SAME", "SAME_LOWER"):
        assert y.shape == (2, 4 * stride, 5 * stride, 2)
    u = rng.standard_normal(y.shape)
    forward = ops.conv(u, w, stride=stride, padding=word)
    assert forward.shape == x.shape
    assert_same(np.vdot(forward, x), np.vdot(u, y))


@pytest.mark.parametrize("extra", [0, 1, (2, 1)], ids=str)
def test_output_padding_restores_the_size_that_a_stride_rounded_off(extra):
    """Inputs of 7, 8 and 9 all give one size with stride 3; output_padding says which it was."""
    pair = (extra, extra) if isinstance(extra, int) else extra
    size = tuple(7 + e for e in pair)
    u, w = np.zeros((1, *size, 1)), np.zeros((3, 3, 1, 1))
    x = ops.conv(u, w, stride=3, padding=1)
    assert ops.conv_transpose(x, w, stride=3, padding=1, output_padding=extra).shape == u.shape


# ---------------------------------------------------------------------------------------------------- max pool


def switch_counts(x, **options):
    """How often each input is the switch of a window: the gradient of the sum."""
    return np.asarray(jax.grad(lambda x: ops.max_pool(x, **options).sum())(jnp.asarray(x)))[0, ..., 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_first_of_equal_maxima_in_row_major_order(stride):
    """On a constant image each window's switch is its top left corner."""
    expected = np.zeros((4, 4))
    expected[:3:stride, :3:stride] = 1
    assert_same(switch_counts(np.ones((1, 4, 4, 1)), window=2, stride=stride), expected, 0)


def test_row_major_means_rows_before_columns():
    """The maxima at (0, 1) and (1, 0): the row above wins, not the column to the left."""
    x = np.array([[0.0, 1.0], [1.0, 0.0]])[None, ..., None]
    assert_same(switch_counts(x, window=2), [[0, 1], [0, 0]], 0)


def test_one_switch_of_many_windows_collects_all_of_them():
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1] = 1
    assert_same(switch_counts(x, window=2, stride=1), [[0, 0, 0], [0, 4, 0], [0, 0, 0]], 0)


def test_nan_is_the_maximum_of_its_window_and_the_first_nan_its_switch():
    x = np.array([[1.0, np.nan, 9.0], [np.nan, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, ..., None]
    nan = np.nan
    assert_same(ops.max_pool(x, 2, stride=1)[0, ..., 0], [[nan, nan], [nan, 6]], 0)
    assert_same(switch_counts(x, window=2, stride=1), [[0, 2, 0], [1, 0, 0], [0, 0, 1]], 0)
    assert np.isnan(ops.global_max_pool(x)).all()


def test_padding_never_wins():
    """Not over negative inputs, not over −∞: windows of −∞ still have their switch inside the image."""
    assert_same(ops.max_pool(np.full((1, 2, 2, 1), -5.0), 2, stride=1, padding=1), np.full((1, 3, 3, 1), -5.0), 0)
    counts = switch_counts(np.full((1, 2, 2, 1), -np.inf), window=2, stride=1, padding=1)
    assert_same(counts, [[4, 2], [2, 1]], 0)


def test_a_window_of_padding_alone_gives_minus_infinity_and_no_gradient():
    x = np.ones((1, 2, 2, 1))
    y = ops.max_pool(x, 2, stride=2, padding=((2, 0), (0, 0)))
    assert_same(y[0, ..., 0], [[-np.inf], [1]], 0)
    assert_same(switch_counts(x, window=2, stride=2, padding=((2, 0), (0, 0))), [[1, 0], [0, 0]], 0)


# --------------------------------------------------------------------------------------------- average and Lp


def test_average_shares_by_what_it_counts():
    """A 3×3 window with padding 1 sees 4, 6 or 9 of the image; with `count_include_pad` always 9."""
    x = np.ones((1, 4, 4, 1))
    inside = np.outer([2, 3, 3, 2], [2, 3, 3, 2])
    average = functools.partial(ops.avg_pool, window=3, stride=1, padding=1)
    assert_same(average(x)[0, ..., 0], np.ones((4, 4)))
    assert_same(average(x, count_include_pad=True)[0, ..., 0], inside / 9)

    def spread(counts):  # dy/m from each output to the image: a window sum of 1/m
        padded = np.pad(1 / counts, 1)
        return sum(padded[i : i + 4, j : j + 4] for i in range(3) for j in range(3))

    for counts, included in ((inside, False), (np.full((4, 4), 9.0), True)):
        gradient = jax.grad(lambda x, included=included: average(x, count_include_pad=included).sum())(x)
        assert_same(gradient[0, ..., 0], spread(counts))


@pytest.mark.parametrize(
    ("count_include_pad", "expected"),
    [(False, [1, 1, 1]), (True, [2 / 3, 1, 1 / 2])],
)
def test_columns_that_ceil_mode_adds_are_never_counted(count_include_pad, expected):
    """Six ones after one zero of padding, three at a time: the last window sees one pixel and one zero of padding."""
    y = ops.avg_pool(np.ones((1, 6, 1)), (3,), padding=1, ceil_mode=True, count_include_pad=count_include_pad)
    assert_same(y[0, :, 0], expected)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4])
def test_lp_gradient_is_zero_at_a_window_of_zeros(p):
    """The norm has a kink there; 0 is in its subdifferential. A window beside it is not disturbed."""
    x = np.zeros((1, 2, 4, 1))
    x[0, :, 2:, 0] = [[3, -1], [2, 5]]
    gradient = jax.jit(jax.grad(lambda x: ops.lp_pool(x, 2, p=p).sum()))(x)
    ones = np.ones((1, 1, 2, 1))
    assert_same(gradient, oracles.lp_pool_gradient(ones, x, (2, 2), p))
    assert_same(gradient[0, :, :2, 0], np.zeros((2, 2)), 0)


def test_second_derivative_of_l2_is_finite_at_a_window_of_zeros():
    x = np.zeros((1, 2, 4, 1))
    x[0, :, 2:, 0] = [[3, -4], [0, 0]]
    hessian = jax.jit(jax.hessian(lambda x: ops.lp_pool(x, 2).sum()))(x).reshape(8, 8)
    v = x.reshape(8)
    expected = np.diag((v != 0) | (np.arange(8) % 4 >= 2)) / 5 - np.outer(v, v) / 5**3  # (1 − uuᵀ)/|x|
    assert_same(hessian, expected)


def test_l2_of_a_2_by_2_window_of_negative_numbers():
    """Odd powers take |x|, and the gradient gets the sign back."""
    x = -np.array([[1.0, 2.0], [2.0, 4.0]])[None, ..., None]
    for p in (1, 2, 3):
        value, gradient = jax.jit(jax.value_and_grad(lambda x, p=p: ops.lp_pool(x, 2, p=p).sum()))(x)
        assert math.isclose(value, (abs(x) ** p).sum() ** (1 / p), rel_tol=1e-12)
        assert_same(gradient, -((abs(x) / value) ** (p - 1)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_broadcast_to_more_axes(case):
    """So every operation works under `jax_numpy_rank_promotion="raise"`, forward and gradient."""
    arguments = case.arguments()
    with jax.numpy_rank_promotion("raise"):
        gradient = jax.grad(lambda *arguments: case.function(*arguments).sum(), argnums=tuple(range(len(arguments))))
        jax.jit(gradient).lower(*arguments)
        jax.jit(case.function).lower(*arguments)
