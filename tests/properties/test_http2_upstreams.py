"""HTTP/2 on both sides in any interleaving: no byte is lost or in the wrong place, no stream is left over."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config import Backend, Timeouts
from tests.properties.test_http2_streams import content, nothing_logged
from tests.support.http2 import (
    GET,
    GOAWAY,
    OK,
    POST,
    PREFACE,
    Client,
    Frames,
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

STREAMS = 8
TRAILERS = ((b"grpc-status", b"0"),)
CODES = ("CANCEL", "INTERNAL_ERROR", "REFUSED_STREAM", "NO_ERROR", "ENHANCE_YOUR_CALM")


class Application:
    """One connection to the application, which does to its streams what it is told to."""

    def __init__(self, peer: Peer, window: int, streams: int) -> None:
        self.peer = peer
        self.frames = Frames()
        self._preface = PREFACE
        self._hello = settings_frame((4, window), (3, streams))
        self.answers: dict[int, bytes] = {}
        """What is still to be said, by stream, once its head is out."""
        self.over: set[int] = set()
        self.broken: set[int] = set()
        """Streams that this side ended before they were whole."""
        self.peer.send(self._hello)

    def read(self, count: int) -> None:
        """Take some of what came, and let as much come again."""
        received = self.peer.read(count)
        if self._preface:
            taken = len(self._preface)
            assert self._preface.startswith(received[:taken])
            self._preface, received = self._preface[len(received) :], received[taken:]
        before = {stream: len(body) for stream, body in self.frames.bodies.items()}
        self.frames.feed(received)
        for stream, body in self.frames.bodies.items():
            size = len(body) - before.get(stream, 0)
            if size and self.peer.saw == "open":
                self.peer.send(window_update(stream, size) + window_update(0, size))

    def subject(self, stream: int) -> int:
        """Which of the client's streams this one is."""
        return int(dict(self.frames.fields[stream][0])[b":path"][1:])

    def open(self) -> list[int]:
        """Streams that can be answered."""
        gone = {int(line.split()[1]) for line in self.frames.lines if line.startswith("RST_STREAM")}
        return [stream for stream in self.frames.fields if stream not in self.over | gone]

    def speak(self, stream: int, count: int, size: int) -> None:
        """Send so much of the answer; trailers end it."""
        if self.peer.saw != "open":
            return
        if stream not in self.answers:
            self.answers[stream] = content(self.subject(stream), size)
            self.peer.send(headers(stream, OK, end=False))
        piece, self.answers[stream] = self.answers[stream][:count], self.answers[stream][count:]
        sent = b"".join(data(stream, piece[at : at + 16384]) for at in range(0, len(piece), 16384))
        if not self.answers[stream]:
            self.over.add(stream)
            sent += headers(stream, TRAILERS)
        self.peer.send(sent)

    def reset(self, stream: int, code: str) -> None:
        self.over.add(stream)
        self.broken.add(stream)
        self.peer.send(rst_stream(stream, code))


