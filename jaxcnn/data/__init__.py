"""Pixels before the network: where they come from, how they are batched and varied.

dataset.py    labelled images in memory: Dataset, Splits, split
pairs.py      as_pair: images and labels out of what people pass
sources.py    the catalogue: names, describe, load
fetch.py      the user's folder, else the network, checked and cached
idx.py, cifar.py, folder.py    the formats
images.py     read_image: one image file as pixels, the only decoder of the project
stand_in.py   load_or_digits: the digits where a dataset is not to be had
batches.py    epoch_plan, batches, to_float
augment.py    flip, shift, crop, cutout, normalise; chain, per_image
"""

from jaxcnn.data import augment
from jaxcnn.data.batches import Batch, batches, epoch_plan, to_float
from jaxcnn.data.cifar import read_cifar10
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError
from jaxcnn.data.folder import read_image_folder, read_image_folders
from jaxcnn.data.idx import read_idx
from jaxcnn.data.images import read_image
from jaxcnn.data.pairs import as_pair
from jaxcnn.data.sources import Source, describe, load, names
from jaxcnn.data.stand_in import load_or_digits

__all__ = [
    "Batch",
    "DataError",
    "Dataset",
    "Source",
    "Splits",
    "as_pair",
    "augment",
    "batches",
    "describe",
    "epoch_plan",
    "load",
    "load_or_digits",
    "names",
    "read_cifar10",
    "read_idx",
    "read_image",
    "read_image_folder",
    "read_image_folders",
    "split",
    "to_float",
]
