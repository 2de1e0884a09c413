"""`jaxcnn predict`: what it says of images, and how they are read."""

import dataclasses
import re

import cli_tools
import jax
import numpy as np
import pytest
from PIL import Image

from jaxcnn import data, weights
from jaxcnn.cli import main
from jaxcnn.models import catalogue

no_terminal, tiny, run = cli_tools.no_terminal, cli_tools.tiny, cli_tools.run


def test_predict_prints_classes_and_probabilities_of_each_image(run, tmp_path, capsys):
    digit = data.load("digits").test.images[0, ..., 0]
    for name in ("a.png", "b.jpeg"):
        Image.fromarray(np.kron(digit, np.ones((4, 4), np.uint8))).save(tmp_path / name)
    assert main(["predict", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.jpeg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(tmp_path / "a.png"), str(tmp_path / "b.jpeg")]
    for line in lines:
        chances = [float(value) for value in re.findall(r"([\d.]+)%", line.split(": ")[1])]
        assert len(chances) == 3 and chances == sorted(chances, reverse=True) and sum(chances) <= 100.2


@pytest.mark.parametrize(("loss", "shown"), [(None, "0.25"), ("sigmoid_binary_cross_entropy", "1 56.2%, 0 43.8%")])
def test_predict_of_one_unit_says_what_its_loss_makes_of_it(loss, shown, tmp_path, capsys):
    """sigmoid(0.25) = 0.562; a loss of one's own says nothing of what its outputs are."""
    model = dataclasses.replace(catalogue.create("digits_cnn", num_classes=1), loss=loss)
    params, state = jax.tree.map(np.zeros_like, model.init(jax.random.key(0)))
    params["dense1"]["bias"] += 0.25
    weights.save(tmp_path / "m.safetensors", model, params, state)
    Image.new("L", (8, 8), 200).save(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.png'}: {shown}\n"


def test_a_file_that_is_no_image_is_exit_code_1(run, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"not an image")
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 1
    assert "expected a readable image" in capsys.readouterr().err
    assert main(["predict", str(run), str(tmp_path / "b.png")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_one_bad_image_of_several_leaves_the_others_answered(run, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    assert main(["predict", str(run), *(str(tmp_path / name) for name in ("good.png", "bad.png", "good.png"))]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and len(err.splitlines()) == 1 and "bad.png" in err


def test_predict_turns_a_photo_upright(run, tmp_path, capsys):
    """A digit stored turned, with the orientation that says so, and the same digit upright."""
    digit = Image.fromarray(np.kron(data.load("digits").test.images[3, ..., 0], np.ones((4, 4), np.uint8)))
    digit.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    digit.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    assert main(["predict", str(run), str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 0
    one, other = (line.split(": ")[1] for line in capsys.readouterr().out.splitlines())
    assert one == other


def test_predict_prepares_images_as_the_file_says(tmp_path, capsys):
    """A linear model of the mean brightness, which the file's preprocessing shifts below zero."""
    model = catalogue.create("cifar10_cnn", input_size=10, num_classes=2)
    params, state = model.init(jax.random.key(0))
    prepared = weights.Preprocessing((10, 10), resize=12, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    weights.save(tmp_path / "m.safetensors", model, params, state, classes=["a", "b"], preprocessing=prepared)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "x.png"), "--top", "2"]) == 0
    p = jax.nn.softmax(model.apply(params, state, prepared(pixels[None]))[0][0])
    said = dict(part.split(" ") for part in capsys.readouterr().out.split("x.png: ")[1].strip().split(", "))
    assert said == {"a": f"{p[0]:.1%}", "b": f"{p[1]:.1%}"}
