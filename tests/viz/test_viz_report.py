"""The report of a run agrees with what the run's own functions give."""

import json

import jax
import numpy as np
import optax
import pytest

from jaxcnn import data, models, train, viz, weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps on a few digits."""
    folder = tmp_path_factory.mktemp("report") / "run"
    splits = data.load("digits")
    train.fit(
        models.create("digits_cnn"),
        splits.train[:256],
        epochs=2,
        batch_size=64,
        optimizer=optax.adam(1e-3),
        run_dir=folder,
    )
    return folder, splits.test[:100]


def test_report_writes_the_score_and_the_pictures(run):
    folder, test = run
    scores, matrix = viz.report(folder, test)
    model, params, state, about = weights.load_model(folder / "model.safetensors")
    expected = train.evaluate(model, train.TrainState(params, state, loss=about["loss"]), test, batch_size=100)
    assert scores == pytest.approx(expected)
    assert json.loads((folder / "result.json").read_text()) == {f"test_{k}": v for k, v in scores.items()}
    assert np.trace(matrix) == round(scores["accuracy"] * 100) and matrix.sum() == 100
    assert {"curves.png", "confusion.png", "samples.png"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "loss", ["sigmoid_binary_cross_entropy", lambda outputs, labels: (outputs[:, 0] - labels) ** 2]
)
def test_report_of_one_unit(loss, tmp_path):
    """A yes or no has two classes; of a number there is no confusion to draw, and nothing is written."""
    two = data.load("digits").train.only("0", "1")[:64]
    model = models.create("digits_cnn", num_classes=1)
    train.fit(model, two, epochs=1, batch_size=32, optimizer=optax.adam(1e-3), loss=loss, run_dir=tmp_path / "run")
    before = sorted((tmp_path / "run").iterdir())
    if callable(loss):
        with pytest.raises(ValueError, match="a loss of one's own"):
            viz.report(tmp_path / "run", two)
        assert sorted((tmp_path / "run").iterdir()) == before
    else:
        scores, matrix = viz.report(tmp_path / "run", two)
        assert matrix.shape == (2, 2) and np.trace(matrix) == round(scores["accuracy"] * 64)


def test_report_of_no_run_says_so(tmp_path, run):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        viz.report(tmp_path, run[1])
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_the_catalogue_comes_back_with_its_options(tmp_path):
    model = models.create("lenet5", classic=True, num_classes=3)
    params, state = model.init(jax.random.key(1))
    weights.save(tmp_path / "a.safetensors", model, params, state, classes=("x", "y", "z"))
    again, loaded, _, about = weights.load_model(tmp_path / "a.safetensors")
    assert (again.name, again.options, about["classes"]) == ("lenet5", model.options, ["x", "y", "z"])
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    x = jax.random.normal(jax.random.key(2), (2, *model.input_shape))
    np.testing.assert_array_equal(again.apply(loaded, {}, x)[0], model.apply(params, {}, x)[0])
