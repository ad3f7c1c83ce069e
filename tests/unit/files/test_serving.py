"""Files through the data path: heads, bodies, back-pressure, and what goes wrong on the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, formatEvent

from appliance.files import exchange, target, tree
from appliance.files.ranges import Span
from appliance.http.message import RequestHead, ResponseHead
from tests.support.folders import Folder, descriptors
from tests.support.observed import keeping
from tests.support.proxying import Proxy, proxy, read_responses
from tests.support.transports import RESET

GET = b"%b %b HTTP/1.1\r\nHost: example.com\r\n%b\r\n"
LARGE = os.urandom(1_000_003)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Files, small and large. No descriptor may be left open."""
    before = descriptors()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("docs")
    (tmp_path / "a.css").write_text("a{}")
    (tmp_path / "empty").write_text("")
    (tmp_path / "large").write_bytes(LARGE)
    yield tmp_path
    assert descriptors() == before


@pytest.fixture
def network() -> Iterator[Proxy]:
    """The data path."""
    with proxy() as made:
        yield made


def ask(
    network: Proxy, path: bytes, method: bytes = b"GET", fields: bytes = b""
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, header and body of a complete answer."""
    client = network.client()
    client.send(GET % (method, path, fields))
    ((status, headers, body, complete),) = read_responses(client.take(), [method], False)
    assert complete
    return status, dict(headers), body


def test_small(network: Proxy, root: Path) -> None:
    """A small file, conditional and in parts."""
    Folder(network, root, cache_control="max-age=60")
    status, headers, body = ask(network, b"/static/a.css")
    assert (status, body, headers[b"content-length"]) == (200, b"a{}", b"3")
    assert headers[b"content-type"] == b"text/css; charset=utf-8"
    assert headers[b"cache-control"] == b"max-age=60"
    assert headers[b"date"] == b"Fri, 15 Jan 2027 08:00:00 GMT"
    matching = b"If-None-Match: %b\r\n" % headers[b"etag"]
    assert ask(network, b"/static/a.css", fields=matching)[0] == 304
    assert ask(network, b"/static/a.css", fields=b"Range: bytes=1-\r\n")[::2] == (206, b"{}")
    assert ask(network, b"/static/a.css", b"HEAD")[::2] == (200, b"")
    assert ask(network, b"/static/a.css", b"HEAD")[1][b"content-length"] == b"3"
    assert ask(network, b"/static/empty")[::2] == (200, b"")


def test_large(network: Proxy, root: Path) -> None:
    """A large file, whole and in parts."""
    Folder(network, root)
    assert ask(network, b"/static/large")[::2] == (200, LARGE)
    assert ask(network, b"/static/large", fields=b"Range: bytes=70000-900000\r\n")[2] == LARGE[70000:900001]
    status, headers, body = ask(network, b"/static/large", fields=b"Range: bytes=0-69999, -2\r\n")
    assert status == 206
    boundary = headers[b"content-type"].removeprefix(b"multipart/byteranges; boundary=")
    _, first, second, end = body.split(b"--" + boundary)
    assert first.split(b"\r\n\r\n", 1)[1] == LARGE[:70000] + b"\r\n"
    assert second.split(b"\r\n\r\n", 1)[1] == LARGE[-2:] + b"\r\n"
    assert end == b"--\r\n"


def test_refused(network: Proxy, root: Path) -> None:
    """Other methods, paths and parts than there are."""
    Folder(network, root)
    status, headers, _ = ask(network, b"/static/a.css", b"POST", b"Content-Length: 0\r\n")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
    for path in (b"/static/../secret", b"/static/%2e%2e/x", b"/static/.git/config", b"/static/x", b"/static", b"/"):
        assert ask(network, path)[0] == 404
    status, headers, _ = ask(network, b"/static/a.css", fields=b"Range: bytes=5-\r\n")
    assert (status, headers[b"content-range"]) == (416, b"bytes */3")
    assert ask(network, b"/static/a.css", fields=b'If-Match: "x"\r\n')[0] == 412


def test_slash(network: Proxy, root: Path) -> None:
    """A folder is known by its slash."""
    Folder(network, root)
    status, headers, _ = ask(network, b"/static/docs?a=b")
    assert (status, headers[b"location"]) == (308, b"/static/docs/?a=b")
    assert ask(network, b"/static/docs/")[::2] == (200, b"docs")


def test_keep_alive(network: Proxy, root: Path) -> None:
    """One file after the other on a connection, each in its turn; bodies of requests mean nothing."""
    Folder(network, root)
    client = network.client()
    client.send(
        GET % (b"GET", b"/static/large", b"")
        + GET % (b"GET", b"/static/a.css", b"Content-Length: 3\r\n")
        + b"xyz"
        + GET % (b"GET", b"/static/empty", b"")
    )
    answers = read_responses(client.take(), [b"GET"] * 2, False)
    assert [body for _, _, body, _ in answers] == [LARGE, b"a{}"]


def test_back_pressure(network: Proxy, root: Path) -> None:
    """What the client does not take is not read: a queue's worth, and no more."""
    Folder(network, root)
    client = network.client()
    client.capacity = 10_000
    client.send(GET % (b"GET", b"/static/large", b""))
    held = client.transport.dataBuffer
    assert len(held) <= exchange.PIECE_BYTES
    received = b""
    while piece := client.take():
        received += piece
    assert read_responses(received, [b"GET"], False)[0][2:] == (LARGE, True)


def test_back_pressure_for_a_request_in_line(network: Proxy, root: Path) -> None:
    """The second of two begins as the socket takes more, fills it at once, and is held back as the first one was."""
    (root / "first").write_bytes(bytes(300_000))
    (root / "second").write_bytes(bytes(16_000_000))
    Folder(network, root)
    client = network.client()
    client.capacity = 200_000
    client.send(GET % (b"GET", b"/static/first", b"") + GET % (b"GET", b"/static/second", b""))
    for _ in range(2):
        client.read(150_000)
    network.network.settle()
    transport = client.transport
    assert len(transport.dataBuffer) - transport.offset + transport._tempDataLen < 300_000
    client.reset()


def test_in_threads(network: Proxy, root: Path) -> None:
    """What is not in memory is read elsewhere, and sent when it is there, even if the client waited meanwhile."""
    folder = Folder(network, root)
    folder.forget()
    client = network.client()
    client.send(GET % (b"GET", b"/static/large", b""))
    count = 0
    while folder.threads.waiting:
        folder.threads.work()
        network.network.settle()
        count += 1
    assert count == len(LARGE) // exchange.PIECE_BYTES + 1
    assert read_responses(client.take(), [b"GET"], False)[0][2:] == (LARGE, True)


@pytest.mark.parametrize("threads", [False, True])
def test_truncated(network: Proxy, root: Path, monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    """A file that got shorter breaks the connection: what was sent must not look complete. The operator hears of it."""
    told: list[str] = []
    monkeypatch.setattr(target.Files, "log", Logger(observer=lambda event: told.append(str(formatEvent(event)))))
    kept: list[RequestHead] = []
    network.observer = keeping(kept)
    folder = Folder(network, root)
    client = network.client()
    client.capacity = 10_000
    client.send(GET % (b"GET", b"/static/large", b""))
    os.truncate(root / "large", 200_000)
    if threads:
        folder.forget()
    received = b""
    while client.saw != RESET:
        received += client.take()
        while folder.threads.waiting:
            folder.threads.work()
        network.network.settle()
    assert read_responses(received, [b"GET"], True)[0][3] is False
    assert [request.fault for request in kept] == ["file"]
    (line,) = told
    assert line.startswith("example.com/static: /static/large: the file became shorter")


def never() -> None:
    """Nothing is wrong with the file."""
    raise AssertionError


def test_disk_that_fails(network: Proxy, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a file that cannot be read to its end."""
    folder = Folder(network, root)
    folder.forget()
    client = network.client()
    client.send(GET % (b"GET", b"/static/large", b""))
    folder.threads.work()

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    folder.threads.work()
    network.network.settle()
    assert client.saw == RESET


@pytest.mark.parametrize("threads", [False, True])
def test_client_that_leaves(network: Proxy, root: Path, threads: bool) -> None:
    """Nothing is read any more, and the file is closed: after the thread that reads it has done so."""
    folder = Folder(network, root)
    if threads:
        folder.forget()
    client = network.client()
    client.capacity = 10_000
    before = descriptors()
    client.send(GET % (b"GET", b"/static/large", b""))
    client.reset()
    if threads:
        assert descriptors() != before
        folder.threads.work()
    assert descriptors() == before


def test_client_that_leaves_between_turns(network: Proxy, root: Path) -> None:
    """A fast client's file waits for its next turn when the client leaves."""
    turns: list[Any] = []
    folder = Folder(network, root)
    folder.reading.later = turns.append  # type: ignore[method-assign]
    client = network.client()
    before = descriptors()
    client.send(GET % (b"GET", b"/static/large", b""))
    assert client.total < 300_000
    client.reset()
    turns.pop()()
    assert descriptors() == before
    assert not turns


class Client:
    """Takes what an exchange sends, and may leave while it does."""

    def __init__(self, take: Callable[[], None]) -> None:
        self._take = take
        self.body = b""

    def send_head(self, head: ResponseHead) -> None:
        """The response begins."""

    def send_body(self, data: bytes) -> None:
        self.body += data
        self._take()

    end_chunked_and_body = send_body


@pytest.mark.parametrize("threads", [False, True])
def test_client_that_leaves_while_it_is_sent_to(network: Proxy, root: Path, threads: bool) -> None:
    """Nothing follows, and the file is closed; what is told after the end means nothing."""
    folder = Folder(network, root)
    if threads:
        folder.forget()
    client: Any = Client(lambda: sending.client_lost())
    head = ResponseHead(200, b"OK")
    descriptor = os.open(root / "large", os.O_RDONLY)
    sending = exchange.FileExchange(client, head, descriptor, [Span(0, len(LARGE))], folder.reading, never)
    sending.start()
    if threads:
        sending.resume()
        folder.threads.work()
    assert len(client.body) == exchange.PIECE_BYTES
    sending.body_received(b"x")
    sending.body_ended()
    sending.client_lost()


def test_client_that_leaves_twice(network: Proxy, root: Path) -> None:
    """The descriptor is closed once: it may be another file's by then."""
    client: Any = Client(lambda: None)
    descriptor = os.open(root / "large", os.O_RDONLY)
    sending = exchange.FileExchange(
        client, ResponseHead(200, b"OK"), descriptor, [Span(0, 1)], Folder(network, root).reading, never
    )
    sending.pause()
    sending.start()
    sending.client_lost()
    again = os.open(root / "large", os.O_RDONLY)
    sending.client_lost()
    assert again == descriptor
    os.close(again)


def test_resumed_while_it_sends(network: Proxy, root: Path) -> None:
    """A client that takes all at once does not make two senders of one."""
    folder = Folder(network, root)
    client: Any = Client(lambda: sending.resume())
    descriptor = os.open(root / "large", os.O_RDONLY)
    sending = exchange.FileExchange(
        client, ResponseHead(200, b"OK"), descriptor, [Span(0, len(LARGE))], folder.reading, never
    )
    sending.start()
    network.network.settle()
    assert client.body == LARGE


@pytest.mark.parametrize(("number", "status"), [(errno.EACCES, 403), (errno.EMFILE, 503), (errno.EIO, 503)])
def test_what_cannot_be_opened(
    network: Proxy, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    """The client is told that something is wrong, and the log what; not for each request anew."""
    Folder(network, root)
    told: list[str] = []
    logger = Logger(observer=lambda event: told.append(str(formatEvent(event))))
    monkeypatch.setattr(target.Files, "log", logger)

    def refuse(name: bytes, descriptor: int) -> tree.File:
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr(tree, "_open_file", refuse)
    assert ask(network, b"/static/a.css")[0] == status
    assert ask(network, b"/static/a.css")[0] == status
    network.pass_time(2)
    assert ask(network, b"/static/a.css")[0] == status
    first, second = told
    assert first == second
    assert first.startswith(f"example.com/static: {root}/a.css cannot be opened: {os.strerror(number)}. The user")


def test_no_root(network: Proxy, tmp_path: Path) -> None:
    """A root that is not there is nobody's missing page."""
    Folder(network, tmp_path / "nothing")
    assert ask(network, b"/static/a.css")[0] == 503
