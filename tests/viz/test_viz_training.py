"""Pictures hold the right data: what is drawn is read back from the figure."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from jaxcnn import viz
from jaxcnn.train import History
from jaxcnn.viz.style import GREEN, VERMILION


def a_history(validation: bool = True) -> History:
    history = History()
    for epoch in (1, 2, 3):
        row = {"epoch": epoch, "loss": 3.0 / epoch, "accuracy": epoch / 4}
        if validation:
            row |= {"validation_loss": 4.0 / epoch, "validation_accuracy": epoch / 5}
        history.append(row | {"seconds": 1.0})
    return history


def test_curves_draw_loss_and_accuracy_of_training_and_validation():
    left, right = viz.curves(a_history()).axes
    assert [line.get_label() for line in left.lines] == ["training", "validation"]
    np.testing.assert_array_equal(left.lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [3, 1.5, 1])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [4, 2, 4 / 3])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.2, 0.4, 0.6])
    assert (left.get_xlabel(), left.get_ylabel(), right.get_title()) == ("epoch", "loss (nats)", "Accuracy")


def test_curves_without_validation_have_one_line():
    assert [len(ax.lines) for ax in viz.curves(a_history(validation=False)).axes] == [1, 1]


def test_curves_of_no_epochs_are_refused():
    with pytest.raises(ValueError, match="`history` must hold at least one epoch"):
        viz.curves(History())


def test_confusion_shows_each_count_in_its_cell():
    matrix = np.array([[5, 1], [0, 4]])
    ax = viz.confusion(matrix, ("cat", "dog")).axes[0]
    cells = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts}
    assert cells == {(0, 0): "5", (0, 1): "1", (1, 1): "4"}, "row is the true class, column the predicted one"
    np.testing.assert_allclose(ax.images[0].get_array(), [[5 / 6, 1 / 6], [0, 1]])
    assert ax.get_title() == "9 of 10 right"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "dog"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")


def test_confusion_refuses_names_that_do_not_fit():
    with pytest.raises(ValueError, match=r"`matrix` must be \(3, 3\) for 3 classes; got \(2, 2\)"):
        viz.confusion(np.eye(2), ("a", "b", "c"))


def test_samples_put_mistakes_first_with_their_probability():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, axis=1)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    figure = viz.samples(images, np.array([0, 1, 0, 0]), probabilities, ("no", "yes"))
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["no:yes\n60%", "no:no", "yes:yes", "no:no"]
    assert [to_hex(ax.title.get_color()).upper() for ax in figure.axes[:2]] == [VERMILION, GREEN]
    assert float(figure.axes[0].images[0].get_array()[0, 0]) == 2, "the image that was mistaken"
    said = "true class:predicted class. 1 of 4 wrong. In red, with the probability that the prediction was given: "
    assert figure.get_suptitle() == f"{said}mistakes."


def test_samples_are_at_most_as_many_as_asked_and_half_of_them_mistakes():
    n = 40
    images, labels = np.zeros((n, 2, 2, 3), np.uint8), np.zeros(n, int)
    probabilities = np.where(np.arange(n)[:, None] < 20, [[0.1, 0.9]], [[0.9, 0.1]])
    titles = [ax.get_title() for ax in viz.samples(images, labels, probabilities, ("a", "b"), most=8).axes]
    assert titles == ["a:b\n90%"] * 4 + ["a:a"] * 4


def test_samples_refuse_arrays_of_different_lengths():
    with pytest.raises(ValueError, match="must have one length"):
        viz.samples(np.zeros((2, 1, 1, 1)), np.zeros(3), np.zeros((2, 2)), ("a", "b"))


def test_save_writes_a_whole_png_and_nothing_else(tmp_path):
    viz.save(viz.curves(a_history()), tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    data = (tmp_path / "curves.png").read_bytes()
    assert data.startswith(b"\x89PNG") and b"IEND" in data[-12:]


def test_save_leaves_nothing_behind_when_the_format_is_unknown(tmp_path):
    with pytest.raises(ValueError, match="not supported"):
        viz.save(viz.curves(a_history()), tmp_path / "curves.pixels")
    assert list(tmp_path.iterdir()) == []
