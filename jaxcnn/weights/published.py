"""The published weights that `pretrained` knows, and what must be known to use each of them.

The hashes are the publishers' own. torchvision writes the first eight digits of a file's SHA-256 into the file's name,
where `torch.hub` checks them; `keras.applications` has MD5 sums in its source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxcnn.data.cifar import CIFAR10
from jaxcnn.files.remote import Remote
from jaxcnn.models.catalogue import PUBLISHED
from jaxcnn.moved import moved_field
from jaxcnn.weights.preprocessing import Preprocessing

FOLDER = "weights"  # the name of the folder in the cache and under a mirror


@dataclass(frozen=True)
class Published:
    """Weights that somebody else publishes.

    Args:
      name: "publisher/model".
      remote: the file; its folder in the cache and under a mirror is "weights".
      model, options: the arguments with which `models.create` makes the model for these weights.
      library: the library whose names and layouts the file has, "torch", "keras" or "arrays".
      preprocessing: how images are prepared for the model.
      top1: the accuracy that the publisher states, in percent.
      license, source: the license of the weights, and where they come from.
      classes: the names of the classes, or "imagenet" for the thousand of ImageNet-1k, whose names are another file.
    """

    name: str
    remote: Remote
    model: str
    library: Literal["torch", "keras", "arrays"]
    preprocessing: Preprocessing
    top1: float
    license: str
    source: str
    classes: tuple[str, ...] | Literal["imagenet"] = "imagenet"
    options: Mapping[str, Any] = field(default_factory=dict)

    licence = moved_field("weights.Published", "licence", "license")


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # per channel of RGB, for pixels of 0 to 1
TORCHVISION = Preprocessing((224, 224), resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
TENSORFLOW = Preprocessing((224, 224), resize=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CAFFE = Preprocessing((224, 224), resize=256, channels="BGR", scale=1.0, mean=(103.939, 116.779, 123.68))


def _torchvision(
    model: str,
    file: str,
    mebibytes: float,
    *,
    name: str | None = None,
    top1: float | None = None,
    preprocessing: Preprocessing = TORCHVISION,
    **options: Any,
) -> Published:
    """A file of torchvision; without `top1`, the accuracy is the one from torchvision in the catalogue of models."""
    return Published(
        name=f"torchvision/{name or model}",
        remote=Remote(
            FOLDER,
            file,
            f"sha256:{file.removesuffix('.pth').rpartition('-')[2]}",
            (f"https://download.pytorch.org/models/{file}",),
            mebibytes,
        ),
        model=model,
        library="torch",
        preprocessing=preprocessing,
        top1=PUBLISHED[model].top1 if top1 is None else top1,
        license="BSD-3-Clause, as torchvision; trained on ImageNet, whose terms are for non-commercial research",
        source="torchvision, weights IMAGENET1K_V1, https://github.com/pytorch/vision",
        options=options,
    )


def _keras(model: str, folder: str, md5: str, mebibytes: float, top1: float, license: str, **options: Any) -> Published:
    file = f"{model}_weights_tf_dim_ordering_tf_kernels.h5"
    return Published(
        name=f"keras/{model}",
        remote=Remote(
            FOLDER,
            file,
            f"md5:{md5}",
            (f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}/{file}",),
            mebibytes,
        ),
        model=model,
        library="keras",
        preprocessing=CAFFE,
        top1=top1,
        license=license,
        source="keras.applications, https://keras.io/api/applications; converted from the authors' Caffe models",
        options=options,
    )


VGG_LICENSE = "CC BY 4.0, Visual Geometry Group, University of Oxford"
RESNET_LICENSE = "MIT, Kaiming He, https://github.com/KaimingHe/deep-residual-networks"

FILES = (
    _torchvision("alexnet", "alexnet-owt-7be5be79.pth", 233.1),
    _torchvision("vgg11", "vgg11-8a719046.pth", 506.8),
    _torchvision("vgg13", "vgg13-19584684.pth", 507.5),
    _torchvision("vgg16", "vgg16-397923af.pth", 527.8),
    _torchvision("vgg19", "vgg19-dcbb9e9d.pth", 548.1),
    _torchvision("vgg11", "vgg11_bn-6002323d.pth", 506.9, name="vgg11_bn", top1=70.370, batch_norm=True),
    _torchvision("vgg13", "vgg13_bn-abd245e5.pth", 507.6, name="vgg13_bn", top1=71.586, batch_norm=True),
    _torchvision("vgg16", "vgg16_bn-6c64b313.pth", 527.9, name="vgg16_bn", top1=73.360, batch_norm=True),
    _torchvision("vgg19", "vgg19_bn-c79401a0.pth", 548.1, name="vgg19_bn", top1=74.218, batch_norm=True),
    # This network was ported from TensorFlow with its scaling of images; the auxiliary classifiers were never trained.
    _torchvision("googlenet", "googlenet-1378be20.pth", 49.7, preprocessing=TENSORFLOW, auxiliary=False),
    _torchvision("resnet18", "resnet18-f37072fd.pth", 44.7),
    _torchvision("resnet34", "resnet34-b627a593.pth", 83.3),
    _torchvision("resnet50", "resnet50-0676ba61.pth", 97.8),
    _torchvision("resnet101", "resnet101-63fe2227.pth", 170.5),
    _torchvision("resnet152", "resnet152-394f9c45.pth", 230.4),
    _torchvision("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth", 4.7),
    _torchvision("mobilenet_v2", "mobilenet_v2-b0353104.pth", 13.6),
    _keras("vgg16", "vgg16", "64373286793e3c8b2b4e3219cbf3544b", 528, 71.3, VGG_LICENSE),
    _keras("vgg19", "vgg19", "cbe5617147190e668d6c5d5026f83318", 549, 71.3, VGG_LICENSE),
    _keras("resnet50", "resnet", "2cb95161c43110f7111970584f804107", 98, 74.9, RESNET_LICENSE, form="keras"),
    _keras("resnet101", "resnet", "f1aeb4b969a6efcfb50fad2f0c20cfc5", 171, 76.4, RESNET_LICENSE, form="keras"),
    _keras("resnet152", "resnet", "100835be76be38e30d865e96f2aaae62", 232, 76.6, RESNET_LICENSE, form="keras"),
    Published(
        name="akamaster/resnet20",
        remote=Remote(
            FOLDER,
            "resnet20_cifar10.safetensors",
            "sha256:02926273efb1deadb6dc654c7087baea932ef2026d9f854680d6858146d85838",
            (),
            1.04,
        ),
        model="resnet20",
        library="torch",
        preprocessing=Preprocessing((32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD),
        top1=91.73,
        license="BSD-2-Clause",
        source="https://github.com/akamaster/pytorch_resnet_cifar10, its state dict as safetensors",
        classes=CIFAR10.classes,
    ),
    Published(
        name="caffe/squeezenet1_1",
        remote=Remote(
            FOLDER,
            "squeezenet1_1_imagenet.npz",
            "sha256:b7e5567cbee4818ac3ddce33d6b6e2034fc8c38a6e2dbf59ae7989bf30358d6f",
            (),
            4.7,
        ),
        model="squeezenet1_1",
        library="arrays",  # conv10 is in half precision, which float32 holds exactly
        preprocessing=Preprocessing((227, 227), channels="BGR", scale=1.0, mean=(104.0, 117.0, 123.0)),
        top1=57.5,
        license="BSD-2-Clause, as the authors' Caffe model",
        source="SqueezeNet 1.1 of the authors, https://github.com/forresti/SqueezeNet, its arrays as NumPy's .npz",
        options={"input_size": 227},
    ),
)

# The names of ImageNet's thousand classes, in the form of keras.applications: {"0": ["n01440764", "tench"], …}.
IMAGENET_CLASSES = Remote(
    FOLDER,
    "imagenet_class_index.json",
    "md5:c2c37ea517e94d9795004a39431a14cb",
    ("https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",),
    0.03,
)
