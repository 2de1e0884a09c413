"""The pages: their code runs, their links lead somewhere, their pictures show what is so, and they build."""

import contextlib
import doctest
import functools
import html.parser
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import tempfile
import types
import urllib.parse
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxcnn
from jaxcnn import population, viz
from jaxcnn.viz import Animation

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / "jaxcnn").rglob("*.md")])
MARKDOWN = [*PAGES, *sorted([*ROOT.glob("*.md"), *(ROOT / "experiments").glob("*.md")])]
PEERS = ("keras", "torch", "flax")  # their code stands beside ours, under their name: ```python keras
OPTIONAL = ("flatbuffers",)  # code that needs a package of no other extra: ```python flatbuffers
MOST_PICTURE_BYTES = 60_000
MOST_GALLERY_BYTES = 150_000  # photos and animations


def short(path):
    return str(path.relative_to(ROOT))


def blocks(page):
    """(word after "python", code) of each Python block that is no session of the interpreter."""
    found = re.findall(r"^```python ?(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [(word, code) for word, code in found if ">>>" not in code]


def load(path):
    """A file of docs/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def run(page):
    """What the page's own blocks define and print, run one after the other in an empty folder."""
    namespace, output = {}, io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(output):
        for word, code in blocks(page):
            if word not in PEERS and (word not in OPTIONAL or importlib.util.find_spec(word)):
                exec(compile(code, page.name, "exec"), namespace)
    return namespace, output.getvalue()


def printed_by(page):
    return run(page)[1]


def test_there_are_pages():
    assert {"index.md", "quickstart.md", "coming_from.md", "faq.md", "design.md", "derivative_rules.md"} <= {
        p.name for p in PAGES
    }


# -------------------------------------------------------------------------------------------------------------- code


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=short)
def test_the_code_runs(page):
    assert {word for word, _ in blocks(page)} <= {"", "all", *PEERS, *OPTIONAL}
    printed_by(page)


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text(encoding="utf-8")], ids=short)
def test_the_sessions_print_what_they_show(page):
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted and not results.failed


@pytest.mark.skipif("JAXCNN_PEERS" not in os.environ, reason="takes 40 s: set JAXCNN_PEERS where they are installed")
@pytest.mark.parametrize("peer", PEERS)
def test_the_code_of_the_others_runs(peer, tmp_path):
    code = [code for word, code in blocks(DOCS / "coming_from.md") if word in ("all", peer)]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if re.fullmatch(r"[\d.]+e-\d\d", line)]
    assert len(printed) == 1 and float(printed[0]) < 1e-5, "logits with the weights brought here"


def test_every_task_has_four_columns():
    text = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    tasks = text.split("\n## ")[1:]
    assert len(tasks) == 10
    for task in tasks:
        columns = re.findall(r"^```python ?(\w*)$", task.split(":::{container}")[1], re.M)
        assert columns == ["", *PEERS], task.splitlines()[0]


def test_the_rules_of_the_page_are_the_derivatives():
    printed = printed_by(ROOT / "jaxcnn" / "ops" / "derivative_rules.md")
    errors = [float(number) for number in re.findall(r"^(\de[+-]\d\d) \(", printed, re.M)]
    assert len(errors) == 6 and max(errors) < 1e-5
    three = re.search(r"^(-?\d+\.\d+) (-?\d+\.\d+) (-?\d+\.\d+)$", printed, re.M).groups()
    np.testing.assert_allclose(np.array(three, float), float(three[0]), rtol=1e-5)


def test_the_recipe_for_private_training_adds_the_noise_that_it_says():
    """As much as algorithm 1 of Abadi et al. (2016): N(0, (σC)²) on the sum of the clipped gradients, then over N."""
    recipe, _ = run(DOCS / "recipes.md")
    images, labels = recipe["training"].images[:16] / 255, recipe["training"].labels[:16]
    keys = jax.random.split(jax.random.key(0), 300)
    draws = jax.vmap(lambda key: recipe["private_gradient"](recipe["params"], images, labels, key))(keys)
    clipped, _ = population.clipped_gradient(recipe["loss"], recipe["params"], images, labels, max_norm=1.0)
    noise = (draws["dense1"]["kernel"] - clipped["dense1"]["kernel"]) * 16
    assert abs(float(noise.std()) / (1.1 * 1.0) - 1) < 0.02 and abs(float(noise.mean())) < 0.02


