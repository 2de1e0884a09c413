"""The textbook's dense layers, losses, a whole network, and its errors, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads
from textbook_tools import close, distinct, normal, run

from jaxcnn import ops, textbook

pytestmark = pytest.mark.usefixtures("float64")

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


@pytest.mark.parametrize("loss", [textbook.cross_entropy, textbook.log_loss])
@pytest.mark.parametrize("argument", [0, 1])
def test_losses_take_numpy_arrays(loss, argument):
    """As arguments, and held fast in a function that is differentiated by the other argument."""
    pair = normal(6, 5), np.eye(5)[np.arange(6) % 5]
    expected = jax.grad(loss, argument)(*map(jnp.array, pair))
    close(jax.grad(loss, argument)(*pair), expected)
    one = jax.jit(jax.grad(lambda z: loss(*pair[:argument], z, *pair[argument + 1 :])))
    close(one(pair[argument]), expected)


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
