"""Compression between an application and its clients."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard

from appliance.http.message import CHUNKED, RequestHead, ResponseHead
from appliance.net.turn import Turn
from appliance.proxy.compressing import STEP_BYTES, Compressed
from appliance.proxy.proxied import Proxied
from appliance.proxy.routing import RouteEntry, RouteTable, SiteRoutes
from tests.support.folders import Folder
from tests.support.http2 import GET as GET_FIELDS
from tests.support.http2 import Client, data, headers, settings, window_update
from tests.support.proxying import HOST, Proxy, proxy, read_responses
from tests.support.transports import RESET

GET = b"%b / HTTP/1.1\r\nHost: example.com\r\nAccept-Encoding: %b\r\n%b\r\n"
JSON = json.dumps([{"number": number, "name": f"name {number % 7}"} for number in range(20_000)]).encode()
KIND = b"Content-Type: application/json\r\n"


@pytest.fixture
def network() -> Iterator[Proxy]:
    """The data path, compressing."""
    with proxy() as made:
        target = Compressed(Proxied(made._upstream("127.0.0.1:8000")), Turn(made.network).at_end)
        made.handler.routes = RouteTable({HOST: SiteRoutes("example.com", [RouteEntry(b"/", target)])})
        yield made


def exchange(
    network: Proxy, response: bytes, encoding: bytes = b"gzip", method: bytes = b"GET", more: bytes = b""
) -> tuple[dict[bytes, bytes], bytes]:
    """Header and body of a complete answer."""
    client = network.client()
    _, received = network.exchange(client, GET % (method, encoding, more), response)
    ((_, headers, body, complete),) = read_responses(received + client.take(), [method], False)
    assert complete
    return dict(headers), body


def gunzip(data: bytes) -> bytes:
    """All of it, and that it is whole."""
    decoder = zlib.decompressobj(31)
    out = decoder.decompress(data)
    assert decoder.eof
    return out


def unzstd(data: bytes) -> bytes:
    """All of it."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@pytest.mark.parametrize(("coding", "decode"), [(b"gzip", gunzip), (b"zstd", unzstd)])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_bodies(network: Proxy, coding: bytes, decode: Callable[[bytes], bytes], framing: str) -> None:
    """However the application frames it, large pieces and small ones."""
    if framing == "length":
        rest = b'Content-Length: %d\r\nETag: "x"\r\n\r\n%b' % (len(JSON), JSON)
    elif framing == "chunked":
        pieces = [JSON[start : start + 100_000] for start in range(0, len(JSON), 100_000)]
        rest = b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % b"".join(
            b"%x\r\n%b\r\n" % (len(p), p) for p in pieces
        )
    else:
        rest = b"Connection: close\r\n\r\n" + JSON
    client = network.client()
    client.send(GET % (b"GET", coding, b""))
    network.upstream.piece = 300_000
    network.upstream.outgoing += b"HTTP/1.1 200 OK\r\n%b%b" % (KIND, rest)
    if framing == "close":
        network.network.settle()
        network.upstream.finish()
    network.network.settle()
    ((_, headers, body, complete),) = read_responses(client.take(), [b"GET"], False)
    fields = dict(headers)
    assert complete
    assert decode(body) == JSON
    assert len(body) < len(JSON) / 5
    assert (fields[b"content-encoding"], fields[b"vary"]) == (coding, b"Accept-Encoding")
    assert b"content-length" not in fields
    assert fields.get(b"etag") == (b'W/"x"' if framing == "length" else None)


@pytest.mark.parametrize(
    ("head", "encoding", "more", "varies"),
    [
        (KIND, b"identity", b"", True),
        (KIND, b"br", b"", True),
        (KIND, b"gzip", b"Sec-Fetch-Site: cross-site\r\nCookie: a=b\r\n", True),
        (b"Content-Type: image/png\r\n", b"gzip", b"", False),
        (KIND + b"Content-Encoding: identity\r\n", b"gzip", b"", False),
    ],
)
def test_left_alone(network: Proxy, head: bytes, encoding: bytes, more: bytes, varies: bool) -> None:
    """What is not compressed passes as it is; caches are told where it could have been."""
    answer = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(JSON), JSON)
    headers, body = exchange(network, answer, encoding, more=more)
    assert body == JSON
    assert headers[b"content-length"] == b"%d" % len(JSON)
    assert (b"vary" in headers) is varies


