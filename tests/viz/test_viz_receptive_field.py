"""The picture of a receptive field shows the unit, and the box of pixels that `inspect` finds."""

import re

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from jaxcnn import models
from jaxcnn.layers import Conv, serial
from jaxcnn.viz import receptive_field


def boxes(ax):
    """By label, (rows, columns) of the rectangles, each as first position and number."""
    patches = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return {p.get_label(): ((p.get_y() + 0.5, p.get_height()), (p.get_x() + 0.5, p.get_width())) for p in patches}


def test_the_picture_shows_the_unit_and_what_it_sees():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)
    figure = receptive_field(models.create("lenet5"), "max_pool2", unit=(0, 3), image=image)
    left, right = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), image[..., 0])
    assert boxes(left) == {
        "what it sees": ((0, 14), (10, 16)),
        "with padding": ((-2, 16), (10, 16)),
        "what the next unit sees, 4 pixels on": ((0, 14), (14, 14)),
    }
    faded = np.asarray(left.images[1].get_array())[..., 3] > 0
    assert not faded[:14, 10:26].any() and faded.sum() == 28 * 28 - 14 * 16
    assert list(boxes(right).values()) == [((0, 1), (3, 1))]
    assert figure.get_suptitle() == "Unit (0, 3) of max_pool2 sees 14 × 16 of 28 × 28 pixels"
    assert (left.get_title(), right.get_title()) == ("input, 28 × 28 pixels", "max_pool2, 5 × 5 units")
    assert (left.get_xlabel(), right.get_ylabel()) == ("column (pixels)", "row (units)")
    assert left.get_ylim() == (27.5, -2.5), "the padding is in view"


def test_by_default_the_unit_in_the_middle_on_an_empty_grid():
    left, right = receptive_field(models.create("lenet5"), "conv1").axes
    assert boxes(left)["what it sees"] == ((12, 5), (12, 5))
    assert list(boxes(right).values()) == [((14, 1), (14, 1))]


def test_units_without_positions_have_one_panel():
    figure = receptive_field(models.create("lenet5"), "dense2")
    assert [boxes(ax) for ax in figure.axes] == [{"what it sees": ((0, 28), (0, 28))}]
    assert figure.get_suptitle() == "Each unit of dense2 sees 28 × 28 of 28 × 28 pixels"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: receptive_field(serial(Conv(1, 3)), "conv1"), "`image` must be given for a Layer"),
        (lambda: receptive_field(serial(Conv(1, (3,))), "conv1", image=np.ones((9, 1))), "must take images (H, W, C)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
