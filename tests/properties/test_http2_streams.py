"""Streams of one connection in any interleaving: no byte is lost, no stream is left over, nothing goes unhandled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from appliance.config import Limits
from tests.support.http2 import (
    GET,
    POST,
    Client,
    data,
    frame,
    headers,
    literal,
    ping,
    rst_stream,
    window_update,
)
from tests.support.http2 import settings as settings_frame
from tests.support.proxying import Proxy, proxy
from tests.support.transports import Peer

STREAMS = 6
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def content(seed: int, size: int) -> bytes:
    """Bytes that tell where they belong."""
    return (b"%d," % seed * (size // 2 + 1))[:size]


@contextmanager
def nothing_logged() -> Iterator[None]:
    """Fail if a failure is logged: what nobody handled ends there."""
    failures: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures, failures[0].getTraceback()


class Application:
    """One connection of the application: it reads a request, and answers when it is told to."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.parser = h11.Connection(h11.SERVER)
        self.stream = 0
        self.body = b""
        self.whole = False
        self.answer = b""
        self.left = b""
        self.early = False
        """Whether it answered before it had read all: then the client need not send all."""

    def read(self, count: int) -> None:
        """Take some of what came."""
        received = self.peer.read(count)
        if not received:
            return
        self.parser.receive_data(received)
        while (event := self.parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self.stream = int(event.target[1:])
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.whole = True
            else:
                break

    def speak(self, count: int, size: int, chunked: bool) -> None:
        """Send so much of the answer."""
        if not self.stream or self.peer.saw != "open":
            return
        self.early = self.early or not self.whole
        if not self.answer:
            body = content(self.stream, size)
            if chunked:
                pieces = [body[at : at + 999] for at in range(0, size, 999)]
                framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
                self.answer = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed
            else:
                self.answer = HEAD + b"Content-Length: %d\r\n\r\n" % size + body
            self.left = self.answer
        piece, self.left = self.left[:count], self.left[count:]
        if piece:
            self.peer.send(piece)


class Story:
    """A client and its applications, moved on by random steps."""

    def __init__(self, data_path: Proxy, window: int, piece: int) -> None:
        self.data_path = data_path
        self.client = Client(data_path, hello=settings_frame((4, window)))
        self.client.peer.piece = piece
        self.window = window
        self.applications: list[Application] = []
        self.uploads: dict[int, bytes] = {}
        """What is still to be sent, by stream."""
        self.sent: dict[int, bytes] = {}
        self.reset: set[int] = set()
        self.next = 1

    def step(self, what: str, which: int, count: int) -> None:
        """Do one thing; what cannot be done now is passed over."""
        for peer in self.data_path.upstreams[len(self.applications) :]:
            self.applications.append(Application(peer))
        open_streams = [stream for stream in self.uploads if stream not in self.reset]
        if what == "open" and self.next <= 2 * STREAMS:
            self._open(count)
        elif what == "settings":
            self.client.send(settings_frame((4, count), (1, count % 4097)))
        elif what == "ping":
            self.client.send(ping())
        elif what == "widen":
            self.client.send(window_update(0, count + 1))
        elif what == "socket":
            self.client.peer.capacity = count
        elif what == "take":
            self.client.read()
        elif what in ("app reads", "app speaks") and self.applications:
            application = self.applications[which % len(self.applications)]
            if what == "app reads":
                application.read(count)
            else:
                application.speak(count, which * 997, which % 2 == 0)
        elif open_streams:
            self._on_stream(what, open_streams[which % len(open_streams)], count)

    def _open(self, count: int) -> None:
        stream, self.next = self.next, self.next + 2
        path = (b":path", b"/%d" % stream)
        if count % 3:
            self.uploads[stream] = self.sent[stream] = content(stream, count)
            self.client.send(headers(stream, (*POST[:3], path), False))
        else:
            self.uploads[stream] = self.sent[stream] = b""
            self.client.send(headers(stream, (*GET[:3], path)))

    def _on_stream(self, what: str, stream: int, count: int) -> None:
        if what == "widen stream":
            self.client.send(window_update(stream, count + 1))
        elif what == "reset":
            self.reset.add(stream)
            self.client.send(rst_stream(stream))
        elif what == "upload" and self.uploads[stream]:
            piece = self.uploads[stream][: min(count + 1, 16384)]
            self.uploads[stream] = self.uploads[stream][len(piece) :]
            self.client.send(data(stream, piece, end=not self.uploads[stream]))

    def end(self) -> None:
        """Let everything that was not taken back come to its end."""
        client = self.client
        client.peer.capacity = float("inf")
        client.send(settings_frame((4, 10**6)) + window_update(0, 10**9))
        for _ in range(3):
            for stream in list(self.uploads):
                while stream not in self.reset and self.uploads[stream]:
                    self._on_stream("upload", stream, 10**6)
            self.step("take", 0, 0)
            for application in self.applications:
                for _ in range(40):
                    application.read(10**6)
                application.speak(10**6, 5000, False)
            for _ in range(20):
                client.read()

    def check(self) -> None:
        """Every stream that was not reset was served wholly, and nothing is left."""
        client, frames = self.client, self.client.frames
        assert client.alive
        served = {application.stream: application for application in self.applications}
        for stream in set(self.sent) - self.reset:
            application = served[stream]
            assert application.early or (application.body, application.whole) == (self.sent[stream], True)
            status, body, ended = frames.answer(stream)
            assert (status, ended) == (200, True)
            head, _, expected = application.answer.partition(b"\r\n\r\n")
            assert body == content(stream, len(body))
            assert b"chunked" in head or body == expected
        assert not client.connection.engine.streams
        for stream, application in served.items():
            assert content(stream, 10**5).startswith(application.body)
        self.data_path.pass_time(3)
        assert self.data_path.pool.open == 0
        assert len(self.data_path.deadlines) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("open", "upload", "app reads", "app speaks", "widen", "widen stream", "take", "socket", "settings"),
                *("open", "upload", "app reads", "app speaks", "reset", "ping"),
            ]
        ),
        st.integers(0, 40),
        st.one_of(st.integers(0, 50), st.integers(0, 40_000)),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.sampled_from([0, 1, 100, 65535, 2**20]), st.sampled_from([1 << 16, 700, 13]))
