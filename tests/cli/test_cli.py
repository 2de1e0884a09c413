"""The command as a user calls it: exit codes, what is printed, what is left behind."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optax
import pytest
from PIL import Image

from jaxcnn import data, weights
from jaxcnn.cli import main
from jaxcnn.cli.commands import RECIPES
from jaxcnn.layers import Dense, Flatten, serial
from jaxcnn.models import Model, catalogue, digits_cnn, names
from jaxcnn.train import History, TrainState, evaluate

RUN_FILES = {
    "checkpoint.safetensors",
    "command.json",
    "config.json",
    "confusion.png",
    "curves.png",
    "metrics.csv",
    "model.json",
    "model.safetensors",
    "result.json",
    "samples.png",
    "versions.json",
}
QUICK = ["--epochs", "2", "--batch-size", "128"]


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


def test_train_leaves_a_whole_run_folder(run):
    assert {path.name for path in run.iterdir()} == RUN_FILES
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    assert json.loads((run / "command.json").read_text())["dataset"] == "digits"
    assert 0 < json.loads((run / "result.json").read_text())["test_accuracy"] <= 1


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_model_that_stays_is_the_one_asked_for(keep, tmp_path, monkeypatch):
    """By a schedule that rises, so that the last is not the best."""
    monkeypatch.setattr(optax, "cosine_onecycle_schedule", lambda n, rate: optax.linear_schedule(rate, 50 * rate, n))
    folder = tmp_path / "run"
    flags = ["--epochs", "3", "--batch-size", "64", "--learning-rate", "0.02", "--keep", keep]
    assert main(["train", *flags, "--run-dir", str(folder)]) == 0
    history = History.from_csv(folder / "metrics.csv")
    model, params, state, _ = weights.load_model(folder / "model.safetensors")
    splits = data.load("digits")
    _, held_out = data.split(splits.train, 0.1, seed=0)
    loss = evaluate(model, TrainState(params, state), held_out, batch_size=64)["loss"]
    last, best = history["validation_loss"][-1], history["validation_loss"].min()
    assert last > 1.1 * best and loss == pytest.approx(last if keep == "last" else best, rel=1e-4)


def test_evaluate_gives_the_accuracy_that_train_gave(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    accuracy = json.loads((run / "result.json").read_text())["test_accuracy"]
    assert f"test accuracy {accuracy:.2%} on 359 images" in capsys.readouterr().out


def test_predict_prints_classes_and_probabilities_of_each_image(run, tmp_path, capsys):
    digit = data.load("digits").test.images[0, ..., 0]
    for name in ("a.png", "b.jpeg"):
        Image.fromarray(np.kron(digit, np.ones((4, 4), np.uint8))).save(tmp_path / name)
    assert main(["predict", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.jpeg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / "a.png"), str(tmp_path / "b.jpeg")]
    for line in lines:
        chances = [float(value) for value in re.findall(r"([\d.]+)%", line.split(": ")[1])]
        assert len(chances) == 3 and chances == sorted(chances, reverse=True) and sum(chances) <= 100.2


def test_resume_goes_on_after_the_last_epoch(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert main(["train", "--epochs", "3", "--batch-size", "128", "--run-dir", str(folder), "--resume"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[0] == (run / "metrics.csv").read_text().splitlines()[0]


def test_a_run_is_not_written_over(run, capsys):
    before = (run / "model.safetensors").read_bytes()
    assert main(["train", *QUICK, "--run-dir", str(run)]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--model", "resnet"], "unknown model 'resnet'; known are digits_cnn, lenet5"),
        (["train", "--dataset", "svhn"], "unknown dataset 'svhn'; known are digits, mnist"),
        (["train", "--augment", "twist"], "unknown augment 'twist'; known are flip"),
        (["train", "--classes", "0", "eleven"], "unknown class 'eleven'; known are 0, 1"),
        (["train", "--model", "cifar10_cnn"], "cifar10_cnn takes images of (32, 32, 3)"),
        (["train", "--epochs", "0"], "--epochs is out of range"),
        (["train", "--resume"], "--run-dir is out of range, or missing"),
        (["train", "--dataset", "image_folder"], "needs --data-dir"),
        (["summary", "resnet"], "unknown model 'resnet'; known are"),
        (["evaluate", "nowhere"], "nowhere is not a folder that `jaxcnn train` wrote"),
        (["predict", "nowhere", "a.png"], "nowhere is not a run folder"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_known(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "nothing is written before the flags are understood"


@pytest.mark.parametrize("arguments", [["dance"], ["train", "--colour", "red"], ["train", "--epochs", "many"]])
def test_flags_that_do_not_exist_are_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    capsys.readouterr()


def test_a_file_that_is_no_image_is_exit_code_1(run, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not an image")
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 1
    assert "expected an image" in capsys.readouterr().err
    assert main(["predict", str(run), str(tmp_path / "b.png")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_missing_data_is_exit_code_1(tmp_path, capsys):
    assert main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_diverging_run_is_exit_code_1_and_keeps_its_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *QUICK, "--learning-rate", "1e20", "--run-dir", str(folder)]) == 1
    said = "".join(capsys.readouterr())
    assert "became" in said and "Lower the learning rate" in said and "No epoch was finished" in said
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "model.safetensors").exists() and not (folder / "result.json").exists()


def test_two_classes_train_the_two_class_network_of_another_shape_only_where_it_fits(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *QUICK, "--classes", "3", "8", "--run-dir", str(folder)]) == 0
    assert json.loads((folder / "model.json").read_text())["options"] == {"num_classes": 2}
    assert main(["evaluate", str(folder)]) == 0
    assert "on 7" in capsys.readouterr().out, "only the test images of the two classes are met"


def test_ctrl_c_leaves_a_usable_folder(tmp_path, monkeypatch, users_environment, interruptible):
    monkeypatch.setitem(catalogue.MODELS, "digits_cnn", digits_cnn)
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "jaxcnn", "train", "--epochs", "500", "--run-dir", str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=users_environment
    )
    deadline = time.monotonic() + 120
    while not (folder / "metrics.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1, out
    assert "stopped" in out and "Traceback" not in out
    assert main(["evaluate", str(folder)]) == 0


def test_summary_and_datasets_print_their_tables(capsys):
    assert main(["summary", "lenet5"]) == 0
    assert "trainable 61,706" in capsys.readouterr().out
    assert main(["datasets"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in data.names())


def test_models_prints_a_row_for_each_with_its_published_accuracy(capsys):
    """Parameters and multiply-adds at inference: GoogLeNet's without its auxiliary classifiers."""
    assert main(["models"]) == 0
    head, *rows, sources = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == names()
    cells = {row.split()[0]: row.split(maxsplit=4)[1:] for row in rows}
    assert cells["cats_vs_dogs_cnn"] == ["150×150×3", "19,024,513", "161,408,256", "—"]
    assert cells["resnet50"] == ["224×224×3", "25,557,032", "4,089,184,256", "76.13 % ImageNet-1k"]
    assert cells["googlenet"][1:] == ["6,624,904", "1,498,376,192", "69.78 % ImageNet-1k"]
    assert cells["resnet20"][-1] == "91.25 % CIFAR-10"
    assert "torchvision" in sources and "He et al. (2015)" in sources
    assert head.split() == ["model", "input", "parameters", "multiply-adds", "published", "top-1"]


def test_doctor_finds_the_convolution_right(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^conv +right", out, re.M) and re.search(r"^sums +(right|WRONG)", out, re.M)
    assert "jaxlib" in out and "devices" in out


def test_without_arguments_the_help_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxcnn"])
    assert main() == 0
    assert "train" in capsys.readouterr().out


def test_every_dataset_has_a_recipe_with_a_model_that_exists():
    assert set(RECIPES) == set(data.names())
    assert all(recipe.model in names() for recipe in RECIPES.values())
