"""The picture of a profile has the numbers of its rows."""

import numpy as np
import pytest

from jaxcnn.inspect import Cost, Profile
from jaxcnn.viz import profile_picture

ROWS = tuple(
    Cost(f"conv{i}", "conv", (2, 2, 1), ms, 10**6, 1024, 2048, None if i == 1 else 512)
    for i, ms in enumerate((0.5, 4.0, 1.0), start=1)
)
TABLE = Profile("net", 8, "cpu", ROWS, Cost("", "serial", (10,), 5.0, 3 * 10**6, 3072, 80, 2560))


def bars(ax):
    return [[bar.get_width() for bar in container] for container in ax.containers]


def test_the_picture_has_a_bar_for_each_layer():
    figure = profile_picture(TABLE)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["conv1", "conv2", "conv3"]
    assert bars(left) == [[0.5, 4.0, 1.0]]
    assert bars(right) == [[1 / 1024] * 3, [2 / 1024] * 3, [0, 0.5 / 1024, 0.5 / 1024]]
    assert [bar.get_x() for bar in right.containers[2]] == [3 / 1024] * 3, "stacked"
    assert [text.get_text() for text in figure.legends[0].texts] == ["weights", "output", "temporary"]
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first layer is on top"
    assert (left.get_xlabel(), right.get_xlabel()) == ("time (ms)", "memory (MiB)")
    assert "whole network 5 ms, layers one by one 5.5 ms" in figure.get_suptitle()


def test_the_picture_sums_what_takes_the_least_time():
    left, right = profile_picture(TABLE, most=np.int64(1)).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["conv2", "2 others"]
    assert bars(left) == [[4.0, 1.5]]
    assert bars(right)[1] == [2 / 1024, 4 / 1024]


def test_a_picture_of_no_bars_is_refused():
    with pytest.raises(ValueError, match="`most` must be an integer of at least 1; got 0"):
        profile_picture(TABLE, most=0)


def test_the_method_of_before_works_and_says_the_function():
    with pytest.warns(DeprecationWarning, match=r"Profile\.picture is now the function jaxcnn\.viz\.profile_picture"):
        left, _ = TABLE.picture(most=1).axes
    assert bars(left) == [[4.0, 1.5]]
