"""Every name in backticks exists: in docstrings, messages, pages, the README and the notebooks.

A span in backticks is read as Python, "…" standing for anything. In it

- a chain of names that begins with a room of jaxcnn, or a library, leads to something: `ops.conv`, `jax.lax.scan`,
- what stands behind the dot of a variable is a field or method of some class of jaxcnn, or of an array,
- a call's keywords are parameters of what is called,
- a word alone is a public name, a parameter, a field, a command, or an identifier of the code around the text.

Files of the project, commands and extras exist too. What is not Python is searched for chains alone.
"""

import ast
import inspect
import re

import pytest
from names_in_text import (
    CHAIN,
    ROOT,
    Text,
    attributes,
    known,
    modules,
    of_source,
    parameters,
    project,
    resolve,
    roots,
    texts,
    words_in_strings,
)

EXCEPTIONS = {  # spans
    "C_in": "channels, in shapes: a symbol of the equations",
    "Generator.permutation": "numpy.random.Generator's, named in NumPy's words",
    "splits.train.name": "the name in the caller's own code",
    "DIR": "the user's folder",
}
PEOPLES = "in other people's files"
OTHERS = {  # words of libraries that need not be installed, and of data
    "permute": "PyTorch",
    "load_state_dict": "PyTorch",
    "state_dict": "PyTorch",
    "Lambda": "Keras",
    "dp_accounting": "a package",
    "pillow_heif": "a package",
    **dict.fromkeys(("training_set", "seg_train", "testing", "valid"), f"a folder's name {PEOPLES}"),
    **dict.fromkeys(("Train", "flowers_train", "dev", "__MACOSX"), f"a folder's name {PEOPLES}"),
    **dict.fromkeys(
        ("x_train", "y_train", "x_test", "y_test", "train_images", "train_labels"), f"an array's name {PEOPLES}"
    ),
    **dict.fromkeys(("letters", "emnist_letters", "emnist_digits"), "parts of EMNIST"),
}
FILE_OF_DATA = re.compile(r"\S+\.(npz|csv|bin|mat|zip|gz|jpe?g|png|gif|json|h5|keras|pth|safetensors|db)")

