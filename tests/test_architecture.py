"""docs/design.md#rooms, read from the source: who imports whom, what is nowhere, and what every file and name has."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcnn
from jaxcnn.ops.bilinear import OPERATIONS

PACKAGE = Path(jaxcnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Imports go down this list: a room may import those after it.
ORDER = ["cli", "viz", "inspect", "population", "train", "weights", "models", "layers", "ops"]
APART = ["data", "textbook"]  # import no room of that list; from weights up data is imported, the textbook by cli alone
GROUND = ["files"]  # imports no room, and is for other rooms alone
MAY_IMPORT = {room: set(ORDER[i + 1 :]) for i, room in enumerate(ORDER)} | {room: set() for room in (*APART, *GROUND)}
MAY_IMPORT["train"] -= {"models", "layers"}  # training is given `apply`, and knows no model
for above in ("viz", "inspect", "population", "train", "weights"):
    MAY_IMPORT[above] |= {"data", "files"}
MAY_IMPORT["cli"] |= {"data", "files", "textbook"}
MAY_IMPORT["data"] |= {"files"}
ROOMS = [name for name in (*ORDER, *APART) if (PACKAGE / name / "__init__.py").exists()]


def short(path):
    return str(path.relative_to(PACKAGE))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree):
    """Every imported module, in functions too; what comes from `jaxcnn` or `jax` itself, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import does not say its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(node):
    """`jax.lax.conv` of a chain of attributes; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else ""
    return ""


def uses(tree):
    """Imported names and chains of attributes."""
    return {*imports(tree), *(dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))}


every_file = pytest.mark.parametrize("path", FILES, ids=short)


@pytest.fixture
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------------------- imports


def test_there_are_files_to_read():
    assert {"layers", "models", "ops", "data", "population", "train", "weights"} <= set(ROOMS)
    assert len(FILES) > 30


def test_the_design_page_lists_the_rooms_in_this_order():
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page.split("## Rooms")[1].split("###")[0], re.M)
    assert listed == [name for name in ORDER if name in ROOMS]
    assert all(f"`{name}`" in page for name in (*APART, *GROUND))


@every_file
def test_imports_go_down_only(path, tree):
    targets = {name.split(".")[1] for name in imports(tree) if name.startswith("jaxcnn.")}
    targets -= {"__version__", "errors", "moved"}  # which import nothing
    if path == PACKAGE / "__init__.py":  # the surface
        return
    here = room(path)
    if here in ("errors", "moved"):
        assert not targets
        return
    if here == "__main__":
        assert targets <= {"cli"}
        return
    assert here in MAY_IMPORT, f"{here} is no room of docs/design.md#rooms"
    forbidden = targets - MAY_IMPORT[here] - {here}
    assert not forbidden, f"{here} must not import {sorted(forbidden)}"


def test_training_takes_nothing_of_weights_but_the_model_of_a_run_folder():
    files = sorted((PACKAGE / "train").rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    taken = {short(path) for path in files if any("jaxcnn.weights" in name for name in imports(trees[path]))}
    assert taken == {"train/run_folder.py"}


def test_of_weights_what_is_ours_imports_nothing_of_theirs():
    """But for the face of the room, and published weights, which are theirs in whatever form they come."""
    files = [path for path in FILES if room(path) == "weights" and "foreign" not in path.parts]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    taken = {short(path) for path in files if any("jaxcnn.weights.foreign" in name for name in imports(trees[path]))}
    assert taken == {"weights/__init__.py", "weights/zoo.py"}


@functools.cache
def lent():
    """The modules that each room lends, from docs/design.md#what-a-room-lends."""
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page.split("### What a room lends")[1].split("###")[0], re.M)
    return {room: set(re.findall(r"`(\w+)`", modules)) if modules != "all" else ALL for room, modules in rows}


ALL = {path.stem for path in FILES}


@every_file
def test_a_room_takes_from_others_what_is_public_or_lent(path, tree):
    here = room(path)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.module.startswith("jaxcnn."):
            continue
        _, other, *inside = node.module.split(".")
        if other in (here, "errors", "moved"):
            continue
        if inside:
            assert inside[0] in lent().get(other, ()), f"{other} does not lend {inside[0]}"
        else:
            names, lends = {alias.name for alias in node.names}, lent().get(other, set())
            assert names <= {*getattr(importlib.import_module(node.module), "__all__", ()), *lends}
        assert not any(alias.name.startswith("_") for alias in node.names)


def test_what_is_lent_is_taken():
    taken = {name for path in FILES for name in imports(ast.parse(path.read_text(encoding="utf-8")))}
    for other, modules in lent().items():
        if modules is not ALL:
            assert all(any(name.startswith(f"jaxcnn.{other}.{module}") for name in taken) for module in modules)


@every_file
def test_the_surface_is_for_the_command_and_for_a_model_that_shows_itself(path, tree):
    allowed = room(path) == "cli" or short(path) == "models/model.py"
    assert allowed or "jaxcnn" not in imports(tree)


def test_no_public_name_hides_its_module():
    for path in FILES:
        name = ".".join(("jaxcnn", *path.relative_to(PACKAGE).with_suffix("").parts))
        if path.stem in ("__init__", "__main__"):
            continue
        importlib.import_module(name)
        above, _, own = name.rpartition(".")
        assert inspect.ismodule(getattr(sys.modules[above], own)), name


