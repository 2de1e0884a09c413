"""GoogLeNet: nine Inception modules, and two auxiliary classifiers that exist in training only."""

from jaxcnn.layers import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Layer,
    MaxPool,
    Relu,
    checkpointed,
    serial,
    with_auxiliaries,
)
from jaxcnn.layers.initializers import normal
from jaxcnn.models.inception import reduced_inception
from jaxcnn.models.model import Model, count, image_shape

MODULES = {  # as in the paper's table 1: 1×1; before 3×3, 3×3; before 5×5, 5×5; after the pool
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
SMALL = normal(0.01)


def googlenet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: int | tuple[int, int] = 224,
    include_top: bool = True,
    auxiliary: bool = True,
    remat: bool = False,
) -> Model:
    """GoogLeNet, 22 layers, with batch norm; 6,624,904 parameters besides those of its auxiliary classifiers.

    In training `apply` returns a tuple: the logits, and the auxiliary logits after inception4a and after inception4d.
    The loss is the main classifier's plus 0.3 times that of each auxiliary one. At inference it returns the logits.

    Args:
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both; at least 15.
      include_top: without it, the feature map of H/32×W/32×1024; there are no auxiliary classifiers either.
      auxiliary: whether there are auxiliary classifiers.
      remat: whether training keeps the input of each module only, and computes the rest again for the gradient.

    Source: Szegedy et al., Going deeper with convolutions (2014), table 1, as torchvision has it: batch norm, no local
    response normalization, and 3×3 windows in the place of 5×5.
    """
    shape = image_shape("googlenet", input_size, in_channels, least=15)
    modules = {name: reduced_inception(filters, units=_unit, five=3) for name, filters in MODULES.items()}
    if remat:
        modules = {name: checkpointed(module) for name, module in modules.items()}
    half = MaxPool(3, stride=2, ceil_mode=True)
    parts = {}
    for name, module in modules.items():
        if name == "inception4a":
            parts["max_pool3"] = half
        if name == "inception5a":
            parts["max_pool4"] = MaxPool(2, ceil_mode=True)
        parts[name] = module
    if include_top:
        classes = count("googlenet", "num_classes", num_classes)
        parts["top"] = serial(GlobalAvgPool(), Dropout(0.2), Dense(classes, kernel_init=SMALL, bias_init="pytorch"))
    layer = serial(*_unit(64, 7, stride=2), half, *_unit(64, 1), *_unit(192, 3), half, **parts)
    if include_top and auxiliary:
        head = _auxiliary(classes)
        layer = with_auxiliaries(layer, auxiliary1=("inception4a", head), auxiliary2=("inception4d", head))
    return Model("googlenet", layer, shape, num_classes if include_top else 0)


def _unit(channels: int, window: int, stride: int = 1) -> tuple[Layer, ...]:
    conv = Conv(channels, window, stride=stride, padding=window // 2, use_bias=False, kernel_init=SMALL)
    return conv, BatchNorm(eps=1e-3), Relu()


def _auxiliary(num_classes: int) -> Layer:
    return serial(
        AdaptiveAvgPool(4),
        *_unit(128, 1),
        Flatten(),
        Dense(1024, kernel_init=SMALL, bias_init="pytorch"),
        Relu(),
        Dropout(0.7),
        Dense(num_classes, kernel_init=SMALL, bias_init="pytorch"),
    )
