"""The notebooks run whole, at small size, each in a fresh kernel; text and .ipynb hold the same cells."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import jupytext
import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
AGAIN = "jupytext --to ipynb notebooks/{0}.py && jupyter execute --inplace notebooks/{0}.ipynb"  # writes the .ipynb
SECONDS_PER_CELL = 300
MOST_BYTES = 1_500_000
ADDRESS = "jaxcnn[cli] @ git+https://github.com/jaxcnn/jaxcnn"
# What is no picture of the lesson: other data in place of its own, a failure, a path of the machine that ran it.
NOT_FOR_SHOW = r"In place of|stand-?in|no connection|no photos|JAXCNN_SMALL|Warning|-packages|/(home|root|tmp|Users)/"


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder to run in. Nothing of Jupyter is read from the user's home, or written to it."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    work = tmp_path / "work"
    work.mkdir()
    return work


def execute(notebook, folder):
    """Run every cell by the Python that runs the tests; CellExecutionError at the first that fails."""
    specs = KernelSpecManager(kernel_dirs=[])  # no installed kernel, whatever its name: ipykernel's own
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_spec_manager=specs),
        timeout=SECONDS_PER_CELL,
        resources={"metadata": {"path": str(folder)}},
    )
    # The checkout, not an installed copy; as a user's machine, without the devices that conftest.py adds.
    environment = os.environ | {"JAXCNN_SMALL": "1", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    return client.execute(env=environment, cleanup_kc=True)


def text_of(name):
    return jupytext.read(FOLDER / f"{name}.py")


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(notebook):
    """What the cells printed, and the kinds of what else they show."""
    outputs = outputs_of(notebook)
    shown = [set(output.data) for output in outputs if "data" in output]
    return "".join(output.text for output in outputs if output.get("name") == "stdout"), shown


def test_there_are_notebooks():
    assert NAMES and sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    assert [name.split("_")[0] for name in NAMES] == [str(n + 1) for n in range(len(NAMES))]


@pytest.mark.parametrize("name", [*NAMES[:2], *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[2:])])
def test_it_runs_whole(name, scratch):
    done = execute(text_of(name), scratch)
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code" and cell.source)
    text, shown = printed(done)
    assert re.search(r"jax \d+\.\d+\S*, on \d+ × \w+", text), "device and versions"
    assert any(kinds & {"image/png", "image/jpeg"} for kinds in shown), "a figure, not its repr"


@pytest.mark.parametrize("name", NAMES)
def test_the_ipynb_holds_the_same_cells_and_the_outputs_of_a_run(name):
    path = FOLDER / f"{name}.ipynb"
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    assert cells(stored) == cells(text_of(name)), AGAIN.format(name)
    assert stored.metadata.jupytext.formats == "ipynb,py:percent"
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), AGAIN.format(name)
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_of_the_lesson_itself(name):
    """Else run it again where its files are: JAXCNN_DATA_DIR=DIR, and the command of the test above."""
    stored = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs_of(stored)]
    assert not re.search(NOT_FOR_SHOW, "\n".join(texts))


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_title_badge_and_installation(name):
    title, install, imports, *_ = text_of(name).cells
    number = name.split("_")[0]
    address = f"https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/{name}.ipynb"
    assert title.source.startswith(f"# {number}. ")
    assert f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})" in title.source
    assert install.source == text_of(NAMES[0]).cells[1].source
    assert f'%pip install -q {{kept}} "{ADDRESS}"' in install.source
    assert 'SMALL = "JAXCNN_SMALL" in os.environ' in imports.source


def wheel(folder, name, version, requires="", **modules):
    """A package of a few lines, for pip to install."""
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", about)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
        for path, text in modules.items():
            file.writestr(path.replace("__", "/") + ".py", text)


@pytest.mark.parametrize("before", ["0.7.2", None], ids=["jax is there", "no jax"])
def test_the_first_cell_leaves_an_installed_jax_as_it_is(before, tmp_path):
    """By pip itself, in a new environment, where the newest of all else would bring a newer jax."""
    for version in ("0.7.2", "0.10.2"):
        wheel(tmp_path, "jax", version)
    wheel(tmp_path, "optax", "0.2.5")
    wheel(tmp_path, "optax", "0.3.0", "Requires-Dist: jax>=0.10\n")
    needs = 'Requires-Dist: jax>=0.7.2\nRequires-Dist: optax>=0.2.5; extra == "cli"\nProvides-Extra: cli\n'
    wheel(tmp_path, "jaxcnn", "0.1.0", needs, jaxcnn__cli__about="def about(): return 'it works'")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}

    def run(*arguments):
        done = subprocess.run([python, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    if before:
        run("-m", "pip", "install", f"jax=={before}")
    cell = text_of(NAMES[0]).cells[1].source.replace(ADDRESS, "jaxcnn[cli]")
    magic = re.search(r"%pip (.*)", cell)  # Jupyter puts in what stands in braces, and runs pip
    command = f"__import__('os').system(__import__('sys').executable + f''' -m pip {magic[1]}''')"
    assert run("-c", cell.replace(magic[0], command)).endswith("it works\n")
    installed = run("-m", "pip", "list", "--format=freeze").split()
    assert f"jax=={before or '0.10.2'}" in installed
    assert f"optax=={'0.2.5' if before else '0.3.0'}" in installed


@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_in_any_cell_fails(where, scratch):
    sources = ["x = 1", "x += 1", "print(x)"]
    sources[where] += "\nraise RuntimeError('seeded')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with pytest.raises(CellExecutionError, match="seeded"):
        execute(notebook, scratch)


def test_the_kernel_is_this_python_at_small_size(scratch):
    source = "import os, sys, jaxcnn\nprint(sys.executable, jaxcnn.__file__, os.environ['JAXCNN_SMALL'], os.getcwd())"
    done = execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), scratch)
    assert printed(done)[0].split() == [sys.executable, str(ROOT / "jaxcnn" / "__init__.py"), "1", str(scratch)]
