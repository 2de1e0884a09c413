"""Flags, the values that they take, and the errors for other values."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.cli.wording import UsageError, alike, known


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError` in the command's words; a flag that is not given is not in its result."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.flags: list[str] = []
        options |= {"allow_abbrev": False, "argument_default": argparse.SUPPRESS}
        super().__init__(*arguments, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def error(self, message: str) -> Any:
        message = re.sub(r"^argument (\S+?)(?:/\S+)?: (?=must|needs)", r"\1 ", message)
        message = re.sub(
            r"^argument (\S+?)(?:/\S+)?: expected (?:at least )?one argument", r"\1 needs a value", message
        )
        message = re.sub(r"^the following arguments are required: ([^,]*)$", r"\1 is missing", message)
        message = re.sub(r"^the following arguments are required: (.*), (.*)", r"\1 and \2 are missing", message)
        raise UsageError(f"{message.removeprefix('argument ')}; see {self.prog} --help")

    def refuse(self, unknown: Sequence[str]) -> None:
        """UsageError for arguments that no flag takes."""
        for word in unknown:
            if word.startswith("-") and word != "-":
                close = alike(word.partition("=")[0], self.flags)
                hint = f"did you mean {', '.join(close)}?" if close else f"see {self.prog} --help"
                raise UsageError(f"{self.prog} has no flag {word}; {hint}")
        if unknown:
            raise UsageError(f"{self.prog} has no use for {' '.join(unknown)}; see {self.prog} --help")


MOST = 2**31 - 1  # the largest int32: steps are counted in one


def whole(least: int) -> Callable[[str], int]:
    """An integer of at least `least`, and no more than `MOST`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text):
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}; got {text}")
        value = int(text[:30])  # 30 digits are beyond any bound
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}; got {text:.40}")
        if value > MOST:
            raise argparse.ArgumentTypeError(f"must be at most {MOST:,}; got {text:.40}")
        return value

    return parse


def number(*, above: float | None = None, least: float | None = None, below: float | None = None) -> Callable:
    """A finite number between bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        fits = (
            (above is None or value > above)
            and (least is None or value >= least)
            and (value < (float("inf") if below is None else below))
        )
        if not fits:
            words = ((above, "above"), (least, "of at least"), (below, "below"))
            bounds = " and ".join(f"{word} {bound:g}" for bound, word in words if bound is not None)
            finite = "finite " if math.isinf(value) else ""
            raise argparse.ArgumentTypeError(f"must be a {finite}number {bounds}; got {text}")
        return value

    return parse


def one_of(what: str, names: Sequence[str]) -> Callable[[str], str]:
    """One of some words; for another, `known` says which may have been meant."""

    def parse(text: str) -> str:
        return known(what, text, names)

    return parse


def size(text: str) -> tuple[int, int]:
    """N, or HEIGHTxWIDTH."""
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    sides = () if match is None else (int(match[1]), int(match[2] or match[1]))
    if not sides or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"must be pixels, as 64 or 48x64 (height, width); got {text}")
    return sides


ALL = "all"


def devices(text: str) -> int | str:
    """How many devices, or all."""
    if text != ALL and not re.fullmatch(r"[+-]?\d+", text):
        raise argparse.ArgumentTypeError(f"must be a number of devices, or {ALL}; got {text}")
    return text if text == ALL else whole(1)(text)


def path(text: str) -> Path:
    """A path; an empty word is an error."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path; got an empty word")
    return Path(text).expanduser()
