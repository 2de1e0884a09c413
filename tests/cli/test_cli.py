"""The command as a user calls it: exit codes, what is printed, what is left behind."""

import json
import shutil
import signal
import subprocess
import sys
import time

import cli_tools
import numpy as np
import optax
import pytest
from PIL import Image

from jaxcnn import data, weights
from jaxcnn.cli import main
from jaxcnn.models import catalogue, digits_cnn
from jaxcnn.train import History, TrainState, evaluate

no_terminal, tiny, run = cli_tools.no_terminal, cli_tools.tiny, cli_tools.run

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


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"{}", b"null"])
@pytest.mark.parametrize("name", ["command.json", "config.json", "metrics.csv", "model.safetensors"])
def test_a_damaged_file_is_named_in_one_line(run, name, content, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / name).write_bytes(content)
    for command in (["evaluate", str(folder)], ["train", "--resume", str(folder), "--epochs", "2"]):
        code = main(command)
        err = capsys.readouterr().err
        assert len(err.splitlines()) <= 1 and "unexpected" not in err
        assert code == 0 or name in err


def test_a_score_is_told_where_it_cannot_be_saved(run, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "result.json").unlink()
    (folder / "result.json").mkdir()  # stands for a disk that cannot be written to, also for root
    assert main(["evaluate", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "test accuracy" in out and "could not be written" in err and "result.json" in err


def test_a_folder_of_three_classes_trains_by_default_at_any_size(tmp_path, capsys):
    for number, name in enumerate(["blue", "green", "red"]):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.zeros((14, 12, 3), np.uint8)
            pixels[..., number] = 100 + i
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "red" / "bad.png").write_bytes(b"")
    folder = str(tmp_path / "run")
    flags = ["--dataset", "image_folder", "--data-dir", str(tmp_path / "photos"), "--size", "12", "--epochs", "1"]
    assert main(["train", *flags, "--run-dir", folder]) == 1
    assert "--skip-unreadable" in capsys.readouterr().err
    assert main(["train", *flags, "--run-dir", folder, "--skip-unreadable"]) == 0
    assert "a batch of 32 is more than there are images" in capsys.readouterr().out
    assert main(["predict", folder, str(tmp_path / "photos" / "red" / "1.png")]) == 0
    assert main(["summary", folder]) == 0
    assert "12 × 12 × 3" in capsys.readouterr().out


def test_a_file_of_a_run_is_not_its_folder(run, capsys):
    assert main(["train", "--resume", str(run / "checkpoint.safetensors")]) == 2
    assert f"is a file; did you mean {run}?" in capsys.readouterr().err


def test_no_augmentation_is_a_word(run, capsys):
    assert main(["train", "--resume", str(run), "--augment", "none"]) == 2
    assert "cannot take --augment none (it began with shift)" in capsys.readouterr().err


def test_a_path_in_advice_can_be_pasted(tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path / "a run")]) == 2
    assert f"jaxcnn train --run-dir '{tmp_path}/a run' begins one" in capsys.readouterr().err


