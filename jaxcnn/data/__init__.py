"""Datasets: read from files, cut into batches and augmented.

dataset.py    labeled images in memory: Dataset, Splits, split
pairs.py      as_pair: images and labels from a user's arrays, lists or tensors
sources.py    the catalogue: names, describe, load
places.py, fetch.py    files in the user's folder; files from the network, checked and cached
mnist.py, cifar.py, svhn.py    the published datasets, in every form in which they are published
idx.py, npz.py, csv_file.py, matlab.py    the file formats; bounds.py: a bound on the unpacked size that a file states
folder.py, folder_layouts.py    images in folders, in the usual layouts
stand_in.py   load_or_digits: the digits in place of a dataset whose files are missing
batching.py   epoch_plan, batches, to_float
augment.py    flip, shift, crop, cutout, normalize; chain, per_image
"""

from jaxcnn.data import augment
from jaxcnn.data.batching import Batch, batches, epoch_plan, to_float
from jaxcnn.data.cifar import read_cifar10, read_cifar100
from jaxcnn.data.csv_file import read_csv
from jaxcnn.data.dataset import Dataset, Splits, split
from jaxcnn.data.errors import DataError
from jaxcnn.data.folder import read_image_folder, read_image_folders
from jaxcnn.data.idx import read_idx
from jaxcnn.data.npz import read_npz
from jaxcnn.data.pairs import as_pair
from jaxcnn.data.sources import Source, describe, load, names
from jaxcnn.data.stand_in import load_or_digits
from jaxcnn.files.images import read_image

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
    "read_cifar100",
    "read_csv",
    "read_idx",
    "read_image",
    "read_image_folder",
    "read_image_folders",
    "read_npz",
    "split",
    "to_float",
]
