"""Public names that have moved: the old one works for one version more, with a warning that says the new one."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def moved(room: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a module whose names have moved: put there as `moved(__name__, {"old": "jaxcnn.room.new"})`.

    Args:
      room: the module's full name.
      names: each old name, and the full name of what it has become.
    """

    def attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        _warn(f"{room}.{name}", names[name])
        return _named(names[name])

    return attribute


def moved_field(of: str, old: str, new: str) -> property:
    """The old name of a class's field: put into the class as `old = moved_field("room.Class", "old", "new")`.

    Args:
      of: the class, for the warning.
      old, new: the two names.
    """

    def value(self: Any) -> Any:
        _warn(f"{of}.{old}", f"{of}.{new}")
        return getattr(self, new)

    return property(value)


def moved_method(of: str, old: str, new: str) -> Callable[..., Any]:
    """The old name of a method that is a function now: put into the class as `old = moved_method("room.Class", …)`.

    Args:
      of: the class, for the warning.
      old: the method's name.
      new: the function's full name; what it takes first is what the method was of.
    """

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        _warn(f"{of}.{old}", f"the function {new}")
        return _named(new)(self, *arguments, **named)

    method.__name__, method.__doc__ = old, f"The old name of `{new.removeprefix('jaxcnn.')}`."
    return method


def _warn(old: str, new: str) -> None:
    """Warn at the line that uses the old name, which is two calls above this one."""
    warnings.warn(f"{old} is now {new}; the old name goes with the next version", DeprecationWarning, stacklevel=3)


def _named(name: str) -> Any:
    """The public thing of a full name."""
    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(module), own)
