"""What other libraries call a layer's arrays, and how they lay them out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxcnn.weights.foreign import transforms
from jaxcnn.weights.foreign.names import Family, arrays, keras, pytorch
from jaxcnn.weights.foreign.transforms import Transform
from jaxcnn.weights.parts import Part

Transforms = tuple[Transform, ...]


@dataclass(frozen=True)
class Dialect:
    """How a library names and lays out weights.

    Args:
      name: the library's name.
      joint: the sign between a layer's name and an array's name.
      families: the library's names of the layers of the catalogue's models.
      leaf: `(part, leaf name) -> (the library's name of the array, transforms from the library's array to ours)`.
      ignored: (pattern of names, reason) pairs for arrays that such files hold besides weights.
      folds_bias: whether a convolution's bias in front of a batch norm may be subtracted from the norm's mean.
      says_settings: whether the library's files hold the settings of layers, which are then compared with the model's.
    """

    name: str
    joint: str
    families: Mapping[str, tuple[Family, ...]]
    leaf: Callable[[Part, str], tuple[str, Transforms]]
    ignored: tuple[tuple[str, str], ...] = ()
    folds_bias: bool = False
    says_settings: bool = False


def _torch_leaf(part: Part, leaf: str) -> tuple[str, Transforms]:
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    changes: Transforms = ()
    if leaf == "kernel":
        changes = (transforms.OIHW_TO_HWIO if part.role == "convolution" else transforms.OI_TO_IO,)
    if part.flattened and (leaf == "kernel" or part.role == "norm"):
        changes = (*changes, transforms.chw_to_hwc(part.flattened))
    return names.get(leaf, leaf), changes


def _keras_leaf(part: Part, leaf: str) -> tuple[str, Transforms]:
    names = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
    if leaf == "bias" and part.role == "norm":
        return "beta", ()
    depthwise = leaf == "kernel" and part.kind == "depthwise_conv"
    return names.get(leaf, leaf), (transforms.HWCM_TO_HW1O,) if depthwise else ()


TORCH = Dialect(
    "PyTorch",
    ".",
    pytorch.FAMILIES,
    _torch_leaf,
    ignored=((r".*\bnum_batches_tracked", "PyTorch counts batches only for a cumulative average of statistics"),),
)
KERAS = Dialect(
    "Keras",
    "/",
    keras.FAMILIES,
    _keras_leaf,
    ignored=((r".*\bseed_generator(_state)?(/.*)?", "the state of the random numbers of dropout"),),
    folds_bias=True,
    says_settings=True,
)
ARRAYS = Dialect("arrays", "/", arrays.FAMILIES, lambda part, leaf: (leaf, ()))  # our own names and layouts

DIALECTS = {"torch": TORCH, "keras": KERAS, "arrays": ARRAYS}
