"""The names of the layers in `keras.applications`."""

from jaxcnn.weights.foreign.names.rules import BLOCK, BLOCKS_BEFORE, UNIT, Family, Rule

PREDICTIONS = r"predictions/.*"

VGG = Family(
    (
        (r"stage(\d)/conv(\d)", lambda i, k: f"block{i}_conv{k}"),
        (r"top/dense([12])", lambda k: f"fc{k}"),
        (r"top/dense3", "predictions"),
    ),
    {"top": rf"fc[12]/.*|{PREDICTIONS}"},
)


def resnet(last: str) -> Family:
    """The rules for residual networks: conv2_block1 is the first block of stage one, convolution 0 its shortcut."""
    rules: tuple[Rule, ...] = (
        (r"conv1", "conv1_conv"),
        (r"batch_norm1", "conv1_bn"),
        (BLOCK + r"/body/conv(\d)", lambda i, j, k: f"conv{i + 1}_block{j}_{k}_conv"),
        (BLOCK + r"/body/batch_norm(\d)", lambda i, j, k: f"conv{i + 1}_block{j}_{k}_bn"),
        (BLOCK + r"/shortcut/conv1", lambda i, j: f"conv{i + 1}_block{j}_0_conv"),
        (BLOCK + r"/shortcut/batch_norm1", lambda i, j: f"conv{i + 1}_block{j}_0_bn"),
        (r"top/dense1", last),
    )
    return Family(rules, {"top": r"(predictions|probs)/.*"})


def mobilenet_block(stage: int, block: int) -> str:
    """The name of a block. Blocks are counted through all stages from 0, and block 0 has a name of its own."""
    number = BLOCKS_BEFORE[stage - 1] + block - 1
    return f"block_{number}" if number else "expanded_conv"


MOBILENET_V2 = Family(
    (
        (r"stem/conv1", "Conv1"),
        (r"stem/batch_norm1", "bn_Conv1"),
        (UNIT + r"/(?:depthwise_)?conv1", lambda i, j, unit: f"{mobilenet_block(i, j)}_{unit}"),
        (UNIT + r"/batch_norm1", lambda i, j, unit: f"{mobilenet_block(i, j)}_{unit}_BN"),
        (r"last/conv1", "Conv_1"),
        (r"last/batch_norm1", "Conv_1_bn"),
        (r"top/dense1", "predictions"),
    ),
    {"top": PREDICTIONS},
)

FAMILIES: dict[str, tuple[Family, ...]] = {
    "vgg16": (VGG,),
    "vgg19": (VGG,),
    # the files of 2019 have another name for the last layer than the source; keras.applications loads them by order
    **{f"resnet{depth}": (resnet("predictions"), resnet("probs")) for depth in (50, 101, 152)},
    "mobilenet_v2": (MOBILENET_V2,),
}
