"""The project around the code: its license, version, address and workflow, each said once or the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import jaxcnn

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
WRITTEN = (".md", ".py", ".ipynb", ".toml", ".cff", ".yml", ".html")
FOLDERS = (".github", "docs", "experiments", "jaxcnn", "notebooks", "tests")
FILES = [
    *(path for path in ROOT.glob("*.*") if path.suffix in WRITTEN),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if path.suffix in WRITTEN),
]
YAML = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff"]
OF_THE_PROJECT = re.compile(r"(?:github\.com|githubusercontent\.com|research\.google\.com/github)/([\w.-]+/jaxcnn)\b")
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------- license, version, address


def test_the_license_is_apache_and_named_everywhere():
    text = read("LICENSE")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"] and "END OF TERMS AND CONDITIONS" in text
    assert "the jaxcnn authors" in text
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert PROJECT["authors"] == [{"name": "the jaxcnn authors"}]
    assert yaml.safe_load(read("CITATION.cff"))["license"] == PROJECT["license"]
    assert "(LICENSE)" in read("README.md")


def test_the_version_stands_once():
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    assert str(Version(jaxcnn.__version__)) == jaxcnn.__version__
    assert re.search(rf"^## {re.escape(jaxcnn.__version__)}\b", read("CHANGELOG.md"), re.M), "a version has its changes"
    assert "version" not in yaml.safe_load(read("CITATION.cff"))


def test_the_address_is_the_same_everywhere():
    """Links to the repository itself, and to its notebooks in Colab; links to other repositories are as they are."""
    owner = ADDRESS.removeprefix("https://github.com/")
    wrong = []
    for path in FILES:
        places = OF_THE_PROJECT.findall(path.read_text(encoding="utf-8"))
        wrong += [f"{path.relative_to(ROOT)}: {place}" for place in places if place != owner]
    assert not wrong
    assert all(url.startswith(ADDRESS) for url in PROJECT["urls"].values())
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == ADDRESS
    assert f"git clone {ADDRESS}" in read("README.md") and f"git clone {ADDRESS}" in read("CONTRIBUTING.md")


def test_every_notebook_has_a_badge_in_the_readme():
    readme = read("README.md")
    owner = ADDRESS.removeprefix("https://github.com/")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"https://colab.research.google.com/github/{owner}/blob/main/notebooks/{path.name}" in readme


# ------------------------------------------------------------------------------------------------------------ versions


def test_the_oldest_versions_are_those_that_are_promised():
    """A constraint on a package that we require is the lower bound of our requirement."""
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    required = [each for each in [*PROJECT["dependencies"], *extras] if re.fullmatch(r"[\w-]+>=[\d.]+", each)]
    floors = dict(each.split(">=") for each in required)
    constraints = dict(re.findall(r"^([\w-]+)==([\d.]+)", read(".ci/oldest.txt"), re.M))
    assert {"jax", "jaxlib"} <= constraints.keys()
    of_ours = constraints.keys() & floors.keys()
    assert len(of_ours) > 10
    wrong = {n: (floors[n], constraints[n]) for n in of_ours if Version(floors[n]) != Version(constraints[n])}
    assert not wrong


def test_the_python_versions_are_the_same_everywhere():
    stated = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.M)
    assert PROJECT["requires-python"] == f">={stated[0]}"
    tested = {row["python"] for row in WORKFLOW["jobs"]["suite"]["strategy"]["matrix"]["include"]}
    assert tested <= set(stated) and stated[0] in tested


# ------------------------------------------------------------------------------------------------------------ workflow


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_yaml(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_a_form_has_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    labels = [part["attributes"]["label"] for part in form["body"]]
    assert len(set(labels)) == len(labels) and {part["type"] for part in form["body"]} <= {"textarea", "dropdown"}


def test_the_workflow_is_bounded_and_can_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
    for job in WORKFLOW["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert any("setup-python" in step.get("uses", "") and step["with"]["cache"] == "pip" for step in job["steps"])


def test_the_workflow_has_each_job():
    commands = {name: [s["run"] for s in job["steps"] if "run" in s] for name, job in WORKFLOW["jobs"].items()}
    assert commands["lint"] == ["pip install '.[lint]'", "ruff check .", "ruff format --check .", "mypy"]
    assert commands["suite"] == [".ci/run"] and commands["parity"] == [".ci/parity"]
    assert "python -m sphinx -W -c docs . build/pages" in commands["docs"]
    rows = WORKFLOW["jobs"]["suite"]["strategy"]["matrix"]["include"]
    assert [row["versions"] for row in rows] == ["oldest", "newest"]
    assert (ROOT / rows[0]["constraint"]).exists()
