"""The data path before real application servers, over TCP: what each of them sees, and what a client gets."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.applications import ROOT, Application, gunicorn, uvicorn
from tests.support.pattern import pieces, sha256
from tests.support.plainproxy import PlainProxy
from tests.support.processes import Program, free_port

SIZE = 5_000_000
ASGI = "tests.support.asgi_app:app"
WSGI = "tests.support.wsgi_app:plain"


def _module(folder: Path, name: str, *arguments: str) -> Application:
    port = free_port()
    command = [name, *(argument.format(port=port) for argument in arguments)]
    return Application(command, folder, name, port)


ASGI_SERVERS: dict[str, Callable[[Path], Application]] = {
    "uvicorn h11": lambda folder: uvicorn(folder, arguments=["--http", "h11"]),
    "uvicorn httptools": lambda folder: uvicorn(folder, arguments=["--http", "httptools"]),
    "uvicorn unix": lambda folder: uvicorn(
        folder, socket=folder / "app.sock", arguments=["--forwarded-allow-ips", "*"]
    ),
    "hypercorn": lambda folder: _module(folder, "hypercorn", ASGI, "--bind", "127.0.0.1:{port}"),
    "granian": lambda folder: _module(folder, "granian", ASGI, "--interface", "asgi", "--port", "{port}"),
}
WSGI_SERVERS: dict[str, Callable[[Path], Application]] = {
    "gunicorn sync": lambda folder: gunicorn(folder, arguments=["--worker-class", "sync", "--threads", "1"]),
    "gunicorn gthread": lambda folder: gunicorn(folder),
    "gunicorn unix": lambda folder: gunicorn(folder, socket=folder / "app.sock"),
    "flask": lambda folder: gunicorn(folder, "tests.support.wsgi_app:flask_app"),
    "granian wsgi": lambda folder: _module(folder, "granian", WSGI, "--interface", "wsgi", "--port", "{port}"),
}
SERVERS = ASGI_SERVERS | WSGI_SERVERS
PLAIN = [name for name in SERVERS if name != "flask"]
SETS_SCHEME = [name for name in SERVERS if "granian" not in name and name != "hypercorn"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], PlainProxy]]:
    """A proxy before the server of a name, both started once."""
    proxies: dict[str, tuple[PlainProxy, Application]] = {}

    def start(name: str) -> PlainProxy:
        if name not in proxies:
            folder = tmp_path_factory.mktemp("server")
            application = SERVERS[name](folder).start()
            proxies[name] = PlainProxy(folder, application.upstream).__enter__(), application
        return proxies[name][0]

    try:
        yield start
    finally:
        for pair in proxies.values():
            for program in pair:
                program.stop()


Start = Callable[[str], PlainProxy]
HEADERS = {
    "Host": "example.com",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X_Forwarded_Host": "evil",
}


def client(proxy: PlainProxy) -> closing[HTTPConnection]:
    """A client's connection, to be closed."""
    return closing(HTTPConnection("127.0.0.1", proxy.port, timeout=20))


def fields(seen: dict[str, Any]) -> dict[str, str]:
    """The headers that an application saw, as HTTP has them."""
    return {name.lower().removeprefix("http_").replace("_", "-"): value for name, value in seen["headers"]}


@pytest.mark.parametrize("name", SERVERS)
def test_what_the_application_sees(started: Start, name: str) -> None:
    """Target, Host and the client's address arrive as they are; nothing that the client said of them does."""
    with client(started(name)) as connection:
        for _ in range(3):
            connection.request("GET", "/echo?a=%20b&c=/d", headers=HEADERS | {"Cookie": "e=f", "Accept": "*/*"})
            seen = json.loads(connection.getresponse().read())
            told = fields(seen)
            assert told["host"] == told["x-forwarded-host"] == "example.com"
            assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == ("127.0.0.1", "https")
            assert told["cookie"] == "e=f"
            assert "a=%20b&c=/d" in seen.get("query", seen["url"])


@pytest.mark.parametrize("name", SETS_SCHEME)
def test_scheme(started: Start, name: str) -> None:
    """Uvicorn and Gunicorn believe the appliance without being told to: the application's own URLs are https."""
    with client(started(name)) as connection:
        connection.request("GET", "/echo", headers=HEADERS)
        seen = json.loads(connection.getresponse().read())
        assert seen["scheme"] == "https"
        assert seen["url"].startswith("https://example.com/echo")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_upload(started: Start, name: str, chunked: bool) -> None:
    """A body arrives whole, by length and in chunks, twice over one connection."""
    with client(started(name)) as connection:
        for _ in range(2):
            headers = HEADERS if chunked else HEADERS | {"Content-Length": str(SIZE)}
            connection.request("POST", "/upload", pieces(SIZE), headers, encode_chunked=chunked)
            answer = json.loads(connection.getresponse().read())
            assert answer == {"length": SIZE, "sha256": sha256(SIZE)}