def test_what_is_said_of_same_padding_is_printed():
    page = DOCS / "faq.md"
    (said,) = re.findall(r"^# (8 SAME .*), but (8 1 .*): as", page.read_text(encoding="utf-8"), re.M)
    assert set(said) <= set(printed_by(page).splitlines())


# ------------------------------------------------------------------------------------------------------------- links


def slug(heading):
    """The anchor of a heading, as GitHub and MyST make it."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


def prose(page):
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page):
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose(page), re.M)}


@pytest.mark.parametrize("page", MARKDOWN, ids=short)
def test_relative_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and ROOT in target.parents, link
        assert not anchor or anchor in anchors(target), link


def test_pages_that_code_cites_exist():
    """As docs/faq.md#installing in a docstring, comment or message: the file, and the heading."""
    cited = []
    for room in ("jaxcnn", "tests", "experiments", "docs", ".ci"):
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            cited += [
                (short(path), *match) for match in re.findall(r"((?:docs|jaxcnn)/[\w/]+\.md)(?:#([\w-]+))?", text)
            ]
    assert len(cited) > 4
    for path, page, anchor in cited:
        assert (ROOT / page).exists(), f"{path} cites {page}"
        assert not anchor or anchor in anchors(ROOT / page), f"{path} cites {page}#{anchor}"


def test_nothing_cites_a_page_that_is_not_here():
    gone = re.compile(r"DESIGN\.md|REDESIGN|\b[Tt]he issue\b|\bissue \d{1,2}\b")
    for room in ("jaxcnn", "tests", "experiments", "docs", "notebooks"):
        for path in (ROOT / room).rglob("*.*"):
            if path.suffix in (".py", ".md") and path != Path(__file__):
                assert not gone.search(path.read_text(encoding="utf-8")), short(path)


