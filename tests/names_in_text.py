"""Where names stand in backticks: docstrings, messages, pages and notebooks; and what names there are."""

import ast
import builtins
import importlib
import inspect
import keyword
import pkgutil
import re
import tomllib
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import jupytext
import numpy as np
import optax
from jax.experimental import checkify

import jaxcnn
from jaxcnn import data, models

ROOT = Path(__file__).parent.parent
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
CHAIN = re.compile(r"(?<![\w./\-@])([^\W\d]\w*(?:\.[^\W\d]\w*)+)(?![\w/\-])(?<!\.py)(?<!\.md)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)


@dataclass
class Text:
    """A text with names in backticks, and the identifiers of the code around it, which it may speak of."""

    where: str
    spans: list[str]
    around: set[str] = field(default_factory=set)


@cache
def modules() -> dict[str, types.ModuleType]:
    """Every module of the package by its full name."""
    found = pkgutil.walk_packages(jaxcnn.__path__, "jaxcnn.")
    names = ["jaxcnn", *(module.name for module in found if not module.name.endswith("__main__"))]
    return {name: importlib.import_module(name) for name in names}


@cache
def roots() -> dict[str, types.ModuleType | None]:
    """What a chain of names may begin with; None for a library that is not installed here."""
    rooms = {name.split(".")[1]: module for name, module in modules().items() if name.count(".") == 1}
    known = {
        "jaxcnn": jaxcnn,
        "jax": jax,
        "checkify": checkify,
        "jnp": jnp,
        "lax": jax.lax,
        "np": np,
        "numpy": np,
        "optax": optax,
    }
    others = (
        "torch",
        "torchvision",
        "keras",
        "flax",
        "sklearn",
        "safetensors",
        "PIL",
        "functools",
        "multiprocessing",
        "os",
    )
    return known | rooms | {name: _imported(name) for name in others}


def resolve(module: types.ModuleType, names: list[str]) -> object:
    """What the chain leads to; AttributeError where it breaks off."""
    value: object = module
    for name in names:
        if isinstance(value, types.ModuleType) and not hasattr(value, name):
            value = _imported(f"{value.__name__}.{name}")
        elif inspect.isclass(value) and name in fields(value):
            return None  # a field has a value in instances alone
        else:
            value = getattr(value, name)
        if value is None:
            raise AttributeError(name)
    return value


@cache
def known() -> set[str]:
    """Every word that names something by itself in any text: public names, their parameters, fields, commands."""
    libraries = (builtins, jax, jax.lax, jnp)
    words = {*keyword.kwlist, *roots(), *models.names(), *data.names(), *(n for each in libraries for n in dir(each))}
    for name, module in modules().items():
        words.add(name.rsplit(".", 1)[-1])
        public = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
        classes = [value for value in vars(module).values() if inspect.isclass(value)]
        words |= public.keys()
        for value in [*public.values(), *classes]:
            words |= parameters(value) or set()
            words |= fields(value) if inspect.isclass(value) and value.__module__.startswith("jaxcnn") else set()
    requirements = [each for extra in project()["optional-dependencies"].values() for each in extra]
    words |= {re.match(r"[\w-]+", each)[0] for each in [*requirements, *project()["dependencies"]]}
    return words | set(project()["optional-dependencies"]) | words_in_strings("cli") | environment()


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@cache
def words_in_strings(room: str) -> set[str]:
    """Strings of one word in the files of a room: for the command, the names of its subcommands among them."""
    trees = map(parse, (ROOT / "jaxcnn" / room).rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {node.value for node in nodes if isinstance(node.value, str) and node.value.isidentifier()}


@cache
def environment() -> set[str]:
    """The variables of the environment that some file reads."""
    files = [path for room in ("jaxcnn", "tests", "notebooks") for path in (ROOT / room).rglob("*.py")]
    return {word for path in files for word in re.findall(r'"(JAXCNN_\w+)"', path.read_text(encoding="utf-8"))}


@cache
def attributes() -> set[str]:
    """What may stand behind the dot of a variable: fields and methods of our classes and of arrays."""
    classes = [value for module in modules().values() for value in vars(module).values() if inspect.isclass(value)]
    ours = [each for each in classes if each.__module__.startswith("jaxcnn")]
    return {name for each in (*ours, jax.Array, np.ndarray, dict, str, np.random.Generator) for name in fields(each)}


def fields(cls: type) -> set[str]:
    ours = [base for base in cls.__mro__ if base.__module__.startswith("jaxcnn")]
    return {*dir(cls), *(name for base in ours for name in inspect.get_annotations(base))}


def parameters(function: object) -> set[str] | None:
    """Names that a call may give; None where any will do or nothing is known."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in given) else {p.name for p in given}


# ------------------------------------------------------------------------------------------------------------- texts


def texts() -> list[Text]:
    sources = [text for path in sorted((ROOT / "jaxcnn").rglob("*.py")) for text in of_source(path)]
    rooms = ("docs", "jaxcnn", "experiments", ".github")
    pages = sorted(
        [  # but the history, which may name what is gone
            *(page for page in ROOT.glob("*.md") if not page.name.startswith("CHANGE")),
            *(page for room in rooms for page in (ROOT / room).rglob("*.md")),
        ]
    )
    return [*sources, *map(of_page, pages), *map(of_notebook, sorted((ROOT / "notebooks").glob("*.py")))]


def of_source(path: Path) -> list[Text]:
    """The docstrings and the messages of a file, each with the identifiers of its file."""
    tree = parse(path)
    around = identifiers(tree) if path.name != "__init__.py" else identifiers_in(path.parent)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = [piece.value if isinstance(piece, ast.Constant) else "…" for piece in node.values]
            found.append((node.lineno, "".join(pieces)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            found.append((node.lineno, node.value))
    name = path.relative_to(ROOT)
    return [
        Text(f"{name}:{line}", [*SPAN.findall(text), *unmarked(text)], around | introduced(text))
        for line, text in found
    ]


def introduced(text: str) -> set[str]:
    """Names that a text itself gives to parts of a value or call: `(train_state, images) -> (loss_sum, correct)`."""
    return {name for span in SPAN.findall(text) if "->" in span for name in words(span)}


def unmarked(text: str) -> list[str]:
    """Names in our rooms that stand in a docstring or message without backticks: `room.function:` before an error."""
    prose = re.sub(r"^ *(>>>|\.\.\.) .*$", "", SPAN.sub("", text), flags=re.M)
    return [chain for chain in CHAIN.findall(prose) if f"jaxcnn.{chain.split('.')[0]}" in modules()]


def of_page(path: Path) -> Text:
    text = path.read_text(encoding="utf-8")
    around = identifiers_in(path.parent) if ROOT / "jaxcnn" in path.parents else set()
    around |= identifiers_in(ROOT / "jaxcnn" / path.stem) if path.parent.name == "api" else set()
    for place in re.findall(r"`((?:jaxcnn|tests|experiments)/[\w/]*(?:\.py)?)`", text):  # what the page is about
        around |= identifiers(parse(ROOT / place)) if place.endswith(".py") else identifiers_in(ROOT / place)
    for _, code in FENCE.findall(text):
        around |= words(code)
    return Text(str(path.relative_to(ROOT)), SPAN.findall(FENCE.sub("", text)), around)


def of_notebook(path: Path) -> Text:
    cells = jupytext.read(path).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return Text(str(path.relative_to(ROOT)), SPAN.findall(FENCE.sub("", prose)), words(code))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def identifiers_in(folder: Path) -> set[str]:
    """Those of the files beside a page or a room's first file."""
    return {name for path in folder.glob("*.py") for name in identifiers(parse(path))}


def words(code: str) -> set[str]:
    """Every word of a piece of code, whatever language it is in."""
    return set(re.findall(r"[^\W\d]\w*", code))


def identifiers(tree: ast.AST) -> set[str]:
    """Names, parameters, attributes, keywords, imports and words in strings other than prose."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found |= {*name.split("."), other or name}
            case ast.Constant(value=str(word)) if " " not in word:
                found |= words(word)
    return found


def _imported(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
