"""Metrics against scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxcnn.train import metrics

RNG = np.random.default_rng(0)
SCORES = RNG.permutation(200 * 7).reshape(200, 7).astype(np.float32)  # no two alike: no ties
LABELS = RNG.integers(0, 7, 200)


def test_accuracy():
    expected = sklearn_metrics.accuracy_score(LABELS, SCORES.argmax(axis=1))
    assert metrics.accuracy(SCORES, LABELS) == pytest.approx(expected, abs=1e-7)  # a mean in float32
    assert metrics.accuracy(SCORES, np.eye(7)[LABELS]) == pytest.approx(expected, abs=1e-7)


def test_one_column_is_class_1_where_positive():
    logits = np.array([[3.0], [0.1], [-0.1], [-3.0]])
    assert metrics.correct(jnp.asarray(logits), jnp.array([1, 1, 0, 0])).tolist() == [True] * 4
    assert metrics.correct(jnp.asarray(logits), jnp.array([1, 0, 1, 0])).tolist() == [True, False, False, True]
    # The labels as a column too, as the sigmoid loss takes them.
    assert metrics.accuracy(logits, np.array([[1.0], [1.0], [0.0], [0.0]])) == 1.0
    assert metrics.accuracy(logits, np.array([[0], [0], [1], [1]])) == 0.0


@pytest.mark.parametrize("k", range(1, 8))
def test_top_k_accuracy(k):
    expected = sklearn_metrics.top_k_accuracy_score(LABELS, SCORES, k=k) if k < 7 else 1.0  # it warns at k = classes
    assert metrics.top_k_accuracy(SCORES, LABELS, k) == pytest.approx(expected, abs=1e-7)


def test_confusion_matrix():
    predicted = SCORES.argmax(axis=1)
    matrix = metrics.confusion_matrix(predicted, LABELS, 9)  # two classes that do not occur
    np.testing.assert_array_equal(matrix, sklearn_metrics.confusion_matrix(LABELS, predicted, labels=range(9)))
    assert matrix.dtype == np.int64
    of_bytes = metrics.confusion_matrix(predicted.astype(np.uint8), LABELS.astype(np.uint8), 9)
    np.testing.assert_array_equal(of_bytes, matrix)
    assert metrics.confusion_matrix(np.zeros(0, int), np.zeros(0, int), 2).tolist() == [[0, 0], [0, 0]]


def test_confusion_matrix_of_many_classes_in_small_integers():
    """255 · 256 + 255 is no uint8."""
    top = np.array([255], np.uint8)
    assert metrics.confusion_matrix(top, top, 256)[255, 255] == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.accuracy(np.zeros((4, 3)), np.zeros(3, int)), ["accuracy", "`labels`", "(4, 3)", "(3,)"]),
        (lambda: metrics.accuracy(np.zeros((4, 3)), np.zeros(1, int)), ["accuracy", "`labels`", "(4, 3)", "(1,)"]),
        (lambda: metrics.accuracy(np.zeros(4), np.zeros(4, int)), ["accuracy", "`scores`", "(4,)"]),
        (lambda: metrics.top_k_accuracy(np.zeros((4, 3)), np.zeros(4, int), 0), ["top_k", "`k`", "1 to 3", "0"]),
        (lambda: metrics.top_k_accuracy(np.zeros((4, 3)), np.zeros(4, int)), ["top_k", "`k`", "1 to 3", "5"]),
        (lambda: metrics.top_k_accuracy(np.zeros((4, 3)), np.zeros((4, 3)), 2), ["top_k", "`labels`", "(4, 3)"]),
        (lambda: metrics.confusion_matrix(np.zeros(3, int), np.zeros(4, int), 2), ["confusion", "(3,)", "(4,)"]),
        (lambda: metrics.confusion_matrix(np.zeros((3, 2), int), np.zeros((3, 2), int), 2), ["confusion", "(3, 2)"]),
        (lambda: metrics.confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2), ["`predicted`", "0 to 1", "2"]),
        (lambda: metrics.confusion_matrix(np.array([0, 1]), np.array([0, -1]), 2), ["`labels`", "0 to 1", "-1"]),
    ],
)
def test_what_does_not_fit_is_named(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)
