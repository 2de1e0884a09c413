"""The steps that each class of Keras' layers computes, made from its configuration."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jaxcnn.weights.foreign.steps import activation
from jaxcnn.weights.settings.plain import transposed

Config = Mapping[str, Any]
# the kind, the suffix of the layer's name, the settings, Keras' names for them
Step = tuple[str, str, dict[str, Any], dict[str, str]]

IDENTITIES = re.compile(
    r"(Spatial|Alpha|Gaussian)?Dropout(1D|2D|3D)?|GaussianNoise|ActivityRegularization|Identity|Random\w+|Flatten"
)
WORDS = {"stride": "strides", "dilation": "dilation_rate", "window": "pool_size", "eps": "epsilon"}
GENERAL = ("name", "trainable", "dtype", "batch_input_shape", "batch_shape", "data_format", "seed")


def steps_of(name: str, config: Config) -> list[Step]:
    """The steps of a layer, in order; none for one that does nothing at inference.

    Args:
      name: of its class.
      config: the settings of the layer, as Keras writes them.
    """
    if IDENTITIES.fullmatch(name):
        return []
    match = re.fullmatch(r"(\w+?)([123])D(Transpose)?", name)
    base, rank = (match[1] + (match[3] or ""), int(match[2])) if match else (name, 0)
    make = MAKERS.get(base)
    if make is None:
        return [(snake_case(name), "", {k: v for k, v in config.items() if k not in GENERAL}, {})]
    return make(config, rank)


def _affine(kind: str) -> Callable[[Config, int], list[Step]]:
    def make(config: Config, rank: int) -> list[Step]:
        settings: dict[str, Any] = {}
        if rank:
            settings = _window(config, rank, "kernel_size")
            if kind == "conv":
                settings["groups"] = config.get("groups", 1)
            if kind == "conv_transpose" and settings:
                settings = _transposed(settings, config.get("output_padding"))
        return [(kind, "", settings, WORDS), *_fused(config)]

    return make


def _separable(config: Config, rank: int) -> list[Step]:
    first = _window(config, rank, "kernel_size")
    ones = {name: [1] * rank for name in ("kernel_size", "stride", "dilation")}
    second = {**ones, "padding": [[0, 0]] * rank, "groups": 1}
    return [("depthwise_conv", "/depthwise", first, WORDS), ("conv", "/pointwise", second, WORDS), *_fused(config)]


def _window(config: Config, rank: int, size: str) -> dict[str, Any]:
    """The geometry of a convolution or pool, with the names and forms used here; without what the file leaves out."""
    if size not in config:
        return {}

    def each(value: Any, default: Any) -> list[int]:
        value = default if value is None else value
        return list(value) if isinstance(value, list | tuple) else [int(value)] * rank

    window = each(config[size], 1)
    dilation = each(config.get("dilation_rate"), 1)
    stride = each(config.get("strides"), window if size == "pool_size" else 1)
    padding: Any = str(config.get("padding", "valid")).upper()
    if padding == "VALID":
        padding = [[0, 0]] * rank
    elif padding == "CAUSAL":
        padding = [[d * (k - 1), 0] for k, d in zip(window, dilation, strict=True)]
    kind = "window" if size == "pool_size" else size
    found = {kind: window, "stride": stride, "padding": padding, "dilation": dilation}
    return found | {"data_format": config.get("data_format") or "channels_last"}


def _transposed(settings: dict[str, Any], extra: Any) -> dict[str, Any]:
    """The padding that gives Keras' output size: input·stride for "same"; for "valid", all that the windows reach."""
    rank = len(settings["kernel_size"])
    each = extra if isinstance(extra, list | tuple) else [extra] * rank
    if settings["padding"] == "SAME" and extra is None:
        return transposed({**settings, "output_padding": [0] * rank})
    pairs = []
    for axis, more in enumerate(each):
        extent = settings["dilation"][axis] * (settings["kernel_size"][axis] - 1) + 1
        if settings["padding"] == "SAME":
            total = 2 * (extent // 2) - more
        else:
            total = -max(settings["stride"][axis] - extent, 0) if more is None else -more
        before = max(total, 0) // 2
        pairs.append([before, total - before])
    return {**settings, "padding": pairs}


def _pool(kind: str) -> Callable[[Config, int], list[Step]]:
    def make(config: Config, rank: int) -> list[Step]:
        settings = {**_window(config, rank, "pool_size"), "ceil_mode": False}
        return [(kind, "", settings | ({"count_include_pad": False} if kind == "avg_pool" else {}), WORDS)]

    return make


def _global(kind: str) -> Callable[[Config, int], list[Step]]:
    return lambda config, rank: [(kind, "", {"data_format": config.get("data_format") or "channels_last"}, {})]


def _norm(kind: str) -> Callable[[Config, int], list[Step]]:
    def make(config: Config, rank: int) -> list[Step]:
        words = {"epsilon": "eps", "axis": "axis", "groups": "groups", "rms_scaling": "rms_scaling"}
        settings = {ours: config[theirs] for theirs, ours in words.items() if theirs in config}
        return [(kind, "", settings, WORDS)]

    return make


def _relu(config: Config, rank: int) -> list[Step]:
    slope, largest = config.get("negative_slope") or 0.0, config.get("max_value")
    threshold = config.get("threshold") or 0.0
    if threshold or (slope and largest is not None):
        return [("thresholded_relu", "", {"threshold": threshold, "negative_slope": slope, "max_value": largest}, {})]
    if slope:
        return [("leaky_relu", "", {"negative_slope": slope}, {})]
    return [("relu", "", {"max_value": largest}, {})]


def _leaky_relu(config: Config, rank: int) -> list[Step]:
    said = [config[name] for name in ("negative_slope", "alpha") if name in config]  # the second until Keras 2
    return [("leaky_relu", "", {"negative_slope": said[0]} if said else {}, {})]


def _softmax(config: Config, rank: int) -> list[Step]:
    return [("softmax", "", {"axis": config.get("axis", -1)}, {})]


def _zero_padding(config: Config, rank: int) -> list[Step]:
    padding = config.get("padding", 1)
    pairs = [side if isinstance(side, list | tuple) else [side, side] for side in _sides(padding, rank)]
    return [("zero_padding", "", {"padding": [list(pair) for pair in pairs]}, {})]


def _sides(padding: Any, rank: int) -> list[Any]:
    if not isinstance(padding, list | tuple):
        return [padding] * rank
    return [padding] if rank == 1 else list(padding)


def _fused(config: Config) -> list[Step]:
    """The activation inside a layer, which is written as a name, a function or a layer."""
    found = config.get("activation")
    if isinstance(found, Mapping):
        inner = found.get("config")
        if found.get("class_name") == "function" or isinstance(inner, str):
            found = inner if isinstance(inner, str) else found.get("registered_name")
        else:
            return steps_of(str(found["class_name"]), inner or {})
    if found in (None, "linear"):
        return []
    name = str(found).rpartition(">")[2]
    if name == "leaky_relu":  # the default slope of the function, which differs from that of the layer
        return [("leaky_relu", "", {"negative_slope": 0.2}, {})]
    kind, settings = activation(name, {})
    return [(kind, "", settings | ({"axis": -1} if kind == "softmax" else {}), {})]


def _add(config: Config, rank: int) -> list[Step]:
    return [("add", "", {}, {})]


MAKERS: dict[str, Callable[[Config, int], list[Step]]] = {
    "Conv": _affine("conv"),
    "DepthwiseConv": _affine("depthwise_conv"),
    "ConvTranspose": _affine("conv_transpose"),
    "SeparableConv": _separable,
    "Dense": _affine("dense"),
    "BatchNormalization": _norm("batch_norm"),
    "BatchNormalizationV1": _norm("batch_norm"),
    "SyncBatchNormalization": _norm("batch_norm"),
    "LayerNormalization": _norm("layer_norm"),
    "GroupNormalization": _norm("group_norm"),
    "MaxPooling": _pool("max_pool"),
    "AveragePooling": _pool("avg_pool"),
    "GlobalMaxPooling": _global("global_max_pool"),
    "GlobalAveragePooling": _global("global_avg_pool"),
    "ZeroPadding": _zero_padding,
    "Activation": lambda config, rank: _fused(config),
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": lambda config, rank: [("elu", "", {"alpha": config.get("alpha", 1.0)}, {})],
    "Softmax": _softmax,
    "Add": _add,
    "Concatenate": lambda config, rank: [("concatenate", "", {"axis": config.get("axis", -1)}, {})],
    "Reshape": lambda config, rank: [("reshape", "", {"shape": list(config["target_shape"])}, {})],
    "Rescaling": lambda config, rank: [
        ("rescaling", "", {"scale": config.get("scale", 1.0), "offset": config.get("offset", 0.0)}, {})
    ],
}


def variables_of(name: str, config: Config) -> list[str] | None:
    """The variables of a layer in the order in which Keras numbers them; None for a class that is not known."""
    base = re.sub(r"[123]D", "", name)
    bias = ["bias"] if config.get("use_bias", True) else []
    scaled = [what for what, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)]
    if base in ("Conv", "Dense", "ConvTranspose"):
        return ["kernel", *bias]
    if base == "DepthwiseConv":
        return ["depthwise_kernel", *bias]
    if base == "SeparableConv":
        return ["depthwise_kernel", "pointwise_kernel", *bias]
    if base in ("BatchNormalization", "BatchNormalizationV1", "SyncBatchNormalization"):
        return [*scaled, "moving_mean", "moving_variance"]
    return scaled if base in ("LayerNormalization", "GroupNormalization") else None


def snake_case(name: str) -> str:
    """A class name in snake case, as Keras writes it: batch_normalization for BatchNormalization, conv2d for Conv2D."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def is_unit_scale(settings: Mapping[str, Any]) -> bool:
    """Whether a Rescaling layer maps 0 to 255 onto 0 to 1."""
    scale, offset = settings["scale"], settings["offset"]
    return isinstance(scale, int | float) and math.isclose(scale, 1 / 255, rel_tol=1e-6) and offset == 0
