"""Applications that speak HTTP/2: what they are sent, what becomes of their answers, and of their going away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from appliance.config import Backend, HealthCheck, PassiveCheck, Timeouts
from appliance.http.http2bounds import FULL
from appliance.http.http2client import ANSWER_WINDOW, STREAMS
from appliance.http.message import RequestHead
from appliance.proxy.healthcheck import HealthChecks
from appliance.proxy.http2pool import Http2Pool
from tests.support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    OK,
    PING,
    POST,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    Client,
    Http2Application,
    changed,
    data,
    frame,
    headers,
    literal,
    ping,
    rst_stream,
    settings,
    window_update,
)
from tests.support.observed import keeping
from tests.support.proxying import Proxy, proxy
from tests.support.transports import Peer

REQUEST = b"GET /%d HTTP/1.1\r\nHost: example.com\r\n\r\n"
RPC = (*POST, (b"content-type", b"application/grpc"), (b"te", b"trailers"))


@contextmanager
def path(**how: Any) -> Iterator[Proxy]:
    """A data path to an application that speaks HTTP/2."""
    backend = Backend(http2=True, try_for=0.0, **how.pop("backend", {}))
    with proxy(backend=backend, **how) as made:
        yield made


def application(made: Proxy, hello: bytes | None = b"") -> Http2Application:
    """The newest connection's end."""
    return Http2Application(made.upstream, hello)


def goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def told(client: Client, stream: int) -> dict[bytes, bytes]:
    client.read()
    return dict(client.frames.fields[stream][-1])


