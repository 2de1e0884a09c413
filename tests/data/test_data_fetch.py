"""The fetch, against a real HTTP server on loopback."""

import gzip
import hashlib
import io
import socket
import sys
import traceback

import numpy as np
import pytest
from file_server import beginning, cached, changed, dropped, missing, truncated, truncated_unannounced, whole, wrong

from jaxcnn import data
from jaxcnn.data.errors import DataError
from jaxcnn.data.fetch import fetch
from jaxcnn.files.remote import Remote

BODY = np.random.default_rng(0).bytes(300_000)  # longer than one chunk, so a drop leaves part of it on the disk
MD5 = hashlib.md5(BODY).hexdigest()


def compressed_on_the_way(handler):
    """What some servers do with .gz files, unless told that the client wants them as they are."""
    body = gzip.compress(BODY)
    if "gzip" not in handler.headers.get("Accept-Encoding", ""):
        return whole(handler)
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:-1])


@pytest.fixture
def server(server):
    server.body = BODY
    return server


@pytest.fixture
def remote(server):
    return Remote("made", "pixels.gz", f"md5:{MD5}", (f"{server.url}/a/pixels.gz",))


def test_whole_file_is_cached_and_fetched_once(server, remote):
    path = fetch(remote)
    assert path.read_bytes() == BODY and path.name == "pixels.gz" and path.parent.name == "made"
    assert fetch(remote) == path
    assert server.requested == ["/a/pixels.gz"]


def test_a_terminal_sees_a_bar_and_a_log_does_not(server, remote, monkeypatch):
    for isatty in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda answer=isatty: answer
        monkeypatch.setattr(sys, "stderr", stream)
        fetch(remote).unlink()
        assert ("100%" in stream.getvalue()) == isatty


def test_damaged_cache_is_fetched_again(server, remote):
    fetch(remote).write_bytes(BODY[:100])
    assert fetch(remote).read_bytes() == BODY
    assert len(server.requested) == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (truncated, "the connection ended before the file did"),
        (truncated_unannounced, hashlib.md5(beginning(BODY)).hexdigest()),
        (dropped, "the connection ended before the file did"),
        (wrong, hashlib.md5(changed(BODY)).hexdigest()),
        (missing, "HTTP status 404"),
    ],
)
def test_failure_is_one_clear_error_leaves_no_file_and_the_next_try_succeeds(server, remote, tmp_path, answer, reason):
    server.answer = answer
    with pytest.raises(DataError) as caught:
        fetch(remote)
    message = str(caught.value)
    assert "pixels.gz" in message and MD5 in message and remote.urls[0] in message and reason in message
    assert "".join(traceback.format_exception(caught.value)).count("Traceback") == 1  # no chain of them
    assert cached(tmp_path) == []
    server.answer = whole
    assert fetch(remote).read_bytes() == BODY


def test_no_server_is_one_clear_error(server, tmp_path):
    with socket.socket() as unused:  # bound and not listening: nothing answers there
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/pixels.gz"
        with pytest.raises(DataError, match=f"{url}: no connection"):
            fetch(Remote("made", "pixels.gz", f"md5:{MD5}", (url,)))
    assert cached(tmp_path) == []


def test_the_next_address_is_tried_and_each_failure_told(server, tmp_path):
    server.answer = lambda handler: (missing if handler.path.startswith("/a/") else whole)(handler)
    urls = (f"{server.url}/a/pixels.gz", f"{server.url}/b/pixels.gz")
    assert fetch(Remote("made", "pixels.gz", f"md5:{MD5}", urls)).read_bytes() == BODY
    server.answer = lambda handler: (missing if handler.path.startswith("/a/") else wrong)(handler)
    with pytest.raises(DataError, match=r"/a/pixels.gz: HTTP status 404; .*/b/pixels.gz: another file, found"):
        fetch(Remote("made", "other.gz", f"md5:{MD5}", urls))


def test_mirror_replaces_the_addresses(server, monkeypatch):
    remote = Remote("made", "pixels.gz", f"md5:{MD5}", ("http://nowhere.invalid/pixels.gz",))
    assert fetch(remote, mirror=f"{server.url}/argument/").read_bytes() == BODY
    monkeypatch.setenv("JAXCNN_MIRROR", f"{server.url}/environment")
    fetch(Remote("made", "other.gz", f"md5:{MD5}", remote.urls))
    assert server.requested == ["/argument/made/pixels.gz", "/environment/made/other.gz"]


def test_the_file_is_asked_for_as_it_is(server, remote):
    server.answer = compressed_on_the_way
    assert fetch(remote).read_bytes() == BODY


def test_a_cache_that_cannot_be_written_is_named(server, remote, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file where the cache should be")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "taken"))
    with pytest.raises(DataError, match="taken"):
        fetch(remote)


def test_without_pooch_the_extra_is_named(server, remote, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r"fetching made/pixels\.gz needs the package `pooch`.*pip install 'jaxcnn\[data\]'"
    ):
        fetch(remote)


def test_load_reads_the_data_folder_first_and_fetches_only_what_is_not_there(server, tmp_path):
    """The published hash guards what comes from the network, the user's own files are read as they are."""
    kinds = {"images-idx3": np.zeros((2, 28, 28), np.uint8), "labels-idx1": np.array([5, 0], np.uint8)}
    for part in ("train", "t10k"):
        for kind, values in kinds.items():
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
    assert data.load("mnist", data_dir=tmp_path, mirror=server.url).train.labels.tolist() == [5, 0]
    assert server.requested == []
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="ec29112dd5afa0611ce80d1b7f02629c"):
        data.load("mnist", data_dir=tmp_path, mirror=server.url)
    assert server.requested == ["/mnist/t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("kmnist", ["/kmnist/train-images-idx3-ubyte.gz"]),
        ("emnist_letters", ["/emnist/gzip.zip"]),
        ("cifar100", ["/cifar100/cifar-100-binary.tar.gz"]),
        ("svhn", ["/svhn/train_32x32.mat"]),
    ],
)
def test_what_is_not_given_is_asked_of_the_mirror_and_its_hash_compared(server, tmp_path, name, paths):
    (tmp_path / "folder").mkdir()
    for options in ({}, {"data_dir": tmp_path / "folder"}):
        server.requested.clear()
        with pytest.raises(DataError, match=r"a file with md5 \w{32} from the network; found .*another file, found"):
            data.load(name, mirror=server.url, **options)
        assert server.requested == paths
    assert cached(tmp_path) == []


def test_without_a_mirror_a_given_folder_is_not_passed_over_for_the_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_MIRROR", server.url)
    (tmp_path / "folder").mkdir()
    for name in ("mnist", "emnist", "cifar10", "cifar100", "svhn"):
        with pytest.raises(DataError, match=rf"the files of {name} here"):
            data.load(name, data_dir=tmp_path / "folder")
    assert server.requested == []