@pytest.mark.parametrize("path", sorted((PACKAGE / "textbook").glob("*.py")), ids=short)
def test_the_textbook_imports_only_jax_and_itself(path, tree):
    outside = {name for name in imports(tree) if not name.startswith("jaxcnn.textbook.")}
    assert {name.split(".")[0] for name in outside} <= {"jax"}


def test_geometry_imports_no_jax():
    tree = ast.parse((PACKAGE / "ops" / "geometry.py").read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in imports(tree)} & {"jax", "jaxlib", "jaxcnn", "numpy"}


# What of JAX is not public, and where it is used; sharding.py and optional_rules.py say why.
INTERNALS = {
    "ops/bilinear.py": "jax.interpreters.",
    "ops/sharding.py": "jax._src.dispatch",
    "ops/optional_rules.py": "jax._src.checkify",
}


@every_file
def test_the_internals_of_jax_are_touched_in_few_places(path, tree):
    touched = {name for name in uses(tree) if name.startswith(("jax.interpreters", "jax._src", "jaxlib."))}
    touched -= {"jaxlib.__version__"}
    allowed = INTERNALS.get(short(path))
    assert all(allowed and name.startswith(allowed) for name in touched)
    assert bool(touched) == bool(allowed)


WALKERS = {"layers/combining.py", "layers/walk.py"}  # one puts layers together, the other goes over them


@every_file
def test_the_layers_of_a_network_are_walked_over_in_one_place(path, tree):
    """Others ask `layers/walk.py`, so that chains, branches and what stands aside mean the same to all."""
    found = {
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("items", "values")
        and dotted(node.value).endswith(".children")
    }
    assert bool(found) == (short(path) in WALKERS), f"lines {sorted(found)}"


READERS = {"ops/jaxprs.py", "population/bookkeeping.py"}  # the second cuts a program in two; the first reads all others


@every_file
def test_the_equations_of_programs_are_read_in_one_place(path, tree):
    found = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "eqns"}
    assert bool(found) == (short(path) in READERS), f"lines {sorted(found)}"


def test_no_file_names_a_primitive_of_ours():
    """Facts are found by the primitive: by its name they would be lost, in silence, when it is called otherwise."""
    names = {primitive.name for primitive in OPERATIONS} - {"conv", "max_pool"}  # kinds of layers, too
    for path in FILES:
        written = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_word(node)}
        assert room(path) == "ops" or not written & names, short(path)


def is_word(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# ------------------------------------------------------------------------------------------------------- what is not

CONVOLUTION_OF_XLA = re.compile(r"(^|\.)lax\.(conv($|_)|reduce_window|_?select_and_)|conv_general_dilated")


@every_file
def test_no_convolution_or_window_reduction_of_xla(path, tree):
    assert not [name for name in uses(tree) if CONVOLUTION_OF_XLA.search(name)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from jax import lax\nlax.conv_general_dilated(x)", True),
        ("import jax\njax.lax.reduce_window_shape_tuple(x)", True),
        ("from jax.lax import conv", True),
        ("from jax import lax\nlax.conv_transpose(x)", True),
        ("from jax import lax\nlax.convert_element_type(x, 'f4')", False),
        ("from jaxcnn import ops\nops.conv(x)", False),
    ],
)
def test_the_search_finds_what_it_is_for(source, found):
    assert any(CONVOLUTION_OF_XLA.search(name) for name in uses(ast.parse(source))) is found


@every_file
def test_nothing_is_asserted(path, tree):
    """Errors are ValueError and TypeError with a message, also under python -O."""
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


# ------------------------------------------------------------------------------------------------------ what has to be


@every_file
def test_a_file_is_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330, "about 300 lines; 330 is the end"


@every_file
def test_a_file_says_what_it_is_for(path, tree):
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("name", ROOMS)
def test_every_public_name_has_a_docstring(name):
    """One line that ends, and then the parts in the order of docs/design.md#docstrings."""
    module = importlib.import_module(f"jaxcnn.{name}")
    assert module.__doc__ and module.__all__
    parts = ["Args", "Returns", "Raises", "Derivative", "Example", "Source"]
    for public in module.__all__:
        value = getattr(module, public)
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        doc = inspect.cleandoc(value.__doc__ or "")
        assert doc and not doc.startswith(f"{public}("), f"{public} has no docstring"  # a dataclass writes its own
        assert doc.splitlines()[0].rstrip().endswith((".", ":")), f"{public}: the first line is a sentence"
        found = re.findall(rf"^({'|'.join(parts)}):", doc, re.MULTILINE)
        assert found == [part for part in parts if part in found], f"{public}: parts out of order"


def test_the_surface_has_what_it_says():
    assert jaxcnn.__all__ == sorted(jaxcnn.__all__)
    assert all(hasattr(jaxcnn, name) for name in jaxcnn.__all__)


def test_viz_needs_no_import_of_its_own_and_matplotlib_is_only_needed_by_it():
    lines = ["import sys, jaxcnn", "assert 'matplotlib' not in sys.modules", "jaxcnn.viz.curves"]
    subprocess.run([sys.executable, "-c", "; ".join(lines)], cwd=PACKAGE.parent, check=True)
    assert not hasattr(jaxcnn, "vis")
