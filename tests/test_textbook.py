"""The textbook's windows equal NumPy loops and `jaxcnn.ops`, in values and in gradients, to 1e-12 in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.test_util import check_grads
from textbook_tools import both_pads, close, distinct, normal, run

from jaxcnn import ops, textbook

pytestmark = pytest.mark.usefixtures("float64")

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
