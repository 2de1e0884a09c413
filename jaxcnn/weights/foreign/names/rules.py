"""The names of a family of models, as a few rules, and how these are applied."""

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
      rules: pairs (pattern of a path here, their name); the first pattern that matches the whole path counts. A name
        that depends on the path is a function of the pattern's groups, with digits as ints.
      optional: by the name of a part that a model may be made without ("top"), the pattern of their arrays for it.
    """

    rules: tuple[Rule, ...]
    optional: Mapping[str, str] = field(default_factory=dict)

    def name(self, path: str) -> str | None:
        """The library's name for the layer at a path here; None if no rule matches."""
        for pattern, name in self.rules:
            if match := re.fullmatch(pattern, path):
                if callable(name):
                    return name(*(int(group) if group.isdigit() else group for group in match.groups()))
                return name
        return None


def layer_names(
    families: Mapping[str, tuple[Family, ...]], model: Model, paths: Iterable[str], layers: Collection[str] = ()
) -> tuple[dict[str, str], tuple[tuple[str, str], ...]] | None:
    """The library's names for a model's layers, and the patterns of arrays that the model does not use.

    Args:
      families: the forms of each model, by the model's name.
      model, paths: the model, and the paths of its layers with arrays.
      layers: the names in a source. Of the forms that know all paths, the first whose names are all in the source is
        taken, or the first of all.

    Returns:
      ({path: their name}, ((pattern of arrays, reason), …)); None for a model that is in no family.
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
