"""What people pass as data: arrays and what becomes one, and a recipe for the rest that makes it so."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import Dataset, as_pair

IMAGES, LABELS = np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3), np.array([0, 1, 0])
DATASET = Dataset(IMAGES, LABELS, ("a", "b"), "made")


def test_arrays_are_given_back_themselves():
    given = as_pair(DATASET, name="data")
    assert given[0] is DATASET.images and given[1] is DATASET.labels
    pair = (jnp.zeros((4, 8, 3)), np.eye(4, dtype=np.float32))
    assert all(a is b for a, b in zip(as_pair(list(pair), name="data"), pair, strict=True))
    mapped = (IMAGES, np.zeros((3, 2, 2), int))  # a label per pixel
    assert as_pair(mapped, name="data")[1] is mapped[1]


@pytest.mark.parametrize(
    "pair",
    [
        (IMAGES, LABELS.tolist()),
        [IMAGES, tuple(LABELS)],
        (list(IMAGES), list(LABELS)),
        (IMAGES / 255, [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        (list(jnp.asarray(IMAGES)), jnp.asarray(LABELS)),
    ],
)
def test_lists_become_arrays(pair):
    images, labels = as_pair(pair, name="data")
    for given, got in zip(pair, (images, labels), strict=True):
        assert isinstance(got, np.ndarray | jax.Array)
        np.testing.assert_array_equal(got, np.asarray(given))


def test_tensors_become_arrays():
    torch = pytest.importorskip("torch")
    x, y = torch.rand(3, 2, 2, 3, requires_grad=True), torch.tensor([0, 1, 0])
    for labels in (y, y.tolist(), y.numpy(), list(y)):
        images, got = as_pair((x, labels), name="data")
        np.testing.assert_array_equal(images, x.detach().numpy())
        assert got.tolist() == [0, 1, 0]
    with pytest.raises(TypeError, match=r"`data`: the images do not make one array.*BFloat16"):
        as_pair((x.bfloat16(), y), name="data")


def recipe(value):
    """The code that the message gives for a value."""
    with pytest.raises(TypeError) as caught:
        as_pair(value, name="data")
    assert "\n" not in str(caught.value)
    return re.search(r"`([^`]*=[^`]*)`", str(caught.value)[len("`data`") :])[1]


def run(code, **names):
    space = {"np": np, **names}
    exec(code, space)
    return space


class Table:
    """As `datasets.Dataset`, with the methods that the recipe uses."""

    column_names = ("image", "label")

    def with_format(self, kind):
        return {"numpy": {"image": list(IMAGES), "label": list(LABELS)}}[kind]


class Stream:
    """As `tf.data.Dataset`."""

    def unbatch(self):
        return self

    def as_numpy_iterator(self):
        return zip(IMAGES, LABELS, strict=True)


class Pairs:
    """As any dataset by position."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return IMAGES[i], LABELS[i]


class Batches(Pairs):
    """As `keras.utils.PyDataset`."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return IMAGES[2 * i : 2 * i + 2], LABELS[2 * i : 2 * i + 2]

    def on_epoch_end(self):
        pass


class Iterable:
    def __iter__(self):
        return zip(IMAGES, LABELS, strict=True)


def test_every_recipe_gives_the_pair():
    batches = [(IMAGES[:2], LABELS[:2]), (IMAGES[2:], LABELS[2:])]
    for value, name in (
        (Table(), "ds"),
        (Stream(), "ds"),
        (Pairs(), "ds"),
        (Batches(), "ds"),
        (Iterable(), "data"),
        (list(zip(IMAGES, LABELS, strict=True)), "pairs"),
    ):
        made = run(recipe(value), **{name: value})
        np.testing.assert_array_equal(made["images"], IMAGES)
        np.testing.assert_array_equal(made["labels"], LABELS)
    made = run(recipe(part for part in batches), batches=iter(batches))
    np.testing.assert_array_equal(made["images"], IMAGES)


def test_recipes_of_pytorchs_datasets():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    x = torch.arange(36).reshape(3, 3, 2, 2).float()
    ds = TensorDataset(x, torch.tensor(LABELS))
    made = run(recipe(ds), ds=ds)
    assert made["x"] is x and made["y"].tolist() == LABELS.tolist()
    loader = DataLoader(ds, batch_size=2)
    made = run(recipe(loader), loader=loader)
    np.testing.assert_array_equal(made["images"], x)
    with pytest.raises(TypeError, match=r"channels are last here: `x\.permute\(0, 2, 3, 1\)`"):
        as_pair(loader, name="data")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (IMAGES, TypeError, "pair of arrays.*got ndarray of uint8: its labels are missing"),
        ((IMAGES,), TypeError, "pair of arrays.*got tuple of 1: ndarray"),
        ((), TypeError, "got an empty tuple"),
        (None, TypeError, "got NoneType"),
        ("mnist", TypeError, r"got str 'mnist'. `data\.load` reads"),
        ((IMAGES, LABELS, np.ones(3)), TypeError, "Weights of examples have no place here"),
        ({"x": IMAGES, "y": LABELS}, TypeError, r"Its keys are 'x', 'y'; pass for instance \(d\['x'\], d\['y'\]\)"),
        ((IMAGES, {"a": 1}), TypeError, "got labels: dict"),
        ((IMAGES, ["cat", "dog", "cat"]), TypeError, r"got <U3; .*np\.unique\(labels, return_inverse=True\)"),
        (([IMAGES[0], IMAGES[0, :1]], [0, 1]), TypeError, "the images do not make one array"),
        (data.Splits(DATASET, DATASET), TypeError, "`.train`"),
        ((IMAGES.astype(int), LABELS), TypeError, r"uint8 or floating; got int64; `\.astype\(np\.uint8\)`"),
        ((IMAGES, LABELS.astype(complex)), TypeError, "complex128"),
        ((IMAGES, LABELS[:2]), ValueError, r"one label per image; got images \(3, 2, 2, 3\), labels \(2,\)"),
        ((IMAGES[:0], LABELS[:0]), ValueError, "no examples"),
        ((IMAGES[:, 0, 0, 0], LABELS), ValueError, "images"),
        ((IMAGES, np.array(1)), ValueError, "labels"),
    ],
)
def test_the_rest_is_refused_and_the_argument_named(value, error, message):
    with pytest.raises(error, match=message) as caught:
        as_pair(value, name="validation")
    assert "`validation`" in str(caught.value) and "\n" not in str(caught.value)