def test_paths_that_are_named_exist():
    for page in PAGES:
        for path in re.findall(r"`((?:jaxcnn|experiments|tests|docs)/[\w/.]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


# ---------------------------------------------------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def draw():
    return load(DOCS / "pictures" / "draw.py")


def numbers(figure):
    """What stands in the cells: (column, row, text), in reading order."""
    texts = [(*text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    return [text.replace("−", "-") for _, _, text in sorted(texts, key=lambda t: (t[1], t[0]))]


def test_every_picture_is_drawn_and_shown(draw):
    files = sorted((DOCS / "pictures").glob("*.png"))
    assert [file.stem for file in files] == sorted(draw.PICTURES)
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for file in files:
        assert f"docs/pictures/{file.name})" in shown
        assert file.stat().st_size < MOST_PICTURE_BYTES


@pytest.fixture(scope="module")
def gallery():
    """The pictures of the gallery: (code, file name) by its script."""
    return [(code, name) for code, name in load(DOCS / "gallery" / "draw.py").blocks() if name]


def test_the_gallery_has_a_picture_of_every_function_that_draws(gallery):
    functions = {name: getattr(viz, name) for name in viz.__all__ if inspect.isfunction(getattr(viz, name))}
    drawing = {name for name, f in functions.items() if f.__annotations__.get("return") in (Figure, Animation)}
    assert len(drawing) > 14
    ends = [code.strip().splitlines()[-1] for code, _ in gallery]
    assert drawing == {name for name in drawing if any(end.startswith(f"viz.{name}(") for end in ends)}


def test_the_pictures_of_the_gallery_are_there_and_small(gallery):
    shown = [name for _, name in gallery]
    assert sorted(shown) == sorted(path.name for path in (DOCS / "gallery").iterdir() if path.suffix != ".py")
    sizes = {name: (DOCS / "gallery" / name).stat().st_size for name in shown}
    assert max(sizes.values()) < MOST_GALLERY_BYTES, sizes


def test_the_picture_of_patches_ends_in_the_correlation(draw):
    x, w = np.array([[1, 0, 2, 1], [0, 1, 3, 0], [2, 1, 0, 1], [1, 0, 1, 2]]), np.outer([1, 2, 1], [1, 0, -1])
    y = [int((x[i : i + 3, j : j + 3] * w).sum()) for i in range(2) for j in range(2)]
    assert " ".join(map(str, y)) in " ".join(numbers(draw.patches()))


def test_the_picture_of_overlap_ends_in_the_full_correlation(draw):
    y = np.convolve([1, 2, 0, 3], [1, -1, 2][::-1])
    assert " ".join(map(str, y)) in " ".join(numbers(draw.overlap()))


def test_the_picture_of_choices_says_what_explain_says(draw):
    figure = draw.choice()
    forward = figure.axes[0]
    labels = {(round(t.get_position()[0]), t.get_position()[1]): t.get_text() for t in forward.texts}
    assert [label.get_text() for label in forward.get_yticklabels()][2] == "3×3"
    # measured choices that the README and choice.py state: first layers by taps, 3×3 layers by winograd
    assert labels[0, 2] == "taps" and labels[3, 2] == "winograd" and labels[2, 0] == "taps"
    assert forward.get_xlabel().startswith("channels") and forward.get_ylabel() == "window"


# --------------------------------------------------------------------------------------------------------------- API


def test_the_reference_has_every_room():
    rooms = {name for name in jaxcnn.__all__ if isinstance(getattr(jaxcnn, name), types.ModuleType)} | {"viz"}
    pages = {page.stem for page in (DOCS / "api").glob("*.md")} - {"index"}
    assert pages == rooms
    index = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    for room in rooms:
        assert f".. automodule:: jaxcnn.{room}\n" in (DOCS / "api" / f"{room}.md").read_text(encoding="utf-8")
        assert f"]({room}.md)" in index and f"\n{room}\n" in index


def test_docstrings_become_fields_equations_and_escaped_prose():
    to_rst = load(DOCS / "docstrings.py").to_rst
    text = inspect.cleandoc(
        """One line with |x|^p and `code|here`, (*batch, C).

        y[o] = Σ_k x[o + k]

        Args:
          x: `(N, C)`, any.

        Returns:
          A Layer with params `{"kernel": …}`: nothing else.

        Example:
          >>> a | b
          x*y*z

        Source: Somebody, A title:
        and its end.
        """
    )
    rst = to_rst(text)
    assert r"\|x\|^p and ``code|here``, (\*batch, C)" in rst
    assert "\n.. code-block:: text\n\n    y[o] = Σ_k x[o + k]\n" in rst, "an equation is kept"
    assert "Args:\n  x: ``(N, C)``, any.\n" in rst, "napoleon's"
    assert '\n:returns:\n  A Layer with params ``{"kernel": …}``: nothing else.' in rst
    assert "  >>> a | b\n  x*y*z\n" in rst, "an example is kept"
    assert "\n:Source: Somebody, A title:\n    and its end." in rst


# ----------------------------------------------------------------------------------------------------------- the build


class Links(html.parser.HTMLParser):
    """Where a page leads to, and what it can be led to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    for package in ("sphinx", "myst_nb", "sphinx_book_theme"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: the extra docs has it")
    folder = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", str(folder / "trees")]
    done = subprocess.run([*command, ".", str(folder / "html")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def test_the_build_has_every_page_and_no_dead_link(built):
    files = {path.resolve(): None for path in built.rglob("*.html") if "_static" not in path.parts}
    assert all((built / page.relative_to(ROOT).with_suffix(".html")).exists() for page in PAGES)
    for path in files:
        files[path] = Links(path.read_text(encoding="utf-8"))
    dead = []
    for path, page in files.items():
        for link in page.links:
            place, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:|//", place):
                continue
            target = (path.parent / urllib.parse.unquote(place.split("?")[0])).resolve() if place else path
            there = files[target].anchors if target in files else ()
            if not target.exists() or (anchor and there and urllib.parse.unquote(anchor) not in there):
                dead.append(f"{path.relative_to(built)}: {link}")
    assert not dead


def test_the_reference_names_every_public_name(built):
    missing = []
    for page in (DOCS / "api").glob("*.md"):
        for module in re.findall(r"automodule:: (\S+)", page.read_text(encoding="utf-8")):
            room = importlib.import_module(module)
            anchors_there = Links((built / "docs" / "api" / f"{page.stem}.html").read_text(encoding="utf-8")).anchors
            for name in getattr(room, "__all__", []):
                value = getattr(room, name)
                if (inspect.isclass(value) or inspect.isfunction(value)) and f"{module}.{name}" not in anchors_there:
                    missing.append(f"{module}.{name}")
    assert not missing
