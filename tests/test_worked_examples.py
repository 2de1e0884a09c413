"""The worked examples of the CNN lectures, with the numbers on their slides, by the textbook and by the fast ops."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import ops, textbook

IMPLEMENTATIONS = {
    "textbook": types.SimpleNamespace(
        conv=textbook.conv2d,
        max_pool=textbook.max_pool2d,
        avg_pool=textbook.avg_pool2d,
        l2_pool=textbook.l2_pool2d,
    ),
    "ops": types.SimpleNamespace(conv=ops.conv, max_pool=ops.max_pool, avg_pool=ops.avg_pool, l2_pool=ops.lp_pool),
}
LOSSES = {
    "textbook": types.SimpleNamespace(
        softmax=textbook.softmax,
        sigmoid=textbook.sigmoid,
        cross_entropy=textbook.cross_entropy,
        log_loss=textbook.log_loss,
    ),
    "optax": types.SimpleNamespace(
        softmax=jax.nn.softmax,
        sigmoid=jax.nn.sigmoid,
        cross_entropy=lambda z, l: optax.softmax_cross_entropy(z, l).mean(),
        log_loss=lambda z, l: optax.sigmoid_binary_cross_entropy(z, l).mean(),
    ),
}


@pytest.fixture(params=IMPLEMENTATIONS)
def by(request):
    """The textbook's ops, then the library's, in float64."""
    with jax.enable_x64(True):
        yield IMPLEMENTATIONS[request.param]


@pytest.fixture(params=LOSSES)
def loss(request):
    """The textbook's losses, then the ones the library trains with, in float64."""
    with jax.enable_x64(True):
        yield LOSSES[request.param]


def image(rows):
    """(H, W) numbers as an image of one channel, (H, W, 1)."""
    return jnp.array(rows, float)[:, :, None]


def kernel(rows):
    """(kh, kw) numbers as one filter for one channel, (kh, kw, 1, 1)."""
    return jnp.array(rows, float)[:, :, None, None]


def shows(picture, rows):
    """An image of one channel holds these (H, W) numbers."""
    assert picture.shape == (*np.shape(rows), 1)
    np.testing.assert_allclose(picture[:, :, 0], rows, rtol=1e-12, atol=1e-12)


def gradient_for(f, at, dy):
    """What the cotangent dy of f(at) becomes at its input."""
    return jax.jit(lambda at, dy: jax.vjp(f, at)[1](dy)[0])(at, dy)


# ------------------------------------------------------------------------------------------------------ convolution


