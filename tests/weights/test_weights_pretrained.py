"""Published weights, fetched from a real HTTP server on loopback."""

import dataclasses
import hashlib
import json
import os
import re
import socket
import sys
import traceback

import jax
import numpy as np
import pytest
from file_server import beginning, cached, missing, truncated, truncated_unannounced, whole, wrong
from safetensors.numpy import save

from jaxcnn import models
from jaxcnn.files.remote import Remote
from jaxcnn.weights import Preprocessing, Published, WeightsError, class_names, pretrained, pretrained_names, to_torch
from jaxcnn.weights.published import FILES, IMAGENET_CLASSES

MODEL = models.create("resnet20", num_classes=3)
TREE = jax.tree.map(
    lambda a: np.random.default_rng(0).random(a.shape, np.float32), jax.eval_shape(MODEL.init, jax.random.key(0))
)
BODY = save(to_torch(*TREE, MODEL))  # about a megabyte
PART = beginning(BODY)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server(server):
    server.body = BODY
    return server


def published(url=None, digits=f"sha256:{SHA256}", **changes):
    urls = () if url is None else (url,)
    return Published(
        name="test/resnet20",
        remote=Remote("weights", "resnet20.safetensors", digits, urls, 1.0),
        model="resnet20",
        library="torch",
        preprocessing=Preprocessing((32, 32)),
        top1=0.0,
        license="none",
        source="these tests",
        classes=("a", "b", "c"),
        **{"options": {"num_classes": 3}} | changes,
    )


# ------------------------------------------------------------------------------------------------------------- fetching


@pytest.mark.parametrize("digits", [f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", f"md5:{MD5}"])
def test_the_weights_arrive_once_and_are_those_published(server, tmp_path, digits):
    about = published(f"{server.url}/a/resnet20.safetensors", digits)
    for _ in range(2):
        network = pretrained(about)
        assert network.about is about and network.model.num_classes == 3
        jax.tree.map(np.testing.assert_array_equal, (network.params, network.state), TREE)
    assert server.requested == ["/a/resnet20.safetensors"]
    assert cached(tmp_path) == ["resnet20.safetensors"]
    assert class_names(about) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (truncated, "the connection ended before the file did. By hand: download it (1.0 MiB, sha256:"),
        (
            truncated_unannounced,
            f"found {len(PART):,} bytes with {hashlib.sha256(PART).hexdigest()}",
        ),
        (wrong, f"found {len(BODY):,} bytes with "),
        (missing, "HTTP status 404. By hand: download it (1.0 MiB, sha256:"),
    ],
)
def test_a_failure_is_one_clear_error_and_leaves_nothing(server, tmp_path, answer, reason):
    server.answer = answer
    about = published(f"{server.url}/a/resnet20.safetensors")
    with pytest.raises(WeightsError) as error:
        pretrained(about)
    for words in (about.remote.urls[0], SHA256, reason):
        assert words in str(error.value)
    assert "".join(traceback.format_exception(error.value)).count("Traceback") == 1  # no chain of them
    assert cached(tmp_path) == []
    server.answer = whole
    pretrained(about)


def test_without_a_network_it_says_what_to_put_where_and_then_finds_it(server, tmp_path):
    with socket.socket() as unused:  # bound and not listening: nothing answers there
        unused.bind(("127.0.0.1", 0))
        about = published(f"http://127.0.0.1:{unused.getsockname()[1]}/resnet20.safetensors", f"sha256:{SHA256[:8]}")
        with pytest.raises(WeightsError) as error:
            pretrained(about)
        said = re.fullmatch(
            r"(\S+): no connection\. By hand: .* and put it at (\S+), or give its path", str(error.value)
        )
        assert said and said[1] == about.remote.urls[0]
        assert cached(tmp_path) == []
        with open(said[2], "wb") as file:
            file.write(BODY)
        pretrained(about)


def test_a_damaged_cache_is_fetched_again(server, tmp_path):
    about = published(f"{server.url}/a/resnet20.safetensors")
    pretrained(about)
    (tmp_path / "cache" / "weights" / "resnet20.safetensors").write_bytes(BODY[:100])
    pretrained(about)
    assert len(server.requested) == 2


def test_a_mirror_replaces_the_address(server, monkeypatch):
    monkeypatch.setenv("JAXCNN_MIRROR", f"{server.url}/mirror/")
    pretrained(published("http://nowhere.invalid/resnet20.safetensors"))
    assert server.requested == ["/mirror/weights/resnet20.safetensors"]


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where the cache should be")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "taken"))
    with pytest.raises(WeightsError, match=r"taken.* By hand: download it"):
        pretrained(published(f"{server.url}/a/resnet20.safetensors"))


