"""MobileNetV2: depthwise convolutions between 1×1 ones, wide inside the blocks and narrow between them."""

from jaxcnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    GlobalAvgPool,
    Layer,
    Relu,
    checkpointed,
    residual,
    serial,
)
from jaxcnn.layers.initializers import normal
from jaxcnn.models.model import Model, count, image_shape, one_of
from jaxcnn.ops.arguments import is_number

STAGES = (  # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: int | tuple[int, int] = 224,
    include_top: bool = True,
    width: float = 1.0,
    form: str = "torch",
    remat: bool = False,
) -> Model:
    """MobileNetV2; 3,504,872 parameters at width 1.

    Args:
      num_classes: units of the last layer.
      in_channels: channels of the image.
      input_size: size of the image, (height, width) or an int for both.
      include_top: without it, the feature map of H/32×W/32×1280 (more channels with a width above 1).
      width: factor on the number of channels, rounded to multiples of 8.
      form: "torch" pads by 1 on all sides; "keras" as `keras.applications`, where strided convolutions of even sizes
        pad after only, and eps is 1e-3. The parameters are the same.
      remat: whether training keeps the input of each block only, and computes the rest again for the gradient.

    Source: Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks (2018), table 2.
    """
    name = "mobilenet_v2"
    shape = image_shape(name, input_size, in_channels, least=1)
    if not is_number(width) or not width > 0:
        raise ValueError(f"{name}: `width` must be a positive number; got {width!r}")
    keras = one_of(name, "form", form, ("torch", "keras")) == "keras"
    padding: int | str = "SAME" if keras else 1
    eps = 1e-3 if keras else 1e-5

    def unit(conv: Layer, *activation: Layer) -> Layer:
        return serial(conv, BatchNorm(eps=eps), *activation)

    def pointwise(channels: int) -> Layer:
        return Conv(channels, 1, use_bias=False, kernel_init="he_normal_fan_out")

    def block(channels: int, out: int, expansion: int, stride: int) -> Layer:
        window = DepthwiseConv(3, stride=stride, padding=padding, use_bias=False, kernel_init="he_normal_fan_out")
        body = serial(
            **({"expand": unit(pointwise(channels * expansion), Relu(6))} if expansion > 1 else {}),
            depthwise=unit(window, Relu(6)),
            project=unit(pointwise(out)),
        )
        return residual(body) if stride == 1 and channels == out else serial(body=body)

    first = _divisible(32 * width)
    stem = Conv(first, 3, stride=2, padding=padding, use_bias=False, kernel_init="he_normal_fan_out")
    parts, channels = {}, first
    for i, (expansion, unscaled, blocks, stride) in enumerate(STAGES, start=1):
        stage, out = {}, _divisible(unscaled * width)
        for b in range(1, blocks + 1):
            layer = block(channels, out, expansion, stride if b == 1 else 1)
            stage[f"block{b}"] = checkpointed(layer) if remat else layer
            channels = out
        parts[f"stage{i}"] = serial(**stage)
    parts["last"] = unit(pointwise(_divisible(1280 * max(1.0, width))), Relu(6))
    if include_top:
        dense = Dense(count(name, "num_classes", num_classes), kernel_init=normal(0.01))
        parts["top"] = serial(GlobalAvgPool(), Dropout(0.2), dense)
    return Model(name, serial(stem=unit(stem, Relu(6)), **parts), shape, num_classes if include_top else 0)


def _divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, but at least 8 and at least nine tenths of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
