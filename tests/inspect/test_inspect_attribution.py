"""Maps of what speaks for a class, against formulas and loops in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from jaxcnn import models
from jaxcnn.inspect import class_scores, grad_cam_map, maximal_input, saliency_map, smooth_grad_map
from jaxcnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    Relu,
    branches,
    checkpointed,
    frozen,
    residual,
    serial,
    stateless,
)
from jaxcnn.layers import with_auxiliaries as auxiliaries

KEY = jax.random.key(0)
SHAPE = (6, 5, 3)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
X = IMAGE / 255.0  # in float64, for the oracles


def positive(array):
    return np.maximum(array, 0)


def assert_close(actual, expected):
    """To float32's precision, and not by being zero."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape and np.abs(expected).max() > 0
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@functools.cache
def linear_net(classes):
    net = serial(Flatten(), Dense(classes))
    params, state = net.init(KEY, SHAPE)
    weights = np.asarray(params["dense1"]["kernel"], np.float64).reshape(*SHAPE, classes)
    return (net, params, state), weights


@functools.cache
def cam_net(classes):
    """conv → relu → global average → dense, its feature map by loops, and the dense layer's weights."""
    net = serial(Conv(4, 3), Relu(), GlobalAvgPool(), Dense(classes))
    rng = np.random.default_rng(1)
    kernel, bias, dense = rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4), rng.normal(size=(4, classes))
    params = {"conv1": {"kernel": kernel, "bias": bias}, "dense1": {"kernel": dense, "bias": np.zeros(classes)}}
    maps = positive(oracles.conv(X[None], kernel)[0] + bias)
    return (net, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), {}), maps, dense


# ------------------------------------------------------------------------------------------------------------- saliency


def test_saliency_of_a_linear_net_is_its_weights():
    net, weights = linear_net(4)
    for target in (0, 3):
        assert_close(saliency_map(*net, IMAGE, target=target), np.abs(weights[..., target]).max(axis=-1))


def test_saliency_of_a_convolutional_net_is_that_of_the_chain_rule_by_loops():
    net, maps, dense = cam_net(3)
    kernel = np.asarray(net[1]["conv1"]["kernel"], np.float64)
    dy = (maps > 0) * dense[:, 2] / np.prod(maps.shape[:2])
    gradient = oracles.conv_input_gradient(dy[None], kernel, (1, *SHAPE))[0]
    assert_close(saliency_map(*net, IMAGE, target=2), np.abs(gradient).max(axis=-1))


def test_the_predicted_class_is_taken_where_none_is_given():
    net, weights = linear_net(4)
    best = int((X[..., None] * weights).sum((0, 1, 2)).argmax())
    assert best != 0, "else this shows nothing"
    for function in (saliency_map, lambda *a, **k: smooth_grad_map(*a, samples=2, key=KEY, **k)):
        np.testing.assert_array_equal(function(*net, IMAGE), function(*net, IMAGE, target=best))


def test_bytes_and_floats_are_one_image():
    net, *_ = cam_net(3)
    net = serial(stateless("square", jnp.square), body=net[0]), {"body": net[1]}, {}
    a, b = (saliency_map(*net, image, target=1) for image in (IMAGE, IMAGE.astype(np.float32) / 255))
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_one_logit_speaks_for_class_1_and_against_class_0():
    net, maps, dense = cam_net(1)
    against, towards = (float(s) for s in class_scores(*net, IMAGE))
    logit = float(net[0].apply(*net[1:], jnp.asarray(X, jnp.float32)[None])[0][0, 0])
    assert (against, towards) == pytest.approx((-logit, logit))
    expected = (maps @ dense[:, 0]) / np.prod(maps.shape[:2])
    assert_close(grad_cam_map(*net, IMAGE, layer="relu1", target=1), positive(expected))
    assert_close(grad_cam_map(*net, IMAGE, layer="relu1", target=0), positive(-expected))
    np.testing.assert_array_equal(saliency_map(*net, IMAGE, target=0), saliency_map(*net, IMAGE, target=1))


def test_many_images_at_once_by_vmap():
    net, *_ = cam_net(3)
    images = np.stack([IMAGE, IMAGE[::-1]])
    for function in (saliency_map, lambda *a, **k: grad_cam_map(*a, layer="conv1", **k)):
        together = jax.vmap(lambda image, f=function: f(*net, image))(images)
        assert_close(together, np.stack([function(*net, image) for image in images]))


def test_a_network_is_compiled_once():
    traced = []

    def apply(params, state, x, *, train=False, key=None):
        traced.append(x.shape)
        return x.reshape(len(x), -1)[:, :3], state

    net = Layer(lambda key, input_shape: ({}, {}), apply)
    for target in (0, 2):
        saliency_map(net, {}, {}, IMAGE, target=target)
        saliency_map(net, {}, {}, X, target=target)
    assert len(traced) == 1


