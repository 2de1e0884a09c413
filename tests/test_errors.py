"""One base for errors that are no bad arguments, and one form for the messages of those that are."""

import ast
import re
from pathlib import Path

import pytest

import jaxcnn
from jaxcnn import data, train, weights


@pytest.mark.parametrize(
    ("error", "also"),
    [(data.DataError, Exception), (weights.WeightsError, ValueError), (train.NonFiniteLoss, ArithmeticError)],
)
def test_all_errors_of_our_own_have_one_base(error, also):
    assert issubclass(error, jaxcnn.JaxcnnError) and issubclass(error, also)
    assert not issubclass(ValueError, jaxcnn.JaxcnnError)


PACKAGE = Path(jaxcnn.__file__).parent
# Functions of these files read a format, and are not given the file's name. A caller catches what they raise and puts
# the name before it, so these messages are ends of sentences. `as_json` refuses in the words of Python's json.
APART = (
    "files/json_files.py",
    "files/seal.py",
    "weights/foreign/keras/contents.py",
    "weights/foreign/keras/extract.py",
    "weights/foreign/keras/graph.py",
    "weights/foreign/npz.py",
)
FILES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]
BEGINNING = re.compile(r"([\w.]*(…[\w.]*)?|Dataset …): |`[\w…]+`")  # … is a value


def messages(source):
    """The texts of the errors that a source raises for bad arguments."""
    for node in ast.walk(ast.parse(source)):
        raised = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(raised, ast.Call) and getattr(raised.func, "id", None) in ("ValueError", "TypeError"):
            yield node.lineno, written(raised.args[0])


def written(node):
    if isinstance(node, ast.BinOp):
        return written(node.left) + written(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) else "…"


def is_in_form(message):
    """As docs/design.md#errors has it."""
    has_two_sentences = re.search(r"[.] [A-Z`…]", message)
    return BEGINNING.match(message) and (has_two_sentences or not message.endswith("."))


def not_in_form(name):
    return [found for found in messages((PACKAGE / name).read_text(encoding="utf-8")) if not is_in_form(found[1])]


@pytest.mark.parametrize("name", [name for name in FILES if name not in APART])
def test_a_message_begins_with_what_was_called_and_one_sentence_has_no_period(name):
    assert not not_in_form(name)


@pytest.mark.parametrize("name", APART)
def test_a_file_is_apart_only_where_it_needs_to_be(name):
    assert not_in_form(name), "no message here needs the exception"
    assert not [message for _, message in not_in_form(name) if message.endswith(".")]


def test_the_search_finds_what_it_is_for():
    source = 'raise ValueError(f"conv: `x` is {x}.")\nraise TypeError("wrong")\nraise ValueError(f"{op}: `x`; got {x}")'
    assert [bool(is_in_form(message)) for _, message in messages(source)] == [False, False, True]