class Story:
    """A client, and connections of an application, moved on by random steps."""

    def __init__(self, data_path: Proxy, window: int, streams: int, piece: int) -> None:
        self.data_path = data_path
        self.client = Client(data_path, hello=settings_frame((4, window)))
        self.client.peer.piece = piece
        self.window, self.streams = window, streams
        self.applications: list[Application] = []
        self.uploads: dict[int, bytes] = {}
        self.sizes: dict[int, int] = {}
        self.reset: set[int] = set()
        self.next = 1
        self.harmed = False
        """Whether the application ended a connection."""

    def meet(self) -> None:
        for peer in self.data_path.upstreams[len(self.applications) :]:
            peer.piece = self.client.peer.piece
            self.applications.append(Application(peer, self.window, self.streams))

    def step(self, what: str, which: int, count: int) -> None:
        """Do one thing; what cannot be done now is passed over."""
        self.meet()
        uploading = [stream for stream in self.uploads if stream not in self.reset]
        if what == "open" and self.next <= 2 * STREAMS:
            self._open(count)
        elif what == "widen":
            self.client.send(window_update(0, count + 1))
        elif what == "ping":
            self.client.send(ping())
        elif what == "socket":
            self.client.peer.capacity = count
        elif what == "take":
            self.client.read()
        elif what.startswith("app") and self.applications:
            self._application(what, self.applications[which % len(self.applications)], which, count)
        elif uploading:
            self._on_stream(what, uploading[which % len(uploading)], count)

    def _open(self, count: int) -> None:
        stream, self.next = self.next, self.next + 2
        head = POST if count % 3 else GET
        self.uploads[stream] = content(stream, count if count % 3 else 0)
        self.sizes[stream] = len(self.uploads[stream])
        self.client.send(headers(stream, (*head[:3], (b":path", b"/%d" % stream)), not count % 3))

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

    def _application(self, what: str, application: Application, which: int, count: int) -> None:
        peer, streams = application.peer, application.open()
        if what == "app reads":
            application.read(count)
        elif what == "app socket":
            peer.capacity = count
        elif peer.saw != "open" or peer.state != "open":
            return
        elif what == "app leaves":
            self.harmed = True
            peer.send(frame(GOAWAY, 0, 0, (count % 12).to_bytes(4, "big") + bytes(4)))
        elif what == "app dies":
            self.harmed = True
            peer.reset() if count % 2 else peer.finish()
        elif what == "app settings":
            peer.send(settings_frame((4, count), (3, which % 5)))
        elif streams and what == "app speaks":
            application.speak(streams[which % len(streams)], count, which * 997)
        elif streams and what == "app resets":
            application.reset(streams[which % len(streams)], CODES[count % len(CODES)])

    def end(self) -> None:
        """Let everything that was not taken back come to its end."""
        client = self.client
        client.peer.capacity = float("inf")
        client.send(settings_frame((4, 10**6)) + window_update(0, 10**9))
        for _ in range(8):
            self.meet()
            for stream in self.uploads:
                while stream not in self.reset and self.uploads[stream]:
                    self._on_stream("upload", stream, 10**6)
            for application in self.applications:
                application.peer.capacity = float("inf")
                if application.peer.saw == "open" and application.peer.state == "open":
                    application.peer.send(settings_frame((4, 10**6), (3, 100)) + window_update(0, 10**8))
                for _ in range(10):
                    application.read(10**6)
                for stream in application.open():
                    if stream in application.frames.ended and application.peer.state == "open":
                        application.speak(stream, 10**6, 5000)
            client.read()

    def check(self) -> None:
        """Streams that nobody broke were served wholly; nothing is left, and nothing is out of its place."""
        frames: Any = self.client.frames
        assert self.client.alive
        assert not self.client.connection.engine.streams
        assert self.data_path.pool.busy == 0  # type: ignore[attr-defined]
        broken = {each.subject(stream) for each in self.applications for stream in each.broken}
        for application in self.applications:
            for stream in application.frames.fields:
                subject = application.subject(stream)
                body = application.frames.bodies.get(stream, b"")
                assert content(subject, self.sizes[subject]).startswith(body)
        for stream in set(self.sizes) - self.reset:
            body = frames.bodies.get(stream, b"")
            if not self.harmed and stream not in broken:
                assert frames.fields[stream] == [[*OK], [*TRAILERS]]
                assert stream in frames.ended
            if dict(frames.fields.get(stream, [[]])[0]).get(b":status") == b"200":
                assert content(stream, len(body)) == body
        self.data_path.pass_time(100)
        assert self.data_path.pool.open == 0
        assert len(self.data_path.deadlines) <= 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("open", "upload", "widen", "widen stream", "take", "socket", "reset", "ping"),
                *("open", "upload", "app reads", "app speaks", "app reads", "app speaks", "app socket"),
                *("app resets", "app settings", "app leaves", "app dies"),
            ]
        ),
        st.integers(0, 40),
        st.one_of(st.integers(0, 50), st.integers(0, 40_000)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(
    STEPS,
    st.sampled_from([0, 10, 1000, 65535]),
    st.sampled_from([1, 2, 100]),
    st.sampled_from([7, 1000, 65536]),
    st.booleans(),
)
def test_interleavings(
    steps: list[tuple[str, int, int]], window: int, streams: int, piece: int, peaceful: bool
) -> None:
    """Random steps of clients and applications, which may end connections unless ``peaceful``; then time to finish."""
    backend = Backend(http2=True, try_for=0.0)
    timeouts = Timeouts(upstream_idle=1.0)
    with nothing_logged(), proxy(backend=backend, timeouts=timeouts) as data_path:
        story = Story(data_path, window, streams, piece)
        for step in steps:
            if not peaceful or step[0] not in ("app leaves", "app dies"):
                story.step(*step)
        story.end()
        story.check()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.tuples(
                st.integers(0, 16),
                st.integers(0, 255),
                st.sampled_from([0, 1, 1, 1, 3, 2]),
                st.one_of(
                    st.binary(max_size=20), st.sampled_from([literal(OK), literal(TRAILERS), b"\0\0\0\1", bytes(8)])
                ),
            ).map(lambda each: frame(*each)),
            st.sampled_from([headers(1, OK, False), headers(3, OK), data(1, b"x", True), rst_stream(1), ping()]),
        ),
        max_size=12,
    )
)
def test_any_frames(pieces: list[bytes]) -> None:
    """Whatever an application sends, its client gets an answer or an end, and nothing goes unhandled."""
    with nothing_logged(), proxy(backend=Backend(http2=True, try_for=0.0)) as data_path:
        client = Client(data_path)
        client.send(headers(1) + headers(3, POST, False))
        peer = data_path.upstream
        peer.send(settings_frame())
        for piece in pieces:
            if peer.saw == "open":
                peer.send(piece)
        peer.reset()
        for each in data_path.upstreams[1:]:
            each.reset()
        data_path.pass_time(200)
        client.read()
        for stream in (1, 3):
            ended = f"RST_STREAM {stream}" in " ".join(client.frames.lines) or stream in client.frames.ended
            assert ended or not client.alive
        assert data_path.pool.busy == 0