# ----------------------------------------------------------------------------------------------------------- SmoothGrad


def cube_net():
    """The scores are the sums of x³ and of −x³: the gradient's mean over noise n is ±3(x² + var n)."""

    def scores(x):
        total = (x**3).sum(axis=(1, 2, 3))
        return jnp.stack([total, -total], axis=-1)

    return stateless("cube", scores), {}, {}


def test_smooth_grad_is_the_gradients_mean_over_noise_of_a_part_of_the_range():
    x = np.zeros((8, 8, 1), np.float32)
    x[:4] = 10.0
    smooth = smooth_grad_map(*cube_net(), x, noise=0.2, samples=2000, key=KEY)  # a deviation of 2
    np.testing.assert_allclose(smooth[4:], 3 * 2.0**2, rtol=0.15)
    np.testing.assert_allclose(smooth[:4], 3 * (10**2 + 2.0**2), rtol=0.05)
    assert np.std(np.asarray(smooth[4:])) > 0, "each pixel has noise of its own"


def test_smooth_grad_takes_the_mean_before_the_absolute_value():
    """∂x²/∂x at noise around 0 is of both signs, and cancels."""
    net = stateless("square", lambda x: jnp.stack([(x**2).sum((1, 2, 3)), -x.sum((1, 2, 3))], axis=-1))
    x = np.zeros((4, 4, 1), np.float32)
    x[0, 0] = 1.0
    smooth = smooth_grad_map(net, {}, {}, x, target=0, noise=1.0, samples=2000, key=KEY)
    assert float(smooth[1:].max()) < 0.25 < np.sqrt(8 / np.pi), "the mean of absolute values would be √(8/π)"


def test_smooth_grad_without_noise_is_saliency():
    net, *_ = cam_net(3)
    assert_close(
        smooth_grad_map(*net, IMAGE, noise=np.float32(0), samples=np.int64(9), key=KEY), saliency_map(*net, IMAGE)
    )


# ------------------------------------------------------------------------------------------------------------- Grad-CAM


@pytest.mark.parametrize("target", [0, 2])
def test_grad_cam_before_a_global_average_is_cam(target):
    """Zhou et al. (2015): Σ_k w_k A_k; here by the number of positions less, since the mean divides by it."""
    net, maps, dense = cam_net(3)
    expected = positive(maps @ dense[:, target]) / np.prod(maps.shape[:2])
    assert_close(grad_cam_map(*net, IMAGE, layer="relu1", target=target), expected)


def test_grad_cam_inside_of_branches():
    """α by hand: what the dense layer's weights at the branch's channels let through the ReLU after it."""
    fork = branches(left=serial(Conv(4, 3, padding="SAME"), Relu()), right=Conv(2, 1))
    net = serial(fork=fork, flat=Flatten(), out=Dense(3))
    params, state = net.init(KEY, SHAPE)
    kernel = np.asarray(params["fork"]["left"]["conv1"]["kernel"], np.float64)
    pads = [oracles.pads_for("SAME", n, 3, 1) for n in SHAPE[:2]]
    maps = oracles.conv(X[None], kernel, pads=pads)[0]
    dense = np.asarray(params["out"]["kernel"], np.float64).reshape(*SHAPE[:2], 6, 3)
    alpha = (dense[:, :, :4, 1] * (maps > 0)).mean(axis=(0, 1))
    expected = positive(maps @ alpha)
    assert_close(grad_cam_map(net, params, state, IMAGE, layer="fork/left/conv1", target=1), expected)


@pytest.mark.parametrize("wrap", [lambda layer: layer, checkpointed, frozen], ids=["plain", "checkpointed", "frozen"])
def test_grad_cam_inside_of_a_residual_block_whatever_it_is_wrapped_in(wrap):
    """The block is relu(x + body(x)), so α lets through where that sum is positive."""
    block = wrap(residual(serial(Conv(3, 1, use_bias=False), BatchNorm()), activation=jax.nn.relu))
    net = serial(block=block, flat=Flatten(), out=Dense(2))
    params, state = net.init(KEY, SHAPE)
    state["block"]["body"]["batch_norm1"] = {"mean": jnp.array([0.1, 0.5, -0.2]), "var": jnp.array([0.5, 2.0, 1.0])}
    statistics = {name: np.asarray(v, np.float64) for name, v in state["block"]["body"]["batch_norm1"].items()}
    scale = 1 / np.sqrt(statistics["var"] + 1e-5)
    maps = X @ np.asarray(params["block"]["body"]["conv1"]["kernel"], np.float64)[0, 0]
    through = (X + (maps - statistics["mean"]) * scale > 0) * scale
    dense = np.asarray(params["out"]["kernel"], np.float64).reshape(*SHAPE, 2)
    for target in (0, 1):
        expected = positive(maps @ (dense[..., target] * through).mean(axis=(0, 1)))
        found = grad_cam_map(net, params, state, IMAGE, layer="block/body/conv1", target=target)
        assert_close(found, expected)