def test_a_part_of_emnist_is_trained_by_its_name(tmp_path, capsys, monkeypatch):
    """Up to the training itself, which is as any other."""

    def stop(model, *arguments):
        assert model.num_classes == 26
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxcnn.cli.train._trained", stop)
    images, labels = np.zeros((260, 28, 28), np.uint8), (np.arange(260) % 26 + 1).astype(np.uint8)
    for part in ("train", "test"):
        for kind, magic, array in (("images-idx3", 0x803, images), ("labels-idx1", 0x801, labels)):
            head = np.array([magic, *array.shape], ">i4").tobytes()
            (tmp_path / f"emnist-letters-{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    folder = str(tmp_path / "run")
    flags = ["--dataset", "emnist_letters", "--data-dir", str(tmp_path)]
    for command in (["train", *flags, "--run-dir", folder], ["train", "--resume", folder]):
        assert main(command) == 130
        assert "mnist_cnn on emnist_letters: 234 images, 5 epochs" in capsys.readouterr().out


def test_a_run_is_not_written_over(run, capsys):
    before = (run / "model.safetensors").read_bytes()
    assert main(["train", *cli_tools.QUICK, "--run-dir", str(run)]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--model", "resnet-50"], "unknown model 'resnet-50'; did you mean resnet50?"),
        (["train", "--model", "transformer"], "unknown model 'transformer'; known are digits_cnn, lenet5"),
        (["train", "--dataset", "MNIST"], "unknown dataset 'MNIST'; did you mean mnist?"),
        (["train", "--augment", "twist"], "unknown augment 'twist'; known are flip"),
        (["train", "--classes", "0", "eleven"], "unknown class 'eleven'; known are 0, 1"),
        (["train", "--classes", "0"], "--classes must name at least two"),
        (["train", "--model", "cifar10_cnn"], "cifar10_cnn takes images of 32×32×3"),
        (["train", "--epochs", "0"], "--epochs must be at least 1; got 0"),
        (["train", "--batch-size", "many"], "--batch-size must be a whole number of at least 1; got many"),
        (["train", "--epochs", "9" * 5000], "--epochs must be at most 2,147,483,647; got 99999"),
        (["train", "--epochs", "2000000000"], "steps, more than the 2,147,483,647 that can be counted"),
        (["train", "--learning-rate", "nan"], "--learning-rate must be a number above 0; got nan"),
        (["train", "--weight-decay", "1e400"], "--weight-decay must be a finite number of at least 0; got 1e400"),
        (["train", "--validation", "1"], "--validation must be a number of at least 0 and below 1; got 1"),
        (["train", "--augment", "flip,crop"], "unknown augment 'flip,crop'; did you mean flip crop, with spaces"),
        (["train", "--augment", "none", "flip"], "--augment none stands alone; got none flip"),
        (["train", "--dataset", "emnist-letters"], "unknown dataset 'emnist-letters'; did you mean emnist_letters?"),
        (["train", "--run-dir", __file__], "test_cli.py is a file"),
        (["train", "--resume", __file__], "--resume is a run's folder, and "),
        (["train", "--patience", "3"], "only --keep best keeps"),
        (["train", "--keep", "best", "--validation", "0"], "--keep best chooses by the validation images"),
        (["train", "--size", "16"], "--size is for --dataset image_folder"),
        (["train", "--data-dir", "here"], "did you mean --dataset image_folder?"),
        (["train", "--resume"], "--resume needs the run folder"),
        (["train", "--resume", "nowhere"], "nowhere holds no run to go on with"),
        (["train", "--resume", "a", "--run-dir", "b"], "are two folders"),
        (["train", "--epohcs", "3"], "has no flag --epohcs; did you mean --epochs?"),
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["help"], "unknown command 'help'; did you mean --help?"),
        (["train", "--dataset", "image_folder"], "needs --data-dir"),
        (["summary", "transformer"], "transformer is neither a run folder nor a model; models are digits_cnn"),
        (["summary", "resnet-50"], "unknown model 'resnet-50'; did you mean resnet50?"),
        (["summary", "zero_one", "--num-classes", "3"], "zero_one is for 2 classes"),
        (["evaluate", "nowhere"], "nowhere is not a run folder: there is none"),
        (["predict", "nowhere", "a.png"], "nowhere is not a run folder"),
        (["predict", "nowhere"], "IMAGE is missing"),
        (["predict"], "RUN and IMAGE are missing"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_known(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [], "nothing is written before the flags are understood"


@pytest.mark.parametrize("arguments", [["dance"], ["train", "--color", "red"], ["train", "--epochs", "many"]])
def test_flags_that_do_not_exist_are_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    capsys.readouterr()


def test_missing_data_is_exit_code_1(tmp_path, capsys):
    assert main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_diverging_run_is_exit_code_1_and_keeps_its_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *cli_tools.QUICK, "--learning-rate", "1e20", "--run-dir", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert "became" in err and "Lower the learning rate: jaxcnn train" in err and "optax" not in err
    assert "no epoch was finished" in err and "accuracy" not in out and not (folder / "result.json").exists()
    assert main(["predict", str(folder), "a.png"]) == 2
    assert "no epoch was finished" in capsys.readouterr().err


def test_two_classes_train_the_two_class_network_of_another_shape_only_where_it_fits(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *cli_tools.QUICK, "--classes", "3", "8", "--run-dir", str(folder)]) == 0
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
    assert process.returncode == 130, out
    assert f"jaxcnn train --resume {folder}" in out and "Traceback" not in out
    if "before an epoch" not in out:
        assert main(["evaluate", str(folder)]) == 0
