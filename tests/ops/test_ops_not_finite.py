"""What is not finite, or zero, stays where the definition puts it; the definition is computed by loops in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from jaxcnn import ops
from jaxcnn.ops.algorithms import fft

# name: (x, kernel, arguments of conv); "auto" takes fft for the first three on a CPU
LARGE = {
    "large": ((2, 24, 24, 2), (17, 17, 2, 3), {"padding": "SAME"}),
    "large, many images": ((9, 32, 32, 8), (21, 21, 8, 8), {"padding": "SAME"}),
    "large, depthwise": ((2, 28, 28, 4), (13, 13, 1, 4), {"padding": "SAME", "groups": 4}),
}


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def loops(x, w, *, padding="VALID", stride=1, groups=1):
    """By the definition, in float64."""
    rank = w.ndim - 2
    taps = np.array(w.shape[:rank])
    pads = tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) if padding == "SAME" else (0, 0) for k in taps)
    with np.errstate(invalid="ignore", over="ignore"):
        geometry = {"stride": (stride,) * rank, "pads": pads, "dilation": (1,) * rank, "groups": groups}
        return oracles.conv(x.astype(np.float64), w.astype(np.float64), **geometry)


@pytest.fixture(autouse=True, scope="module")
def on_a_cpu():
    if jax.default_backend() != "cpu":
        pytest.skip("transforms are chosen on their own on a CPU only")


class TestWhereFourierTransformsAreChosen:
    @pytest.mark.parametrize("name", LARGE)
    def test_the_choice(self, name):
        x, w, arguments = LARGE[name]
        assert ops.explain(x, w, **arguments).forward.algorithm == "fft"

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", LARGE)
    def test_a_pixel_reaches_its_own_windows_only(self, name, value):
        x_shape, w_shape, arguments = LARGE[name]
        x, w = random(*x_shape), random(*w_shape)
        x[1, 3, 4, 1] = value
        y, expected = np.asarray(ops.conv(x, w, **arguments)), loops(x, w, **arguments)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
        finite = np.isfinite(expected)
        np.testing.assert_allclose(y[finite], expected[finite], rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("name", LARGE)
    def test_so_do_the_gradients(self, name):
        x_shape, w_shape, arguments = LARGE[name]
        x, w = random(*x_shape), random(*w_shape)
        y, pull = jax.vjp(functools.partial(ops.conv, **arguments), x, w)
        _, pull_exact = jax.vjp(functools.partial(ops.conv, algorithm="patches", **arguments), x, w)
        dy = random(*y.shape)
        dy[0, 2, 3, 1] = np.nan
        for actual, expected in zip(pull(dy), pull_exact(dy), strict=True):
            np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))

    @pytest.mark.parametrize("power", [20, 30, 35])
    def test_large_values_overflow_where_the_definition_does(self, power):
        x_shape, w_shape, arguments = LARGE["large"]
        x, w = random(*x_shape) * np.float32(10.0**power), random(*w_shape) * np.float32(1e-3)
        y, expected = ops.conv(x, w, **arguments), loops(x, w, **arguments)
        assert jnp.isfinite(y).all()
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())

    def test_the_bound_is_half_of_the_exponents(self):
        assert fft.largest(jnp.dtype("float32")) ** 2 < np.finfo(np.float32).max
        assert fft.largest(jnp.dtype("float64")) ** 2 < np.finfo(np.float64).max

    def test_their_memory_is_bounded(self):
        """512 channels and 31×31 would take 18.8 GiB of spectra."""
        x, w = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 64, 64, 128), (31, 31, 128, 128)))
        compiled = jax.jit(functools.partial(ops.conv, padding="SAME")).lower(x, w).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 2**28


class TestZeros:
    """A transform would leave rounding errors where a window sees nothing, and relu lets half of them through."""

    @pytest.mark.parametrize("algorithm", ["winograd", "fft"])
    @pytest.mark.parametrize("images", [2, 9])
    @pytest.mark.parametrize("size", [3, 5])
    def test_a_window_of_zeros_gives_zero(self, algorithm, images, size):
        x, w = np.maximum(random(images, 15, 18, 4) - 1, 0), random(size, size, 4, 6)
        x[:, 2:11, 3:12] = 0
        y = np.asarray(ops.conv(x, w, padding="SAME", algorithm=algorithm))
        expected = loops(x, w, padding="SAME")
        np.testing.assert_array_equal(y == 0, expected == 0)
        assert (expected == 0).any()

    @pytest.mark.parametrize("algorithm", ["winograd", "fft"])
    def test_signs_hold_there(self, algorithm):
        x = jnp.zeros((1, 40, 40, 1)).at[0, 20:, 20:, 0].set(1.0)
        y = ops.conv(x, jnp.ones((7, 7, 1, 1)) / 49, padding="SAME", algorithm=algorithm)
        assert jnp.isfinite(jnp.sqrt(y)).all()

    @pytest.mark.parametrize("algorithm", ["winograd", "fft", "patches", "overlap"])
    def test_zero_times_infinity_is_still_nan(self, algorithm):
        w = jnp.ones((3, 3, 4, 2)).at[1, 1, 0, 1].set(jnp.inf)
        y = ops.conv(jnp.zeros((1, 6, 6, 4)), w, algorithm=algorithm)
        assert jnp.isnan(y[..., 1]).all()
        assert (y[..., 0] == 0).all() or algorithm == "fft"


# window, stride, dilation
STRIDED = [(1, 2, 1), (3, 2, 1), (5, 2, 1), (4, 3, 1), (2, 3, 1), (3, 3, 1), (3, 2, 2), (2, 4, 2), (3, 2, 3), (4, 6, 4)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("size", "stride", "dilation"), STRIDED)
@pytest.mark.parametrize("value", [np.inf, np.nan])
class TestStrides:
    """Zeros that a way of computing puts between values or beside weights would turn inf into NaN."""

    def test_of_an_input_gradient(self, size, stride, dilation, groups, value):
        """The places that dy[o] is given to, by the definition: s·o + δ·k − p."""
        conv = functools.partial(ops.conv, stride=stride, dilation=dilation, groups=groups, padding=1)
        x = jnp.ones((1, 28, 27, 4))
        y, pull = jax.vjp(lambda x: conv(x, jnp.ones((size, size, 4 // groups, 4))), x)
        (dx,) = pull(jnp.zeros_like(y).at[0, 1, 2, 0].set(value))
        rows, columns = ([stride * o + dilation * k - 1 for k in range(size)] for o in (1, 2))
        expected = np.zeros(x.shape, bool)
        inside = [0], [r for r in rows if r >= 0], [c for c in columns if c >= 0], range(4 // groups)
        expected[np.ix_(*inside)] = True
        np.testing.assert_array_equal(~np.isfinite(dx), expected)
        assert (np.asarray(dx)[~expected] == 0).all()
        if np.isinf(value):
            assert not np.isnan(dx).any()

    def test_of_a_transposed_convolution(self, size, stride, dilation, groups, value):
        x = jnp.zeros((1, 4, 5, 4)).at[0, 1, 2, 0].set(value)
        w = jnp.ones((size, size, 4 // groups, 4))
        y = ops.conv_transpose(x, w, stride=stride, dilation=dilation, groups=groups)
        expected = np.zeros(y.shape, bool)
        rows, columns = ([stride * o + dilation * k for k in range(size)] for o in (1, 2))
        expected[np.ix_([0], rows, columns, range(4 // groups))] = True
        np.testing.assert_array_equal(~np.isfinite(y), expected)
        if np.isinf(value):
            assert not np.isnan(y).any()


class TestWeights:
    """dx and the transposed convolution are computed under full padding; by the definition its zeros meet no weight."""

    @pytest.mark.parametrize(("value", "groups"), [(np.inf, 1), (-np.inf, 2), (np.nan, 4)])
    @pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 1), (4, 1, 2), (11, 1, 1), *STRIDED])
    def test_of_a_transposed_convolution(self, size, stride, dilation, groups, value):
        x, w = random(2, 4, 5, 4), random(size, size, 4 // groups, 4)
        w[0, -1, 0, 1] = w[-1, -1, 0, 2] = value
        y = ops.conv_transpose(x, w, stride=stride, dilation=dilation, groups=groups)
        self.compare(y, oracles.conv_transpose, x, w, stride=stride, dilation=dilation, groups=groups)

    @pytest.mark.parametrize("padding", [(1, 1), (0, 2), (3, 0)])
    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("shape", [(3, 6, 4), (3, 3, 32, 32), (2, 3, 2, 2, 4), (3, 3, 1, 4), (19, 19, 4, 2)])
    def test_of_a_gradient_by_the_input(self, shape, stride, padding):
        """Of one axis, by winograd, of three axes, depthwise, by overlap-add."""
        rank, (c, d) = len(shape) - 2, shape[-2:]
        x, w, groups = random(9, *[20] * rank, d if c == 1 else c), random(*shape), d if c == 1 else 1
        w[(0,) * (rank + 2)] = w[(-1,) * (rank + 2)] = np.inf
        geometry = {"stride": stride, "groups": groups}
        y, pull = jax.vjp(lambda x: ops.conv(x, w, padding=[padding] * rank, **geometry), jnp.asarray(x))
        dy = random(*y.shape)
        self.compare(pull(dy)[0], oracles.conv_input_gradient, dy, w, x.shape, pads=[padding] * rank, **geometry)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_sums_are_kept_in_more_bits(self, dtype):
        x, w = jnp.ones((1, 3, 3, 4096), dtype), jnp.ones((3, 3, 1, 4096), dtype).at[0, 0, 0, 0].set(jnp.inf)
        y = ops.conv_transpose(x, w)
        assert y.dtype == dtype and jnp.isinf(y[0, :3, :3]).all()
        np.testing.assert_allclose(y[0, 4, 2:, 0], [3 * 4096, 2 * 4096, 4096], rtol=1e-2)

    def test_of_each_member_of_an_ensemble(self):
        x, w = random(3, 1, 4, 4, 2), random(3, 3, 3, 2, 2)
        w[1, 0, 0, 0, 0] = np.inf
        y = jax.jit(jax.vmap(ops.conv_transpose))(x, w)
        assert jnp.isfinite(y[0::2]).all()
        self.compare(y[1], oracles.conv_transpose, x[1], w[1])

    def compare(self, y, oracle, *arrays, pads=None, stride=1, dilation=1, groups=1):
        with np.errstate(invalid="ignore"):
            expected = oracle(*arrays, stride, pads, dilation, groups)
        finite = np.isfinite(expected)
        assert not finite.all()
        np.testing.assert_array_equal(np.asarray(y)[~finite], expected[~finite])
        np.testing.assert_allclose(np.asarray(y)[finite], expected[finite], rtol=1e-4, atol=1e-4)


class TestWinograd:
    """Not finite values stay within the tile of their own row: m outputs along one axis."""

    def test_the_rows_of_other_tiles_are_finite(self):
        x = random(8, 28, 28, 32)
        x[0, 14, 14, 0] = np.inf
        assert ops.explain(x.shape, (3, 3, 32, 32)).forward.algorithm == "winograd"
        y = ops.conv(x, random(3, 3, 32, 32), padding="SAME")
        rows, columns = np.nonzero(~np.isfinite(y[0, :, :, 0]))
        assert set(rows) == {13, 14, 15}
        assert columns.max() - columns.min() < 8
        assert jnp.isfinite(y[1:]).all()

    def test_no_transform_where_the_sums_of_the_definition_are_asked_for(self):
        x, w = random(8, 28, 28, 32), random(3, 3, 32, 32)
        x[0, 14, 14, 0] = np.inf
        with jax.default_matmul_precision("highest"):
            assert ops.explain(x.shape, w.shape).forward.algorithm == "patches"
            y = jax.jit(functools.partial(ops.conv, padding="SAME"))(x, w)
        assert jnp.isinf(y).sum() == 9 * 32
        assert not jnp.isnan(y).any()