class TestMessages:
    """Requests and responses."""

    def test_request(self) -> None:
        """A request as HTTP/2 has it: its own fields and the appliance's, none of them about HTTP/1.1 connections."""
        with path() as made:
            client = made.client()
            client.send(b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
            app = application(made)
            assert app.greeting[0] == "SETTINGS 0"
            assert app.frames.settings == {2: 0, 4: ANSWER_WINDOW, 6: 65536}
            assert app.acknowledged == ["SETTINGS 0 ack", "HEADERS 1 /a?b end"]
            fields = app.frames.fields[1][0]
            pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"example.com"), (b":path", b"/a?b")]
            assert fields[:5] == [*pseudo, (b"x-one", b"1")]
            assert (b"x-forwarded-for", b"192.0.2.7") in fields
            assert fields[-1] == (b"te", b"trailers")
            app.ask(headers(1, (*OK, (b"content-length", b"2")), False), data(1, b"ok", end=True))
            assert client.take() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (b"POST / HTTP/1.1\r\nHost: example.com\r\n\r\n", b"0"),
            (b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 3\r\n\r\nabc", b"3"),
            (b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", None),
            (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", None),
        ],
    )
    def test_content_length(self, request_: bytes, expected: bytes | None) -> None:
        """Told if it is known."""
        with path() as made:
            made.client().send(request_)
            app = application(made)
            assert dict(app.frames.fields[1][0]).get(b"content-length") == expected
            assert (app.frames.bodies.get(1, b""), 1 in app.frames.ended) == (b"abc" * (b"abc" in request_), True)

    @pytest.mark.parametrize(
        ("sent", "got"),
        [
            (headers(1, OK), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (headers(1, ((b":status", b"204"),)), b"HTTP/1.1 204 No Content\r\n\r\n"),
            (headers(1, ((b":status", b"304"),)), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            (
                headers(1, (*OK, (b"content-length", b"0"), (b"trailer", b"a")), False) + data(1, end=True),
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ),
            (
                headers(1, ((b":status", b"599"), (b"a", b"b")), False) + data(1, b"x") + data(1, b"y", end=True),
                b"HTTP/1.1 599 \r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n",
            ),
            (
                headers(1, OK, False) + data(1, b"x") + headers(1, ((b"sum", b"1"),)),
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nsum: 1\r\n\r\n",
            ),
        ],
    )
    def test_response_to_http1(self, sent: bytes, got: bytes) -> None:
        """Framed anew for HTTP/1.1, and the client's connection goes on."""
        with path() as made:
            client = made.client()
            app: Http2Application | None = None
            for stream in (1, 3):
                client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
                app = app or application(made)
                app.ask(sent.replace(b"\0\0\0\1", b"\0\0\0%c" % stream))
                assert client.take() == got

    def test_head(self) -> None:
        """An answer to HEAD says how much it would be, and has no content."""
        with path() as made:
            client = made.client()
            client.send(b"HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n")
            application(made).ask(headers(1, (*OK, (b"content-length", b"9"))))
            assert client.take() == b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"

    def test_trailers_both_ways(self) -> None:
        """Trailers of requests and responses pass between HTTP/2 and HTTP/2, and those alone of a response."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, RPC, False) + data(1, b"ask") + headers(1, ((b"sum", b"1"), (b"host", b"evil"))))
            app = application(made)
            assert app.acknowledged[1:] == ["HEADERS 1 /", "DATA 1 3", "HEADERS 1 trailers end"]
            assert app.frames.fields[1][1] == [(b"sum", b"1")]
            app.ask(headers(1, OK, False), data(1, b"say"), headers(1, ((b"grpc-status", b"0"),)))
            assert client.read() == ["HEADERS 1 200", "DATA 1 3", "HEADERS 1 trailers end"]
            client.send(headers(3, RPC, False) + data(3, b"ask", end=True))
            app.ask(headers(3, (*OK, (b"grpc-status", b"5"))))
            assert client.read() == ["HEADERS 3 200 end"]
            assert client.frames.fields[3] == [[*OK, (b"grpc-status", b"5")]]

    def test_trailers_that_come_late(self) -> None:
        """Trailers of a request whose body is under way."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False))
            app = application(made, settings((4, 2)))
            client.send(data(1, b"abc") + headers(1, ((b"sum", b"1"),)))
            assert app.read() == ["DATA 1 2"]
            assert app.ask(window_update(1, 5)) == ["DATA 1 1", "HEADERS 1 trailers end"]

    def test_trailers_of_chunks(self) -> None:
        """Trailers of a chunked request over HTTP/1.1."""
        with path() as made:
            head = b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
            made.client().send(head + b"1\r\nx\r\n0\r\nSum: 1\r\n\r\n")
            assert application(made).frames.fields[1][1] == [(b"sum", b"1")]

    def test_informational(self) -> None:
        """103 passes, 100 is the appliance's own to say."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            early = headers(1, ((b":status", b"103"), (b"link", b"</a>")), False)
            application(made).ask(headers(1, ((b":status", b"100"),), False), early, headers(1, OK))
            assert client.read() == ["HEADERS 1 103", "HEADERS 1 200 end"]

    def test_a_head_alone(self) -> None:
        """A head is passed on before its content comes; 100-continue is asked for by the appliance."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, (*POST, (b"expect", b"100-continue")), False))
            app = application(made)
            assert client.read() == ["HEADERS 1 100"]
            app.ask(headers(1, OK, False))
            assert client.read() == ["HEADERS 1 200"]

    def test_an_answer_before_the_request_is_complete(self) -> None:
        """The rest of the request is nobody's: both sides are told, with no fault."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False) + data(1, b"x"))
            app = application(made)
            assert app.ask(headers(1, OK)) == ["RST_STREAM 1 NO_ERROR"]
            assert client.read() == ["HEADERS 1 200 end", "RST_STREAM 1 NO_ERROR"]
            assert app.ask(rst_stream(1, "NO_ERROR")) == []

    def test_whole_and_then_reset(self) -> None:
        """An answer that is complete counts, even if RST_STREAM follows in the same read."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False))
            app = application(made)
            app.ask(headers(1, OK, False), data(1, b"x"), headers(1, ((b"a", b"b"),)), rst_stream(1, "NO_ERROR"))
            assert client.read()[:3] == ["HEADERS 1 200", "DATA 1 1", "HEADERS 1 trailers end"]

    @pytest.mark.parametrize("end", [data(1, end=True), headers(1, [(b"sum", b"1")])], ids=["DATA", "trailers"])
    def test_end_that_was_said_before(self, end: bytes) -> None:
        """A request that states no content has ended with its head, whenever its client says so."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, (*POST, (b"content-length", b"0")), False))
            app = application(made)
            assert app.acknowledged[1:] == ["HEADERS 1 / end"]
            client.send(end)
            assert app.ask(headers(1, OK)) == []
            assert client.read() == ["HEADERS 1 200 end"]


class TestSharing:
    """Many requests on few connections."""

    def test_one_connection(self) -> None:
        """Requests that come while it is opened, and later, share one connection; answers come in any order."""
        with path() as made:
            clients = [made.client() for _ in range(5)]
            for number, client in enumerate(clients[:3]):
                client.send(REQUEST % number)
            app = application(made)
            for number, client in enumerate(clients[3:], 3):
                client.send(REQUEST % number)
            assert app.acknowledged[1:] + app.read() == [f"HEADERS {2 * n + 1} /{n} end" for n in range(5)]
            assert made.pool.busy == 5
            for number in (3, 1, 4, 0, 2):
                app.ask(headers(2 * number + 1, (*OK, (b"n", b"%d" % number))))
            assert all(b"n: %d\r\n" % number in client.take() for number, client in enumerate(clients))
            assert (len(made.upstreams), made.pool.busy, made.pool.idle) == (1, 0, 1)

    def test_streams_allowed(self) -> None:
        """SETTINGS_MAX_CONCURRENT_STREAMS is heeded; more requests open more connections, up to their bound."""
        with path(backend={"max_connections": 2}) as made:
            clients = [made.client() for _ in range(5)]
            for number, client in enumerate(clients):
                client.send(REQUEST % number)
            first = application(made, settings((3, 2)))
            assert first.acknowledged[1:] == ["HEADERS 1 /0 end", "HEADERS 3 /1 end"]
            second = application(made, settings((3, 2)))
            assert second.acknowledged[1:] == ["HEADERS 1 /2 end", "HEADERS 3 /3 end"]
            assert second.ask(headers(1, OK)) == ["HEADERS 5 /4 end"]
            assert len(made.upstreams) == 2
            assert second.ask(settings((3, 1)), headers(3, OK)) == ["SETTINGS 0 ack"]
            clients[0].send(b"")
            assert first.ask(headers(1, OK), headers(3, OK)) == []
            assert [client.take()[:12] for client in clients[:4]] == [b"HTTP/1.1 200"] * 4

    @pytest.mark.parametrize("ending", ["reset", "goodbye", "both"])
    def test_connection_that_ends_while_others_wait(self, ending: str) -> None:
        """Those who waited for its streams are served on another one, and those who had one are told."""
        with path(backend={"max_connections": 1}) as made:
            client = Client(made)
            client.send(headers(1) + headers(3) + headers(5))
            app = application(made, settings((3, 1)))
            assert app.acknowledged[1:] == ["HEADERS 1 / end"]
            if ending != "reset":
                app.ask(goaway(1))
            if ending != "goodbye":
                app.peer.reset()
            else:
                app.ask(headers(1, OK))
            assert client.read()[0].startswith(f"HEADERS 1 {200 if ending == 'goodbye' else 502}")
            assert app.peer.saw != "open"
            new = application(made, settings((3, 2)))
            assert new.acknowledged[1:] == ["HEADERS 1 / end", "HEADERS 3 / end"]
            new.ask(headers(1, OK), headers(3, OK))
            assert client.read() == ["HEADERS 3 200 end", "HEADERS 5 200 end"]
            assert made.pool.open == 1

    @pytest.mark.parametrize("greets", [True, False])
    def test_reconnecting_joins_a_request(self, greets: bool) -> None:
        """Who looks whether the application is back, and a request, wait for one connection, and it ends well."""
        with path() as made:
            listening = made.network.listeners.pop(("127.0.0.1", 8000))
            gone = made.client()
            gone.send(REQUEST % 0)
            made.pass_time(70)
            assert gone.take().startswith(b"HTTP/1.1 502")
            made.network.listeners["127.0.0.1", 8000] = listening
            client = made.client()
            client.send(REQUEST % 1)
            made.pass_time(1.1)
            assert len(made.upstreams) == 1
            if greets:
                application(made).ask(headers(1, OK))
                assert client.take().startswith(b"HTTP/1.1 200")
                made.pass_time(2)
                assert made.pool.busy == 0
            else:
                made.upstream.finish()
                assert client.take().startswith(b"HTTP/1.1 502")

    def test_client_that_leaves_with_others_waiting(self) -> None:
        """None of its requests is begun in the place of another one of them."""
        with path(backend={"max_connections": 1}) as made:
            client = Client(made)
            client.send(headers(1, POST))
            app = application(made, settings((3, 1)))
            client.send(b"".join(headers(stream, POST) for stream in range(3, 61, 2)))
            assert app.read() == []
            client.peer.reset()
            assert app.read() == ["RST_STREAM 1 CANCEL"]

    def test_fewer_streams_than_are_under_way(self) -> None:
        """An application that takes back what it allowed gets no more connections for that than it may have."""
        with path(backend={"max_connections": 1}) as made:
            client = Client(made)
            client.send(headers(1) + headers(3) + headers(5))
            app = application(made, settings((3, 10)))
            app.ask(settings((3, 1)))
            client.send(headers(7))
            assert len(made.upstreams) == 1
            assert app.ask(headers(1, OK), headers(3, OK)) == []
            assert app.ask(headers(5, OK)) == ["HEADERS 7 / end"]

    def test_many_at_once(self) -> None:
        """However many it allows, a connection gets a bounded number of streams."""
        with path() as made:
            for number in range(STREAMS + 1):
                made.client().send(REQUEST % number)
            assert len(made.upstreams) == 2
            app = application(made)
            assert len(app.acknowledged) == 2

    def test_no_streams(self) -> None:
        """An application that allows none at all is of no use."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            for _ in range(2):  # it is asked again at once, as whoever refuses quickly
                application(made, settings((3, 0)))
            assert client.take().startswith(b"HTTP/1.1 502")

    def test_none_for_now(self) -> None:
        """One that allows none for a while, with streams under way, is not opened again in vain."""
        with path() as made:
            client, other = made.client(), made.client()
            client.send(REQUEST % 1)
            app = application(made)
            app.ask(settings((3, 0)))
            other.send(REQUEST % 2)
            assert len(made.upstreams) == 2
            app.ask(headers(1, OK))
            assert client.take().startswith(b"HTTP/1.1 200")

    def test_client_gives_up_while_opening(self) -> None:
        """Where nobody waits any more, no connection is opened; others who wait are not harmed."""
        with path() as made:
            first, second = made.client(), made.client()
            first.send(REQUEST % 1)
            second.send(REQUEST % 2)
            first.reset()
            second.reset()
            assert made.upstream.saw != "open"
            third = made.client()
            third.send(REQUEST % 3)
            assert application(made).acknowledged[1:] == ["HEADERS 1 /3 end"]

    def test_close(self) -> None:
        """A pool that closes says goodbye where nothing is under way, and elsewhere when it is over."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            app = application(made)
            made.pool.close()
            assert app.read() == []
            assert app.ask(headers(1, OK)) == ["GOAWAY 0 0 NO_ERROR"]
            assert client.take().startswith(b"HTTP/1.1 200")
            assert made.pool.open == 0

    def test_close_while_opening(self) -> None:
        """Who waits for a connection still gets it; nobody after."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            made.pool.close()
            app = application(made)
            assert app.ask(headers(1, OK))[-1] == "GOAWAY 0 0 NO_ERROR"
            assert client.take().startswith(b"HTTP/1.1 200")


class TestGoingAway:
    """Requests that the application has not looked at are sent again; others are not."""

    def test_goaway(self) -> None:
        """Streams above the last one move to another connection, the others end where they are."""
        with path() as made:
            clients = [made.client() for _ in range(3)]
            for number, client in enumerate(clients):
                client.send(b"POST /%d HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\n\r\nx" % number)
            old = application(made)
            old.ask(goaway(2**31 - 1))
            old.ask(goaway(1))
            new = application(made)
            assert new.acknowledged[1:] == ["HEADERS 1 /1", "DATA 1 1 end", "HEADERS 3 /2", "DATA 3 1 end"]
            assert old.ask(headers(1, OK)) == ["GOAWAY 0 0 NO_ERROR"]
            new.ask(headers(1, OK), headers(3, OK))
            assert [client.take()[:12] for client in clients] == [b"HTTP/1.1 200"] * 3
            assert made.pool.open == 1

    def test_refused_stream(self) -> None:
        """REFUSED_STREAM: another connection is asked, with what was sent of the body, and what came after."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False) + data(1, b"one,"))
            app = application(made)
            app.ask(rst_stream(1, "REFUSED_STREAM"))
            client.send(data(1, b"two") + headers(1, ((b"sum", b"1"),)))
            app = application(made)
            assert app.acknowledged[1:] == ["HEADERS 1 /", "DATA 1 7", "HEADERS 1 trailers end"]
            assert app.frames.bodies[1] == b"one,two"
            app.ask(headers(1, OK))
            assert client.read() == ["HEADERS 1 200 end"]

    def test_refused_again_and_again(self) -> None:
        """Three times, then the client is told that nobody has looked at its request."""
        with path() as made:
            client, plain = Client(made), made.client()
            client.send(headers(1))
            plain.send(REQUEST % 1)
            for _ in range(4):
                application(made).ask(rst_stream(1, "REFUSED_STREAM"), rst_stream(3, "REFUSED_STREAM"))
            assert client.read() == ["RST_STREAM 1 REFUSED_STREAM"]
            assert plain.take().startswith(b"HTTP/1.1 503")

    def test_refused_with_a_body_that_is_gone(self) -> None:
        """A large body is not kept."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False))
            app = application(made, settings((4, 10**6)) + window_update(0, 10**6))
            client.send(b"".join(data(1, b"x" * 16384) for _ in range(5)))
            app.ask(rst_stream(1, "REFUSED_STREAM"))
            assert client.read()[-1] == "RST_STREAM 1 REFUSED_STREAM"

    @pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"POST", False)])
    def test_connection_lost(self, method: bytes, again: bool) -> None:
        """What may be sent twice is, when a connection that was in use before ends without a word."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, changed(GET, method=method)))
            app = application(made)
            app.ask(headers(1, OK))
            client.send(headers(3, changed(GET, method=method)))
            made.upstream.finish()
            if again:
                application(made).ask(headers(1, OK))
            assert told(client, 3)[b":status"] == (b"200" if again else b"502")

    def test_connection_lost_within_an_answer(self) -> None:
        """An answer that was cut short does not look complete."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            application(made).ask(headers(1, OK, False), data(1, b"part"))
            made.upstream.reset()
            assert client.read() == ["HEADERS 1 200", "DATA 1 4", "RST_STREAM 1 INTERNAL_ERROR"]

    def test_idle_connection_that_has_ended(self) -> None:
        """An idle connection whose application has gone is found out before it is used."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            application(made).ask(headers(1, OK))
            made.upstream.finish()
            client.send(REQUEST % 2)
            assert len(made.upstreams) == 2


class TestResets:
    """RST_STREAM, from either side."""

    @pytest.mark.parametrize(
        ("code", "before", "after"),
        [
            ("CANCEL", b"502", "CANCEL"),
            ("INTERNAL_ERROR", b"502", "INTERNAL_ERROR"),
            ("ENHANCE_YOUR_CALM", b"502", "ENHANCE_YOUR_CALM"),
            ("NO_ERROR", b"502", "INTERNAL_ERROR"),
            ("REFUSED_STREAM", None, "INTERNAL_ERROR"),
        ],
    )
    def test_by_the_application(self, code: str, before: bytes | None, after: str) -> None:
        """Before the head it is an error page, within the answer a reset."""
        with path() as made:
            client = Client(made)
            client.send(headers(1) + headers(3))
            app = application(made)
            app.ask(headers(3, OK, False))
            app.ask(rst_stream(3, code))
            assert client.read() == ["HEADERS 3 200", f"RST_STREAM 3 {after}"]
            if before is not None:
                app.ask(rst_stream(1, code))
                assert told(client, 1)[b":status"] == before

    def test_by_the_client(self) -> None:
        """A client that takes its request back: the application need not go on."""
        with path() as made:
            client = Client(made)
            client.send(headers(1) + headers(3))
            app = application(made)
            client.send(rst_stream(1))
            assert app.read() == ["RST_STREAM 1 CANCEL"]
            assert app.ask(headers(1, OK, False), data(1, b"late"), headers(3, OK)) == []
            assert client.read() == ["HEADERS 3 200 end"]

    def test_unknown_code(self) -> None:
        """A code that nobody knows."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            application(made).ask(frame(RST_STREAM, 0, 1, b"\0\0\0\x77"))
            assert told(client, 1)[b":status"] == b"502"