TEXTS = texts()
ROOMS = ("jaxcnn", "tests", "experiments", "docs", "notebooks", ".ci", ".github")
PLACES = [*ROOT.glob("*.*"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.*"))]
FILES = [str(path.relative_to(ROOT)) for path in PLACES]


def faults(text: Text) -> list[str]:
    """What is wrong with the names of a text."""
    found = []
    for span in text.spans:
        if span not in EXCEPTIONS:
            found += [f"`{span}`: {fault}" for fault in faults_of(span, text.around)]
    return found


def faults_of(span: str, around: set[str]) -> list[str]:
    if FILE_OF_DATA.fullmatch(span) or any(f"/{file}".endswith(f"/{span}") for file in FILES):
        return []
    if re.fullmatch(r"[\w./]+\.(py|md|txt|ipynb|toml|yml)", span):
        return ["no such file"]
    if re.match(r"(jaxcnn|python|pip|git|ruff|XLA_FLAGS=\S+) ", span):
        return list(faults_of_command(span))
    tree = parsed(span)
    if tree is None:
        return [fault for chain in CHAIN.findall(span) for fault in faults_of_chain(chain.split("."), around, False)]
    return [fault for node in ast.walk(tree) for fault in faults_of_node(node, around, tree)]


def parsed(span: str) -> ast.expr | None:
    if re.search(r"\w-\w", span):  # a file's name, or words with a hyphen
        return None
    try:
        return ast.parse(span.replace("…", "..."), mode="eval").body
    except SyntaxError:
        return None


def faults_of_node(node, around, whole):
    if isinstance(node, ast.Attribute):
        if names := chain_of(node):
            yield from faults_of_chain(names, around, True)
    elif isinstance(node, ast.Name) and node in (whole, getattr(whole, "func", None)):
        yield from () if node.id in around | known() | OTHERS.keys() else ["names nothing"]
    if isinstance(node, ast.Call) and (function := callee(node.func)) is not None:
        allowed = parameters(function)
        for word in node.keywords:
            if allowed is not None and word.arg and word.arg not in allowed:
                yield f"has no parameter {word.arg}"


def faults_of_chain(names, around, is_python):
    head, *rest = names
    if head in roots():
        if roots()[head] is None:
            return
        try:
            resolve(roots()[head], rest)
        except AttributeError as error:
            yield f"{head} has no {error}" if len(rest) == 1 else f"{'.'.join(names)} leads nowhere"
    elif any(leads_somewhere(module, rest) for name, module in modules().items() if name.endswith(f".{head}")):
        return
    elif is_python and head in around | known():
        yield from (f"no class has .{name}" for name in rest if name not in attributes() | around | OTHERS.keys())
    elif is_python and head not in OTHERS:
        yield f"{head} names nothing"


def leads_somewhere(module, names) -> bool:
    try:
        resolve(module, names)
    except AttributeError:
        return False
    return True


def faults_of_command(span):
    first, *words = span.split()
    if first == "jaxcnn" and words[0].isalpha() and words[0] not in words_in_strings("cli"):
        yield f"no command {words[0]}"
    if first == "pip":
        for extras in re.findall(r"(?:\.|jaxcnn)\[([\w,]+)\]", span):
            yield from (f"no extra {e}" for e in extras.split(",") if e not in project()["optional-dependencies"])
    if first == "python" and words[0].endswith(".py"):
        path = ROOT / words[0]
        if not path.exists():
            yield "no such file"
            return
        source = path.read_text(encoding="utf-8")
        flags = [word for word in words if word.startswith("--")]
        yield from (f"no option {f}" for f in flags if f not in source and f[2:].replace("-", "_") not in source)


def chain_of(node) -> list[str]:
    """a.b.c as a list, from its outermost attribute; empty for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def callee(node) -> object:
    """What a call calls, where that is a public name that is one and the same everywhere."""
    names = chain_of(node) or ([node.id] if isinstance(node, ast.Name) else [])
    if names and names[0] in roots() and roots()[names[0]] is not None:
        try:
            return resolve(roots()[names[0]], names[1:])
        except AttributeError:
            return None
    defined = [getattr(module, names[0], None) for module in modules().values()] if len(names) == 1 else []
    ours = {id(inspect.unwrap(v)): v for v in defined if callable(v) and str(v.__module__).startswith("jaxcnn")}
    return next(iter(ours.values())) if len(ours) == 1 else None


def test_there_are_texts_of_every_kind():
    places = {text.where.split("/")[0] for text in TEXTS}
    assert {"jaxcnn", "docs", "notebooks", "experiments", "README.md"} <= places
    assert sum(len(text.spans) for text in TEXTS) > 1000


@pytest.mark.parametrize("where", sorted({text.where.split(":")[0] for text in TEXTS if text.spans}))
def test_every_name_in_backticks_exists(where):
    found = [f"{t.where}: {fault}" for t in TEXTS if t.where.split(":")[0] == where for fault in faults(t)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("span", "says"),
    [
        ("ops.conv", ""),
        ("ops.convolve", "ops has no convolve"),
        ("models.surgery.with_head", ""),
        ("models.surgery.with_hat(model)", "surgery"),
        ("optax.contrib.differentially_private_aggregate", ""),
        ("optax.contrib.private", "leads nowhere"),
        ("{name: jnp.assarray(a) for name, a in x}", "jnp has no assarray"),
        ("Conv(16, 3, strides=2)", "no parameter strides"),
        ("train.fit(…, resume=True)", ""),
        ("train.fit(…, verbose=0)", "no parameter verbose"),
        ("train_state.params", ""),
        ("train_state.weigths", "no class has .weigths"),
        ("kernel_sise", "names nothing"),
        ("with ops.convolve(x) as y:", "ops has no convolve"),
        ("jaxcnn trian", "no command trian"),
        ("pip install '.[cli,docks]'", "no extra docks"),
        ("python experiments/digits.py --seedling 3", "no option --seedling"),
        ("no_such_page.md", "no such file"),
        ("y = x ⊗ w", ""),
    ],
)
def test_the_search_finds_what_it_is_for(span, says):
    found = "; ".join(faults_of(span, {"train_state", "x"}))
    assert says in found and bool(says) == bool(found)


def test_the_search_reads_messages_and_docstrings(tmp_path, monkeypatch):
    source = '''def f(size):
    """Use `models.wiht_head`, or viz.no_such."""
    raise ValueError(f"viz.no_name: `sise` must be {size}; " "see `train.fti`")
'''
    (tmp_path / "f.py").write_text(source)
    with monkeypatch.context() as patch:  # for this alone: what is known is kept, and is the project's
        patch.setattr("names_in_text.ROOT", tmp_path)
        texts = list(of_source(tmp_path / "f.py"))
    found = "; ".join(fault for text in texts for fault in faults(text))
    assert all(word in found for word in ("wiht_head", "no_such", "no_name", "sise", "fti"))


def test_every_exception_is_needed():
    assert set(EXCEPTIONS) <= {span for text in TEXTS for span in text.spans}
    assert all(faults_of(span, set()) for span in EXCEPTIONS)


BRITISH = re.compile(
    "isation|([lntr]|[xnt]im)is(e|ing|ed|er)(_|$)|colour|centre|grey|behaviour|neighbour|licence|labell"
)


@pytest.mark.parametrize("room", sorted(name for name in modules() if hasattr(modules()[name], "__all__")))
def test_public_names_have_american_spelling(room):
    """docs/design.md#how-it-is-written: public names, their parameters and their fields."""
    public = [getattr(modules()[room], name) for name in modules()[room].__all__]
    named = {value.__name__ for value in public if hasattr(value, "__name__")}
    found = named.union(*(parameters(value) or () for value in public if callable(value)))
    assert not {name for name in found if BRITISH.search(name)}


def test_the_search_finds_british_spelling():
    assert all(map(BRITISH.search, ("normalise", "activation_maximisation", "colour", "maximising", "licence")))
    others = ("noise", "depthwise", "pairwise", "raises", "precise", "promised", "normalize")
    assert not any(map(BRITISH.search, others))
