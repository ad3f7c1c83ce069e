"""The client's connection: turns, limits, time and endings. A test reads as a conversation.

`proxy` stands in front of an application whose part the test takes.
"""

from __future__ import annotations

import pytest

from appliance.config import Limits, Timeouts
from tests.support.proxying import OK, REQUEST, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, RESET

POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"
UPLOAD = POST + b"Content-Length: 10\r\n\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"GET /%d HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"


def statuses(data: bytes, count: int = 1) -> list[int]:
    """The statuses of complete answers on a connection that ended."""
    return [answer[0] for answer in read_responses(data, [b"GET"] * count, True) if answer[3]]


class TestTurns:
    def test_keep_alive(self) -> None:
        """One request after the other over the same two connections."""
        with proxy() as path:
            client = path.client()
            for number in range(3):
                received, got = path.exchange(client, REQUEST % number, OK)
                assert received.startswith(b"GET /%d HTTP/1.1\r\n" % number)
                assert got == OK
            assert (client.saw, len(path.upstreams)) == (OPEN, 1)

    def test_close(self) -> None:
        """A client that asks for the end gets it, after its answer."""
        with proxy() as path:
            client = path.client()
            _, got = path.exchange(client, LAST % 1, OK)
            assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            assert client.saw == FINISHED
            assert path.upstream.saw == OPEN

    def test_old_clients(self) -> None:
        """HTTP/1.0: closed after the answer, or kept open if that was asked for and the length is known."""
        with proxy() as path:
            client = path.client()
            old = b"GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n"
            _, got = path.exchange(client, old, OK)
            assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
            _, got = path.exchange(client, old, CHUNKED_OK + b"2\r\nok\r\n0\r\n\r\n")
            assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
            assert client.saw == FINISHED

    def test_pipelined(self) -> None:
        """Requests sent ahead are answered in their order; a slow one is never overtaken."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1 + REQUEST % 2 + REQUEST % 3)
            assert path.upstream.take().startswith(b"GET /1 ")
            path.pass_time(30)
            assert path.upstream.take() == b""
            path.upstream.send(OK.replace(b"ok", b"01"))
            assert path.upstream.take().startswith(b"GET /2 ")
            path.upstream.send(OK.replace(b"ok", b"02"))
            path.upstream.send(OK.replace(b"ok", b"03"))
            assert client.take() == b"".join(OK.replace(b"ok", b"0%d" % number) for number in (1, 2, 3))
            assert len(path.upstreams) == 1

    def test_pipelined_errors_keep_their_place(self) -> None:
        """A malformed request is refused when its turn has come, not before."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1 + b"nonsense\r\n\r\n" + REQUEST % 2)
            assert client.take() == b""
            path.upstream.send(OK)
            assert statuses(client.take(), 3) == [200, 400]
            assert client.saw == FINISHED
            assert path.upstream.take().count(b"GET ") == 1

    def test_pipelined_pages(self) -> None:
        """Ten thousand requests answered on the spot take no stack."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST.replace(b"example.com", b"unknown.example") % 1 * 10_001)
            assert client.take().count(b"HTTP/1.1 404 ") == 10_000
            assert client.saw == FINISHED  # which is as many as one connection may ask

    def test_flood(self) -> None:
        """A client that asks on and on and does not read is not read from any more: what is kept for it is bounded."""
        with proxy() as path:
            path.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10_000)
            client = path.client()
            client.capacity = 100_000
            for _ in range(40):
                client.send(REQUEST % 1 * 50)
            assert len(client.outgoing) > 10_000
            assert len(path.applications[0].requests) < 40
            transport = client.transport
            assert len(transport.dataBuffer) + transport._tempDataLen < 200_000
            # It reads after all, and gets everything in order.
            client.capacity = float("inf")
            client.take()
            assert client.outgoing == b""
            assert len(path.applications[0].requests) + sum(len(a.requests) for a in path.applications[1:]) == 2_000

    def test_read_ahead_is_bounded(self) -> None:
        """While a request is under way, no more than 64 KiB (and one read) of what follows it is taken."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            client.send(REQUEST % 2 * 10_000)
            assert len(client.outgoing) >= len(REQUEST) * 10_000 - 3 * 64 * 1024

    def test_requests_per_connection(self) -> None:
        """After so many requests the connection closes, and says so with the last answer."""
        with proxy(limits=Limits(requests_per_connection=2)) as path:
            client = path.client()
            client.send(REQUEST % 1 + REQUEST % 2 + REQUEST % 3)
            path.upstream.send(OK)
            path.upstream.send(OK)
            assert client.take() == OK + OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert client.saw == FINISHED
            assert b"GET /3" not in path.upstream.take()


