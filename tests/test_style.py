"""The linter, its formatter and the type checker are content.

They are pinned in the extra `lint`, apart from `test`, and have a job of their own in the workflow: a new version of
them finds new things, and must not fail the tests of somebody who installs jaxcnn. Where the pinned versions are
installed, they run here too.
"""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
PINNED = dict(requirement.split("==") for requirement in EXTRAS["lint"] if "==" in requirement)


def installed(tool: str) -> str | None:
    try:
        return version(tool)
    except PackageNotFoundError:
        return None


@pytest.mark.parametrize(
    "arguments", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=["ruff", "format", "mypy"]
)
def test_tools_find_nothing(arguments):
    tool = arguments[0]
    if installed(tool) != PINNED[tool]:
        pytest.skip(f"{tool} {PINNED[tool]} is not installed: the extra `lint` has it")
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tools_are_pinned_and_apart():
    assert set(PINNED) == {"ruff", "mypy"}
    assert not [each for each in EXTRAS["test"] if re.match("ruff|mypy", each)]
