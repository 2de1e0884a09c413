"""A Sphinx extension: our docstrings, written to be read in the source, as the reStructuredText that autodoc expects.

`sphinx.ext.napoleon` knows `Args`, `Raises` and `Example`. Before it sees a docstring, here

- `Returns`, `Derivative` and `Source` become fields: napoleon takes what stands before a colon for a type, and does not
  know the last two,
- equations and tables, set off by spaces, become literal blocks,
- what reStructuredText would take for markup outside of `code` is escaped: |x|^p, (*batch, H, W, C).
"""

import re

FIELDS = {"Returns": "returns", "Raises": "Raises", "Derivative": "Derivative", "Source": "Source"}
HEADER = re.compile(r"(Returns|Raises|Derivative|Source):(?: (\S.*))?$")
DOCTEST_OR_CODE_OR_MARKUP = re.compile(r"(^ *>>> .*(?:\n *\S.*)*)|(`[^`]+`)|([*|]|_(?!\w))", re.M)
ALIGNED = re.compile(r"\S {2,}\S")
EQUATION = re.compile(r"\w+(\[[^\]]*\])? \+?= .*[^.]$")


def setup(app):
    """Connect to autodoc, before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}


def _process(app, what, name, obj, options, lines):
    lines[:] = to_rst("\n".join(lines)).split("\n")


def _skip(app, what, name, obj, skip, options):
    """The fields of a NamedTuple, which say that they are fields; the class has said it."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def to_rst(docstring: str) -> str:
    """The docstring, its paragraphs one after the other."""
    result: list[str] = []
    indent = 0  # of the line before
    for paragraph in re.split(r"\n\s*\n", docstring.strip("\n")):
        lines = paragraph.split("\n")
        if _is_verbatim(lines, indent):
            result += [f"{' ' * indent}.. code-block:: text", "", *(f"    {line}" for line in lines), ""]
            continue
        escaped = DOCTEST_OR_CODE_OR_MARKUP.sub(_escaped, paragraph)
        result += [*_with_fields(escaped.split("\n")), ""]
        indent = _indent(lines[-1])
    return "\n".join(result)


def _escaped(match: re.Match) -> str:
    doctest, code, markup = match.groups()
    if doctest:
        return doctest
    if code:  # a name becomes a link where there is something of that name
        return code if re.fullmatch(r"`[\w.]+`", code) else f"`{code}`"
    return f"\\{markup}"


def _is_verbatim(lines: list[str], indent: int) -> bool:
    if lines[0].lstrip().startswith(">>>"):
        return False
    table = len(lines) > 1 and all(map(ALIGNED.search, lines))
    equation = len(lines) == 1 and EQUATION.match(lines[0])
    return bool(table or equation) or _indent(lines[0]) >= indent + 4


def _with_fields(lines: list[str]) -> list[str]:
    result = []
    for line in lines:
        header = HEADER.match(line)
        if header and (header[1] != "Raises" or header[2]):
            result += ["", f":{FIELDS[header[1]]}: {header[2] or ''}".rstrip()]
            continue
        inside = result and re.match(r":\w+:|    ", result[-1])
        result.append(f"    {line}" if inside and line and not line.startswith(" ") else line)
    return result


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
