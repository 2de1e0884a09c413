"""The names of arguments in Keras, PyTorch and Flax, for errors that name the argument here."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

# Our names for the number of outputs; a layer has at most one of them.
OURS: dict[str, tuple[str, ...]] = {
    "affine": ("use_scale",),
    "alpha": ("negative_slope",),
    "bias": ("use_bias",),
    "bias_initializer": ("bias_init",),
    "center": ("use_bias",),
    "channels": ("out_channels",),
    "depth_multiplier": ("multiplier",),
    "dilation_rate": ("dilation",),
    "epsilon": ("eps",),
    "feature_group_count": ("groups",),
    "features": ("out_channels", "out_features"),
    "filters": ("out_channels",),
    "kernel": ("kernel_size", "window"),
    "kernel_dilation": ("dilation",),
    "kernel_initializer": ("kernel_init",),
    "kernel_size": ("window",),
    "norm_type": ("p",),
    "num_groups": ("groups",),
    "p": ("rate",),
    "padding_mode": ("padding",),
    "pool_size": ("window",),
    "scale": ("use_scale",),
    "strides": ("stride",),
    "units": ("out_features",),
    "window_shape": ("window",),
}
OUTPUTS = (["out_channels"], ["out_features"])  # in PyTorch the number of inputs is the first argument
ELSEWHERE = {
    "activation": "put the activation after it, as in serial(Conv(8, 3), Relu())",
    "data_format": "arrays are channels-last",
    "in_channels": "the number of input channels is known at `init`",
    "in_features": "the number of input features is known at `init`",
    "input_shape": "the shape of the input is given to `init`, or to a Model",
    "name": "serial(name=layer) gives a layer its name",
    "training": "whether this is training is said to `apply`, as train=True",
}


def check_words(
    maker: str, parameters: Mapping[str, inspect.Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """TypeError for arguments that a function does not have, which says which ones are meant."""
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        unnamed = [name for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
        if len(args) > len(unnamed):
            takes = f"{' and '.join(f'`{name}`' for name in unnamed) or 'nothing'} may be given without a name"
            inputs = ". What a layer takes in is known at `init`" if unnamed[:1] in OUTPUTS else ""
            raise TypeError(f"{maker}: {takes}; got {len(args)} arguments{inputs}")
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for word in kwargs:
            if word not in parameters:
                raise TypeError(f"{maker}: there is no argument `{word}`; {_hint(word, list(parameters))}")


def _hint(word: str, known: list[str]) -> str:
    for ours in OURS.get(word, ()):
        if ours in known:
            return f"write `{ours}`"
    if word in ELSEWHERE:
        return ELSEWHERE[word]
    for near in difflib.get_close_matches(word, known, n=1):
        return f"write `{near}`"
    return f"there are {', '.join(known)}" if known else "it takes none"
