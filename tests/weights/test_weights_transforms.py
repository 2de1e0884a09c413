"""Layouts of other libraries: each transform by the equation of its layer, and its inverse."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.weights.foreign.transforms import HWCM_TO_HW1O, OI_TO_IO, OIHW_TO_HWIO, cast, chw_to_hwc

RNG = np.random.default_rng(0)


def integers(*shape):
    return RNG.integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("transform", "shape"),
    [
        (OIHW_TO_HWIO, (4, 3, 2, 5)),
        (OIHW_TO_HWIO, (4, 3, 2)),
        (OIHW_TO_HWIO, (4, 3, 2, 5, 6)),
        (OI_TO_IO, (4, 3)),
        (chw_to_hwc((2, 3, 4)), (24, 5)),
        (chw_to_hwc((2, 3, 4)), (24,)),
        (chw_to_hwc((5, 2)), (10, 3)),
        (HWCM_TO_HW1O, (2, 3, 4, 1)),
    ],
)
def test_the_inverse_is_one(transform, shape):
    theirs = integers(*shape)
    ours = transform.apply(theirs)
    assert ours.size == theirs.size
    back = transform.invert(ours)
    assert back.shape == shape and (back == theirs).all()
    assert (transform.apply(transform.invert(ours)) == ours).all()
    assert transform.name and len(transform.reason) > 20


def test_a_kernel_is_indexed_the_other_way_round():
    theirs = integers(4, 3, 2, 5)
    ours = OIHW_TO_HWIO.apply(theirs)
    for o, i, h, w in np.ndindex(theirs.shape):
        assert ours[h, w, i, o] == theirs[o, i, h, w]


def test_flattened_features_are_those_of_the_same_position_and_channel():
    """A dense layer on a map flattened channel by channel, and ours on the map flattened position by position."""
    height, width, channels, units = 2, 3, 4, 5
    image, theirs = integers(height, width, channels), integers(units, channels * height * width)
    expected = theirs @ np.transpose(image, (2, 0, 1)).ravel()
    ours = chw_to_hwc((height, width, channels)).apply(OI_TO_IO.apply(theirs))
    assert (image.ravel() @ ours == expected).all()


def test_a_map_of_another_size_is_refused_not_cut():
    for size in (23, 25, 48):
        with pytest.raises(ValueError, match="reshape"):
            chw_to_hwc((2, 3, 4)).apply(integers(size))


def test_a_depthwise_kernel_has_its_outputs_channel_by_channel():
    theirs = integers(2, 3, 4, 5)
    ours = HWCM_TO_HW1O.apply(theirs)
    for h, w, c, m in np.ndindex(theirs.shape):
        assert ours[h, w, 0, c * 5 + m] == theirs[h, w, c, m]


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (np.float16, np.float32, "float16→float32"),
        (jnp.bfloat16, np.float32, "bfloat16→float32"),
        (np.float64, np.float32, "float64→float32"),
        (np.float32, jnp.bfloat16, "float32→bfloat16"),
    ],
)
def test_a_cast_says_whether_it_rounds(theirs, ours, words):
    theirs, ours = np.dtype(theirs), np.dtype(ours)
    transform = cast(theirs, ours)
    value = (np.arange(9) / 7).astype(theirs)
    assert transform.name == words and transform.apply(value).dtype == ours
    kept = (transform.apply(value).astype(np.float64) == value.astype(np.float64)).all()
    assert kept == ("holds every such value exactly" in transform.reason) != ("rounds" in transform.reason)
