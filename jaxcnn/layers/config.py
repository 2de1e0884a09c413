"""What a layer was made with: the function that made it and its arguments, shown as the code that makes it."""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH = 88  # of a call that is written in one line, from its own first letter on
PLAIN = (bool, int, float, str, tuple)


@dataclass(frozen=True)
class Config:
    """The function that made a layer, and all of its arguments; its `repr` is the call.

    Args:
      make: a public function, such as `Conv`.
      arguments: by name, those that had their default included.
    """

    make: Callable[..., Any]
    arguments: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the function."""
        return self.make.__name__

    def but(self, **arguments: Any) -> "Config":
        """With other values of some arguments."""
        return Config(self.make, {**self.arguments, **arguments})

    def __repr__(self) -> str:
        parts: list[str] = []
        for name, parameter in inspect.signature(self.make).parameters.items():
            value = self.arguments[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                parts += map(written, value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                parts += keywords(value)
            elif parameter.default is parameter.empty:
                parts.append(written(value))
            elif not _is(value, parameter.default):
                parts += keywords({name: value})
        return call(self.name, parts)


def recorded(make: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Config:
    """The `Config` of a call make(*args, **kwargs)."""
    bound = inspect.signature(make).bind(*args, **kwargs)
    bound.apply_defaults()
    return Config(make, {name: _plain(value) for name, value in bound.arguments.items()})


def call(name: str, arguments: Sequence[str]) -> str:
    """A call as code: in one line where that is short, else each argument in lines of its own."""
    line = f"{name}({', '.join(arguments)})"
    if "\n" not in line and len(line) <= WIDTH:
        return line
    return f"{name}(\n{''.join(textwrap.indent(argument, '    ') + ',' + chr(10) for argument in arguments)})"


def keywords(values: Mapping[str, Any]) -> Iterable[str]:
    """name=value of each, as code; a name that Python cannot write so stands in a dict."""
    for name, value in values.items():
        yield f"{name}={written(value)}" if name.isidentifier() else f"**{{{name!r}: {written(value)}}}"


def written(value: Any) -> str:
    """A value as code; a function by its name."""
    return getattr(value, "__name__", None) or repr(value)


def brief(value: Any) -> str:
    """A value in one short line, for messages: a network's code may be long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:98]} …"


def _is(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, PLAIN) and value == default)


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's, and tuples for lists, which might be changed afterwards."""
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
