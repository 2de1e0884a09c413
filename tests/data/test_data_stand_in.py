"""The digits in place of a dataset that is not to be had."""

import gzip

import numpy as np
import pytest
from PIL import Image

from jaxcnn import data
from jaxcnn.data.stand_in import load_or_digits


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("JAXCNN_SMALL", "JAXCNN_DATA_DIR", "JAXCNN_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """An address where nobody listens, and an empty cache."""
    monkeypatch.setenv("JAXCNN_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))


def written_mnist(folder):
    """Five training and three test images in MNIST's format."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 5), ("t10k", 3)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8)
        for kind, magic, array in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder


def test_a_set_that_is_there_is_loaded_in_silence(tmp_path, monkeypatch, capsys):
    folder = written_mnist(tmp_path / "mnist")
    given = load_or_digits("mnist", data_dir=folder)
    monkeypatch.setenv("JAXCNN_DATA_DIR", str(tmp_path))
    by_environment = load_or_digits("mnist")
    for splits in (given, by_environment):
        for part, wanted in zip(splits, data.load("mnist", data_dir=folder), strict=True):
            np.testing.assert_array_equal(part.images, wanted.images)
            assert part.name == "mnist"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_without_files_and_network_it_is_the_digits_and_says_so(no_network, capsys, name, shape):
    splits = load_or_digits(name)
    out = capsys.readouterr().out
    assert "no connection" in out
    assert out.endswith(
        f"In place of {name}: the embedded digits, resized from 8×8×1 to {'×'.join(map(str, shape))}.\n"
    )
    for part, digits in zip(splits, data.load("digits"), strict=True):
        assert part.name == "digits" and part.classes == digits.classes and part.input_shape == shape
        np.testing.assert_array_equal(part.labels, digits.labels)
        assert (part.images == part.images[..., :1]).all()  # gray
        # The mean brightness of an image is that of its scan.
        means = [images.mean(axis=(1, 2, 3)) for images in (part.images, digits.images)]
        assert np.abs(means[0] - means[1]).max() < 3


def test_a_resized_digit_is_interpolated_between_pixel_centers(no_network):
    """Along a row, by NumPy: output pixel i looks at (i + ½)·8/28 − ½ of the scan, held at the border."""
    scan = data.load("digits").train.images[0, ..., 0].astype(float)
    places = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    rows = np.stack([np.interp(places, np.arange(8), row) for row in scan])
    both = np.stack([np.interp(places, np.arange(8), column) for column in rows.T], axis=1)
    np.testing.assert_allclose(load_or_digits("mnist").train.images[0, ..., 0], both, atol=1.01)


def test_a_folder_that_is_wrong_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXCNN_DATA_DIR", str(tmp_path / "absent"))
    assert load_or_digits("cifar10").train.name == "digits"
    assert f"{tmp_path / 'absent'}: expected an existing data folder" in capsys.readouterr().out


def test_photos_have_a_folder_of_their_own(tmp_path, monkeypatch, capsys):
    """JAXCNN_DATA_DIR holds the published sets; its folders are no classes."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (6, 4)).save(tmp_path / name / f"{i}.png")
    assert load_or_digits("image_folder", data_dir=tmp_path, size=(4, 6), fraction=0.4).train.classes == ("cat", "dog")
    absent = load_or_digits("image_folder", data_dir=tmp_path / "absent", size=(12, 10))
    assert absent.train.input_shape == (12, 10, 3)
    assert (
        load_or_digits("image_folder", data_dir=tmp_path / "absent", size=(9, 9), channels=1).test.input_shape[2] == 1
    )
    monkeypatch.setenv("JAXCNN_DATA_DIR", str(tmp_path))
    with pytest.raises(TypeError, match="`data_dir`"):
        load_or_digits("image_folder", size=(4, 6))


def test_a_small_run_opens_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXCNN_SMALL", "1")
    monkeypatch.setattr("jaxcnn.data.stand_in.load", lambda name, **_: {"digits": data.load("digits")}[name])
    folder = written_mnist(tmp_path / "mnist")
    assert load_or_digits("mnist", data_dir=folder).train.name == "digits"
    assert "JAXCNN_SMALL is set" in capsys.readouterr().out


def test_the_digits_are_themselves(monkeypatch, capsys):
    monkeypatch.setenv("JAXCNN_SMALL", "1")
    assert load_or_digits("digits").train.input_shape == (8, 8, 1)
    assert capsys.readouterr().out == ""


def test_mistakes_in_the_call_are_raised(monkeypatch):
    for small in (False, True):
        if small:
            monkeypatch.setenv("JAXCNN_SMALL", "1")
        with pytest.raises(ValueError, match="unknown dataset 'mnits'"):
            load_or_digits("mnits")
        with pytest.raises(TypeError, match=r"option size|argument 'size'"):
            load_or_digits("mnist", size=(8, 8))
        with pytest.raises(TypeError, match=r"`data_dir`.*`size`"):
            load_or_digits("image_folder", data_dir="absent")