def test_head_and_conditions(network: Proxy) -> None:
    """HEAD and 304 are as GET would have been."""
    headers, body = exchange(
        network, b'HTTP/1.1 200 OK\r\n%bContent-Length: 5000\r\nETag: "x"\r\n\r\n' % KIND, method=b"HEAD"
    )
    assert (headers[b"content-encoding"], headers[b"etag"], body) == (b"gzip", b'W/"x"', b"")
    assert b"content-length" not in headers
    headers, _ = exchange(network, b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', more=b'If-None-Match: W/"x"\r\n')
    assert (headers[b"etag"], headers[b"vary"]) == (b'W/"x"', b"Accept-Encoding")


def test_stream(network: Proxy) -> None:
    """Events arrive one by one, each with what it takes to read it."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b""))
    network.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = client.take()
    assert head.endswith(b"\r\n\r\n")
    decoder = zlib.decompressobj(31)
    for number in range(3):
        event = b"data: %d\n\n" % number
        network.upstream.send(b"%x\r\n%b\r\n" % (len(event), event))
        size, piece = client.take().split(b"\r\n", 1)
        assert decoder.decompress(piece[: int(size, 16)]) == event
    network.upstream.send(b"0\r\n\r\n")
    size, piece = client.take().split(b"\r\n", 1)
    assert decoder.decompress(piece[: int(size, 16)]) == b""
    assert decoder.eof
    assert piece.endswith(b"\r\n0\r\n\r\n")


def test_trailers(network: Proxy) -> None:
    """Trailers follow what is compressed."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b"TE: trailers\r\nConnection: TE\r\n"))
    network.upstream.send(
        b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\nServer-Timing: a\r\n\r\n" % KIND
    )
    received = client.take()
    ((_, _, body, complete),) = read_responses(received, [b"GET"], False)
    assert complete
    assert gunzip(body) == b"123"


def test_cut_short(network: Proxy) -> None:
    """A response that the application breaks off does not look complete."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b""))
    network.upstream.piece = 300_000
    network.upstream.outgoing += b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (KIND, len(JSON), JSON[:-5])
    network.network.settle()
    network.upstream.reset()
    assert client.saw == RESET
    assert read_responses(client.take(), [b"GET"], True)[0][3] is False


def test_failed_before(network: Proxy) -> None:
    """An application that does not answer has its page."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b""))
    network.upstream.send(b"nonsense\r\n\r\n")
    assert client.take().startswith(b"HTTP/1.1 502 ")


def test_back_pressure(network: Proxy) -> None:
    """A client that does not take what there is holds the application back; what was taken from it is bounded."""
    noise = os.urandom(2_000_000)
    client = network.client()
    client.capacity = 10_000
    client.send(GET % (b"GET", b"gzip", b""))
    upstream = network.upstream
    upstream.piece = 300_000
    upstream.outgoing += b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (KIND, len(noise), noise)
    network.network.settle()
    assert len(upstream.outgoing) > 1_500_000
    received = b""
    while piece := client.take():
        received += piece
    ((_, _, body, complete),) = read_responses(received, [b"GET"], False)
    assert complete
    assert gunzip(body) == noise


@pytest.mark.parametrize("framing", [b"Content-Length: 400000\r\n\r\n%b", b"\r\n%b"])
@pytest.mark.parametrize("window", [0, 65535, 2**31 - 1])
def test_client_that_takes_all_at_once(network: Proxy, framing: bytes, window: int) -> None:
    """Over HTTP/2 a client's windows may take what one step made before it is over; the next step is taken once."""
    noise = os.urandom(400_000)
    client = Client(network, hello=settings((4, window)) + window_update(0, 10**6))
    client.send(headers(1, (*GET_FIELDS, (b"accept-encoding", b"gzip"))))
    upstream = network.upstream
    upstream.piece = 300_000
    upstream.send(b"HTTP/1.1 200 OK\r\n" + KIND + framing % noise)
    upstream.finish()
    client.read()
    client.send(settings((4, 10**6)))
    client.read()
    assert client.alive
    assert gunzip(client.frames.bodies[1]) == noise


def test_upload_after_the_answer(network: Proxy) -> None:
    """What a client still sends while it does not take the answer, which is whole, is kept nowhere."""
    noise = os.urandom(200_000)
    client = Client(network, hello=settings((4, 0)))
    client.send(headers(1, (*GET_FIELDS, (b"accept-encoding", b"gzip")), False))
    upstream = network.upstream
    upstream.piece = 300_000
    upstream.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (KIND, len(noise), noise))
    assert client.read()[0] == "HEADERS 1 200"
    kept = sys.getallocatedblocks()
    for _ in range(2000):
        client.send(data(1, bytes(16384)))
    assert sys.getallocatedblocks() - kept < 500
    client.send(settings((4, 10**6)) + window_update(0, 10**6))
    client.read()
    assert gunzip(client.frames.bodies[1]) == noise


