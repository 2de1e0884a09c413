"""`jaxcnn train --resume`: what it goes on with, and what it refuses."""

import json
import re
import shutil

import cli_tools
import pytest

from jaxcnn.cli import main

no_terminal, tiny, run = cli_tools.no_terminal, cli_tools.tiny, cli_tools.run


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


def test_devices_share_each_batch_and_others_may_go_on(run, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *cli_tools.QUICK, "--run-dir", str(folder), "--devices", "all"]) == 0
    assert "fit: 4 devices share each batch of 128 images" in capsys.readouterr().out
    for name, key in (("command.json", "devices"), ("config.json", "devices")):
        assert json.loads((folder / name).read_text())[key] == ("all" if name == "command.json" else 4)
    accuracies = [json.loads((each / "result.json").read_text())["test_accuracy"] for each in (folder, run)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert main(["train", "--resume", str(folder), "--epochs", "3", "--devices", "2"]) == 0
    assert "fit: 2 devices share" in capsys.readouterr().out
    assert json.loads((folder / "command.json").read_text())["devices"] == 2
    assert main(["evaluate", str(folder), "--devices", "3"]) == 0


@pytest.mark.parametrize(
    ("count", "message"),
    [("5", "--devices 5 is more than JAX has here: 4"), ("0", "--devices must be at least 1"), ("many", "--devices")],
)
def test_devices_that_are_not_there(run, count, message, capsys):
    for command in (["evaluate", str(run)], ["train", "--resume", str(run)]):
        assert main([*command, "--devices", count]) == 2
        assert message in capsys.readouterr().err


def test_resume_begins_a_run_that_has_no_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    command = ["train", *cli_tools.QUICK, "--run-dir", str(folder), "--resume"]
    assert main(command) == 0
    assert "holds no run yet: begun anew" in capsys.readouterr().out
    assert main(command) == 0, "all is done, and the command may be given again"
    (folder / "checkpoint.safetensors").unlink()
    assert main(["train", "--resume", str(folder)]) == 0
    assert "no checkpoint yet: begun anew" in capsys.readouterr().out


def test_fewer_epochs_than_are_done_are_refused(run, capsys):
    assert main(["train", "--resume", str(run), "--epochs", "1"]) == 2
    assert "--epochs must be at least the 2" in capsys.readouterr().err


def test_a_number_beyond_all_bounds_in_command_json_names_the_field(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    asked = json.loads((folder / "command.json").read_text())
    (folder / "command.json").write_text(json.dumps(asked | {"seed": 2**70}))
    assert main(["train", "--resume", str(folder)]) == 1
    assert re.search(r"command\.json: .*'seed'; found '1180591620717411303424'", capsys.readouterr().err)


@pytest.mark.parametrize(
    "field", ["dataset", "model", "epochs", "classes", "augment", "data_dir", "keep", "size", "devices"]
)
def test_a_wrong_type_in_command_json_names_the_field(run, field, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    asked = json.loads((folder / "command.json").read_text())
    (folder / "command.json").write_text(json.dumps(asked | {field: {"a": 1}}))
    assert main(["evaluate", str(folder)]) == 1
    err = capsys.readouterr().err
    assert ("command.json" in err and f"'{field}'" in err) or ("--data-dir" in err and len(err.splitlines()) == 1)
