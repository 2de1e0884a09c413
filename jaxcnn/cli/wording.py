"""The command's wording: unknown names, plurals, and errors of the library in the words of its flags."""

import difflib
import re
from collections.abc import Iterable, Sequence

NONE = "none"  # for a flag that takes some of several words


class UsageError(Exception):
    """An error in how the command was called."""


def known(what: str, name: str, names: Sequence[str]) -> str:
    """The name, if it is known; UsageError with the one that was meant, or with all of them.

    Example:
      >>> known("model", "resnet-50", ["lenet5", "resnet50"])
      Traceback (most recent call last):
        ...
      jaxcnn.cli.wording.UsageError: unknown model 'resnet-50'; did you mean resnet50?
    """
    if name in names:
        return name
    apart = name.split(",")
    if len(apart) > 1 and all(part in names for part in apart):
        raise UsageError(f"unknown {what} {name!r}; did you mean {' '.join(apart)}, with spaces between them?")
    close = alike(name, names)
    raise UsageError(
        f"unknown {what} {name!r}; did you mean {', '.join(close)}?"
        if close
        else f"unknown {what} {name!r}; known are {', '.join(names)}"
    )


def alike(name: str, names: Iterable[str]) -> list[str]:
    """The names that differ from `name` in case and punctuation only, or begin with it, or are spelled like it."""
    plain = {each: _plain(each) for each in names}
    same = [each for each, word in plain.items() if word == _plain(name)]
    same = same or [each for each, word in plain.items() if len(_plain(name)) > 2 and word.startswith(_plain(name))]
    close = difflib.get_close_matches(_plain(name), plain.values(), n=3, cutoff=0.7)
    return same or [each for word in dict.fromkeys(close) for each in plain if plain[each] == word][:3]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def plural(number: int, noun: str) -> str:
    """
    Example:
      >>> plural(1, "epoch"), plural(1293, "image")
      ('1 epoch', '1,293 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size_of(shape: Sequence[int]) -> str:
    """
    Example:
      >>> size_of((32, 32, 3))
      '32×32×3'
    """
    return "×".join(map(str, shape))


def own_words(message: str, flags: Iterable[str] = ()) -> str:
    """An error of the library in one line, with the flags of the command in place of arguments.

    Example:
      >>> own_words("fit: `batch_size` must be at least 1; see skip_unreadable", ["--batch-size", "--skip-unreadable"])
      '--batch-size must be at least 1; see --skip-unreadable'
    """
    line = " ".join(message.split())
    line = re.sub(r"^(?:viz\.|train\.|weights\.|models\.|data\.)?[a-z_0-9]+: (?=`)", "", line)
    for flag in flags:
        name = flag.removeprefix("--").replace("-", "_")
        line = re.sub(rf"`{name}`", flag, line)
        if "_" in name:
            line = re.sub(rf"(?:the option )?(?<![\w.-]){name}(?![\w.])", flag, line, flags=re.IGNORECASE)
    return line


def said_of(error: OSError) -> str:
    """The file of an OSError, and the reason."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