class TestHalfClose:
    def test_answer_still_comes(self) -> None:
        """A client that asked and closed its half gets its answer, then the end."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            client.finish()
            assert client.saw == OPEN
            path.upstream.send(OK)
            assert statuses(client.take()) == [200]
            assert client.saw == FINISHED

    def test_all_answers_still_come(self) -> None:
        """So does one that sent several requests ahead; half a request after them is dropped."""
        with proxy() as path:
            path.respond()
            client = path.client()
            client.outgoing += REQUEST % 1 + REQUEST % 2 + REQUEST % 3 + b"GET"
            client.finish()
            assert statuses(client.take(), 4) == [200, 200, 200]
            assert client.saw == FINISHED
            assert [request[1] for request in path.applications[0].requests] == [b"/1", b"/2", b"/3"]

    def test_all_answers_still_come_to_a_slow_reader(self) -> None:
        """Even where the answers do not fit at once."""
        with proxy() as path:
            path.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000)
            client = path.client()
            client.capacity = 1000
            client.outgoing += REQUEST % 1 * 4
            client.finish()
            got = b""
            while piece := client.take():
                got += piece
            assert statuses(got, 5) == [200] * 4
            assert client.saw == FINISHED

    @pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT"])
    def test_nothing_asked(self, sent: bytes) -> None:
        """A client that closes before it asked anything is let go."""
        with proxy() as path:
            client = path.client()
            client.send(sent)
            client.finish()
            assert (client.take(), client.saw) == (b"", FINISHED)
            assert len(path.deadlines) == 0

    def test_half_a_body(self) -> None:
        """A request whose body will not come to its end is refused, and its part upstream broken off."""
        with proxy() as path:
            client = path.client()
            client.send(UPLOAD + b"half")
            client.finish()
            assert statuses(client.take()) == [400]
            assert client.saw == FINISHED
            assert path.upstream.saw == RESET

    def test_half_a_body_after_the_answer_began(self) -> None:
        """If the answer has begun already it is broken off."""
        with proxy() as path:
            client = path.client()
            client.send(UPLOAD + b"half")
            path.upstream.send(CHUNKED_OK + b"1\r\nx\r\n")
            client.finish()
            assert client.saw == RESET
            assert path.upstream.saw == RESET


class TestGone:
    def test_idle(self) -> None:
        """A client gone between requests leaves nothing behind."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.reset()
            assert len(path.deadlines) == 1  # the idle connection to the application
            assert path.pool.idle == 1

    @pytest.mark.parametrize("answered", [b"", b"HTTP/1.1 200", CHUNKED_OK, CHUNKED_OK + b"2\r\nok\r\n"])
    @pytest.mark.parametrize("request_", [REQUEST % 1, UPLOAD, UPLOAD + b"half"], ids=["get", "head", "half"])
    def test_amid(self, request_: bytes, answered: bytes) -> None:
        """A client gone in the middle of an exchange ends it: the application's connection is broken off too."""
        with proxy() as path:
            client = path.client()
            client.send(request_)
            path.upstream.send(answered)
            client.reset()
            assert path.upstream.saw == RESET
            assert len(path.deadlines) == path.pool.open == 0

    def test_while_connecting(self) -> None:
        """One gone while the application is being connected to takes the attempt with it."""
        with proxy() as path:
            path.network.silent.add(("127.0.0.1", 8000))
            client = path.client()
            client.send(REQUEST % 1)
            assert path.network.dialled == [("127.0.0.1", 8000)]
            client.reset()
            path.pass_time(10)
            assert path.upstreams == []
            assert len(path.deadlines) == 0

    def test_while_lingering(self) -> None:
        """One gone while its connection is being closed is gone."""
        with proxy() as path:
            client = path.client()
            client.send(b"nonsense\r\n\r\n")
            assert client.saw == FINISHED
            client.reset()
            assert len(path.deadlines) == 0


