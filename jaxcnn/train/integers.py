"""Whole numbers as arguments: ints of Python, NumPy and JAX."""

import operator
from typing import Any


def whole(op: str, name: str, value: Any, least: int, most: int | None = None) -> int:
    """`value` as an int; ValueError unless it is a whole number of at least `least`, and no more than `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise ValueError(f"{op}: `{name}` must be an integer of at least {least}; got {value!r}")
    if most is not None and number > most:
        raise ValueError(f"{op}: `{name}` must be at most {most}; got {value!r}")
    return number
