"""Published files, whichever room asks for them; tests/data and tests/weights have what their rooms say."""

import hashlib

import pytest
from file_server import cached, missing, truncated, wrong

from jaxcnn.files.remote import NotObtained, Remote, obtain

BODY = bytes(range(256)) * 100
HASHES = [f"{name}:{hashlib.new(name, BODY).hexdigest()}" for name in ("sha256", "md5")]


@pytest.fixture
def server(server):
    server.body = BODY
    return server


@pytest.mark.parametrize("known", [*HASHES, HASHES[0][: len("sha256:") + 8]])
def test_a_file_is_fetched_once_and_again_where_it_was_changed(server, known):
    remote = Remote("some", "file.bin", known, (f"{server.url}/file.bin",))
    path = obtain(remote)
    assert path == remote.place == obtain(remote) and path.read_bytes() == BODY
    assert len(server.requested) == 1
    path.write_bytes(BODY[1:])
    assert obtain(remote).read_bytes() == BODY
    assert len(server.requested) == 2


@pytest.mark.parametrize("answer", [truncated, wrong, missing])
def test_the_next_address_is_tried_and_no_failure_leaves_a_file(server, tmp_path, answer):
    def fails_at_a(handler, then=server.answer):
        (answer if handler.path.startswith("/a/") else then)(handler)

    server.answer = fails_at_a
    urls = tuple(f"{server.url}/{place}/file.bin" for place in "ab")
    with pytest.raises(NotObtained, match=f"^{urls[0]}: ") as error:
        obtain(Remote("some", "file.bin", HASHES[0], urls[:1]))
    assert len(error.value.failures) == 1 and cached(tmp_path) == []
    assert obtain(Remote("some", "file.bin", HASHES[0], urls)).read_bytes() == BODY


def test_without_an_address_there_is_no_failure_to_tell(server):
    with pytest.raises(NotObtained) as error:
        obtain(Remote("some", "file.bin", HASHES[0], ()))
    assert error.value.failures == ()


def test_an_address_that_is_none_is_said_to_be(server, monkeypatch):
    """requests' errors are errors of the operating system too, but none of the disk."""
    monkeypatch.setenv("JAXCNN_MIRROR", "nowhere")
    with pytest.raises(NotObtained, match=r"nowhere/some/file\.bin: Invalid URL"):
        obtain(Remote("some", "file.bin", HASHES[0], ()))


def test_a_mirror_as_an_argument_goes_before_the_environments(server, monkeypatch):
    monkeypatch.setenv("JAXCNN_MIRROR", "http://nowhere.invalid")
    obtain(Remote("some", "file.bin", HASHES[0], ()), mirror=f"{server.url}/mirror/")
    assert server.requested == ["/mirror/some/file.bin"]


def test_the_disk_is_no_fault_of_an_address(server, tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "taken"))
    with pytest.raises(OSError, match="taken"):
        obtain(Remote("some", "file.bin", HASHES[0], (server.url, server.url)))


def test_a_log_says_what_is_fetched_and_from_where(server, capsys):
    remote = Remote("some", "file.bin", HASHES[0], (f"{server.url}/file.bin",))
    for _ in range(2):
        path = obtain(remote)
    assert capsys.readouterr().err == f"Downloading {remote.urls[0]} to {path}\n"


@pytest.mark.parametrize(
    "known", ["", "sha256:", "sha256:12ab", f"SHA256:{'0' * 64}", f"sha256:{'A' * 64}", f"crc32:{'0' * 8}"]
)
def test_a_hash_that_proves_nothing_is_refused(known):
    """Every file would begin with no digits; capitals would agree with none."""
    with pytest.raises(ValueError, match="Remote: `hash` must be"):
        Remote("some", "file.bin", known, ())
