"""PyTorch's names: torchvision's for the ImageNet models, akamaster's for the CIFAR residual networks.

The layers of an nn.Sequential are numbered, those without weights (ReLU, pools, dropout) too.
"""

from jaxcnn.models.vggs import CONVOLUTIONS
from jaxcnn.weights.foreign.names.rules import BLOCK, BLOCKS_BEFORE, UNIT, Family, Rule

# --------------------------------------------------------------------------------------------------- AlexNet, VGG

ALEXNET_CONVS = (0, 3, 6, 8, 10)
ALEXNET_DENSE = (1, 4, 6)
ALEXNET = Family(
    (
        (r"conv(\d)", lambda k: f"features.{ALEXNET_CONVS[k - 1]}"),
        (r"top/dense(\d)", lambda k: f"classifier.{ALEXNET_DENSE[k - 1]}"),
    ),
    {"top": r"classifier\..*"},
)


def vgg(*convolutions: int, batch_norm: bool) -> Family:
    """The rules for a VGG network with these numbers of convolutions per stage."""

    def place(stage: int, k: int) -> int:
        """The position of a stage's k-th convolution, after a pool per stage and the layers of earlier convolutions."""
        return stage - 1 + (3 if batch_norm else 2) * (sum(convolutions[: stage - 1]) + k - 1)

    norms: tuple[Rule, ...] = ((r"stage(\d)/batch_norm(\d)", lambda s, k: f"features.{place(s, k) + 1}"),)
    return Family(
        (
            (r"stage(\d)/conv(\d)", lambda s, k: f"features.{place(s, k)}"),
            *(norms if batch_norm else ()),
            (r"top/dense(\d)", lambda k: f"classifier.{3 * (k - 1)}"),
        ),
        {"top": r"classifier\..*"},
    )


# -------------------------------------------------------------------------------------------------------- ResNet

BODY: tuple[Rule, ...] = (
    (r"conv1", "conv1"),
    (r"batch_norm1", "bn1"),
    (BLOCK + r"/body/conv(\d)", lambda i, j, k: f"layer{i}.{j - 1}.conv{k}"),
    (BLOCK + r"/body/batch_norm(\d)", lambda i, j, k: f"layer{i}.{j - 1}.bn{k}"),
)
RESNET = Family(
    (
        *BODY,
        (BLOCK + r"/shortcut/conv1", lambda i, j: f"layer{i}.{j - 1}.downsample.0"),
        (BLOCK + r"/shortcut/batch_norm1", lambda i, j: f"layer{i}.{j - 1}.downsample.1"),
        (r"top/dense1", "fc"),
    ),
    {"top": r"fc\..*"},
)
CIFAR_RESNET = Family((*BODY, (r"top/dense1", "linear")), {"top": r"linear\..*"})

# ----------------------------------------------------------------------------------------------------- GoogLeNet

INCEPTION_BRANCHES = {
    ("one", 1): "branch1",
    ("three", 1): "branch2.0",
    ("three", 2): "branch2.1",
    ("five", 1): "branch3.0",
    ("five", 2): "branch3.1",
    ("pool", 1): "branch4.1",  # after the pool, which is branch4.0
}
GOOGLENET = Family(
    (
        (r"conv(\d)", lambda k: f"conv{k}.conv"),
        (r"batch_norm(\d)", lambda k: f"conv{k}.bn"),
        (r"(inception\d\w)/(\w+)/conv(\d)", lambda m, b, k: f"{m}.{INCEPTION_BRANCHES[b, k]}.conv"),
        (r"(inception\d\w)/(\w+)/batch_norm(\d)", lambda m, b, k: f"{m}.{INCEPTION_BRANCHES[b, k]}.bn"),
        (r"auxiliary(\d)/conv1", lambda a: f"aux{a}.conv.conv"),
        (r"auxiliary(\d)/batch_norm1", lambda a: f"aux{a}.conv.bn"),
        (r"auxiliary(\d)/dense(\d)", lambda a, k: f"aux{a}.fc{k}"),
        (r"top/dense1", "fc"),
    ),
    {"top": r"fc\..*", "auxiliary1": r"aux1\..*", "auxiliary2": r"aux2\..*"},
)

# ----------------------------------------------------------------------------------------------------- SqueezeNet

FIRES = {
    2: 3,
    3: 4,
    4: 6,
    5: 7,
    6: 9,
    7: 10,
    8: 11,
    9: 12,
}  # -> features.N; 0 to 2, 5, 8: stem and pools
SQUEEZENET = Family(
    (
        (r"conv1", "features.0"),
        (r"fire(\d)/squeeze", lambda n: f"features.{FIRES[n]}.squeeze"),
        (r"fire(\d)/expand/one", lambda n: f"features.{FIRES[n]}.expand1x1"),
        (r"fire(\d)/expand/three", lambda n: f"features.{FIRES[n]}.expand3x3"),
        (r"top/conv1", "classifier.1"),
    ),
    {"top": r"classifier\..*"},
)

# ---------------------------------------------------------------------------------------------------- MobileNetV2


def mobilenet_unit(stage: int, block: int, unit: str) -> tuple[str, str]:
    """The rules for a unit's convolution and batch norm. There, `project` is not a unit: the two are side by side."""
    place = 1 + BLOCKS_BEFORE[stage - 1] + block - 1  # features.0 is the stem
    first = 0 if stage == 1 else 1  # the first block has no expansion
    if unit == "project":
        return f"features.{place}.conv.{first + 1}", f"features.{place}.conv.{first + 2}"
    number = first if unit == "depthwise" else 0
    return f"features.{place}.conv.{number}.0", f"features.{place}.conv.{number}.1"


MOBILENET_V2 = Family(
    (
        (r"stem/conv1", "features.0.0"),
        (r"stem/batch_norm1", "features.0.1"),
        (UNIT + r"/(?:depthwise_)?conv1", lambda i, j, unit: mobilenet_unit(i, j, unit)[0]),
        (UNIT + r"/batch_norm1", lambda i, j, unit: mobilenet_unit(i, j, unit)[1]),
        (r"last/conv1", "features.18.0"),
        (r"last/batch_norm1", "features.18.1"),
        (r"top/dense1", "classifier.1"),
    ),
    {"top": r"classifier\..*"},
)

# ----------------------------------------------------------------------------------------------------------------

FAMILIES: dict[str, tuple[Family, ...]] = {
    "alexnet": (ALEXNET,),
    **{f"vgg{d}": tuple(vgg(*stages, batch_norm=norm) for norm in (False, True)) for d, stages in CONVOLUTIONS.items()},
    **{f"resnet{depth}": (RESNET,) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}": (CIFAR_RESNET,) for depth in (20, 32, 44, 56, 110)},
    "googlenet": (GOOGLENET,),
    "squeezenet1_1": (SQUEEZENET,),
    "mobilenet_v2": (MOBILENET_V2,),
}
