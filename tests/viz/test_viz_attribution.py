"""Pictures of what speaks for a class, and of what excites a channel, show the arrays of `inspect`."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from jaxcnn.inspect import class_scores, grad_cam_map, maximal_input, saliency_map, smooth_grad_map
from jaxcnn.layers import Conv, Dense, Flatten, GlobalAvgPool, Relu, serial
from jaxcnn.viz import activation_maximization, grad_cam, saliency, smooth_grad

KEY = jax.random.key(0)
SHAPE = (6, 5, 3)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def trained(classes):
    """conv → relu → global average → dense, with fixed weights."""
    rng = np.random.default_rng(1)
    kernel, bias, dense = rng.normal(size=(3, 3, 3, 4)), rng.normal(size=4), rng.normal(size=(4, classes))
    params = {"conv1": {"kernel": kernel, "bias": bias}, "dense1": {"kernel": dense, "bias": np.zeros(classes)}}
    net = serial(Conv(4, 3), Relu(), GlobalAvgPool(), Dense(classes))
    return net, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params), {}


NET = trained(3)


def test_pictures_show_the_image_beside_its_map():
    classes = ("ape", "bat", "cat")
    best = classes[int(class_scores(*NET, IMAGE).argmax())]
    left, right, bar = saliency(*NET, IMAGE, target=1, classes=classes).axes
    np.testing.assert_array_equal(left.images[0].get_array(), IMAGE)
    np.testing.assert_array_equal(right.images[0].get_array(), saliency_map(*NET, IMAGE, target=1))
    assert left.figure.get_suptitle() == "Saliency for bat"
    assert bar.get_ylabel() == "|∂score / ∂intensity| (logits)"
    figure = smooth_grad(*NET, IMAGE, noise=0.1, samples=5, key=KEY, classes=classes)
    expected = smooth_grad_map(*NET, IMAGE, noise=0.1, samples=5, key=KEY)
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), expected)
    assert figure.get_suptitle() == f"SmoothGrad for {best} (predicted): 5 samples, noise 10%"


def test_grad_cam_is_laid_over_the_image_in_its_size():
    figure = grad_cam(*NET, IMAGE, layer="relu1", target=2)
    _, right, bar = figure.axes
    photo, heat = right.images
    np.testing.assert_array_equal(photo.get_array(), IMAGE)
    expected = jax.image.resize(grad_cam_map(*NET, IMAGE, layer="relu1", target=2), SHAPE[:2], "linear")
    np.testing.assert_allclose(heat.get_array(), expected / expected.max(), rtol=1e-6)
    assert heat.get_alpha().max() == pytest.approx(0.8) and heat.get_alpha().shape == SHAPE[:2]
    assert (figure.get_suptitle(), right.get_title()) == ("Grad-CAM for class 2", "relu1, 4 × 3")
    assert bar.get_ylabel() == "part of the largest value"


def test_a_gray_image_is_drawn_in_gray():
    figure = saliency(serial(Flatten()), {}, {}, np.full((8, 8, 1), 51, np.uint8))
    drawn = figure.axes[0].images[0]
    assert (drawn.get_cmap().name, drawn.get_clim()) == ("gray", (0, 255))
    np.testing.assert_array_equal(drawn.get_array(), np.full((8, 8), 51))


def test_grad_cam_of_a_class_that_nothing_speaks_for_is_drawn_as_nothing():
    net, params, state = NET
    params = params | {"dense1": {"kernel": -jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
    heat = grad_cam(net, params, state, IMAGE, layer="relu1").axes[1].images[1]
    np.testing.assert_array_equal(heat.get_array(), np.zeros(SHAPE[:2]))


def test_the_picture_shows_each_channels_image_and_mean():
    net = serial(Conv(3, 3), Relu())
    params, state = net.init(KEY, (12, 10, 3))
    options = {"layer": "conv1", "steps": 4, "key": KEY, "input_shape": (12, 10, 3)}
    figure = activation_maximization(net, params, state, channels=(2, 0), **options)
    assert figure.get_suptitle() == "What excites conv1 most (4 steps)"
    kernel = np.asarray(params["conv1"]["kernel"], np.float64)
    for ax, channel in zip(figure.axes, (2, 0), strict=True):
        image = np.asarray(maximal_input(net, params, state, channel=channel, **options), np.float64)
        np.testing.assert_array_equal(ax.images[0].get_array(), image)
        assert ax.get_title() == f"channel {channel}\nmean {oracles.conv(image[None], kernel)[..., channel].mean():.3g}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: saliency(*NET, IMAGE, target=2, classes=("a",)), "`classes` must have a name for class 2"),
        (lambda: activation_maximization(*NET, layer="conv1", channels=(), key=KEY), "`channels` must not be empty"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
