"""The catalogue, and datasets in memory."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import Dataset, split


def made(n=20, classes=("cat", "dog")):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    return Dataset(images, np.arange(n) % len(classes), classes, "made")


# ---- the catalogue


def test_digits_are_pinned():
    """Results are reported on this split, so no byte of it may move."""
    train, test = data.load("digits")
    assert (len(train), len(test)) == data.describe("digits").sizes and len(train) + len(test) == 1797
    assert train.input_shape == data.describe("digits").image_shape and train.images.max() == 255
    assert np.unique(train.images).tolist() == [(v * 255 + 8) // 16 for v in range(17)]
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    assert np.abs(shares - 0.2).max() < 0.5 / 174  # the smallest class has 174
    digest = hashlib.sha256(b"".join(part.images.tobytes() + part.labels.tobytes() for part in (train, test)))
    assert digest.hexdigest() == "5d8ee7c6a4cc2876208ccffd510bc2e87a15d28dbac66f23df593f2c9032a42b"


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    train, test = data.load("digits")
    ours = np.concatenate([train.images, test.images])[..., 0]
    labels = np.concatenate([train.labels, test.labels])
    theirs = load_digits()
    order = np.lexsort([*theirs.images.reshape(1797, -1).T, theirs.target])
    ours_order = np.lexsort([*ours.reshape(1797, -1).T, labels])
    np.testing.assert_allclose(ours[ours_order] / 255 * 16, theirs.images[order], atol=0.04)
    np.testing.assert_array_equal(labels[ours_order], theirs.target[order])


def test_every_name_is_described():
    assert data.names() == [
        "digits",
        "mnist",
        "fashion_mnist",
        "kmnist",
        "emnist",
        *(f"emnist_{part}" for part in ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")),
        "cifar10",
        "cifar100",
        "svhn",
        "image_folder",
    ]
    for name in data.names():
        source = data.describe(name)
        assert source.name == name and source.description and source.license
        assert "\n" not in source.description + source.license


def test_unknown_names_options_and_folders(tmp_path):
    for wrong, meant in (
        ("mnits", "mnist"),
        ("Fashion", "fashion_mnist"),
        ("cifar", "cifar10"),
        ("imagefolders", "image_folder"),
    ):
        with pytest.raises(ValueError, match=rf"'{wrong}'.*digits, mnist, .*image_folder\. Did you mean '{meant}'"):
            data.load(wrong)
    with pytest.raises(ValueError, match=r"'coco'.*image_folder\.$"):
        data.load("coco")
    with pytest.raises(TypeError, match="must be a string; got 7"):
        data.load(7)
    with pytest.raises(TypeError, match=r"'digits' has no option size; its options: none"):
        data.load("digits", size=(8, 8))
    with pytest.raises(TypeError, match=r"'mnist' has no option size; its options: mirror"):
        data.load("mnist", size=(8, 8))
    with pytest.raises(TypeError, match=r"`data_dir`.*`size`"):
        data.load("image_folder", data_dir=tmp_path)
    with pytest.raises(data.DataError, match="absent: expected an existing data folder"):
        data.load("mnist", data_dir=tmp_path / "absent")


@pytest.mark.parametrize(("module", "name"), [("sklearn.datasets", "digits"), ("PIL.Image", "image_folder")])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    options = {"data_dir": tmp_path, "size": (4, 4)} if name == "image_folder" else {}
    with pytest.raises(ImportError, match=r"pip install 'jaxcnn\[data\]'"):
        data.load(name, **options)


def test_importing_the_room_imports_no_optional_package():
    code = "import sys, jaxcnn.data; print({'pooch', 'sklearn', 'PIL', 'requests'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


# ---- Dataset


def test_indexing_keeps_images_and_labels_together():
    dataset = made(6)
    for index in (slice(1, 5, 2), np.array([4, 0, 4]), [5], dataset.labels == 1, []):
        part = dataset[index]
        np.testing.assert_array_equal(part.images, dataset.images[np.arange(6)[index] if len(part) else slice(0)])
        assert part.classes == dataset.classes and len(part) == len(part.labels)


@pytest.mark.parametrize("index", [0, np.int64(1), (0, 1, 2.5), np.zeros((2, 2), int)])
def test_an_index_of_another_kind_is_refused(index):
    with pytest.raises(TypeError, match="must be a slice, positions or a mask"):
        made()[index]


def test_a_dataset_is_shown_in_one_line():
    assert repr(made()) == "<Dataset 'made': 20 images (2, 3, 1), 2 classes>"


def test_a_dataset_is_not_walked_over():
    with pytest.raises(TypeError, match=r"dataset\.images"):
        next(iter(made()))


def test_only_relabels_in_the_order_given():
    dataset = made(9, ("cat", "dog", "wolf"))
    part = dataset.only("wolf", "cat")
    assert part.classes == ("wolf", "cat") and part.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert part.images[:, 0, 0, 0].tolist() == [0, 2, 3, 5, 6, 8]
    for bad in ((), ("cat", "cat"), ("bear",)):
        with pytest.raises(ValueError, match="cat, dog, wolf"):
            dataset.only(*bad)


IMAGES, LABELS, CLASSES = np.zeros((3, 2, 2, 1), np.uint8), np.array([0, 1, 0]), ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (IMAGES.astype(np.float32), LABELS, CLASSES),
            TypeError,
            "`images` must be a uint8.*float32; floats of 0 to 1",
        ),
        ((IMAGES.tolist(), LABELS, CLASSES), TypeError, "`images` must be a uint8.*list"),
        ((IMAGES[..., 0], LABELS, CLASSES), ValueError, r"\(N, H, W, C\); got shape \(3, 2, 2\); .*None"),
        ((IMAGES, LABELS[:2], CLASSES), ValueError, r"one per image, .*images \(3, 2, 2, 1\), labels \(2,\)"),
        ((IMAGES, LABELS[:, None], CLASSES), ValueError, r"labels \(3, 1\); labels\[:, 0\]"),
        ((IMAGES, LABELS / 1.0, CLASSES), TypeError, "integers.*float64"),
        ((IMAGES, LABELS + 1, CLASSES), ValueError, "0 to 1 for 2 classes; got 2 at position 1"),
        ((IMAGES, LABELS - 1, CLASSES), ValueError, "got -1 at position 0"),
        ((IMAGES, LABELS, ("a", "a")), ValueError, "different names"),
        ((IMAGES, LABELS, ["a", "b"]), TypeError, "tuple of strings"),
    ],
)
def test_a_bad_dataset_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Dataset(*arguments, name="made")


def test_labels_become_int32():
    assert Dataset(IMAGES, LABELS.astype(np.uint8), CLASSES, "made").labels.dtype == np.int32


# ---- split


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.77])
def test_split_takes_each_example_once_and_each_class_alike(fraction):
    dataset = made(200, ("a", "b", "c"))
    rest, part = split(dataset, fraction)
    both = np.concatenate([rest.images, part.images])[:, 0, 0, 0]
    assert sorted(both.tolist()) == list(range(200))
    for label, count in enumerate(np.bincount(dataset.labels)):
        assert abs((part.labels == label).sum() - fraction * count) <= 0.5


def test_split_follows_the_seed():
    parts = [split(made(200), 0.5, seed=seed)[1].images[:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize(
    ("fraction", "seed", "message"),
    [(0, 0, "fraction"), (1.0, 0, "fraction"), (0.01, 0, "at least one"), (0.5, -1, "seed")],
)
def test_split_refuses(fraction, seed, message):
    with pytest.raises(ValueError, match=message):
        split(made(20), fraction, seed=seed)


def test_split_takes_datasets():
    with pytest.raises(TypeError, match=r"`dataset` must be a Dataset; got tuple.*by Dataset\(images, labels"):
        split((IMAGES, LABELS), 0.5)
