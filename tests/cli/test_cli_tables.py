"""The subcommands that print tables, the help, and the terminal around them."""

import re
import subprocess
import sys

import cli_tools
import pytest

from jaxcnn import data
from jaxcnn.cli import accelerators, doctor, faults, main
from jaxcnn.cli.recipes import RECIPES
from jaxcnn.models import names

no_terminal, tiny, run = cli_tools.no_terminal, cli_tools.tiny, cli_tools.run


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
