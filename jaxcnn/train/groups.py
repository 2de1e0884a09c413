"""Groups of parameters: labels by name for `optax.partition`, and the mask of weight decay."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.files.trees import flatten

Tree = Any


def group_params(params: Tree, patterns: Mapping[str, str], *, default: str) -> Tree:
    """A label for every parameter by its name, for `optax.partition`.

    Args:
      params: the parameters of a model.
      patterns: `{pattern: label}`. A pattern is a parameter's path ("stage1/conv1/kernel"), or the start of one up to
        a slash ("stage1"), with `*`, `?` and `[…]` as in file names; `*` also stands for slashes ("*/scale"). Where
        several match, the first counts.
      default: the label of parameters that no pattern matches.

    Returns:
      A tree of labels, like params.

    Raises:
      ValueError: a pattern that labels nothing, because it is misspelled or earlier patterns match all its parameters.

    Example:
      Freezing, and a learning rate for each group:

      >>> import optax
      >>> params = {"conv1": {"kernel": jnp.ones((3, 3, 1, 8))}, "dense1": {"kernel": jnp.ones((8, 2))}}
      >>> labels = group_params(params, {"dense1": "head"}, default="frozen")
      >>> labels
      {'conv1': {'kernel': 'frozen'}, 'dense1': {'kernel': 'head'}}
      >>> optimizer = optax.partition({"head": optax.adam(1e-3), "frozen": optax.set_to_zero()}, labels)

      Gradual unfreezing is one such optimizer for each phase, `fit(…, initial=train_state)` from the phase before:

      >>> phases = [group_params(params, dict.fromkeys(names, "trained"), default="frozen")
      ...           for names in (["dense1"], ["dense1", "conv1"])]

      Parameters that do not move are one half of a frozen layer; `models.with_frozen` (or `layers.frozen`) also keeps
      the statistics of its batch normalization.
    """
    paths = list(flatten(params))
    chosen = [next((pattern for pattern in patterns if _matches(path, pattern)), None) for path in paths]
    idle = [pattern for pattern in patterns if pattern not in chosen]
    if idle:
        raise ValueError(
            f"group_params: `patterns` must each label a parameter, but {', '.join(map(repr, idle))} "
            f"{'labels' if len(idle) == 1 else 'label'} none that no earlier one does; the parameters are "
            f"{', '.join(paths)}"
        )
    labels = [default if pattern is None else patterns[pattern] for pattern in chosen]
    return jax.tree.unflatten(jax.tree.structure(params), labels)


def decayed(params: Tree) -> Tree:
    """Which parameters weight decay should act on: True for kernels, False for biases and the scales of norms.

    Args:
      params: a model's.

    Returns:
      A tree of bools, like params: whether an array has two axes or more.

    Example:
      >>> import optax
      >>> optimizer = optax.adamw(1e-3, weight_decay=1e-2, mask=decayed)
      >>> decayed({"kernel": jnp.ones((8, 2)), "bias": jnp.ones(2)})
      {'bias': False, 'kernel': True}

    Source: He et al., Bag of tricks for image classification (2018), section 3.1.
    """
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, params)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*")
