"""The textbook equals NumPy loops and `jaxcnn.ops`, in values and in gradients, to 1e-12 in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxcnn import ops, textbook


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def close(actual, expected):
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def distinct(*shape, seed=0):
    """No two numbers alike, neighbours at least 1/size apart: no ties for a maximum, also not nearly."""
    size = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(size).reshape(shape) - size / 2 + 0.25) / size


def run(f, *arguments):
    """A cotangent dy, the value of f, and what dy becomes at each argument."""

    @jax.jit
    def dy_value_gradients(*arguments):
        y, pullback = jax.vjp(f, *arguments)
        dy = jnp.array(normal(*y.shape, seed=2), y.dtype)
        return dy, y, *pullback(dy)

    return dy_value_gradients(*arguments)


def both_pads(padding, spatial, window, stride):
    """The oracle's (before, after) pairs for one of the textbook's paddings."""
    stride = (stride, stride) if isinstance(stride, int) else stride
    if isinstance(padding, int):
        return ((padding, padding),) * 2
    return tuple(oracles.pads_for(padding, n, k, s) for n, k, s in zip(spatial, window, stride, strict=True))


# ------------------------------------------------------------------------------------------------------- the oracle


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "dilation", "pads", "groups"),
    [(1, 1, (0, 0), 1), (2, 1, (1, 2), 2), (3, 2, (5, 0), 1), (2, 2, (0, 7), 2)],
)
def test_the_loops_agree_with_lax_in_float64(rank, stride, dilation, pads, groups):
    x, w = normal(2, *(7, 6, 5)[:rank], 4), normal(*(3, 2, 2)[:rank], 4 // groups, 6)
    letters = "HWD"[:rank]
    dy, y, dx, dw = run(
        lambda x, w: lax.conv_general_dilated(
            x,
            w,
            (stride,) * rank,
            (pads,) * rank,
            rhs_dilation=(dilation,) * rank,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        ),
        x,
        w,
    )
    how = (stride, (pads,) * rank, dilation, groups)
    close(oracles.conv(x, w, *how), y)
    close(oracles.conv_input_gradient(dy, w, x.shape, *how), dx)
    close(oracles.conv_kernel_gradient(x, dy, w.shape, *how), dw)


def test_the_loops_pool_with_ceil_mode_and_counts_as_pytorch_documents():
    x = np.arange(1.0, 6).reshape(1, 5, 1)  # 1 2 3 4 5, padded by one: 0 | 1 2 3 4 5 | 0
    pooled = {"window": (3,), "stride": 3, "pads": ((1, 1),)}
    assert oracles.avg_pool(x, **pooled).ravel().tolist() == [1.5, 4]  # (1+2)/2, (3+4+5)/3
    assert oracles.avg_pool(x, **pooled, count_include_pad=True).ravel().tolist() == [1, 4]
    assert oracles.max_pool(x, (2,), 2).ravel().tolist() == [2, 4]
    assert oracles.max_pool(x, (2,), 2, ceil_mode=True).ravel().tolist() == [2, 4, 5]
    # With ceil_mode the last window holds a 5 and one pixel that is neither input nor padding: it counts 1, not 2.
    assert oracles.avg_pool(x, (2,), 2, ceil_mode=True, count_include_pad=True).ravel().tolist() == [1.5, 3.5, 5]
    # Here it holds a 4, one pixel of padding and one beyond: it counts 2 of 3. The windows: 0 1 2, 2 3 4, 4 0 and none.
    last = oracles.avg_pool(x[:, :4], (3,), 2, ((1, 1),), ceil_mode=True, count_include_pad=True)
    assert last.ravel().tolist() == [1, 3, 2]
    # The second window starts at the last pixel of four, but of three it would start in the padding: dropped.
    assert oracles.output_size(4, 3, 4, (1, 1), ceil_mode=True) == 2
    assert oracles.output_size(3, 3, 4, (1, 1), ceil_mode=True) == 1
    # A window of nothing but padding.
    assert oracles.max_pool(x, (1,), 7, ((2, 0),)).ravel().tolist() == [-np.inf]
    assert oracles.avg_pool(x, (1,), 7, ((2, 0),)).ravel().tolist() == [0]


@pytest.mark.parametrize(
    ("word", "pads"), [("VALID", (0, 0)), ("SAME", (1, 2)), ("SAME_LOWER", (2, 1)), ("FULL", (4, 4))]
)
def test_the_loops_padding_words(word, pads):
    assert oracles.pads_for(word, 6, 5, 2) == pads  # three outputs: 2·2 + 5 − 6 = 3 to pad
    assert oracles.pads_for(word, 6, 3, 2, d=2) == pads  # a window of 3 that looks at every second pixel spans 5 too


# ------------------------------------------------------------------------------------------------------ convolution

CONVOLUTIONS = {  # x, w, stride, padding
    "a 5x5 filter": ((2, 8, 8, 3), (5, 5, 3, 4), 1, "VALID"),
    "same, even: the extra pixel after": ((1, 5, 5, 2), (2, 4, 2, 3), 1, "SAME"),
    "same, strided": ((2, 7, 8, 2), (3, 3, 2, 2), 2, "SAME"),
    "full": ((1, 4, 5, 2), (3, 2, 2, 3), 1, "FULL"),
    "full, the filter larger than the image": ((1, 2, 3, 1), (4, 5, 1, 2), 2, "FULL"),
    "an int, more than the filter": ((1, 3, 4, 2), (2, 2, 2, 2), 1, 3),
    "stride leaves pixels over": ((2, 8, 9, 2), (3, 2, 2, 3), 3, "VALID"),
    "a pair of strides": ((1, 7, 8, 2), (2, 3, 2, 2), (1, 3), 1),
    "stride beyond the filter": ((1, 7, 7, 2), (2, 1, 2, 2), 3, "VALID"),
    "a 1x1 filter": ((2, 3, 3, 4), (1, 1, 4, 5), 1, "VALID"),
}
each_convolution = pytest.mark.parametrize(
    ("x_shape", "w_shape", "stride", "padding"), CONVOLUTIONS.values(), ids=CONVOLUTIONS
)


@functools.cache  # three tests look at each
def run_conv(x_shape, w_shape, stride, padding, conv=textbook.conv2d):
    x, w = normal(*x_shape), normal(*w_shape, seed=1)
    return x, w, *run(lambda x, w: conv(x, w, stride=stride, padding=padding), x, w)


@each_convolution
def test_conv2d_equals_the_loops(x_shape, w_shape, stride, padding):
    x, w, dy, y, dx, dw = run_conv(x_shape, w_shape, stride, padding)
    how = (stride, both_pads(padding, x_shape[1:3], w_shape[:2], stride))
    close(y, oracles.conv(x, w, *how))
    close(dx, oracles.conv_input_gradient(dy, w, x_shape, *how))
    close(dw, oracles.conv_kernel_gradient(x, dy, w_shape, *how))


@each_convolution
def test_conv2d_equals_ops(x_shape, w_shape, stride, padding):
    *_, y, dx, dw = run_conv(x_shape, w_shape, stride, padding)
    *_, fast_y, fast_dx, fast_dw = run_conv(x_shape, w_shape, stride, padding, ops.conv)
    close(y, fast_y)
    close(dx, fast_dx)
    close(dw, fast_dw)


@each_convolution
def test_conv2d_and_its_gradients_are_adjoint(x_shape, w_shape, stride, padding):
    x, w, dy, y, dx, dw = run_conv(x_shape, w_shape, stride, padding)
    np.testing.assert_allclose([np.vdot(x, dx), np.vdot(w, dw)], np.vdot(dy, y), rtol=1e-12)


def test_the_gradients_of_conv2d_have_gradients():
    x_shape, w_shape, stride, padding = CONVOLUTIONS["same, strided"]
    conv = jax.jit(lambda x, w: textbook.conv2d(x, w, stride=stride, padding=padding))
    check_grads(conv, (normal(*x_shape), normal(*w_shape)), order=1, modes=("rev",), eps=1.0)  # bilinear: exact
    check_grads(conv, (normal(*x_shape), normal(*w_shape)), order=2, modes=("rev",))


# ---------------------------------------------------------------------------------------------------------- pooling

POOLINGS = {  # x, window, stride, padding
    "2x2": ((2, 6, 4, 3), 2, None, "VALID"),
    "pixels left over": ((2, 7, 6, 2), 3, 2, "VALID"),
    "same": ((1, 5, 7, 2), 3, 2, "SAME"),
    "full": ((1, 3, 4, 2), (2, 3), 1, "FULL"),
    "an int": ((2, 4, 5, 1), 3, (2, 3), 1),
    "an int, more than the window": ((1, 3, 3, 2), 2, 1, 2),
    "stride beyond the window": ((1, 7, 7, 1), 2, 3, "VALID"),
}
each_pooling = pytest.mark.parametrize(("x_shape", "window", "stride", "padding"), POOLINGS.values(), ids=POOLINGS)

LOOPS = {
    "max_pool2d": (oracles.max_pool, lambda dy, x, *how: oracles.max_pool_gradient(dy, x, *how)),
    "avg_pool2d": (oracles.avg_pool, lambda dy, x, *how: oracles.avg_pool_gradient(dy, x.shape, *how)),
    "l2_pool2d": (
        lambda x, size, *how: oracles.lp_pool(x, size, 2, *how),
        lambda dy, x, size, *how: oracles.lp_pool_gradient(dy, x, size, 2, *how),
    ),
}
FAST = {"max_pool2d": "max_pool", "avg_pool2d": "avg_pool", "l2_pool2d": "lp_pool"}
each_pool = pytest.mark.parametrize("pool", LOOPS)


@functools.cache
def run_pool(pool, x_shape, window, stride, padding):
    x = normal(*x_shape)
    return x, *run(lambda x: pool(x, window, stride=stride, padding=padding), x)


@each_pooling
@each_pool
def test_pools_equal_the_loops(pool, x_shape, window, stride, padding):
    x, dy, y, dx = run_pool(getattr(textbook, pool), x_shape, window, stride, padding)
    size = (window, window) if isinstance(window, int) else window
    how = (size, stride, both_pads(padding, x_shape[1:3], size, size if stride is None else stride))
    value, gradient = LOOPS[pool]
    close(y, value(x, *how))
    close(dx, gradient(dy, x, *how))


@each_pooling
@each_pool
def test_pools_equal_ops(pool, x_shape, window, stride, padding):
    *_, y, dx = run_pool(getattr(textbook, pool), x_shape, window, stride, padding)
    *_, fast_y, fast_dx = run_pool(getattr(ops, FAST[pool]), x_shape, window, stride, padding)
    close(y, fast_y)
    close(dx, fast_dx)


@each_pool
def test_the_rules_of_pools_are_derivatives(pool):
    x_shape, window, stride, padding = POOLINGS["same"]
    op = jax.jit(lambda x: getattr(textbook, pool)(x, window, stride=stride, padding=padding))
    check_grads(op, (distinct(*x_shape),), order=2, modes=("rev",), eps=1e-4)


def test_max_pool2d_sends_the_gradient_to_the_first_of_equals():
    x = jnp.array([[5.0, 5, 1, 2], [5, 5, 2, 2]])[:, :, None]
    dx = jax.grad(lambda x: textbook.max_pool2d(x, 2).sum())(x)
    assert dx[:, :, 0].tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]
    close(dx, jax.grad(lambda x: ops.max_pool(x, 2).sum())(x))


def test_l2_pool2d_has_a_finite_gradient_at_an_all_zero_window():
    x = jnp.array([[0.0, 0, 3, 0], [0, 0, 0, 4]])[:, :, None]
    dx = jax.grad(lambda x: textbook.l2_pool2d(x, 2).sum())(x)
    close(dx[:, :, 0], [[0, 0, 0.6, 0], [0, 0, 0, 0.8]])
    close(dx, jax.grad(lambda x: ops.lp_pool(x, 2).sum())(x))


def test_a_window_of_nothing_but_padding():
    x = jnp.full((1, 1, 1), -7.0)
    pools = (textbook.max_pool2d, textbook.avg_pool2d, textbook.l2_pool2d)
    corner = [pool(x, 1, padding=2)[0, 0, 0].item() for pool in pools]
    assert corner == [-np.inf, 0, 0]
    middle = [jax.grad(lambda x, pool=pool: pool(x, 1, padding=2)[2, 2, 0])(x).item() for pool in pools]
    assert middle == [1, 1, -1]


# ------------------------------------------------------------------------------------------ any batch, jit and vmap

OPS = {
    "conv2d": lambda x: textbook.conv2d(x, jnp.array(normal(3, 2, 2, 3)), stride=2, padding="SAME"),
    "max_pool2d": lambda x: textbook.max_pool2d(x, 3, stride=2, padding=1),
    "avg_pool2d": lambda x: textbook.avg_pool2d(x, 3, stride=2, padding=1),
    "l2_pool2d": lambda x: textbook.l2_pool2d(x, 3, stride=2, padding=1),
    "flatten": textbook.flatten,
    "dense": lambda x: textbook.dense(x, jnp.array(normal(2, 4)), jnp.array(normal(4))),
    "relu": textbook.relu,
    "sigmoid": textbook.sigmoid,
    "softmax": textbook.softmax,
}
each_op = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


@each_op
def test_a_batch_is_its_images_one_by_one(op):
    def value_and_gradient(x):
        y, pullback = jax.vjp(op, x)
        return y, pullback(jnp.sin(y))[0]

    x = normal(2, 3, 5, 4, 2)
    single = jax.jit(value_and_gradient)
    one_by_one = [[single(image) for image in row] for row in x]
    for batched in (value_and_gradient, jax.vmap(jax.vmap(value_and_gradient))):
        for k, actual in enumerate(jax.jit(batched)(x)):
            close(actual, [[np.array(pair[k]) for pair in row] for row in one_by_one])


@each_op
def test_jit_changes_nothing(op):
    x = normal(1, 4, 5, 2)
    close(op(jnp.array(x)), jax.jit(op)(x))


@each_op
def test_a_batch_of_none(op):
    _, y, dx = run(op, np.zeros((0, 5, 4, 2)))
    assert y.shape[0] == 0
    assert dx.shape == (0, 5, 4, 2)


def test_vmap_over_filters():
    x, w = jnp.array(normal(2, 5, 5, 2)), jnp.array(normal(4, 3, 3, 2, 2))
    gradient = jax.grad(lambda w, x: jnp.sin(textbook.conv2d(x, w, stride=2)).sum())
    single = jax.jit(gradient)
    close(jax.jit(jax.vmap(gradient, (0, None)))(w, x), [np.array(single(one, x)) for one in w])


@each_op
def test_value_and_gradient_keep_the_dtype(op, monkeypatch, dtype=jnp.bfloat16):
    monkeypatch.setitem(globals(), "normal", lambda *shape, **_: np.ones(shape, dtype))  # filters and weights too
    with jax.numpy_dtype_promotion("strict"):
        _, y, dx = run(op, jnp.ones((1, 5, 4, 2), dtype))
    assert y.dtype == dx.dtype == dtype


# ------------------------------------------------------------------------------------------------ the dense network


def test_flatten_goes_in_reading_order():
    x = jnp.arange(24.0).reshape(2, 2, 3, 2)
    assert textbook.flatten(x).tolist() == [list(range(12)), list(range(12, 24))]
    close(jax.grad(lambda x: (textbook.flatten(x) ** 2).sum())(x), 2 * x)


def test_dense_equals_the_formulas():
    x, w, b = normal(5, 3), normal(3, 4), normal(4)
    dy, *results = run(textbook.dense, x, w, b)
    for actual, expected in zip(results, (x @ w + b, dy @ w.T, x.T @ dy, dy.sum(0)), strict=True):
        close(actual, expected)


DENSE = {
    "dense": [(2, 5, 3), (3, 4), (4,)],
    "relu": [(3, 4)],
    "sigmoid": [(3, 4)],
    "softmax": [(3, 4)],
    "cross_entropy": [(3, 4), (3, 4)],
    "log_loss": [(3, 4), (3, 4)],
}


@pytest.mark.parametrize(("op", "shapes"), DENSE.items(), ids=DENSE)
def test_the_rules_of_the_dense_network_are_derivatives(op, shapes):
    arguments = [distinct(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    check_grads(jax.jit(getattr(textbook, op)), arguments, order=2, modes=("rev",))


def test_relu_has_slope_zero_at_zero():
    assert jax.grad(textbook.relu)(0.0) == 0


def test_probabilities_equal_jax_nn():
    z = jnp.array(3 * normal(6, 5))
    close(textbook.softmax(z), jax.nn.softmax(z))
    close(textbook.sigmoid(z), jax.nn.sigmoid(z))


def value_and_gradients(loss, logits, labels):
    return jax.tree.leaves(jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(logits, labels))


@pytest.mark.parametrize("kind", ["one-hot", "smoothed", "a row masked out"])
def test_cross_entropy_equals_optax(kind):
    logits, labels = 3 * normal(2, 6, 5), np.eye(5)[np.arange(12).reshape(2, 6) % 5]
    if kind == "smoothed":
        labels = 0.9 * labels + 0.02
    if kind == "a row masked out":
        labels[0, 0] = 0
    expected = value_and_gradients(lambda z, l: optax.softmax_cross_entropy(z, l).mean(), logits, labels)
    for actual, wanted in zip(value_and_gradients(textbook.cross_entropy, logits, labels), expected, strict=True):
        close(actual, wanted)


def test_labels_may_be_integers():
    logits, labels = normal(6, 5), np.eye(5)[np.arange(6) % 5]
    for loss in (textbook.cross_entropy, textbook.log_loss):
        close(jax.grad(loss)(logits, labels.astype(int)), jax.grad(loss)(logits, labels))


def test_log_loss_equals_optax():
    logits, labels = 3 * normal(6, 2), np.array(normal(6, 2) > 0, float)
    expected = value_and_gradients(lambda z, l: optax.sigmoid_binary_cross_entropy(z, l).mean(), logits, labels)
    for actual, wanted in zip(value_and_gradients(textbook.log_loss, logits, labels), expected, strict=True):
        close(actual, wanted)


# --------------------------------------------------------------------------------------------------- a whole network


def lenet5_loss(conv, max_pool, params, images, labels):
    x = textbook.relu(max_pool(conv(images, params["conv1"], padding=2), 2))  # (N, 14, 14, 6)
    x = textbook.relu(max_pool(conv(x, params["conv2"]), 2))  # (N, 5, 5, 16)
    for layer in ("dense1", "dense2"):
        x = textbook.flatten(x) if x.ndim == 4 else x
        x = textbook.relu(textbook.dense(x, *params[layer]))
    return textbook.cross_entropy(textbook.dense(x, *params["dense3"]), labels)


def test_the_gradients_of_a_whole_lenet5_equal_those_with_ops():
    params = {"conv1": normal(5, 5, 1, 6), "conv2": 0.1 * normal(5, 5, 6, 16)}
    for i, (f, u) in enumerate([(400, 120), (120, 84), (84, 10)], start=1):
        params[f"dense{i}"] = (normal(f, u, seed=i) / f**0.5, normal(u))
    images, labels = normal(2, 28, 28, 1), np.eye(10)[[3, 7]]
    slow, fast = (
        jax.jit(jax.value_and_grad(functools.partial(lenet5_loss, *how)))(params, images, labels)
        for how in ((textbook.conv2d, textbook.max_pool2d), (ops.conv, ops.max_pool))
    )
    jax.tree.map(close, slow, fast)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(slow))  # nothing died on the way back


# -------------------------------------------------------------------------------------------------------- bad input

X, W = np.zeros((2, 5, 6, 3)), np.zeros((3, 3, 3, 4))
BAD = {
    "no channel axis": (lambda: textbook.conv2d(X[0, :, :, 0], W), r"conv2d: `x` must have shape \(\.\.\., H, W, C\)"),
    "a filter without channels": (lambda: textbook.conv2d(X, W[0]), r"conv2d: `w` must have shape .* w \(3, 3, 4\)"),
    "an empty filter": (lambda: textbook.conv2d(X, W[:0]), r"conv2d: `window` must be .* not \(0, 3\)"),
    "channels differ": (
        lambda: textbook.conv2d(X[..., :2], W),
        r"conv2d: `w` expects 3 channels of float64 but `x` has 2 of float64; w \(3, 3, 3, 4\)",
    ),
    "dtypes differ": (lambda: textbook.conv2d(X, W.astype("float32")), "channels of float32 but `x` has 3 of float64"),
    "integers": (lambda: textbook.conv2d(X.astype(int), W), "conv2d: `x` must be floating point, not int64"),
    "complex numbers": (lambda: textbook.l2_pool2d(X.astype(complex), 2), "l2_pool2d: `x` must be floating point"),
    "stride zero": (lambda: textbook.conv2d(X, W, stride=0), "conv2d: `stride` must be an int of at least 1"),
    "stride of three": (lambda: textbook.conv2d(X, W, stride=(1, 1, 1)), r"conv2d: `stride` .* not \(1, 1, 1\)"),
    "a fractional stride": (lambda: textbook.max_pool2d(X, 2, stride=1.5), "max_pool2d: `stride` .* not 1.5"),
    "window minus one": (lambda: textbook.avg_pool2d(X, (2, -1)), r"avg_pool2d: `window` .* not \(2, -1\)"),
    "an unknown word": (lambda: textbook.conv2d(X, W, padding="same"), "conv2d: `padding` must be .* not 'same'"),
    "negative padding": (lambda: textbook.max_pool2d(X, 2, padding=-1), "max_pool2d: `padding` must be .* not -1"),
    "a pair as padding": (lambda: textbook.max_pool2d(X, 2, padding=(1, 1)), r"max_pool2d: `padding` .* not \(1, 1\)"),
    "filter too large": (
        lambda: textbook.conv2d(X[:, :2], W),
        r"conv2d: the window \(3, 3\) is larger than the padded image; x \(2, 2, 6, 3\), padding 'VALID'",
    ),
    "window too large": (lambda: textbook.max_pool2d(X, 8, padding=1), r"window \(8, 8\) is larger .* padding 1"),
    "nothing to flatten": (lambda: textbook.flatten(X[0, 0]), r"flatten: `x` must have .* x \(6, 3\)"),
    "dense: F differs": (lambda: textbook.dense(X, W[0, 0].T, np.zeros(3)), r"dense: .* must agree .* w \(4, 3\)"),
    "dense: U differs": (lambda: textbook.dense(X, W[0, 0], np.zeros(3)), r"dense: .* must agree .* b \(3,\)"),
    "dense: dtypes": (lambda: textbook.dense(X, W[0, 0], np.zeros(4, "float32")), "dense: .* `b` float32; cast"),
    "labels not one-hot": (lambda: textbook.cross_entropy(X, np.zeros((2, 5, 6))), r"labels \(2, 5, 6\)"),
    "labels of another shape": (lambda: textbook.log_loss(X, X[0]), r"log_loss: .* labels \(5, 6, 3\)"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(ValueError, match=message):
        jax.jit(call)()