def test_interleavings(steps: list[tuple[str, int, int]], window: int, piece: int) -> None:
    """Opens, uploads, answers, resets, windows and a socket that fills, in any order and in pieces of any size."""
    with nothing_logged(), proxy(limits=Limits(concurrent_streams=STREAMS)) as data_path:
        story = Story(data_path, window, piece)
        for step in steps:
            story.step(*step)
        story.end()
        story.check()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([headers(1), headers(3, POST, False), ping()]))))
def test_any_bytes(pieces: list[bytes]) -> None:
    """Whatever is sent, the connection lives or ends with GOAWAY, and nothing goes unhandled."""
    with nothing_logged(), proxy() as data_path:
        client = Client(data_path)
        for piece in pieces:
            client.send(piece)
        lines = client.frames.lines + client.read()
        assert client.peer.saw == "open" or any(line.startswith("GOAWAY") for line in lines)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10),
            st.integers(0, 255),
            st.sampled_from([0, 1, 1, 3, 3, 5, 2]),
            st.one_of(st.binary(max_size=20), st.sampled_from([literal(GET), literal(POST), b"\0\0\0\1", bytes(8)])),
        ),
        max_size=12,
    )
)
def test_any_frames(frames: list[tuple[int, int, int, bytes]]) -> None:
    """The same of frames that are well-formed, at least as frames."""
    with nothing_logged(), proxy() as data_path:
        client = Client(data_path)
        for each in frames:
            client.send(frame(*each))
        client.read()
        assert client.peer.saw == "open" or any(line.startswith("GOAWAY") for line in client.frames.lines)
        client.peer.reset()
        assert not client.connection.engine.streams
        data_path.network.settle()
        assert all(each.saw == "reset" for each in data_path.upstreams)