def test_a_terminal_sees_a_bar(server, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    pretrained(published(f"{server.url}/a/resnet20.safetensors"))
    assert "100%" in capsys.readouterr().err


def test_without_pooch_the_extra_is_named(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"resnet20\.safetensors needs the package `pooch`.*'jaxcnn\[data\]'"):
        pretrained(published(f"{server.url}/a/resnet20.safetensors"))


# ---------------------------------------------------------------------------------------------------- the user's files


def test_a_file_given_by_its_path_is_compared_too(server, tmp_path):
    about, path = published(), tmp_path / "mine.safetensors"
    path.write_bytes(BODY)
    pretrained(about, path=path)
    path.write_bytes(BODY + b"more")
    with pytest.raises(
        WeightsError, match=rf"mine\.safetensors: expected the published resnet20\.safetensors .*{SHA256}"
    ):
        pretrained(about, path=str(path))
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such weights file"):
        pretrained(about, path=tmp_path / "nowhere")
    with pytest.raises(
        WeightsError, match=rf"not published at an address.* put a file with sha256:{SHA256} at .*cache"
    ):
        pretrained(about)
    assert server.requested == [] and cached(tmp_path) == []


def test_a_known_beginning_is_called_one(server, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(BODY + b"more")
    with pytest.raises(WeightsError, match=f"sha256 beginning with {SHA256[:8]}; found"):
        pretrained(published(None, f"sha256:{SHA256[:8]}"), path=tmp_path / "mine.safetensors")


def test_the_models_own_options(server, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(BODY)
    network = pretrained(published(), path=tmp_path / "mine.safetensors", include_top=False)
    assert "top" not in network.params and network.model.options == {"num_classes": 3, "include_top": False}
    with pytest.raises(WeightsError, match="tell 3 classes apart, the model 5"):
        pretrained(published(), path=tmp_path / "mine.safetensors", num_classes=5)


# ----------------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("about", FILES, ids=pretrained_names())
def test_each_entry_is_complete(about):
    model = models.create(about.model, **about.options)
    assert model.input_shape == (*about.preprocessing.size, 3)
    assert model.num_classes == (1000 if about.classes == "imagenet" else len(about.classes))
    assert about.license and about.source and 50 < about.top1 < 100
    algorithm, _, digits = about.remote.hash.partition(":")
    assert re.fullmatch(r"[0-9a-f]+", digits)
    assert len(digits) == 2 * hashlib.new(algorithm).digest_size or (digits in about.remote.file and len(digits) == 8)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))
    assert about.remote.mebibytes == pytest.approx(parameters * 4 / 2**20, rel=0.03) or "googlenet" in about.name
    assert all(url.endswith(f"/{about.remote.file}") for url in about.remote.urls)


def test_names_are_unique_and_unknown_ones_refused():
    assert len(set(pretrained_names())) == len(pretrained_names())
    with pytest.raises(
        ValueError, match=r"unknown name 'resnet50'; known are torchvision/alexnet, .*caffe/squeezenet1_1"
    ):
        pretrained("resnet50")


# --------------------------------------------------------------------------------------------------------- class names

IMAGENET = dataclasses.replace(published(), classes="imagenet")


def test_class_names_of_imagenet_from_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"class {i}, Klasse {i}\n" for i in range(1000)), encoding="utf-8")
    assert class_names(IMAGENET, path)[999] == "class 999, Klasse 999"
    path.write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"labels\.txt: expected the names of ImageNet's 1000 classes.* found 2"):
        class_names(IMAGENET, path)
    with pytest.raises(FileNotFoundError):
        class_names(IMAGENET, tmp_path / "nowhere.txt")


def test_class_names_of_imagenet_are_fetched_and_checked(server, monkeypatch, tmp_path):
    monkeypatch.setenv("JAXCNN_MIRROR", server.url)
    index = {str(i): [f"n{i:08}", f"class_{i}"] for i in reversed(range(1000))}
    body = json.dumps(index).encode()
    server.answer = lambda handler: whole(handler, body)
    with pytest.raises(
        WeightsError, match=rf"imagenet_class_index\.json: another file, found .*{IMAGENET_CLASSES.hash}"
    ):
        class_names(IMAGENET)
    assert cached(tmp_path) == [] and server.requested == ["/weights/imagenet_class_index.json"]
    known = dataclasses.replace(IMAGENET_CLASSES, hash=f"md5:{hashlib.md5(body).hexdigest()}")
    monkeypatch.setattr(sys.modules["jaxcnn.weights.zoo"], "IMAGENET_CLASSES", known)
    assert class_names(IMAGENET)[:2] == ("class 0", "class 1")
    assert os.listdir(tmp_path / "cache" / "weights") == ["imagenet_class_index.json"]
