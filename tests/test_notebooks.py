"""The notebooks run whole, at small size, each in a fresh kernel; text and .ipynb hold the same cells."""

import os
import re
import sys
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
MOST_BYTES = 700_000


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


def printed(notebook):
    """What the cells printed, and the kinds of what else they show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [set(output.data) for output in outputs if "data" in output]
    return "".join(output.text for output in outputs if output.get("name") == "stdout"), shown


def test_there_are_notebooks():
    assert NAMES and sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES
    assert [name.split("_")[0] for name in NAMES] == [str(n + 1) for n in range(len(NAMES))]


@pytest.mark.parametrize("name", NAMES)
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
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_title_badge_and_installation(name):
    title, install, imports, *_ = text_of(name).cells
    number = name.split("_")[0]
    address = f"https://colab.research.google.com/github/jaxcnn/jaxcnn/blob/main/notebooks/{name}.ipynb"
    assert title.source.startswith(f"# {number}. ")
    assert f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})" in title.source
    assert install.source == text_of(NAMES[0]).cells[1].source
    assert '%pip install -q "jaxcnn[cli] @ git+https://github.com/jaxcnn/jaxcnn"' in install.source
    assert 'SMALL = "JAXCNN_SMALL" in os.environ' in imports.source and "jax.devices()" in imports.source


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
