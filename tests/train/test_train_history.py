"""The history and its CSV, and the callbacks on epochs made by hand."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.train import Best, EarlyStopping, Epoch, History, TrainState


def history_of(*rows):
    history = History()
    for row in rows:
        history.append(row)
    return history


def test_columns_are_arrays():
    history = history_of({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25})
    assert len(history) == 2 and history.columns == ["epoch", "loss"]
    np.testing.assert_array_equal(history["epoch"], [1, 2])
    np.testing.assert_array_equal(history["loss"], [0.5, 0.25])
    assert "2 epochs of epoch, loss" in repr(history)
    with pytest.raises(KeyError, match=r"no column 'accuracy'; there are \['epoch', 'loss'\]"):
        history["accuracy"]
    with pytest.raises(ValueError, match=r"History: a row must have the columns \['epoch', 'loss'\]"):
        history.append({"epoch": 3})


def test_csv_gives_every_bit_back(tmp_path):
    numbers = [0.1, 1 / 3, 1e-300, 5e-324, 1.7976931348623157e308, -0.0, math.pi, np.float64(2) / 3, math.inf]
    rows = [{"epoch": i + 1, "loss": number, "accuracy": -number} for i, number in enumerate(numbers)]
    history_of(*rows).to_csv(tmp_path / "metrics.csv")
    back = History.from_csv(tmp_path / "metrics.csv")
    assert back.rows == rows
    assert all(type(row["epoch"]) is int and type(row["loss"]) is float for row in back.rows)
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "epoch,loss,accuracy"


def test_csv_of_no_epochs(tmp_path):
    History().to_csv(tmp_path / "metrics.csv")
    assert len(History.from_csv(tmp_path / "metrics.csv")) == 0


@pytest.mark.parametrize("row", ["1,many", "one,0.5", "1", "1,0.5,0.5", ",0.5"])
def test_a_file_that_is_no_history_is_named(tmp_path, row):
    (tmp_path / "other.csv").write_text(f"epoch,loss\n{row}\n")
    with pytest.raises(ValueError, match=r"other\.csv: expected a row of numbers with an epoch"):
        History.from_csv(tmp_path / "other.csv")


def epochs(column, values):
    for number, value in enumerate(values, 1):
        yield Epoch(number, {"epoch": number, column: value}, TrainState({"w": jnp.full(2, number)}, {}))


@pytest.mark.parametrize(
    ("column", "values", "min_delta", "best"),
    [
        ("validation_accuracy", [0.5, 0.7, 0.6, 0.7], 0.0, 2),  # the first of equals
        ("validation_loss", [0.5, 0.3, 0.4], 0.0, 2),
        ("loss", [0.5, 0.6], 0.0, 1),
        ("accuracy", [0.5, 0.55, 0.7], 0.1, 3),
        ("accuracy", [0.5, 0.55, 0.59], 0.1, 1),
    ],
)
def test_best_keeps_the_best(column, values, min_delta, best):
    callback = Best(column, min_delta=min_delta)
    for epoch in epochs(column, values):
        assert not callback(epoch)
    assert callback.epoch == best and callback.value == values[best - 1]
    assert callback.train_state.params["w"].tolist() == [best, best]


@pytest.mark.parametrize(
    ("column", "values", "options", "stopped"),
    [
        ("validation_loss", [3, 2, 2, 1, 1, 1, 1], {"patience": 2}, 6),
        ("validation_loss", [3, 3], {"patience": 1}, 2),
        ("accuracy", [0.1, 0.2, 0.3], {"patience": 1, "monitor": "accuracy"}, None),
        ("accuracy", [0.1, 0.15, 0.18, 0.3], {"patience": 2, "monitor": "accuracy", "min_delta": 0.1}, 3),
    ],
)
def test_early_stopping_waits_for_its_patience(column, values, options, stopped):
    callback = EarlyStopping(**options)
    answers = [bool(callback(epoch)) for epoch in epochs(column, values)]
    assert (answers.index(True) + 1 if True in answers else None) == stopped


def test_a_column_that_is_not_there_is_named():
    (epoch,) = epochs("loss", [1.0])
    for callback in (Best(), EarlyStopping()):
        with pytest.raises(ValueError, match=r"`monitor` must be a column of the history, \['epoch', 'loss'\]; got"):
            callback(epoch)
    with pytest.raises(ValueError, match="EarlyStopping: `patience` must be at least 1; got 0"):
        EarlyStopping(patience=0)
