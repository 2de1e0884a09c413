"""Whole numbers as people have them: ints, and those of NumPy and JAX."""

import operator
from typing import Any


def whole(op: str, name: str, value: Any, least: int) -> int:
    """`value` as an int; ValueError unless it is a whole number of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise ValueError(f"{op}: `{name}` must be an integer of at least {least}; got {value!r}")
    return number
