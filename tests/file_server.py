"""A real HTTP server on loopback, and the ways in which servers fail."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        self.server.answer(self)

    def log_message(self, *args):
        pass


def whole(handler, body=None, announced=None):
    """All of the server's body, or another one, with its length or another number as the length that is announced."""
    body = handler.server.body if body is None else body
    handler.send_response(200)
    if announced != "nothing":
        handler.send_header("Content-Length", str(announced or len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def beginning(body):
    """What a transfer that breaks off has sent."""
    return body[: 2 * len(body) // 3]


def changed(body):
    """Another file of the same length."""
    return bytes([body[0] ^ 1]) + body[1:]


def truncated(handler):
    """Fewer bytes than announced, and a proper end of the connection."""
    whole(handler, beginning(handler.server.body), len(handler.server.body))


def truncated_unannounced(handler):
    """No length given: only the hash can tell."""
    whole(handler, beginning(handler.server.body), "nothing")


def dropped(handler):
    """The connection is reset in the middle."""
    truncated(handler)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")  # close with RST
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def wrong(handler):
    whole(handler, changed(handler.server.body))


def missing(handler):
    handler.send_error(404)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """It serves `body` in the way `answer` does, notes what is `requested`, and the cache is a folder of the test."""
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXCNN_MIRROR", raising=False)
    for proxy in PROXIES:
        monkeypatch.delenv(proxy, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requested, server.answer, server.body = [], whole, b""
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cached(tmp_path):
    """The names of the files in the cache."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())
