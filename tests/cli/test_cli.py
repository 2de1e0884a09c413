"""The command as a user calls it: exit codes, what is printed, what is left behind."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from jaxcnn import data, weights
from jaxcnn.cli import accelerators, doctor, faults, main
from jaxcnn.cli.recipes import RECIPES
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


@pytest.mark.parametrize(("loss", "shown"), [(None, "0.25"), ("sigmoid_binary_cross_entropy", "1 56.2%, 0 43.8%")])
def test_predict_of_one_unit_says_what_its_loss_makes_of_it(loss, shown, tmp_path, capsys):
    """sigmoid(0.25) = 0.562; a loss of one's own says nothing of what its outputs are."""
    model = dataclasses.replace(catalogue.create("digits_cnn", num_classes=1), loss=loss)
    params, state = jax.tree.map(np.zeros_like, model.init(jax.random.key(0)))
    params["dense1"]["bias"] += 0.25
    weights.save(tmp_path / "m.safetensors", model, params, state)
    Image.new("L", (8, 8), 200).save(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.png'}: {shown}\n"


def test_resume_goes_on_after_the_last_epoch(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert main(["train", "--epochs", "3", "--batch-size", "128", "--run-dir", str(folder), "--resume"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[0] == (run / "metrics.csv").read_text().splitlines()[0]


def test_resume_alone_knows_all(run, tmp_path, capsys):
    """More epochs may be asked for; another place of the data too."""
    folder = shutil.copytree(run, tmp_path / "run")
    assert main(["train", "--resume", str(folder), "--epochs", "3"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    asked = json.loads((folder / "command.json").read_text())
    assert (asked["epochs"], asked["batch_size"]) == (3, 128)


OTHERS = {
    "--learning-rate": ["0.1"], "--weight-decay": ["0"], "--augment": ["flip"], "--model": ["lenet5"],
    "--dataset": ["mnist"], "--keep": ["best"], "--seed": ["1"], "--batch-size": ["7"], "--validation": ["0.2"],
    "--classes": ["1", "2"], "--skip-unreadable": [], "--size": ["9"],
}  # fmt: skip


@pytest.mark.parametrize("flag", OTHERS)
def test_resume_refuses_another_setting_with_both_values(run, flag, capsys):
    before = (run / "command.json").read_bytes()
    assert main(["train", "--resume", str(run), flag, *OTHERS[flag]]) == 2
    assert re.search(rf"cannot take {flag} .*\(it began with .+\)", capsys.readouterr().err)
    assert (run / "command.json").read_bytes() == before


def test_resume_begins_a_run_that_has_no_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    command = ["train", *QUICK, "--run-dir", str(folder), "--resume"]
    assert main(command) == 0
    assert "holds no run yet: begun anew" in capsys.readouterr().out
    assert main(command) == 0, "all is done, and the command may be given again"
    (folder / "checkpoint.safetensors").unlink()
    assert main(["train", "--resume", str(folder)]) == 0
    assert "no checkpoint yet: begun anew" in capsys.readouterr().out


def test_fewer_epochs_than_are_done_are_refused(run, capsys):
    assert main(["train", "--resume", str(run), "--epochs", "1"]) == 2
    assert "--epochs must be at least the 2" in capsys.readouterr().err


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


def test_a_number_beyond_all_bounds_in_command_json_names_the_field(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    asked = json.loads((folder / "command.json").read_text())
    (folder / "command.json").write_text(json.dumps(asked | {"seed": 2**70}))
    assert main(["train", "--resume", str(folder)]) == 1
    assert re.search(r"command\.json: .*'seed'; found '1180591620717411303424'", capsys.readouterr().err)


@pytest.mark.parametrize("field", ["dataset", "model", "epochs", "classes", "augment", "data_dir", "keep", "size"])
def test_a_wrong_type_in_command_json_names_the_field(run, field, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    asked = json.loads((folder / "command.json").read_text())
    (folder / "command.json").write_text(json.dumps(asked | {field: {"a": 1}}))
    assert main(["evaluate", str(folder)]) == 1
    err = capsys.readouterr().err
    assert ("command.json" in err and f"'{field}'" in err) or ("--data-dir" in err and len(err.splitlines()) == 1)


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
    assert main(["train", *QUICK, "--run-dir", str(run)]) == 1
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


def test_a_file_that_is_no_image_is_exit_code_1(run, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not an image")
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 1
    assert "expected a readable image" in capsys.readouterr().err
    assert main(["predict", str(run), str(tmp_path / "b.png")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_one_bad_image_of_several_leaves_the_others_answered(run, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    assert main(["predict", str(run), *(str(tmp_path / name) for name in ("good.png", "bad.png", "good.png"))]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and len(err.splitlines()) == 1 and "bad.png" in err


def test_predict_turns_a_photo_upright(run, tmp_path, capsys):
    """A digit stored turned, with the orientation that says so, and the same digit upright."""
    digit = Image.fromarray(np.kron(data.load("digits").test.images[3, ..., 0], np.ones((4, 4), np.uint8)))
    digit.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    digit.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    assert main(["predict", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    one, other = (line.split(": ")[1] for line in capsys.readouterr().out.splitlines())
    assert one == other


def test_predict_prepares_images_as_the_file_says(tmp_path, capsys):
    """A linear model of the mean brightness, which the file's preprocessing shifts below zero."""
    model = catalogue.create("cifar10_cnn", input_size=10, num_classes=2)
    params, state = model.init(jax.random.key(0))
    prepared = weights.Preprocessing((10, 10), resize=12, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    weights.save(tmp_path / "m.safetensors", model, params, state, classes=["a", "b"], preprocessing=prepared)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "x.png"), "--top", "2"]) == 0
    p = jax.nn.softmax(model.apply(params, state, prepared(pixels[None]))[0][0])
    said = dict(part.split(" ") for part in capsys.readouterr().out.split("x.png: ")[1].strip().split(", "))
    assert said == {"a": f"{p[0]:.1%}", "b": f"{p[1]:.1%}"}


def test_missing_data_is_exit_code_1(tmp_path, capsys):
    assert main(["train", "--dataset", "mnist", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_diverging_run_is_exit_code_1_and_keeps_its_folder(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *QUICK, "--learning-rate", "1e20", "--run-dir", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert "became" in err and "Lower the learning rate: jaxcnn train" in err and "optax" not in err
    assert "no epoch was finished" in err and "accuracy" not in out and not (folder / "result.json").exists()
    assert main(["predict", str(folder), "a.png"]) == 2
    assert "no epoch was finished" in capsys.readouterr().err


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
    assert process.returncode == 130, out
    assert f"jaxcnn train --resume {folder}" in out and "Traceback" not in out
    if "before an epoch" not in out:
        assert main(["evaluate", str(folder)]) == 0


def test_a_narrow_terminal_gets_fewer_columns_and_shorter_names(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    for command in (["summary", "mobilenet_v2"], ["datasets"], ["models"]):
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(len(line) for line in lines if "://" not in line) <= 40 and len(lines) > 10
    assert [line.split()[0] for line in lines[1 : len(names()) + 1]] == names(), "whole, since they are to be typed"
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["summary", "resnet20"]) == 0
    assert "stage1/block1" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error(users_environment):
    command = [sys.executable, "-m", "jaxcnn", "summary", "mobilenet_v2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=users_environment) as process:
        process.stdout.close()
        assert process.wait(timeout=120) == 141
        assert process.stderr.read() == b""


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jaxcnn 0.")


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


def test_doctor_gives_its_verdict_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["doctor"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 60 for line in (first, *lines) if not re.search("https://|XLA_FLAGS", line))
    assert first.startswith("jaxcnn works here") and "WRONG" not in first
    out = "\n".join(lines)
    assert re.search(r"^convolution +right", out, re.M) and re.search(r"^pooling +right", out, re.M)
    assert all(fault.name in out for fault in faults.FAULTS) and "jaxlib" in out and "devices" in out


def test_doctor_is_exit_code_1_only_where_jaxcnn_is_wrong(capsys, monkeypatch):
    monkeypatch.setitem(doctor.CHECKS, "pooling", lambda: 0.5)
    assert main(["doctor"]) == 1
    assert "computes WRONGLY here: pooling off by 5.0e-01" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("backend", "found", "installed", "environment", "said"),
    [
        ("cpu", {}, {}, {}, ""),
        ("gpu", {"GPU": "x"}, {"jax-cuda12-plugin": "0.7.2"}, {}, ""),
        ("cpu", {"GPU": "x"}, {"jax-cuda12-plugin": "0.7.2"}, {}, "there but unused: jax-cuda12-plugin 0.7.2 does not"),
        ("cpu", {"GPU": "x"}, {}, {}, "pip install -U 'jax[cuda12]'"),
        ("cpu", {"TPU": "x"}, {}, {}, "pip install -U 'jax[tpu]'"),
        ("cpu", {"GPU": "x"}, {}, {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS=cpu keeps JAX from it"),
        ("cpu", {"GPU": "x"}, {"jax-cuda12-plugin": "0.10.2.post1"}, {}, "though jax-cuda12-plugin is there"),
    ],
)
def test_doctor_says_which_accelerator_is_not_used(backend, found, installed, environment, said):
    answer = accelerators.unused(backend, found, installed, "0.10.2", environment)
    assert said in answer and bool(said) == bool(answer)


def test_without_arguments_the_help_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxcnn"])
    assert main() == 0
    assert "train" in capsys.readouterr().out


def test_every_dataset_has_a_recipe_with_a_model_that_exists():
    assert set(RECIPES) == set(data.names())
    assert all(recipe.model in names() for recipe in RECIPES.values())