def test_one_step_a_turn(network: Proxy) -> None:
    """A large piece is compressed bit by bit, others having their turns between; the application waits meanwhile."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b""))
    upstream = network.upstream
    upstream.piece = 1_000_000
    upstream.outgoing += b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (
        KIND,
        len(JSON),
        JSON,
    )
    before = client.total
    upstream.transport.turn(upstream.transport.doRead, True)
    assert 0 < client.total - before < STEP_BYTES
    assert upstream.transport not in network.network._readers
    network.network.settle()
    assert upstream.transport in network.network._readers
    assert gunzip_part(client.take()) == JSON


def gunzip_part(received: bytes) -> bytes:
    """What can be read of a body that has not ended."""
    ((_, _, body, _),) = read_responses(received, [b"GET"], False)
    return zlib.decompressobj(31).decompress(body)


@pytest.mark.parametrize("ended", [False, True])
def test_client_that_leaves(network: Proxy, ended: bool) -> None:
    """Nothing more is compressed for it, and the application is told if it has not ended."""
    client = network.client()
    client.send(GET % (b"GET", b"gzip", b""))
    upstream = network.upstream
    upstream.piece = 2_000_000
    size = len(JSON) if ended else len(JSON) + 1
    upstream.outgoing += b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (KIND, size, JSON)
    upstream.transport.turn(upstream.transport.doRead, True)
    total = client.total
    client.reset()
    assert client.total == total
    assert (upstream.lost is None) is ended


def test_upgrades_pass(network: Proxy) -> None:
    """A request for a tunnel has nothing to do with compression."""
    client = network.client()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    client.send(GET % (b"GET", b"gzip", upgrade))
    network.upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    assert client.take().endswith(b"\r\n\r\nhello")


def test_request_bodies_and_early_hints(network: Proxy) -> None:
    """The other direction is not touched."""
    client = network.client()
    client.send(GET % (b"POST", b"gzip", b"Content-Length: 200000\r\nExpect: 100-continue\r\n"))
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    upstream = network.upstream
    upstream.capacity = 1000
    client.send(b"x" * 200_000)
    received = b""
    while piece := upstream.take():
        received += piece
    assert received.endswith(b"\r\n\r\n" + b"x" * 200_000)
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    received = client.take()
    assert received.startswith(b"HTTP/1.1 103 ")
    assert b"HTTP/1.1 204 " in received


class Sides:
    """A client and an exchange that note what they are told, and what is compressed between them."""

    def __init__(self, *, leaves: bool = False) -> None:
        self.told: list[str] = []
        self.body = b""
        self.turns: list[Callable[[], None]] = []
        self.client: Any = _Side("client", self.told, self._take)
        self.exchange: Any = _Side("exchange", self.told)
        self._leaves = leaves
        request = RequestHead(b"GET", b"/", 1)
        request.fields = [(b"Accept-Encoding", b"gzip")]
        target: Any = SimpleNamespace(begin=lambda *_: self.exchange)
        made = Compressed(target, self.turns.append).begin(self.client, request, RouteEntry(b"/", target), b"")
        assert made is not None
        self.between: Any = made

    def _take(self, data: bytes) -> None:
        self.body += data
        if self._leaves:
            self.between.client_lost()

    def begin(self) -> None:
        """The response begins, without a length."""
        response = ResponseHead(200, b"OK")
        response.fields = [(b"Content-Type", b"text/plain")]
        response.framing = CHUNKED
        self.between.send_head(response)
        self.told.clear()


class _Side:
    def __init__(self, name: str, told: list[str], take: Callable[[bytes], None] = lambda data: None) -> None:
        self._name = name
        self._told = told
        self._take = take

    def __getattr__(self, method: str) -> Callable[..., None]:
        return lambda *arguments: self._told.append(f"{self._name}.{method}")

    def send_body(self, data: bytes) -> None:
        self._take(data)

    def end_chunked_and_body(self, data: bytes) -> None:
        self._told.append("client.end")
        self._take(data)


def test_what_passes() -> None:
    """What has nothing to do with bodies of responses is handed across."""
    sides = Sides()
    between = sides.between
    client = SimpleNamespace(client="192.0.2.1", ends=None, memo=1, scheme=b"https", port=443, transport=2)
    between._client, told = client, between._client
    assert [getattr(between, name) for name in vars(client)] == list(vars(client).values())
    between.memo = 5
    assert client.memo == 5
    between._client = told
    for method in ("answer", "send_informational"):
        getattr(between, method)(None)
    for method in ("send_continue", "pause_request", "resume_request", "flush", "end", "fail", "start", "body_ended"):
        getattr(between, method)(*([500] if method == "fail" else []))
    between.body_received(b"")
    assert sides.told == [
        *(f"client.{name}" for name in ("answer", "send_informational", "send_continue")),
        *(f"client.{name}" for name in ("pause_request", "resume_request", "flush", "end", "fail")),
        *(f"exchange.{name}" for name in ("start", "body_ended", "body_received")),
    ]


def test_pausing_between_turns() -> None:
    """Neither side goes on before its turn; the end waits for what is queued."""
    sides = Sides()
    sides.begin()
    sides.between.send_body(JSON[: 3 * STEP_BYTES])
    assert (sides.told, len(sides.turns)) == (["exchange.pause"], 1)
    sides.between.send_body(b"more")
    sides.between.pause()
    sides.turns.pop()()
    assert (sides.told, sides.turns) == (["exchange.pause"] * 3, [])
    sides.between.resume()
    assert len(sides.turns) == 1
    sides.between.resume()
    sides.turns.pop()()
    sides.turns.pop()()
    assert (sides.told, sides.turns) == (["exchange.pause"] * 5 + ["exchange.resume"], [])
    sides.told.clear()
    sides.between.send_body(b"x" * 2 * STEP_BYTES)
    sides.between.end()
    sides.between.pause()
    assert sides.told == ["exchange.pause"]
    sides.turns.pop()()
    sides.between.resume()
    assert sides.told == ["exchange.pause", "client.end"]
    assert gunzip(sides.body) == JSON[: 3 * STEP_BYTES] + b"more" + b"x" * 2 * STEP_BYTES


def test_paused_all_along() -> None:
    """What comes while the client takes nothing waits, and holds the exchange back until it has gone."""
    sides = Sides()
    sides.begin()
    sides.between.pause()
    sides.between.send_body(b"first")
    sides.between.end()
    assert sides.body == b""
    sides.between.resume()
    assert gunzip(sides.body) == b"first"
    assert sides.told == ["exchange.pause", "exchange.pause", "client.end"]


def test_client_that_pauses_for_the_last_step() -> None:
    """Then it is the client who has the exchange go on; once that has ended, it hears of nothing."""
    sides = Sides()
    sides.begin()
    sides.between.send_body(b"x" * 2 * STEP_BYTES)
    sides.client._take = lambda data: sides.between.pause()
    sides.turns.pop()()
    assert sides.told == ["exchange.pause"] * 2
    sides.between.resume()
    sides.client._take = lambda data: None
    sides.between.send_body(b"x" * 2 * STEP_BYTES)
    sides.between.end()
    sides.between.client_lost()
    sides.turns.pop()()
    assert sides.told == ["exchange.pause"] * 2 + ["exchange.resume", "exchange.pause"]


def test_client_that_leaves_while_it_is_sent_to() -> None:
    """Nothing follows what it was sent last."""
    sides = Sides(leaves=True)
    sides.begin()
    sides.between.send_body(b"x" * 3 * STEP_BYTES)
    for turn in sides.turns:
        turn()
    assert sides.told[0] == "exchange.client_lost"
    assert len(sides.body) < 1000


def test_files(tmp_path: Path) -> None:
    """Files are compressed as well; small ones, parts and what was compressed before are not."""
    (tmp_path / "large.json").write_bytes(JSON)
    (tmp_path / "small.json").write_bytes(b"{}")
    with proxy() as network:
        turn = Turn(network.network)
        Folder(network, tmp_path, b"/", around=lambda target: Compressed(target, turn.at_end))

        def ask(path: bytes, more: bytes = b"", method: bytes = b"GET") -> tuple[int, dict[bytes, bytes], bytes]:
            client = network.client()
            client.send(
                b"%b %b HTTP/1.1\r\nHost: example.com\r\nAccept-Encoding: gzip\r\n%b\r\n" % (method, path, more)
            )
            ((status, headers, body, complete),) = read_responses(client.take(), [method], False)
            assert complete
            return status, dict(headers), body

        status, headers, body = ask(b"/large.json")
        assert (status, gunzip(body)) == (200, JSON)
        assert headers[b"etag"].startswith(b'W/"')
        assert b"accept-ranges" not in headers
        again = ask(b"/large.json", b"If-None-Match: %b\r\n" % headers[b"etag"])
        assert (again[0], again[1][b"etag"]) == (304, headers[b"etag"])
        assert ask(b"/large.json", method=b"HEAD")[1][b"content-encoding"] == b"gzip"
        assert ask(b"/small.json")[2] == b"{}"
        assert ask(b"/large.json", b"Range: bytes=0-9\r\n")[::2] == (206, JSON[:10])
        assert ask(b"/nothing")[0] == 404
        assert ask(b"/large.json", b"Content-Length: 0\r\n", b"POST")[0] == 405
