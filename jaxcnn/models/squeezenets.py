"""SqueezeNet: fire modules, which squeeze the channels by 1×1 convolutions before they expand them."""

from jaxcnn.layers import Conv, Dropout, GlobalAvgPool, Layer, MaxPool, Relu, branches, serial
from jaxcnn.layers.initializers import normal
from jaxcnn.models.model import Model, count, image_shape

FIRE = {  # filters of the squeeze, and of each of the two expansions
    "fire2": (16, 64),
    "fire3": (16, 64),
    "fire4": (32, 128),
    "fire5": (32, 128),
    "fire6": (48, 192),
    "fire7": (48, 192),
    "fire8": (64, 256),
    "fire9": (64, 256),
}


def squeezenet1_1(
    *, num_classes: int = 1000, in_channels: int = 3, input_size: int | tuple[int, int] = 224, include_top: bool = True
) -> Model:
    """SqueezeNet 1.1: AlexNet's accuracy with a fiftieth of its parameters, 1,235,496.

    Args:
      num_classes: channels of the last convolution.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both; at least 17.
      include_top: without it, the feature map of about H/16×W/16×512 of the last fire module.

    Source: Iandola et al., SqueezeNet (2016); version 1.1 of the authors' repository.
    """
    shape = image_shape("squeezenet1_1", input_size, in_channels, least=17)
    pool = MaxPool(3, stride=2, ceil_mode=True)
    parts = {}
    for name, filters in FIRE.items():
        parts[name] = _fire(*filters)
        if name in ("fire3", "fire5"):
            parts["max_pool2" if name == "fire3" else "max_pool3"] = pool
    if include_top:
        classes = count("squeezenet1_1", "num_classes", num_classes)
        last = Conv(classes, 1, kernel_init=normal(0.01))
        parts["top"] = serial(Dropout(0.5), last, Relu(), GlobalAvgPool())
    stem = (Conv(64, 3, stride=2, kernel_init="he_uniform"), Relu(), pool)
    return Model("squeezenet1_1", serial(*stem, **parts), shape, num_classes if include_top else 0)


def _fire(squeeze: int, expand: int) -> Layer:
    return serial(
        squeeze=Conv(squeeze, 1, kernel_init="he_uniform"),
        relu1=Relu(),
        expand=branches(
            one=Conv(expand, 1, kernel_init="he_uniform"),
            three=Conv(expand, 3, padding=1, kernel_init="he_uniform"),
        ),
        relu2=Relu(),
    )