class TestContinue:
    ASKING = POST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"

    def test_continue(self) -> None:
        """A client that waits to be asked for its body is asked once the application is there to take it."""
        with proxy() as path:
            path.network.silent.add(("127.0.0.1", 8000))
            client = path.client()
            client.send(self.ASKING)
            assert client.take() == b""
        with proxy() as path:
            client = path.client()
            client.send(self.ASKING)
            assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert b"xpect" not in path.upstream.take()
            client.send(b"0123456789")
            assert path.upstream.take() == b"0123456789"
            path.upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)  # not passed on: it was said already
            assert client.take() == OK
            assert client.saw == OPEN

    def test_not_waited(self) -> None:
        """A client that sends the body along need not be asked."""
        with proxy() as path:
            client = path.client()
            client.send(self.ASKING + b"0123456789")
            assert client.take() == b""
            path.upstream.send(OK)
            assert client.take() == OK

    def test_refused_at_once(self) -> None:
        """That an application is not there is said before any body was sent, and the connection closes."""
        with proxy() as path:
            path.network.listeners.clear()
            client = path.client()
            client.send(self.ASKING)
            assert statuses(client.take()) == [502]
            assert client.saw == FINISHED

    def test_old_client(self) -> None:
        """HTTP/1.0 knows no 1xx: the expectation is dropped (RFC 9110 section 10.1.1)."""
        with proxy() as path:
            client = path.client()
            client.send(self.ASKING.replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert client.take() == b""
            client.send(b"0123456789")
            path.upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
            assert client.take() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class TestLingering:
    """An answer that comes before the request's end reaches the client, whatever it still sends."""

    def test_early_answer(self) -> None:
        """The answer goes out, our half closes, and the rest of the body is read and dropped: no reset."""
        with proxy() as path:
            client = path.client()
            client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
            path.upstream.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
            got = client.take()
            assert got.startswith(b"HTTP/1.1 413 ")
            assert b"Connection: close\r\n" in got
            assert client.saw == FINISHED
            for _ in range(10):
                client.send(b"x" * 99_000)
                assert (bytes(client.outgoing), client.saw) == (b"", FINISHED)
            client.finish()
            assert client.saw == FINISHED
            assert len(path.deadlines) == path.pool.open == 0

    def test_a_page_for_an_upload(self) -> None:
        """The same for an answer of the appliance's own."""
        with proxy(limits=Limits(body_bytes=100)) as path:
            client = path.client()
            client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
            assert statuses(client.take()) == [413]
            client.send(b"x" * 999_000)
            assert (bytes(client.outgoing), client.saw) == (b"", FINISHED)
            assert path.network.dialled == []

    def test_not_for_ever(self) -> None:
        """A client that goes on sending, or does nothing at all, is cut off after some seconds."""
        for sends in (True, False):
            with proxy(limits=Limits(body_bytes=100)) as path:
                client = path.client()
                client.send(POST + b"Content-Length: 1000000\r\n\r\n")
                for _ in range(10):
                    if sends:
                        client.send(b"x" * 100)
                    path.pass_time(1)
                assert client.saw == RESET
                assert len(path.deadlines) == 0

    def test_requests_after_the_last_are_not_served(self) -> None:
        """What follows a request that could not be understood is never taken for a request."""
        with proxy() as path:
            client = path.client()
            client.send(b"nonsense\r\n\r\n")
            client.send(REQUEST % 1)
            assert path.network.dialled == []

    def test_slow_reader_gets_all(self) -> None:
        """A closing connection stays for a client that reads slowly, and ends with one that does not read at all."""
        with proxy() as path:
            client = path.client()
            client.capacity = 1000
            client.send(LAST % 1)
            path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
            got = b""
            for _ in range(20):
                path.pass_time(40)
                got += client.take()
            assert client.saw == OPEN
            path.pass_time(130)
            assert client.saw == RESET
            assert len(path.deadlines) == 0
            assert statuses(got) == []
            client = path.client()
            client.capacity = 1000
            path.exchange(client, LAST % 1, b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
            got = b""
            for _ in range(60):
                path.pass_time(40)
                got += client.take()
            assert got.count(b"x") > 49_000
            assert client.saw == FINISHED


class TestDeadlines:
    TIMEOUTS = Timeouts(header=10, idle=75, body=60)

    def test_says_nothing(self) -> None:
        """A client that connects and says nothing is closed without a word."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            path.pass_time(9)
            assert client.saw == OPEN
            path.pass_time(3)
            assert (client.saw, client.take()) == (FINISHED, b"")

    def test_half_a_header(self) -> None:
        """The header must be whole some seconds after its first byte, however it is dripped: 408."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            path.pass_time(60)
            for byte in (REQUEST % 1)[:9]:
                assert client.saw == OPEN
                client.send(bytes([byte]))
                path.pass_time(1)
            path.pass_time(3)
            assert (client.saw, statuses(client.take())) == (FINISHED, [408])

    def test_slow_in_every_phase(self) -> None:
        """Handshake, first byte, header: a client that takes its time for each is closed within half a minute."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            server = path.server()
            client = path.network.connect(server, "192.0.2.7")
            path.pass_time(9.9)
            server.handshakeCompleted()
            path.pass_time(9.9)
            client.send(b"G")
            path.pass_time(9)
            assert client.saw == OPEN
            path.pass_time(0.9)
            assert (client.saw, statuses(client.take())) == (FINISHED, [408])

    def test_idle(self) -> None:
        """Between requests a connection may rest longer; then it closes without a word."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            path.pass_time(74)
            assert client.saw == OPEN
            path.pass_time(3)
            assert (client.saw, client.take()) == (FINISHED, b"")

    def test_blank_line(self) -> None:
        """The empty line some clients send after a body is no request that was begun."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.send(b"\r\n")
            path.pass_time(12)
            assert (client.saw, client.take()) == (FINISHED, b"")

    def test_half_a_body(self) -> None:
        """A body that stops coming is 408; one that keeps coming, however slowly, is not where no rate is asked for."""
        with proxy(timeouts=self.TIMEOUTS, limits=Limits(body_rate=0)) as path:
            client = path.client()
            client.send(UPLOAD)
            for _ in range(5):
                path.pass_time(55)
                client.send(b"x")
            assert client.saw == OPEN
            path.pass_time(62)
            assert (client.saw, statuses(client.take())) == (FINISHED, [408])
            assert path.upstream.saw == RESET

    def test_too_slow_a_body(self) -> None:
        """A body that comes at less than the rate is 408, however steadily; one that comes at the rate is not."""
        long = POST + b"Content-Length: 100000\r\n\r\n"
        for rate, expected in ((99, [408]), (102, [])):
            with proxy(timeouts=self.TIMEOUTS) as path:
                client = path.client()
                client.send(long)
                for _ in range(180):
                    client.send(b"x" * rate)
                    path.pass_time(1)
                assert statuses(client.take()) == expected

    def test_half_a_body_after_the_answer_began(self) -> None:
        """Once the answer has begun there is no 408 to give: the connection is broken off."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            client.send(UPLOAD)
            path.upstream.send(CHUNKED_OK + b"1\r\nx\r\n")
            for _ in range(8):
                path.pass_time(10)
                path.upstream.send(b"1\r\nx\r\n")
            assert client.saw == RESET

    def test_does_not_read(self) -> None:
        """A client that takes nothing of its answer for a minute is cut off; one that takes a little lives on."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            client.capacity = 1000
            client.send(REQUEST % 1)
            path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 200_000)
            for _ in range(10):
                path.pass_time(50)
                client.read(10)
            assert client.saw == OPEN
            path.pass_time(122)
            assert client.saw == RESET
            assert path.upstream.saw == RESET

    def test_does_not_read_between_requests(self) -> None:
        """The same when the answer is complete as far as the application goes."""
        with proxy(timeouts=self.TIMEOUTS) as path:
            client = path.client()
            client.capacity = 1000
            client.send(REQUEST % 1)
            path.upstream.piece = 300_000
            path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
            client.send(REQUEST % 2)  # does not shorten the time it has
            path.pass_time(50)
            assert client.saw == OPEN
            assert path.pool.open == 0
            path.pass_time(72)
            assert client.saw == RESET

    def test_waiting_costs_the_client_nothing(self) -> None:
        """While it is the application's turn no time of the client's runs."""
        with proxy(timeouts=Timeouts(first_byte=1000, body=60)) as path:
            client = path.client()
            client.send(UPLOAD + b"0123456789")
            path.pass_time(900)
            path.upstream.send(OK)
            assert client.take() == OK


class TestDraining:
    def test_idle(self) -> None:
        """A connection at rest closes at once."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.protocol.drain()
            path.network.settle()
            assert client.saw == FINISHED

    def test_half_a_head(self) -> None:
        """A request that has begun to arrive is served."""
        with proxy() as path:
            client = path.client()
            client.send((REQUEST % 1)[:9])
            client.protocol.drain()
            client.send((REQUEST % 1)[9:])
            path.upstream.send(OK)
            assert client.take() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert client.saw == FINISHED

    def test_retired(self) -> None:
        """The connection serves one more request, and says with it that it is the last."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            client.protocol.retire()
            path.network.settle()
            assert client.saw == OPEN
            client.send(REQUEST % 2)
            path.upstream.send(OK)
            assert client.take() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert client.saw == FINISHED

    def test_retired_while_answering(self) -> None:
        """A client that was not told with this answer is told with the next."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1)
            path.upstream.send(OK[:-1])
            client.protocol.retire()
            path.upstream.send(OK[-1:])
            assert client.take() == OK
            assert client.saw == OPEN
            client.send(REQUEST % 2)
            path.upstream.send(OK)
            assert b"Connection: close" in client.take()

    def test_busy(self) -> None:
        """One with a request under way closes after it, and takes no other."""
        with proxy() as path:
            client = path.client()
            client.send(REQUEST % 1 + REQUEST % 2)
            client.protocol.drain()
            path.upstream.send(OK)
            assert client.take() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            assert client.saw == FINISHED