def test_grad_cam_of_a_class_that_nothing_speaks_for_is_zero():
    (net, params, state), *_ = cam_net(3)
    params = params | {"dense1": {"kernel": -jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
    found = grad_cam_map(net, params, state, IMAGE, layer="relu1")
    assert float(found.max()) == 0


# ------------------------------------------------------------------------------------------- activation maximization


def test_the_maximal_input_of_a_unit_is_bright_where_its_weights_are_positive():
    weights = np.where(np.arange(8)[:, None, None] < 4, 1.0, -1.0) * np.ones((8, 8, 1))
    params = {"dense1": {"kernel": jnp.stack([weights.ravel(), -weights.ravel()], axis=-1), "bias": jnp.zeros(2)}}
    net = serial(Flatten(), Dense(2))
    for channel, sign in ((0, 1), (1, -1)):
        image = maximal_input(
            net, params, {}, layer="dense1", channel=channel, steps=60, key=KEY, input_shape=(8, 8, 1)
        )
        assert (image.shape, image.dtype) == ((8, 8, 1), jnp.float32)
        # of all z with mean z² = 1, that of the weights' signs has the largest sum
        np.testing.assert_allclose(image, jax.nn.sigmoid(sign * weights), atol=0.06)


# ------------------------------------------------------------------------------------------------------ what is refused

MODEL = models.create("digits_cnn")
TREES = jax.eval_shape(MODEL.init, KEY)
NET, *_ = cam_net(3)
cam = functools.partial(grad_cam_map, *NET, IMAGE)
AUXILIARY = auxiliaries(serial(a=Conv(2, 1), b=Flatten(), c=Dense(2)), early=("a", serial(Flatten(), Dense(2))))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: saliency_map(MODEL, *TREES, IMAGE), ValueError, r"`image` .* \(8, 8, 1\) for digits_cnn; got \(6"),
        (lambda: saliency_map(*NET, IMAGE[0]), ValueError, r"`image` must be one image, \(H, W, C\); got \(5, 3\)"),
        (lambda: saliency_map(*NET, IMAGE, target=3), ValueError, "`target` must be a class from 0 to 2; got 3"),
        (lambda: saliency_map(*NET, IMAGE, target=-1), ValueError, "`target` must be a class from 0 to 2; got -1"),
        (lambda: saliency_map(*NET, IMAGE, target="cat"), TypeError, "`target` must be the number of a class; got"),
        (lambda: saliency_map("net", {}, {}, IMAGE), TypeError, "`model` must be a Model or a Layer; got 'net'"),
        (lambda: saliency_map(Relu(), {}, {}, IMAGE), ValueError, r"`model` must give logits .*; got \(1, 6, 5"),
        (lambda: smooth_grad_map(*NET, IMAGE, noise=-1, key=KEY), ValueError, "`noise` is a share of the range"),
        (lambda: smooth_grad_map(*NET, IMAGE, samples=0, key=KEY), ValueError, "`samples` must be an integer of at"),
        (lambda: cam(layer="conv2"), ValueError, "there is no 'conv2'; those of this serial are conv1,"),
        (lambda: cam(layer="conv1/x"), ValueError, "in 'conv1/x' there is no 'x'; it has none"),
        (lambda: cam(layer="dense1"), ValueError, r"a feature map .*; 'dense1' gives \(3,\)"),
        (
            lambda: grad_cam_map(AUXILIARY, *AUXILIARY.init(KEY, SHAPE), IMAGE, layer="early/dense1"),
            ValueError,
            "a layer that inference uses, .* there is no 'early'; those of this serial are a, b, c",
        ),
        (lambda: maximal_input(*NET, layer="conv1", channel=0, key=KEY), ValueError, "`input_shape` must be .* given"),
        (
            lambda: maximal_input(MODEL, *TREES, layer="conv1", channel=0, steps=0, key=KEY),
            ValueError,
            "`steps` must be an integer of at least 1; got 0",
        ),
        (
            lambda: maximal_input(*NET, layer="conv9", channel=0, key=KEY, input_shape=SHAPE),
            ValueError,
            "inspect.maximal_input: `layer` must name a layer that inference uses",
        ),
        (
            lambda: maximal_input(*NET, layer="conv1", channel=4, steps=np.int64(1), key=KEY, input_shape=SHAPE),
            ValueError,
            "a channel of 'conv1' must be 0 to 3; got 4",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