def test_the_first_convolution(by):
    x = image([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
    shows(by.conv(x, kernel([[1, 0, 1], [0, 1, 0], [1, 0, 1]])), [[4, 3, 4], [2, 4, 3], [2, 3, 4]])


def test_a_vertical_edge_filter(by):
    x = image([[7, 2, 3, 3, 8], [4, 5, 3, 8, 4], [3, 3, 2, 8, 4], [2, 8, 7, 2, 7], [5, 4, 4, 5, 4]])
    y = by.conv(x, kernel([[1, 0, -1]] * 3))
    assert y[0, 0, 0] == (7 + 4 + 3) - (3 + 3 + 2) == 6
    shows(y, [[6, -9, -8], [-3, -2, -3], [-3, 0, -2]])


def test_the_filter_gradient_is_the_image_slid_over_by_the_cotangent(by):
    X = np.array([[2, 3, 5], [7, 11, 13], [17, 19, 23]])
    dh = np.array([[29, 31], [37, 41]])
    dw = gradient_for(lambda w: by.conv(image(X), w), kernel([[0, 0], [0, 0]]), image(dh))
    (X11, X12, X13), (X21, X22, X23), (X31, X32, X33) = X
    (dh11, dh12), (dh21, dh22) = dh
    dW11 = X11 * dh11 + X12 * dh12 + X21 * dh21 + X22 * dh22
    dW12 = X12 * dh11 + X13 * dh12 + X22 * dh21 + X23 * dh22
    dW21 = X21 * dh11 + X22 * dh12 + X31 * dh21 + X32 * dh22
    dW22 = X22 * dh11 + X23 * dh12 + X32 * dh21 + X33 * dh22
    shows(dw[..., 0], [[dW11, dW12], [dW21, dW22]])
    assert dW11 == 861  # 58 + 93 + 259 + 451


def test_the_bias_gradient_is_the_sum_of_the_cotangent(by):
    x, w = image([[2, 3, 5], [7, 11, 13], [17, 19, 23]]), kernel([[1, 2], [3, 4]])
    assert gradient_for(lambda b: by.conv(x, w) + b, jnp.zeros(1), image([[29, 31], [37, 41]])).tolist() == [138]


def test_the_input_gradient_is_the_cotangent_under_the_rotated_filter_full(by):
    d, w = image([[0.2, 0.1, 0.1], [0.1, 0.2, 0.2], [0.2, 0.1, 0.2]]), kernel([[1, 1], [0, 1]])
    dx = [[0.2, 0.3, 0.2, 0.1], [0.1, 0.5, 0.5, 0.3], [0.2, 0.4, 0.5, 0.4], [0, 0.2, 0.1, 0.2]]
    shows(gradient_for(lambda x: by.conv(x, w), jnp.zeros((4, 4, 1)), d), dx)
    rotated = kernel([[1, 0], [1, 1]])
    shows(by.conv(d, rotated, padding="FULL"), dx)


def test_stride_3_fits_a_filter_of_3_into_5_pixels_once(by):
    x = image(np.arange(25).reshape(5, 5))
    shows(by.conv(x, kernel(np.ones((3, 3))), stride=3), [[0 + 1 + 2 + 5 + 6 + 7 + 10 + 11 + 12]])


@pytest.mark.parametrize(
    ("m", "k", "stride", "padding", "size"),
    [
        (5, 3, 3, "VALID", 1),  # ⌊(5 − 3) / 3⌋ + 1
        (7, 3, 2, 1, 4),  # ⌊(7 + 2 − 3) / 2⌋ + 1
        (8, 3, 2, 1, 4),  # ⌊(8 + 2 − 3) / 2⌋ + 1: rounded down
        (6, 3, 1, "VALID", 4),  # m − k + 1
        (6, 3, 1, "FULL", 8),  # m + k − 1
        (6, 3, 1, "SAME", 6),  # m
        (6, 4, 1, "SAME", 6),  # m, for an even filter as well
    ],
)
def test_output_sizes(by, m, k, stride, padding, size):
    x, w = np.ones((m, m, 1)), np.ones((k, k, 1, 1))
    y = jax.eval_shape(lambda x, w: by.conv(x, w, stride=stride, padding=padding), x, w)
    assert y.shape == (size, size, 1)


# The four filters over a dark 8×8 image with a bright 4×4 square in the middle, under zero padding "SAME".

SQUARE = np.pad(np.ones((4, 4)), 2)


def test_the_horizontal_filter_lights_the_upper_and_lower_edge(by):
    y = by.conv(image(SQUARE), kernel([[1, 1, 1], [0, 0, 0], [-1, -1, -1]]), padding="SAME")
    shows(
        y,
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, -1, -2, -3, -3, -2, -1, 0],  # dark above, bright below
            [0, -1, -2, -3, -3, -2, -1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],  # inside: as bright above as below
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 2, 3, 3, 2, 1, 0],  # bright above, dark below
            [0, 1, 2, 3, 3, 2, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
    )


def test_the_vertical_filter_lights_the_left_and_right_edge(by):
    y = by.conv(image(SQUARE), kernel([[1, 0, -1]] * 3), padding="SAME")
    shows(
        y,
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, -1, -1, 0, 0, 1, 1, 0],
            [0, -2, -2, 0, 0, 2, 2, 0],
            [0, -3, -3, 0, 0, 3, 3, 0],
            [0, -3, -3, 0, 0, 3, 3, 0],
            [0, -2, -2, 0, 0, 2, 2, 0],
            [0, -1, -1, 0, 0, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
    )


def test_the_luminosity_filter_lights_the_outline_and_most_the_corners(by):
    y = by.conv(image(SQUARE), kernel([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]), padding="SAME")
    shows(
        y,
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, -1, -2, -3, -3, -2, -1, 0],
            [0, -2, 5, 3, 3, 5, -2, 0],  # a corner has three bright neighbors, 8 − 3, an edge five, 8 − 5
            [0, -3, 3, 0, 0, 3, -3, 0],  # inside all eight are bright, 8 − 8
            [0, -3, 3, 0, 0, 3, -3, 0],
            [0, -2, 5, 3, 3, 5, -2, 0],
            [0, -1, -2, -3, -3, -2, -1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
    )


def test_the_blur_filter_spreads_the_light_and_keeps_its_sum(by):
    y = by.conv(image(SQUARE), kernel(np.full((3, 3), 1 / 9)), padding="SAME")
    shows(
        9 * y,  # the number of bright pixels in view
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 2, 3, 3, 2, 1, 0],
            [0, 2, 4, 6, 6, 4, 2, 0],
            [0, 3, 6, 9, 9, 6, 3, 0],
            [0, 3, 6, 9, 9, 6, 3, 0],
            [0, 2, 4, 6, 6, 4, 2, 0],
            [0, 1, 2, 3, 3, 2, 1, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_allclose(y.sum(), 16, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------- pooling


def test_max_pooling_2x2_with_stride_2(by):
    first = image([[1, 3, 5, 7], [4, 5, 11, 3], [4, 1, 21, 6], [13, 15, 1, 2]])
    second = image([[23, 7, 7, 8], [10, 1, 9, 0], [4, 4, 11, 6], [2, 5, 12, 7]])
    shows(by.max_pool(first, 2, stride=2), [[5, 11], [15, 21]])
    shows(by.max_pool(second, 2, stride=2), [[23, 9], [5, 12]])
    shows(by.max_pool(first, 2), [[5, 11], [15, 21]])  # the window is the default stride


def test_max_average_and_l2_pooling_with_stride_1(by):
    x = image([[2, 3, 3], [1, 2, 2], [2, 3, 1]])
    shows(by.max_pool(x, 2, stride=1), [[3, 3], [3, 3]])
    shows(by.avg_pool(x, 2, stride=1), [[2, 2.5], [2, 2]])
    shows(by.l2_pool(x, 2, stride=1), np.sqrt([[18, 26], [18, 18]]))


def test_max_pooling_sends_the_gradient_to_the_maxima_only(by):
    x = image([[1, 2, 4, 5], [7, 9, 20, 3]])
    dx = gradient_for(lambda x: by.max_pool(x, 2), x, image([[0.25, -0.5]]))
    shows(dx, [[0, 0, 0, 0], [0, 0.25, -0.5, 0]])  # the gradient itself: not 9 and 20, nor 9 and 20 times it


# ------------------------------------------------------------------------------------------ probabilities and losses


def test_softmax_makes_probabilities(loss):
    z = jnp.log(jnp.array([1.0, 2, 5]))
    np.testing.assert_allclose(loss.softmax(z), [1 / 8, 2 / 8, 5 / 8], rtol=1e-12)
    np.testing.assert_allclose(loss.softmax(z + 1000), [1 / 8, 2 / 8, 5 / 8], rtol=1e-12)  # only differences count


def test_cross_entropy_is_minus_the_mean_log_probability_of_the_label(loss):
    z, labels = jnp.log(jnp.array([[1.0, 2, 5], [1, 2, 1]])), jnp.array([[0.0, 0, 1], [1, 0, 0]])
    value, dz = jax.jit(jax.value_and_grad(loss.cross_entropy))(z, labels)
    np.testing.assert_allclose(value, -(np.log(5 / 8) + np.log(1 / 4)) / 2, rtol=1e-12)
    np.testing.assert_allclose(dz, [[1 / 16, 2 / 16, -3 / 16], [-3 / 8, 2 / 8, 1 / 8]], rtol=1e-12)  # (p − l) / n


def test_sigmoid_with_log_loss(loss):
    z, labels = jnp.log(jnp.array([3.0, 1 / 4])), jnp.array([1.0, 1])
    np.testing.assert_allclose(loss.sigmoid(z), [3 / 4, 1 / 5], rtol=1e-12)
    value, dz = jax.jit(jax.value_and_grad(loss.log_loss))(z, labels)
    np.testing.assert_allclose(value, -(np.log(3 / 4) + np.log(1 / 5)) / 2, rtol=1e-12)
    np.testing.assert_allclose(dz, [-1 / 8, -2 / 5], rtol=1e-12)  # (p − l) / n


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_is_stable_at_ten_thousand(loss, dtype):
    z = jnp.array([[1e4, -1e4, 0], [1e4, -1e4, 0]], dtype)
    assert loss.softmax(z).tolist() == [[1, 0, 0], [1, 0, 0]]
    value, dz = jax.jit(jax.value_and_grad(loss.cross_entropy))(z, jnp.array([[1, 0, 0], [0, 1, 0]], dtype))
    assert value == (0 + 2e4) / 2  # right without a doubt, and wrong without a doubt
    assert dz.tolist() == [[0, 0, 0], [0.5, -0.5, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_is_stable_at_ten_thousand(loss, dtype):
    z = jnp.array([1e4, -1e4, 1e4, -1e4], dtype)
    assert loss.sigmoid(z).tolist() == [1, 0, 1, 0]
    assert jax.jit(jax.vmap(jax.grad(loss.sigmoid)))(z).tolist() == [0, 0, 0, 0]
    value, dz = jax.jit(jax.value_and_grad(loss.log_loss))(z, jnp.array([1, 0, 0, 1], dtype))
    assert value == (0 + 0 + 1e4 + 1e4) / 4
    assert dz.tolist() == [0, 0, 0.25, -0.25]


# ------------------------------------------------------------------------------------------------- parameter counts


@pytest.mark.parametrize(
    ("window", "channels", "filters", "count"),
    [((5, 5), 1, 6, 156), ((5, 5), 6, 16, 2_416), ((3, 3), 3, 32, 896), ((3, 2), 4, 5, 125)],
)
def test_a_convolution_has_whC_plus_1_times_D_parameters(by, window, channels, filters, count):
    h, w = window
    x, weights, bias = np.zeros((8, 8, channels)), np.zeros((h, w, channels, filters)), np.zeros(filters)
    assert jax.eval_shape(lambda: by.conv(x, weights) + bias).shape[-1] == filters
    assert weights.size + bias.size == (w * h * channels + 1) * filters == count


def test_lenet5_has_61_706_parameters(by):
    conv1, conv2 = (jnp.zeros((5, 5, 1, 6)), jnp.zeros(6)), (jnp.zeros((5, 5, 6, 16)), jnp.zeros(16))
    dense = [(jnp.zeros((f, u)), jnp.zeros(u)) for f, u in [(400, 120), (120, 84), (84, 10)]]

    def lenet5(x):
        x = by.max_pool(textbook.relu(by.conv(x, conv1[0], padding=2) + conv1[1]), 2)
        x = by.max_pool(textbook.relu(by.conv(x, conv2[0]) + conv2[1]), 2)
        x = textbook.flatten(x)
        for w, b in dense:
            x = textbook.dense(x, w, b)
        return x

    assert jax.eval_shape(lenet5, jnp.zeros((2, 28, 28, 1))).shape == (2, 10)  # the parameters fit one another
    counts = [w.size + b.size for w, b in (conv1, conv2, *dense)]
    assert counts == [156, 2_416, 48_120, 10_164, 850]
    assert sum(counts) == 61_706
