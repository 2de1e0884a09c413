"""Networks by name."""

from jaxcnn.models.alexnets import alexnet
from jaxcnn.models.catalogue import Accuracy, create, names, published, register
from jaxcnn.models.googlenets import googlenet
from jaxcnn.models.inception import naive_inception, reduced_inception
from jaxcnn.models.lectures import (
    cats_vs_dogs_cnn,
    cifar10_cnn,
    digits_cnn,
    lenet5,
    mnist_baseline,
    mnist_cnn,
    zero_one,
)
from jaxcnn.models.mobilenets import mobilenet_v2
from jaxcnn.models.model import Model
from jaxcnn.models.resnets import (
    cifar_resnet,
    resnet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from jaxcnn.models.squeezenets import squeezenet1_1
from jaxcnn.models.surgery import features, with_frozen, with_head
from jaxcnn.models.vggs import vgg, vgg11, vgg13, vgg16, vgg19
from jaxcnn.moved import moved

__all__ = [
    "Accuracy",
    "Model",
    "alexnet",
    "cats_vs_dogs_cnn",
    "cifar10_cnn",
    "cifar_resnet",
    "create",
    "digits_cnn",
    "features",
    "googlenet",
    "lenet5",
    "mnist_baseline",
    "mnist_cnn",
    "mobilenet_v2",
    "naive_inception",
    "names",
    "published",
    "reduced_inception",
    "register",
    "resnet",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "squeezenet1_1",
    "vgg",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "with_frozen",
    "with_head",
    "zero_one",
]

__getattr__ = moved(__name__, {"Published": "jaxcnn.models.Accuracy"})
