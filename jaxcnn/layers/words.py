"""The names of arguments in Keras, PyTorch and Flax, for errors that name the argument here."""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

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


def with_hints(make: Callable[P, R]) -> Callable[P, R]:
    """`make`, with an error for an unknown argument that names the argument that may be meant."""
    known = inspect.signature(make).parameters
    unnamed = [name for name, parameter in known.items() if parameter.kind is not parameter.KEYWORD_ONLY]

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > len(unnamed):
            takes = f"{' and '.join(f'`{name}`' for name in unnamed) or 'nothing'} may be given without a name"
            inputs = ". What a layer takes in is known at `init`" if unnamed[:1] in OUTPUTS else ""
            raise TypeError(f"{make.__name__}: {takes}; got {len(args)} arguments{inputs}")
        for word in kwargs:
            if word not in known:
                raise TypeError(f"{make.__name__}: there is no argument `{word}`; {_hint(word, list(known))}")
        return make(*args, **kwargs)

    return made


def _hint(word: str, known: list[str]) -> str:
    for ours in OURS.get(word, ()):
        if ours in known:
            return f"write `{ours}`"
    if word in ELSEWHERE:
        return ELSEWHERE[word]
    for near in difflib.get_close_matches(word, known, n=1):
        return f"write `{near}`"
    return f"there are {', '.join(known)}" if known else "it takes none"
