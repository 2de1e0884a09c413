"""A family's names as a few rules, and how they are applied."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from jaxcnn.models import Model
from jaxcnn.models.mobilenets import STAGES

Rule = tuple[str, str | Callable[..., str]]

# Paths here, of the residual networks and of MobileNetV2.
BLOCK = r"stage(\d)/block(\d+)"
UNIT = BLOCK + r"/body/(expand|depthwise|project)"
BLOCKS_BEFORE = tuple(accumulate((blocks for _, _, blocks, _ in STAGES), initial=0))  # each stage of MobileNetV2


@dataclass(frozen=True)
class Family:
    """The names of the layers of some models in another library.

    Args:
      rules: (pattern of a path here, their name), the first that matches the whole path counts. A name that depends on
        the path is a function of the pattern's groups, digits as ints.
      optional: by the name of a part that a model may be made without ("top"), the pattern of their arrays for it.
    """

    rules: tuple[Rule, ...]
    optional: Mapping[str, str] = field(default_factory=dict)

    def name(self, path: str) -> str | None:
        """Their name of the layer at a path here; None if no rule knows it."""
        for pattern, name in self.rules:
            if match := re.fullmatch(pattern, path):
                if callable(name):
                    return name(*(int(group) if group.isdigit() else group for group in match.groups()))
                return name
        return None


def layer_names(
    families: Mapping[str, tuple[Family, ...]], model: Model, paths: Iterable[str], layers: Collection[str] = ()
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]] | None:
    """Their names of a model's layers, and what the model does not take of their arrays.

    Args:
      families: by the model's name, its forms.
      model, paths: a model, and the paths of its layers with arrays.
      layers: their names in a source. Among forms that know all the paths, one whose names are all there counts, else
        the first.

    Returns:
      ({path: their name}, ((pattern of arrays, reason), …)); None for a model that no family knows.
    """
    paths, forms = list(paths), []
    for family in families.get(model.name, ()):
        found = {path: name for path in paths if (name := family.name(path)) is not None}
        if len(found) == len(paths):
            absent = [(part, pattern) for part, pattern in family.optional.items() if part not in model.layer.children]
            forms.append(
                (found, tuple((pattern, f"the model is without its part {part!r}") for part, pattern in absent))
            )
    there = [form for form in forms if all(name in layers for name in form[0].values())]
    return next(iter(there or forms), None)
