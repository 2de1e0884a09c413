"""A finished run, and a network that trains in a moment, for tests of the command."""

from pathlib import Path

import pytest

from jaxcnn.cli import main
from jaxcnn.layers import Dense, Flatten, serial
from jaxcnn.models import Model, catalogue

QUICK = ["--epochs", "2", "--batch-size", "128"]


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Lines as long as they are, whatever stands in the environment that tests of other rooms ran in before."""
    monkeypatch.delenv("COLUMNS", raising=False)


def linear(*, num_classes: int = 10) -> Model:
    """Of the form of digits_cnn."""
    return Model("digits_cnn", serial(Flatten(), Dense(num_classes)), (8, 8, 1), num_classes)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """A network that compiles in a moment, under the name that the digits get; Ctrl-C is met with the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.MODELS, "digits_cnn", linear)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of the main job, cut to two epochs."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", *QUICK, "--run-dir", str(folder)]) == 0
    return folder