@pytest.mark.parametrize("query", ["", "&chunked=1"])
@pytest.mark.parametrize("name", PLAIN)
def test_download(started: Start, name: str, query: str) -> None:
    """So it does the other way, and the connection goes on."""
    with client(started(name)) as connection:
        for _ in range(2):
            connection.request("GET", f"/download?size={SIZE}{query}", headers=HEADERS)
            response = connection.getresponse()
            assert hashlib.sha256(response.read()).hexdigest() == sha256(SIZE)
            assert not response.will_close


@pytest.mark.parametrize("name", SERVERS)
def test_head_and_not_found(started: Start, name: str) -> None:
    """HEAD has no body, errors are the application's own, and none of them disturbs the next request."""
    with client(started(name)) as connection:
        for _ in range(3):
            connection.request("HEAD", "/echo", headers=HEADERS)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
            connection.request("GET", "/nothing/here", headers=HEADERS)
            response = connection.getresponse()
            response.read()
            assert response.status == 404


@pytest.mark.parametrize("name", PLAIN)
def test_expect_continue(started: Start, name: str) -> None:
    """A client that waits to be asked for its body is asked, and answered."""
    proxy = started(name)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(b"hello")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", PLAIN)
def test_pipelined(started: Start, name: str) -> None:
    """Requests sent ahead, with bodies in between, are answered in their order."""
    proxy = started(name)
    sent = b"".join(
        b"POST /echo?%d HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n" % (number, number) + b"x" * number
        for number in range(20)
    )
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        got = b""
        while piece := raw.recv(65536):
            got += piece
    assert got.count(b"HTTP/1.1 200 ") == 20
    places = [got.replace(b" ", b"").find(b'"query":"%d"' % number) for number in range(20)]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("name", ASGI_SERVERS)
def test_events(started: Start, name: str) -> None:
    """Server-sent events arrive one by one, not when the stream ends."""
    with client(started(name)) as connection:
        connection.request("GET", "/events?count=4&interval=0.3", headers=HEADERS)
        response = connection.getresponse()
        times: list[float] = []
        for number in range(4):
            assert response.readline() == b"data: %d\n" % number
            times.append(time.monotonic())
            assert response.readline() == b"\n"
        assert times[-1] - times[0] > 0.6


@pytest.mark.parametrize("name", ["uvicorn h11", "uvicorn httptools"])
def test_broken_off(started: Start, name: str) -> None:
    """A response that the application breaks off is broken off for the client."""
    proxy = started(name)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as raw:
        raw.sendall(b"GET /broken HTTP/1.1\r\nHost: example.com\r\n\r\n")
        with pytest.raises(ConnectionResetError), raw.makefile("rb") as stream:
            stream.read()


@pytest.mark.parametrize("name", [name for name in ASGI_SERVERS if "unix" not in name])
def test_websocket(started: Start, name: str) -> None:
    """A WebSocket through every server: messages both ways, and a clean end."""
    with web_socket(started(name), "/ws") as connection:
        for number in range(100):
            connection.send(str(number))
            assert connection.recv(10) == str(number)
    assert connection.close_code == 1000


def web_socket(proxy: PlainProxy, path: str) -> ClientConnection:
    """A WebSocket through a proxy."""
    raw = socket.create_connection(("127.0.0.1", proxy.port), 20)
    return connect(f"ws://example.com{path}", sock=raw, max_size=None, compression=None, proxy=None)


ECHO = """
import sys
from websockets.sync.server import serve
def echo(connection):
    for message in connection:
        connection.send(message)
with serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, compression=None) as server:
    server.serve_forever()
"""


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[PlainProxy]:
    """A proxy before an echo server of the websockets library."""
    port = free_port()
    with Program([sys.executable, "-c", ECHO, str(port)], tmp_path / "echo.log", folder=ROOT) as program:
        program.wait_for_port(port)
        with PlainProxy(tmp_path, f"http://127.0.0.1:{port}") as proxy:
            yield proxy


def test_ten_thousand_messages(echo: PlainProxy) -> None:
    """Ten thousand messages come back in their order."""
    with web_socket(echo, "/") as connection:
        for first in range(0, 10_000, 100):
            for number in range(first, first + 100):
                connection.send(str(number))
            for number in range(first, first + 100):
                assert connection.recv(10) == str(number)


def test_a_large_message(echo: PlainProxy) -> None:
    """One message of 64 MiB comes back, and the proxy has not held it in memory."""
    message = b"".join(pieces(64 << 20))
    with web_socket(echo, "/") as connection:
        connection.send(b"warm")
        connection.recv(10)
        before = _peak(echo.pid)
        connection.send(message)
        assert connection.recv(60) == message
        assert _peak(echo.pid) - before < 16 << 20


def _peak(pid: int) -> int:
    """The most memory a process has held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("name", ["gunicorn gthread", "uvicorn httptools"])
def test_keep_alive_boundary(started: Start, name: str) -> None:
    """Requests spaced at the appliance's own idle time meet connections being closed, and all succeed."""
    with client(started(name)) as connection:
        for pause in (1.45, 1.55, 2.0):
            time.sleep(pause)
            connection.request("POST", "/echo", b"x", HEADERS)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
