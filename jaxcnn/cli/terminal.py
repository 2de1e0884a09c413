"""The terminal's width, and text that fits it."""

import os
import shutil
import sys
import textwrap


def width() -> int | None:
    """The columns of the terminal; None if the output goes to a file or a pipe, where lines may be long."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def wrapped(text: str, indent: str = "") -> str:
    """The text in as many lines as it takes, each indented."""
    columns = width()
    if columns is None:
        return indent + text
    return textwrap.fill(
        text,
        columns,
        initial_indent=indent,
        subsequent_indent=indent or "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
