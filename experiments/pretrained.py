"""Published weights at work: ResNet-20 on CIFAR-10's test images, SqueezeNet on photos of cats and dogs.

Attains: ResNet-20 gets 91.73 % of the test images right (published: 91.73 %). SqueezeNet takes 88.6 % of the 500 dogs,
and 26.0 % of the 500 cats, for a breed of dog.
Measured: 2 virtual cores of an AMD EPYC (AVX-512), Python 3.11.7, jax 0.10.2.
Command: python experiments/pretrained.py --weights-dir DIR --cifar-dir DIR --photos-dir DIR
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro

from jaxcnn import data, weights
from jaxcnn.viz.style import ORANGE, figure, save

FIRST_DOG, LAST_DOG = "Chihuahua", "Mexican hairless"  # ImageNet's breeds of dogs stand between these


@dataclasses.dataclass(frozen=True)
class Config:
    """Where the files are. What is not given is not run."""

    weights_dir: Path
    """Folder with resnet20_cifar10.safetensors, squeezenet1_1_imagenet.npz and imagenet_labels.txt (a name a line)."""
    cifar_dir: Path | None = None
    """Folder with cifar-10-binary.tar.gz or cifar-10-batches-bin."""
    photos_dir: Path | None = None
    """Folder with train/ and validation/, each with a folder of cats and one of dogs."""
    out: Path = Path("runs/pretrained")
    """Where the picture goes."""
    photos: int = 6
    """How many photos are drawn, half of them of dogs."""
    size: int = 150
    """Pixels; the height and width that photos are read at."""
    batch_size: int = 100
    """Images at a time."""


def probabilities(network: weights.Pretrained, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Of each class for each image, (N, classes)."""

    @jax.jit
    def compiled(params, state, batch):
        logits, _ = network.model.apply(params, state, network.about.preprocessing(batch))
        return jax.nn.softmax(logits)

    parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    return np.concatenate([compiled(network.params, network.state, part) for part in parts])


def cifar(config: Config) -> float:
    """ResNet-20's accuracy on the 10,000 test images."""
    network = weights.pretrained("akamaster/resnet20", path=config.weights_dir / "resnet20_cifar10.safetensors")
    test = data.load("cifar10", data_dir=config.cifar_dir).test
    found = probabilities(network, test.images, config.batch_size).argmax(axis=1)
    return float((found == test.labels).mean())


def dogs(config: Config) -> tuple[float, float]:
    """The share of the validation dogs that are taken for some breed of dog, and of the cats; draws a few of both."""
    network = weights.pretrained("caffe/squeezenet1_1", path=config.weights_dir / "squeezenet1_1_imagenet.npz")
    names = weights.class_names(network.about, config.weights_dir / "imagenet_labels.txt")
    photos = data.load("image_folder", data_dir=config.photos_dir, size=(config.size, config.size)).test
    found = probabilities(network, photos.images, config.batch_size)
    best = found.argmax(axis=1)
    is_dog = (best >= names.index(FIRST_DOG)) & (best <= names.index(LAST_DOG))
    of_class = [np.flatnonzero(photos.labels == label) for label in range(2)]
    shown = np.concatenate([members[: config.photos // 2] for members in of_class])
    draw(photos.images[shown], found[shown], names, config.out / "five_most_likely.png")
    cats, dogs = (float(is_dog[members].mean()) for members in of_class)  # in alphabetical order
    return dogs, cats


def draw(images: np.ndarray, found: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    """Each photo with its five most likely classes."""
    fig, axes = figure(2, len(images), (2.6 * len(images), 4.6))
    for image, p, above, below in zip(images, found, *axes, strict=True):
        above.imshow(image)
        above.set_axis_off()
        best = np.argsort(p)[-5:]
        below.barh(range(5), p[best], color=ORANGE)
        below.grid(False, axis="y")
        below.set(yticks=[], xlim=(0, 1), xlabel="probability")
        for place, label in enumerate(best):
            below.text(0.02, place, names[label].partition(",")[0], va="center")
    save(fig, path)


def main(config: Config) -> None:
    """Run what there are files for."""
    if config.cifar_dir is not None:
        print(f"resnet20: {cifar(config):.2%} of CIFAR-10's test images right")
    if config.photos_dir is not None:
        right, wrong = dogs(config)
        print(f"squeezenet1_1: {right:.1%} of the dogs and {wrong:.1%} of the cats are taken for a breed of dog")
        print(f"wrote {config.out / 'five_most_likely.png'}")


if __name__ == "__main__":
    main(tyro.cli(Config))
