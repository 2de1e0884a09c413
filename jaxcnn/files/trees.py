"""Names for the leaves of a tree of arrays, and words for what differs between two trees."""

from collections.abc import Collection, Mapping
from typing import Any

import jax


def flatten(tree: Any) -> dict[str, jax.Array]:
    """The leaves of a tree by name, `{"params/conv1/kernel": array}`: a name is the path to the leaf, with slashes."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(_name(entry) for entry in path): leaf for path, leaf in leaves}


def _name(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """How named arrays differ from what is expected: missing and unknown names, and other dtypes or shapes.

    Args:
      expected, found: the dtype and shape of each name, in words such as "float32[3, 2]".

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
    """For each kind, how many names it has and the first `shown` of them; kinds without names are left out.

    Example:
      >>> counted({"missing": ["a", "b", "c"], "unused": []}, shown=2)
      ['3 missing: a, b, …']
    """
    return [
        f"{len(names)} {kind}: {', '.join(list(names)[:shown])}{', …' if len(names) > shown else ''}"
        for kind, names in kinds.items()
        if names
    ]
