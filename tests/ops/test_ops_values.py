"""Values and gradients against NumPy loops in float64, over shapes and geometries that hypothesis draws.

Ranks 1 to 3, batch axes of any number and length, pads on either side (beyond the kernel too), strides, dilations and
groups; x and cotangents are small whole numbers, so that maxima are often equal and the tie rule is always at work.
"""

import functools

import jax
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_table import check_conv, check_pool, one_batch, tiles_of, value_and_pullback, whole_numbers
from tolerances import assert_same

from jaxcnn import ops


def drawn(examples):
    """Few examples, always the same: each compiles a program."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@st.composite
def geometries(draw, max_rank=3, strides=3):
    """(batch, size, window, stride, pads, dilation) with at least one window that fits."""
    rank = draw(st.integers(1, max_rank))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * rank))

    most = (9, 6, 4)[rank - 1]  # pixels a side, so that loops stay short
    window, stride, dilation = each(1, 3), each(1, strides), each(1, 2 if rank < 3 else 1)
    pads = draw(st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * rank))
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), most))
        for k, d, p in zip(window, dilation, pads, strict=True)
    ]
    batch = draw(st.sampled_from([(), (1,), (2,), (0,), (2, 2), (3, 1), (2, 0), (1, 2, 1)]))
    return batch, tuple(size), window, stride, pads, dilation


# (groups, input channels, output channels): plain, 1-channel ends, grouped, depthwise, depthwise with a multiplier.
CHANNELS = st.sampled_from([(1, 2, 3), (1, 1, 2), (1, 3, 1), (2, 4, 6), (2, 4, 2), (3, 3, 3), (2, 2, 6), (1, 5, 5)])


@drawn(15)
@given(geometries(), CHANNELS)
def test_conv(geometry, channels):
    check_conv(geometry, channels)


@drawn(8)
@given(geometries(strides=2), CHANNELS)
def test_conv_of_many_small_tiles(geometry, channels):
    with tiles_of(100):
        check_conv(geometry, channels, "patches")


# Tiles of images, bands of rows; the last band overlapping its neighbor or not; strided bands, dilated bands, groups.
# The budget is in bytes of patches: a row of outputs takes (outputs in it) · taps · channels · 8 of them.
TILINGS = {
    "images, even": (3100, (4,), (4, 4), (2, 2), (1, 1), (1, 1), (1, 2, 3)),
    "images, one at a time": (3100, (5,), (4, 4), (2, 2), (1, 1), (1, 1), (1, 2, 3)),
    "rows, even": (900, (2,), (7, 6), (2, 3), (1, 2), (1, 1), (1, 2, 3)),
    "rows, last overlaps": (900, (2,), (8, 6), (2, 3), (1, 2), (1, 1), (1, 2, 3)),
    "rows, strided and dilated, last overlaps": (1000, (2,), (14, 7), (3, 2), (2, 3), (2, 2), (2, 4, 6)),
    "rows, one at a time": (1, (2,), (6, 5), (3, 3), (1, 1), (1, 1), (1, 2, 2)),
    "rows of one dimension, last overlaps": (200, (3,), (12,), (3,), (2,), (1,), (1, 2, 2)),
    "rows of three dimensions, last overlaps": (6000, (1,), (5, 4, 4), (2, 3, 2), (1, 1, 1), (1, 1, 1), (1, 2, 3)),
}


@pytest.mark.parametrize("tiling", TILINGS)
def test_conv_in_tiles(tiling):
    budget, batch, size, window, stride, dilation, channels = TILINGS[tiling]
    pads = ((1, 2), (0, 1), (2, 0))[: len(size)]
    with tiles_of(budget):
        check_conv((batch, size, window, stride, pads, dilation), channels, "patches")
        groups, c_in, c_out = channels
        conv = functools.partial(
            ops.conv, stride=stride, padding=pads, dilation=dilation, groups=groups, algorithm="patches"
        )
        shapes = np.zeros((*batch, *size, c_in)), np.zeros((*window, c_in // groups, c_out))
        assert "stablehlo.while" in jax.jit(conv).lower(*shapes).as_text(), "the budget makes no tiles here"


@st.composite
def transposed(draw):
    """A geometry for conv_transpose: pads that leave an output, output padding below the stride."""
    batch, size, window, stride, pads, dilation = draw(geometries())
    extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
    full = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, stride, dilation, window, strict=True)]
    pads = tuple(
        (min(before, (n - 1) // 2), min(after, (n - 1) // 2)) for (before, after), n in zip(pads, full, strict=True)
    )
    return batch, size, window, stride, pads, dilation, extra


@drawn(15)
@given(transposed(), CHANNELS)
def test_conv_transpose(geometry, channels):
    batch, size, window, stride, pads, dilation, extra = geometry
    groups, c_out, c_in = channels  # the convolution this transposes goes from c_out to c_in
    rng = np.random.default_rng(0)
    x = whole_numbers(rng, *batch, *size, c_in)
    w = whole_numbers(rng, *window, c_out // groups, c_in)
    loops = {"stride": stride, "pads": pads, "dilation": dilation, "groups": groups}
    transpose = functools.partial(
        ops.conv_transpose, stride=stride, padding=pads, dilation=dilation, groups=groups, output_padding=extra
    )
    y, dy, (dx, dw) = value_and_pullback(transpose, x, w)
    flat_x, flat_y, flat_dy, flat_dx = (one_batch(a, len(size)) for a in (x, y, dy, dx))
    assert_same(flat_y, oracles.conv_transpose(flat_x, w, output_padding=extra, **loops))
    assert_same(flat_dx, oracles.conv(flat_dy, w, **loops))
    assert_same(dw, oracles.conv_kernel_gradient(flat_dy, flat_x, w.shape, **loops))


def side_by_side(geometry):
    """The same with windows that touch and do not overlap: stride None, no dilation."""
    batch, size, window, _, pads, dilation = geometry
    return batch, size, window, None, pads, tuple(1 for _ in dilation)


@drawn(15)
@given(geometries(), st.booleans(), st.booleans())
def test_max_pool(geometry, ceil_mode, touching):
    geometry = side_by_side(geometry) if touching else geometry
    check_pool(geometry, ops.max_pool, oracles.max_pool, oracles.max_pool_gradient, ceil_mode=ceil_mode)


@drawn(15)
@given(geometries(), st.booleans(), st.booleans())
def test_avg_pool(geometry, ceil_mode, count_include_pad):
    def gradient(dy, x, **loops):
        return oracles.avg_pool_gradient(dy, x.shape, **loops)

    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    check_pool(geometry, ops.avg_pool, oracles.avg_pool, gradient, **options)


@drawn(15)
@given(geometries(), st.booleans(), st.sampled_from([1, 1.5, 2, 2.0, 3, 4]))
def test_lp_pool(geometry, ceil_mode, p):
    check_pool(geometry, ops.lp_pool, oracles.lp_pool, oracles.lp_pool_gradient, ceil_mode=ceil_mode, p=p)


@drawn(10)
@given(geometries(), st.sampled_from([ops.global_max_pool, ops.global_avg_pool]))
def test_global_pools(geometry, function):
    """A global pool is a pool whose window is the image."""
    batch, size, *_ = geometry
    rank = len(size)
    x = whole_numbers(np.random.default_rng(0), *batch, *size, 2)
    y, dy, (dx,) = value_and_pullback(functools.partial(function, spatial_rank=rank), x)
    flat_x, flat_dx = one_batch(x, rank), one_batch(dx, rank)
    flat_y, flat_dy = (a.reshape(len(flat_x), *[1] * rank, 2) for a in (y, dy))
    if function is ops.global_max_pool:
        assert_same(flat_y, oracles.max_pool(flat_x, size))
        assert_same(flat_dx, oracles.max_pool_gradient(flat_dy, flat_x, size))
    else:
        assert_same(flat_y, oracles.avg_pool(flat_x, size))
        assert_same(flat_dx, oracles.avg_pool_gradient(flat_dy, flat_x.shape, size))