class TestFlow:
    """Whoever is slow, memory stays bounded, and the others are not held up."""

    def test_slow_client(self) -> None:
        """A client that does not take an answer: the application may send its window, and no more."""
        with path() as made:
            client = Client(made, hello=settings((4, 1000)))
            client.send(headers(1))
            app = application(made)
            app.ask(headers(1, OK, False), data(1, b"x" * 1001))
            client.read()
            body = b"0123456789abcdef" * (ANSWER_WINDOW // 16)
            app.ask(*(data(1, body[at : at + 16384]) for at in range(0, ANSWER_WINDOW - 16384, 16384)))
            assert 1 not in app.frames.credit
            client.ask(settings((4, 10**6)) + window_update(0, 10**6))
            assert app.read()[0].startswith("WINDOW_UPDATE 1")
            assert len(client.frames.bodies[1]) == 1001 + ANSWER_WINDOW - 16384

    def test_answers_longer_than_stated(self) -> None:
        """What came of them counts against the connection's window no longer: however many, it goes on."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            app = application(made)
            for stream in range(1, 301, 2):
                stated = headers(stream, (*OK, (b"content-length", b"1")), False)
                app.ask(stated, *(data(stream, bytes(16000)) for _ in range(4)))
                assert client.read()[-1] == f"RST_STREAM {stream} INTERNAL_ERROR"
                client.send(headers(stream + 2))
            app.ask(headers(301, OK))
            assert client.read() == ["HEADERS 301 200 end"]
            assert len(made.upstreams) == 1

    def test_others_go_on(self) -> None:
        """Clients that do not take their answers hold nobody else up."""
        with path() as made:
            client = Client(made, hello=settings((4, 0)))
            slow = [2 * number + 1 for number in range(20)]
            client.send(b"".join(headers(stream) for stream in slow))
            app = application(made)
            for stream in slow:
                app.ask(headers(stream, OK, False), *(data(stream, b"x" * 16384) for _ in range(4)))
            other = made.client()
            other.send(REQUEST % 1)
            app.ask(headers(41, OK, False), data(41, b"y" * 16384, end=True))
            assert len(other.take()) > 16384

    def test_slow_application(self) -> None:
        """An application that does not take a body: the client may send its window, and no more."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False))
            app = application(made, settings((4, 1000)))
            client.send(b"".join(data(1, b"x" * 16384) for _ in range(8)))
            assert app.frames.bodies.get(1) is None
            assert app.read() == ["DATA 1 1000"]
            before = client.frames.credit.get(1, 0)
            client.send(b"".join(data(1, b"x" * 16384) for _ in range(8)))
            assert client.frames.credit.get(1, 0) == before
            app.ask(window_update(1, 10**6) + window_update(0, 10**6))
            client.read()
            assert len(app.frames.bodies[1]) == 16 * 16384
            assert client.frames.credit[1] > before

    def test_slow_socket(self) -> None:
        """An application that does not read its socket is sent no more than fits, and then no more requests."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST, False))
            app = application(made, settings((4, 10**7)) + window_update(0, 10**7))
            app.peer.capacity = 0
            client.send(b"".join(data(1, b"x" * 16384) for _ in range(16)))
            value = b"v" * 16_000
            client.send(b"".join(headers(stream, (*GET, (b"a", value)), True) for stream in range(3, 131, 2)))
            assert len(made.upstreams) == 2
            app.peer.capacity = float("inf")
            made.network.settle()
            for _ in range(30):
                app.read()
            assert len(app.frames.bodies[1]) == 16 * 16384


class TestTime:
    """What may take how long."""

    def test_no_greeting(self) -> None:
        """A connection over which nothing is said."""
        with path(timeouts=Timeouts(connect=3)) as made:
            client = made.client()
            client.send(REQUEST % 1)
            made.pass_time(5)
            assert client.take().startswith(b"HTTP/1.1 502")
            assert made.upstreams[0].saw == "reset"

    def test_no_answer(self) -> None:
        """504 after the time for the first byte, and the application is told; the connection stays."""
        with path(timeouts=Timeouts(first_byte=3)) as made:
            client = made.client()
            client.send(REQUEST % 1)
            app = application(made)
            made.pass_time(5)
            assert client.take().startswith(b"HTTP/1.1 504")
            assert app.read() == ["RST_STREAM 1 CANCEL"]
            assert made.pool.open == 1

    def test_answer_that_stops(self) -> None:
        """An answer that does not go on is broken off; one that waits for its client is not."""
        with path(timeouts=Timeouts(body=3)) as made:
            client = Client(made)
            client.send(headers(1))
            application(made).ask(headers(1, OK, False), data(1, b"x"))
            made.pass_time(5)
            assert client.read()[-1] == "RST_STREAM 1 INTERNAL_ERROR"

    def test_request_not_taken(self) -> None:
        """504 for a body that the application does not take, if it takes none of it at all."""
        with path(timeouts=Timeouts(body=10)) as made:
            client = Client(made)
            client.send(headers(1, (*POST, (b"content-length", b"50000")), False))
            app = application(made, settings((4, 10)))
            client.send(b"".join(data(1, b"x" * 10_000, end=part == 4) for part in range(5)))
            for _ in range(3):
                made.pass_time(8)
                app.ask(window_update(1, 10))
            assert client.read() == []
            made.pass_time(22)
            assert told(client, 1)[b":status"] == b"504"
            assert app.read()[-1] == "RST_STREAM 1 CANCEL"

    def test_calls_may_be_silent(self) -> None:
        """gRPC's calls have deadlines of their own: here they may be silent for hours, while their ends are there."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, RPC, False))
            app = application(made)
            for _ in range(60):
                made.pass_time(60)
                client.ask(ping())
                app.ask(ping())
            app.ask(headers(1, OK, False))
            for _ in range(60):
                made.pass_time(60)
                client.ask(ping())
                app.ask(ping())
            app.ask(headers(1, ((b"grpc-status", b"0"),)))
            assert client.read()[-2:] == ["HEADERS 1 trailers end", "RST_STREAM 1 NO_ERROR"]

    def test_calls_with_an_idle_limit(self) -> None:
        """Unless tunnels have a limit: it is for calls too, counted from the last byte either way."""
        with path(timeouts=Timeouts(websocket_idle=20)) as made:
            client = Client(made)
            client.send(headers(1, RPC, False))
            app = application(made)
            app.ask(headers(1, OK, False))
            for _ in range(3):
                made.pass_time(15)
                client.send(data(1, b"x"))
            made.pass_time(25)
            assert client.read()[-1] == "RST_STREAM 1 INTERNAL_ERROR"
            assert app.read()[-1] == "RST_STREAM 1 CANCEL"

    def test_ping(self) -> None:
        """An application that is silent while it has calls is asked if it lives."""
        with path() as made:
            client = Client(made)
            client.send(headers(1, RPC, False))
            app = application(made)
            made.pass_time(80)
            client.ask(ping())
            assert app.read() == ["PING 0"]
            app.ask(frame(PING, ACK, 0, b"alive?\0\0"))
            made.pass_time(60)
            client.ask(ping())
            made.pass_time(100)
            assert made.upstream.saw == "reset"
            assert told(client, 1)[b":status"] == b"502"

    def test_idle(self) -> None:
        """A connection without calls ends after a while, with a word."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            app = application(made)
            app.ask(headers(1, OK))
            made.pass_time(80)
            assert app.read() == ["GOAWAY 0 0 NO_ERROR"]
            assert made.pool.open == 0
            made.pass_time(10)
            assert app.peer.saw != "open"

    def test_answer_to_a_body_whose_end_had_to_wait(self) -> None:
        """From there on the application has its time to answer."""
        with path(timeouts=Timeouts(first_byte=300, body=60)) as made:
            client = made.client()
            client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
            app = application(made, settings((4, 1000)))
            made.pass_time(1)
            app.ask(window_update(1, 10**6))
            assert 1 in app.frames.ended
            for _ in range(20):
                made.pass_time(5)
                app.ask(ping())
            assert client.take() == b""
            app.ask(headers(1, OK))
            assert client.take().startswith(b"HTTP/1.1 200")

    def test_socket_that_stays_full(self) -> None:
        """An application that reads nothing at all is given up."""
        with path(timeouts=Timeouts(body=5)) as made:
            client = Client(made)
            client.send(headers(1, RPC, False))
            app = application(made, settings((4, 10**6)) + window_update(0, 10**6))
            app.peer.capacity = 10
            client.send(b"".join(data(1, b"x" * 16384) for _ in range(15)))
            made.pass_time(4)
            app.read()
            made.pass_time(20)
            assert app.peer.saw == "reset"
            assert told(client, 1)[b":status"] == b"502"


_BLOCK = literal((*OK, *((b"a%d" % number, b"v" * 120) for number in range(500))))
LARGE = frame(HEADERS, END_STREAM, 1, _BLOCK[:16384]) + b"".join(
    frame(CONTINUATION, END_HEADERS if at + 16384 >= len(_BLOCK) else 0, 1, _BLOCK[at : at + 16384])
    for at in range(16384, len(_BLOCK), 16384)
)
BROKEN_STREAMS = {
    "DATA before the head": data(1, b"x"),
    "no status": headers(1, ((b"a", b"b"),)),
    "a status that is none": headers(1, ((b":status", b"20"),)),
    "101": headers(1, ((b":status", b"101"),), False),
    "the end with a 1xx": headers(1, ((b":status", b"103"),)),
    "1xx without end": headers(1, ((b":status", b"103"),), False) * 17,
    "a connection's field": headers(1, (*OK, (b"connection", b"close"))),
    "upper case": headers(1, (*OK, (b"Server", b"a"))),
    "a line's end in a value": headers(1, (*OK, (b"a", b"b\r\nc: d"))),
    "two lengths": headers(1, (*OK, (b"content-length", b"1"), (b"content-length", b"1")), False),
    "a malformed length": headers(1, (*OK, (b"content-length", b"+1")), False),
    "a length and no content": headers(1, (*OK, (b"content-length", b"1"))),
    "a request's pseudo field": headers(1, (*OK, (b":path", b"/"))),
    "a header too large": LARGE,
}
BROKEN_ANSWERS = {
    "a pseudo field among the trailers": headers(1, OK, False) + headers(1, OK),
    "a head within the content": headers(1, OK, False) + headers(1, ((b"a", b"b"),), False),
    "more than announced": headers(1, (*OK, (b"content-length", b"1")), False) + data(1, b"xy"),
    "less than announced": headers(1, (*OK, (b"content-length", b"3")), False) + data(1, b"xy", end=True),
    "content of nothing": headers(1, (*OK, (b"content-length", b"0")), False) + data(1, b"x", end=True),
    "a window too large": headers(1, OK, False) + window_update(1, 2**31 - 1),
}
BROKEN_CONNECTIONS = {
    "a push": (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), "PROTOCOL_ERROR"),
    "a response to nothing": (headers(9, OK), "PROTOCOL_ERROR"),
    "a stream of its own": (headers(2, OK), "PROTOCOL_ERROR"),
    "fields that cannot be decoded": (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), "COMPRESSION_ERROR"),
    "a frame too large": (frame(DATA, 0, 1, b"", length=16385) + b"x" * 16385, "FRAME_SIZE_ERROR"),
    "CONTINUATION without end": (
        frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * 40,
        "ENHANCE_YOUR_CALM",
    ),
    "PING after PING": (ping() * 2 * FULL, "ENHANCE_YOUR_CALM"),
    "SETTINGS after SETTINGS": (settings((4, 65535)) * FULL, "ENHANCE_YOUR_CALM"),
    "empty DATA": (headers(1, OK, False) + data(1) * 2 * FULL, "ENHANCE_YOUR_CALM"),
}


class TestRules:
    """What an application may not do, and whom it costs what."""

    @pytest.mark.parametrize("what", BROKEN_STREAMS)
    def test_before_an_answer(self, what: str) -> None:
        """The stream is reset, its client gets 502, the connection goes on."""
        with path() as made:
            client = Client(made)
            client.send(headers(1) + headers(3))
            app = application(made)
            assert app.ask(BROKEN_STREAMS[what])[-1] == "RST_STREAM 1 PROTOCOL_ERROR"
            assert told(client, 1)[b":status"] == b"502"
            app.ask(headers(3, OK))
            assert client.read() == ["HEADERS 3 200 end"]

    @pytest.mark.parametrize("what", BROKEN_ANSWERS)
    def test_within_an_answer(self, what: str) -> None:
        """The answer is broken off on both sides."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            app = application(made)
            assert app.ask(BROKEN_ANSWERS[what])[-1].startswith("RST_STREAM 1")
            assert client.read()[-1] == "RST_STREAM 1 INTERNAL_ERROR"

    @pytest.mark.parametrize("what", BROKEN_CONNECTIONS)
    def test_connection(self, what: str) -> None:
        """The connection ends with the right code, its streams with it; the next request gets a new one."""
        sent, code = BROKEN_CONNECTIONS[what]
        with path() as made:
            client = Client(made)
            client.send(headers(1, POST))
            app = application(made)
            assert app.ask(sent)[-1] == f"GOAWAY 0 0 {code}"
            assert client.read()
            assert app.peer.saw != "open"
            client.send(headers(3))
            application(made).ask(headers(1, OK))
            assert client.read() == ["HEADERS 3 200 end"]

    def test_late_frames(self) -> None:
        """What comes for a stream that is over: dropped if we reset it, a fault if the application had ended it."""
        with path() as made:
            client = Client(made)
            client.send(headers(1) + headers(3) + headers(5))
            app = application(made)
            app.ask(headers(1, OK))
            assert app.ask(headers(1, OK)) == ["RST_STREAM 1 STREAM_CLOSED"]
            client.send(rst_stream(3))
            assert app.ask(headers(3, OK)) == ["RST_STREAM 3 CANCEL"]
            app.ask(headers(5, OK, False) + data(5, end=True) + headers(5, ((b"a", b"b"),)))
            assert client.read()[-1] == "RST_STREAM 5 INTERNAL_ERROR"

    @pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0\0\0\0\0\0", b"SSH-2.0-x\r\n"])
    def test_no_http2(self, said: bytes) -> None:
        """Whoever listens there speaks something else: 502 at once, and a word about what to look at."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            for number in range(2):
                made.upstreams[number].send(said)
                assert made.upstreams[number].saw == "reset"
            assert client.take().startswith(b"HTTP/1.1 502")

    def test_goes_without_a_word(self) -> None:
        """A connection that ends before it has spoken."""
        with path() as made:
            client = made.client()
            client.send(REQUEST % 1)
            for number in range(2):
                made.upstreams[number].finish()
            assert client.take().startswith(b"HTTP/1.1 502")

    def test_many_frames_in_one_read(self) -> None:
        """More than a turn takes: the rest is taken in the next."""
        with path() as made:
            client = Client(made)
            client.send(headers(1))
            app = application(made)
            app.ask(headers(1, OK, False), data(1, b"x") * 3000, data(1, end=True))
            client.read()
            assert client.frames.answer(1) == (200, b"x" * 3000, True)


def test_settings_kind() -> None:
    """A pool of HTTP/2 is what such addresses have."""
    with path() as made:
        assert isinstance(made.pool, Http2Pool)
        assert SETTINGS == 4


def test_a_thousand_requests() -> None:
    """Then a connection is replaced, what is under way on it being finished."""
    with path() as made:
        client = made.client()
        client.send(REQUEST % 0)
        app = application(made)
        for number in range(1, 1000):
            app.ask(headers(2 * number - 1, OK))
            client.send(REQUEST % number)
        assert len(made.upstreams) == 1
        other = made.client()
        other.send(REQUEST % 1000)
        assert len(made.upstreams) == 2
        assert app.ask(headers(1999, OK))[-1] == "GOAWAY 0 0 NO_ERROR"
        assert client.take().count(b"HTTP/1.1 200") == 1000


def test_requests_taken_back() -> None:
    """A client that resets its streams rapidly does not make the appliance one that does: connections are replaced."""
    with path() as made:
        client, other = Client(made), made.client()
        other.send(REQUEST % 1)
        app = application(made)
        for stream in range(1, 201, 2):
            client.send(headers(stream))
            client.send(rst_stream(stream))
        client.send(headers(201))
        assert len(made.upstreams) == 2
        assert app.read().count("RST_STREAM 201 CANCEL") == 1
        app.ask(headers(1, OK))
        assert other.take().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("status", "healthy"), [(b"200", True), (b"500", False)])
def test_health_checks(status: bytes, healthy: bool) -> None:
    """A check is a stream of its own, on a connection that is there already if there is one."""
    with path() as made:
        member = made.behind[0].members[0]
        check = HealthCheck("/health", interval=5.0, timeout=2.0)
        checks = HealthChecks(member, check, "example.com", lambda: 0.0)
        checks.startService()
        made.pass_time(1)
        app = application(made)
        assert app.acknowledged[1:] == ["HEADERS 1 /health end"]
        assert (b"accept", b"*/*") in app.frames.fields[1][0]
        for stream in (1, 3, 5):
            app.ask(headers(stream, ((b":status", status),)))
            made.pass_time(5)
        assert (member.healthy, len(made.upstreams)) == (healthy, 1)
        app.ask(rst_stream(7, "REFUSED_STREAM"))
        made.pass_time(5)
        assert len(made.upstreams) == 2
        checks.stopService()


def test_trial() -> None:
    """An address that was taken out for what it did to requests is back when it has answered one."""
    places = ((b"/", "127.0.0.1:8000,127.0.0.1:8001", False),)
    check = PassiveCheck(failures=1, window=10.0, cool_down=2.0)
    with path(routes=places, backend={"passive_check": check}) as made:
        others: list[Peer] = []
        made.network.listeners["127.0.0.1", 8001] = others.append
        client = made.client()
        client.send(REQUEST % 1)
        first = application(made)
        first.ask(rst_stream(1, "INTERNAL_ERROR"))
        member = made.behind[0].members[0]
        assert not member.healthy
        made.pass_time(3)
        assert member.on_trial
        client.send(REQUEST % 2)
        first.ask(headers(3, OK))
        assert member.healthy
        assert client.take().endswith(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_connection_that_ends_on_trial() -> None:
    """Its end says nothing of the address, and harms nobody."""
    check = PassiveCheck(failures=1, window=10.0, cool_down=2.0)
    places = ((b"/", "127.0.0.1:8000,127.0.0.1:8001", False),)
    with path(routes=places, backend={"passive_check": check}) as made:
        made.network.listeners["127.0.0.1", 8001] = lambda peer: None
        client = made.client()
        client.send(REQUEST % 1)
        app = application(made)
        app.ask(rst_stream(1, "INTERNAL_ERROR"))
        made.pass_time(3)
        member = made.behind[0].members[0]
        assert member.on_trial
        app.peer.finish()
        assert member.on_trial
        client.send(REQUEST % 2)
        application(made).ask(headers(1, OK))
        assert member.healthy


def test_goodbye_that_is_not_read() -> None:
    """A connection whose end is not taken is broken off after a while."""
    with path() as made:
        client = made.client()
        client.send(REQUEST % 1)
        app = application(made)
        app.ask(headers(1, OK))
        app.peer.capacity = 0
        made.pass_time(80)
        assert app.peer.saw == "open"
        made.pass_time(10)
        assert app.peer.saw == "reset"


def test_notes() -> None:
    """A request takes along whom it went to."""
    with path() as made:
        told: list[RequestHead] = []
        made.observer = keeping(told)
        client = made.client()
        client.send(REQUEST % 1)
        application(made).ask(headers(1, OK))
        assert [(request.upstream, request.status) for request in told] == [("http://127.0.0.1:8000", 200)]


def test_stream_ids_run_out() -> None:
    """Past the last stream id there is, a connection takes no more requests."""
    with path() as made:
        client = made.client()
        client.send(REQUEST % 1)
        app = application(made)
        app.ask(headers(1, OK))
        link = made.pool._links[0]  # type: ignore[attr-defined]
        link.engine.last_stream = 2**31 - 3
        client.send(REQUEST % 2)
        assert app.read() == [f"HEADERS {2**31 - 1} /2 end"]
        assert link.room == 0
