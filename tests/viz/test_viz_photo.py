"""What the lectures' filters make of a photo, against NumPy."""

import re

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread

from jaxcnn.viz.photo import LECTURE_FILTERS, photo_filters


@pytest.fixture(scope="module")
def photo():
    """A real one, that comes with Matplotlib: (H, W, 3), uint8."""
    with get_sample_data("grace_hopper.jpg") as file:
        return imread(file, format="jpg")[100:400:10, 120:400:10]


def correlated(x, w):
    """y[i, j] = Σ x[i + a, j + b] · w[a, b] where w fits."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape)
    return np.einsum("ijab,ab->ij", windows, w)


def values(ax):
    return np.asarray(ax.images[0].get_array(), float)


def test_the_filters_are_those_of_the_lectures():
    assert list(LECTURE_FILTERS) == ["horizontal edges", "vertical edges", "all edges", "blur"]
    horizontal, vertical, all_edges, blur = LECTURE_FILTERS.values()
    assert horizontal.tolist() == [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
    assert vertical.tolist() == [[1, 0, -1]] * 3
    assert all_edges.tolist() == [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(blur, np.full((3, 3), 1 / 9))


def test_each_panel_is_the_brightness_under_its_filter(photo):
    figure = photo_filters(photo)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["photo", "brightness, what the filters see", *LECTURE_FILTERS]
    np.testing.assert_allclose(values(figure.axes[0]), photo / 255, atol=1e-6)
    red, green, blue = np.moveaxis(photo / 255, -1, 0)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(values(figure.axes[1]), brightness, atol=1e-6)
    for ax, w in zip(figure.axes[2:], LECTURE_FILTERS.values(), strict=True):
        np.testing.assert_allclose(values(ax), correlated(brightness, w), atol=1e-5)


def test_edges_are_drawn_around_gray_and_a_blur_as_a_photo(photo):
    *edges, blur = photo_filters(photo).axes[2:]
    for ax in edges:
        low, high = ax.images[0].get_clim()
        assert low == -high < 0
        assert f"white {high:.2g}" in ax.get_xlabel()
    assert blur.images[0].get_clim() == (0, 1)


def test_the_numbers_of_a_filter_stand_below_it(photo):
    _, _, horizontal, *_, blur = photo_filters(photo).axes
    assert horizontal.get_xlabel().splitlines()[:3] == [" 1   1   1", " 0   0   0", "-1  -1  -1"]
    assert blur.get_xlabel().split() == ["1/9"] * 9


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1)])
def test_a_gray_photo_and_a_filter_of_ones_own(shape):
    gray = np.linspace(0, 1, 120, dtype=np.float32).reshape(shape)
    w = np.array([[0.3, 0.123456, 0.0]])
    figure = photo_filters(gray, {"mine": w})
    assert [ax.get_title() for ax in figure.axes] == ["photo", "mine"]
    np.testing.assert_allclose(values(figure.axes[1]), correlated(gray.reshape(12, 10), w), atol=1e-6)
    assert figure.axes[1].get_xlabel().split() == ["3/10", "0.12", "0"]


@pytest.mark.parametrize(
    ("pixels", "filters", "message"),
    [
        (np.zeros((4, 4, 2)), None, "`photo` must be (H, W), (H, W, 1) or (H, W, 3); got (4, 4, 2)"),
        (np.zeros((1, 4, 4, 3)), None, "`photo` must be"),
        (np.zeros((4, 4)), {}, "`filters` must not be empty"),
        (np.zeros((2, 4)), None, "`filters` must be (kh, kw) numbers that fit into the photo, (2, 4); got (3, 3)"),
        (np.zeros((4, 4)), {"row": [1, 2]}, "got (2,) for 'row'"),
    ],
)
def test_what_does_not_fit_is_refused(pixels, filters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        photo_filters(pixels, filters)


def test_pixels_of_another_dtype_are_refused():
    with pytest.raises(TypeError, match="`images` must be uint8 or floating; got int32"):
        photo_filters(np.zeros((4, 4), np.int32))
