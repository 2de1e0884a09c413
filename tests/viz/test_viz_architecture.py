"""Diagrams of networks name every layer and its shape, as the summary has them, and nothing lies over anything."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

import jaxcnn
from jaxcnn import models
from jaxcnn.layers import Conv, Dense, Dropout, Flatten, MaxPool, Relu, branches, residual, serial, with_auxiliaries
from jaxcnn.viz.diagrams import architecture
from jaxcnn.viz.style import VERMILION


def boxes(figure):
    """The texts of each rectangle, by the name of its block, from back to front."""
    ax = figure.axes[0]
    texts = [(text.get_position(), text.get_text()) for text in ax.texts if text.get_text()]
    frames = {frame.get_gid(): frame for frame in ax.patches if frame.get_gid() is not None}
    found = {name: [] for name in frames}
    for (x, y), text in texts:
        inside = [name for name, frame in frames.items() if _holds(frame, x, y)]
        found[min(inside, key=lambda name: frames[name].get_width() * frames[name].get_height())].append(text)
    return found


def _holds(frame, x, y):
    return 0 <= x - frame.get_x() <= frame.get_width() and 0 <= y - frame.get_y() <= frame.get_height()


def middle(figure, name):
    (frame,) = [frame for frame in figure.axes[0].patches if frame.get_gid() == name]
    return frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2


def written(shape):
    return " × ".join(map(str, shape))


def shapes_of(model, *arguments):
    return {row.path: written(row.output_shape) for row in jaxcnn.summary(model, *arguments).rows}


@pytest.mark.parametrize("name", ["lenet5", "cifar10_cnn"])
def test_a_chain_shows_every_layer_in_order_with_its_shape(name):
    model = models.create(name)
    expected = shapes_of(model)
    found = boxes(architecture(model))
    assert found.pop("input") == ["input", written(model.input_shape)]
    named = []
    for box, (title, *followers, shape) in found.items():
        assert title.split()[0] == box and shape == expected[box]
        named += [box, *", ".join(followers).split(", ")] if followers else [box]
    assert named == list(expected), "all layers, in order: each in a box, or in that of what it follows"


def test_a_box_says_its_window_and_what_follows_it():
    net = serial(
        Conv(4, (3, 5), padding="SAME"), Relu(), Dropout(0.5), MaxPool(2), Flatten(), Relu(), Dense(16), Relu()
    )
    assert boxes(architecture(net, (8, 8, 2))) == {
        "input": ["input", "8 × 8 × 2"],
        "conv1": ["conv1  3×5", "relu1, dropout1", "8 × 8 × 4"],
        "max_pool1": ["max_pool1", "4 × 4 × 4"],
        "flatten1": ["flatten1", "relu2", "64"],
        "dense1": ["dense1", "relu3", "16"],
    }


def test_layers_with_a_name_of_their_own_say_what_they_are():
    found = boxes(architecture(serial(first=Conv(2, 1), then=Dense(2)), (4, 4, 2)))
    assert found["first"] == ["first  1×1", "conv", "4 × 4 × 2"] and found["then"] == ["then", "dense", "4 × 4 × 2"]


def test_branches_stand_side_by_side_and_meet():
    net = serial(
        branches(
            one=Conv(2, 1),
            three=serial(Conv(3, 1), Relu(), Conv(4, 3, padding=1)),
            pool=MaxPool(3, stride=1, padding=1),
        )
    )
    figure = architecture(net, (6, 6, 5))
    found = boxes(figure)
    assert found["branches1"] == ["branches1"]
    assert found["branches1/one"] == ["one  1×1", "conv", "6 × 6 × 2"]
    assert found["branches1/pool"] == ["pool", "max_pool", "6 × 6 × 5"]
    assert found["branches1/three/conv1"] == ["three/conv1  1×1", "relu1", "6 × 6 × 3"]
    assert found["branches1, side by side in the channels"] == ["side by side in the channels", "6 × 6 × 11"]
    (x1, _), (x3, y3), (xp, _) = (middle(figure, f"branches1/{name}") for name in ("one", "three/conv1", "pool"))
    assert x1 < x3 < xp
    assert middle(figure, "branches1/three/conv2") == pytest.approx((x3, y3 + 0.92), abs=0.2), (
        "the next of a branch is below"
    )


def test_residual_blocks_have_two_ways_and_repeats_are_folded():
    figure = architecture(models.create("resnet20"))
    found = boxes(figure)
    assert found["stage1/block1"] == ["stage1/block1  ×3"] and "stage1/block2" not in found
    assert found["stage2/block1, sum"] == ["sum", "16 × 16 × 32"]
    assert found["stage2/block2"] == ["stage2/block2  ×2", "like stage1/block1", "16 × 16 × 32"]
    assert found["stage3/block1"] == ["stage3/block1", "like stage2/block1", "8 × 8 × 64"]
    assert found["stage2/block1/shortcut"] == ["shortcut", "zero_padded", "16 × 16 × 32"]
    straight = [line for line in figure.axes[0].lines if to_hex(line.get_color()).upper() == VERMILION]
    assert len(straight) == 1, "the block without a shortcut layer hands on its input"
    assert figure.get_suptitle() == "resnet20: 269,722 parameters"


def test_blocks_of_other_widths_are_not_counted_as_repeats():
    def block(channels):
        return residual(serial(Conv(channels, 1), Relu(), Conv(4, 1)))

    found = boxes(architecture(serial(block(2), block(2), block(3)), (5, 5, 4)))
    assert found["residual1"] == ["residual1  ×2"]
    assert found["residual3"] == ["residual3", "like residual1", "5 × 5 × 4"]
    found = boxes(architecture(serial(block(2), MaxPool(1), block(2)), (5, 5, 4)))
    assert found["residual1"] == ["residual1"] and found["residual2"][1] == "like residual1"


def test_auxiliary_classifiers_are_dashed_and_beside_what_they_follow():
    net = with_auxiliaries(serial(Conv(2, 3), Relu(), Flatten(), Dense(3)), early=("flatten1", serial(Dense(3))))
    figure = architecture(net, (5, 5, 1))
    found = boxes(figure)
    assert list(found) == ["input", "conv1", "flatten1", "early", "dense1"]
    assert found["early"] == ["early", "in training only", "3"]
    (x, y), (aside, _), (_, below) = (middle(figure, name) for name in ("flatten1", "early", "dense1"))
    assert aside > x
    ways = [np.array(line.get_data()).T for line in figure.axes[0].lines]
    down = [way for way in ways if np.allclose(way[:, 0], x) and y < way[:, 1].mean() < below]
    assert sum(np.ptp(way[:, 1]) for way in down) == pytest.approx(below - y - 2 * 0.24, abs=1e-9), "from box to box"
    dashed = {p.get_gid() for p in figure.axes[0].patches if p.get_gid() and p.get_linestyle() not in ("solid", "-")}
    assert dashed == {"early"}
    assert figure.get_suptitle() == "serial: 77 parameters, and 57 in training only"  # 20 + 57, and 18·3 + 3


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "resnet20"])
def test_nothing_overlaps(name):
    figure = architecture(models.create(name, input_size=64))
    ax, renderer = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    frames = {frame.get_gid(): frame.get_window_extent() for frame in ax.patches if frame.get_gid() is not None}
    texts = [text.get_window_extent(renderer) for text in ax.texts if text.get_text()]
    assert not [(a, b) for i, a in enumerate(texts) for b in texts[:i] if a.overlaps(b)]
    page = figure.bbox
    for box in [*frames.values(), *texts]:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    for text in texts:
        around = [frame for frame in frames.values() if frame.overlaps(text)]
        assert any(f.x0 <= text.x0 and text.x1 <= f.x1 and f.y0 <= text.y0 and text.y1 <= f.y1 for f in around)
    for i, (a, box) in enumerate(frames.items()):
        for b, other in list(frames.items())[:i]:
            if box.overlaps(other):
                inner, outer = sorted((box, other), key=lambda f: f.width * f.height)
                inside = outer.x0 < inner.x0 and inner.x1 < outer.x1 and outer.y0 < inner.y0 and inner.y1 < outer.y1
                assert inside, f"{a} and {b} overlap, and neither holds the other"


def test_each_box_but_the_first_is_entered_by_an_arrow():
    figure = architecture(models.create("lenet5"))
    ends = np.array([note.xy for note in figure.axes[0].texts if hasattr(note, "xy")])
    tops = np.array([(f.get_x() + f.get_width() / 2, f.get_y()) for f in figure.axes[0].patches if f.get_gid()])
    distances = np.abs(tops[:, None] - ends).max(axis=-1).min(axis=1)
    assert distances[0] > 0.1 and (distances[1:] < 1e-9).all()


def test_what_is_no_network_is_refused():
    with pytest.raises(
        TypeError, match=re.escape("viz.architecture: `model` must be a Model or a Layer; got 'lenet5'")
    ):
        architecture("lenet5")
    with pytest.raises(ValueError, match=r"viz\.architecture: `input_shape` must be given for a Layer"):
        architecture(serial(Dense(2)))
