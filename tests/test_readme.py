"""What the README says is what is so."""

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for word, text in fences if word == language]


def test_ci_runs_the_readmes_test_line():
    main_line, test_line = (block.strip() for block in blocks("sh"))
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert test_line in ci and test_line.endswith("python -m pytest")
    assert main_line.endswith("&& jaxcnn train") and "\njaxcnn train" in ci


def test_the_sessions_print_what_they_show():
    results = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert results.attempted >= 6 and results.failed == 0


def test_the_example_runs_and_prints_the_shapes_it_shows(capsys):
    example = next(block for block in blocks("python") if "train.fit" in block)
    shown = next(block for block in blocks("") if "digits_cnn, input" in block)
    assert len(example.strip().splitlines()) <= 25
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    table = shown.split("epoch 1/5")[0]
    assert table in printed, "the summary, to the letter"
    assert shown.splitlines()[-1] == printed.splitlines()[-1], "the shapes of gradient and Hessian"
    accuracy = [float(re.search(r"'accuracy': ([\d.]+)", text).group(1)) for text in (shown, printed)]
    assert abs(accuracy[0] - accuracy[1]) < 0.02, "another machine may round otherwise"


def test_the_pictures_can_be_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = next(block for block in blocks("python") if "viz.slide(" in block)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "slide.html").exists() and "whole network" in capsys.readouterr().out


def test_a_clone_and_the_time_of_the_tests_stand_with_the_two_commands():
    section = README.split("## Two commands")[1].split("\n## ")[0]
    assert "git clone" in section and re.search(r"tests, which take \d+ to \d+ minutes", section)


def test_the_rooms_and_files_of_the_tree_exist():
    tree = next(block for block in blocks("") if block.startswith("jaxcnn/"))
    package = ROOT / "jaxcnn"
    rooms = re.findall(r"^[├└]── (\w+)/", tree, re.M)
    assert sorted(rooms) == sorted(path.parent.name for path in package.glob("*/__init__.py"))
    for name in re.findall(r"(\w+)\.py", tree):
        assert list((package / "ops").rglob(f"{name}.py")), name


def test_every_path_that_is_named_exists():
    for path in re.findall(r"`((?:jaxcnn|experiments|tests)/[\w/.]+)`", README):
        assert (ROOT / path).exists(), path
