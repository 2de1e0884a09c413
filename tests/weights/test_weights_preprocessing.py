"""From photos to a network's input, against Pillow and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn.layers import GlobalAvgPool, serial, stateless
from jaxcnn.weights import Preprocessing, pretrained_names
from jaxcnn.weights.published import FILES

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photos(height, width, n=2):
    """Smooth images: Pillow rounds to whole values, and noise would only measure that."""
    h, w = np.meshgrid(np.linspace(0, 3, height), np.linspace(0, 5, width), indexing="ij")
    waves = [127 + 120 * np.sin(h * (1 + c) + w + n + i) for i in range(n) for c in range(3)]
    return np.stack(waves).reshape(n, 3, height, width).transpose(0, 2, 3, 1).astype(np.uint8)


def by_pillow(images, size, resize):
    """The usual chain: shorter side, bilinear; the middle."""
    out = []
    for image in images:
        height, width = image.shape[:2]
        if resize is None:
            resized = size
        elif height < width:
            resized = resize, int(resize * width / height)
        else:
            resized = int(resize * height / width), resize
        picture = np.asarray(Image.fromarray(image).resize(resized[::-1], Image.Resampling.BILINEAR))
        top, left = (round((whole - part) / 2) for whole, part in zip(resized, size, strict=True))
        out.append(picture[top : top + size[0], left : left + size[1]])
    return np.stack(out)


@pytest.mark.parametrize(
    ("shape", "size", "resize"),
    [
        ((90, 121), (48, 48), 56),  # shrinks, odd margins
        ((121, 90), (48, 40), 60),
        ((20, 31), (48, 48), 56),  # grows
        ((33, 50), (24, 40), None),  # not the proportions
        ((24, 40), (24, 40), None),
        ((30, 30), (24, 24), 30),  # the crop alone
    ],
)
def test_as_pillow_does_it(shape, size, resize):
    images = photos(*shape)
    prepared = Preprocessing(size, resize, mean=MEAN, std=STD)(images)
    expected = (by_pillow(images, size, resize) / 255 - np.array(MEAN)) / np.array(STD)
    assert prepared.shape == (2, *size, 3) and prepared.dtype == jnp.float32
    one_level = 1 / 255 / min(STD)
    assert np.abs(np.asarray(prepared) - expected).max() < 1.01 * one_level  # Pillow rounds to whole levels


def test_blue_first_and_whole_levels():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[..., 0], images[..., 1], images[..., 2] = 200, 150, 100
    prepared = Preprocessing((4, 4), channels="BGR", scale=1.0, mean=(104, 117, 123))(images)
    assert (np.asarray(prepared[0, 0, 0]) == [100 - 104, 150 - 117, 200 - 123]).all()


def test_floats_of_0_to_1_are_the_same_images():
    images, prepare = photos(30, 40), Preprocessing((24, 24), 28, "BGR", 1.0, (104, 117, 123))
    np.testing.assert_allclose(prepare(images / np.float32(255)), prepare(images), atol=1e-3)  # levels of 0 to 255


def test_it_can_be_compiled_and_be_a_networks_first_layer():
    prepare, images = Preprocessing((24, 24), 28), photos(30, 40)
    np.testing.assert_allclose(jax.jit(prepare)(images), prepare(images), atol=1e-6)
    net = serial(stateless("preprocessing", prepare), GlobalAvgPool())
    params, state = net.init(jax.random.key(0), (30, 40, 3))
    np.testing.assert_allclose(
        net.apply(params, state, jnp.asarray(images))[0], prepare(images).mean((1, 2)), atol=1e-5
    )


@pytest.mark.parametrize("published", FILES, ids=pretrained_names())
def test_plain_values_and_back(published):
    prepare = published.preprocessing
    assert Preprocessing.from_json(prepare.to_json()) == prepare


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 3)}, r"`size` must be \(height, width\), both positive; got \(0, 3\)"),
        ({"size": (3,)}, "`size` must be"),
        ({"size": (30, 40), "resize": 35}, r"`resize` \(35\) must cover the crop of \(30, 40\)"),
        ({"size": (3, 3), "channels": "rgb"}, "`channels` must be 'RGB' or 'BGR'; got 'rgb'"),
        ({"size": (3, 3), "mean": (0.5,)}, "`mean` and `std` must have a value for each of three channels"),
        ({"size": (3, 3), "std": (0, 1, 1)}, ".*std positive; got"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=f"Preprocessing: {words}"):
        Preprocessing(**options)


@pytest.mark.parametrize("options", [{"size": (224.5, 224)}, {"size": (3, 3), "resize": 256.0}])
def test_sides_that_are_no_whole_numbers_are_refused(options):
    with pytest.raises(TypeError, match=r"Preprocessing: `(size|resize)` must "):
        Preprocessing(**options)


def test_other_images_are_refused():
    prepare = Preprocessing((3, 3))
    with pytest.raises(TypeError, match="`images` must be uint8, 0 to 255, or floating, 0 to 1; got int32"):
        prepare(np.zeros((1, 3, 3, 3), np.int32))
    for shape in ((3, 3, 3), (1, 3, 3, 1), (1, 0, 3, 3)):
        with pytest.raises(ValueError, match=r"`images` must be \(N, H, W, 3\); got \("):
            prepare(np.zeros(shape, np.uint8))
