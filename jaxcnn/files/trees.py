"""Names for the arrays of a tree, and words for how two trees differ."""

from collections.abc import Collection, Mapping
from typing import Any

import jax


def flatten(tree: Any) -> dict[str, jax.Array]:
    """The leaves of a tree by name, `{"params/conv1/kernel": array}`: the keys that lead to a leaf, with slashes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(_name(entry) for entry in path): leaf for path, leaf in leaves}


def _name(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """How arrays differ from what is expected: which are missing, unknown, or of another dtype or shape.

    Args:
      expected, found: by name, dtype and shape in words, such as "float32[3, 2]".

    Example:
      >>> differences({"bias": "float32[3]", "scale": "float32[3]"}, {"bias": "float32[4]", "mean": "float32[3]"})
      ['1 missing: scale', '1 unknown: mean', 'bias expects float32[3] but has float32[4]']
    """
    names = {"missing": sorted(expected.keys() - found.keys()), "unknown": sorted(found.keys() - expected.keys())}
    return counted(names, shown=5) + [
        f"{name} expects {what} but has {found[name]}"
        for name, what in expected.items()
        if name in found and found[name] != what
    ]


def counted(kinds: Mapping[str, Collection[str]], shown: int) -> list[str]:
    """For each kind of mistake that occurs, in words: how many names have it, and the first of them.

    Example:
      >>> counted({"missing": ["a", "b", "c"], "unused": []}, shown=2)
      ['3 missing: a, b, …']
    """
    return [
        f"{len(names)} {kind}: {', '.join(list(names)[:shown])}{', …' if len(names) > shown else ''}"
        for kind, names in kinds.items()
        if names
    ]
