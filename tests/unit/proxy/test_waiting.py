"""Requests that wait: for an application that restarts, for a free connection, for an address on its trial."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.config import Backend, PassiveCheck, Timeouts, UpstreamAddress
from appliance.errors import RefusedError, UpstreamError
from appliance.net.deadlines import Deadlines
from appliance.proxy.pool import DIALS_AT_ONCE, Pool
from appliance.proxy.upstream import Upstream
from tests.support.loop import loop
from tests.support.proxying import OK, REQUEST, Proxy, proxy, read_responses
from tests.support.transports import OPEN, RESET, Peer

HERE = ("127.0.0.1", 8000)
THERE = ("127.0.0.1", 8001)
TWO = ((b"/", "127.0.0.1:8000,127.0.0.1:8001", False),)
PATIENT = Backend(try_for=5.0)


@pytest.fixture
def logged() -> Any:
    """Every line that is logged."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def upstream(path: Proxy) -> Upstream:
    """The one of the route."""
    return path.behind[0]


def statuses(client: Peer) -> list[int]:
    """Of the answers that came."""
    data = client.take()
    return [answer[0] for answer in read_responses(data, [b"GET"] * 10, True)] if data else []


def stop(path: Proxy) -> Any:
    """Nobody listens any more; what would start it again."""
    accept = path.network.listeners.pop(HERE)

    def start() -> None:
        path.network.listeners[HERE] = accept

    return start


def test_a_request_waits_for_its_application(logged: list[str]) -> None:
    """It is answered as soon as a connect succeeds; each change is one line."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        client = path.client()
        client.send(REQUEST % 1)
        path.network.pass_time(3.0, 0.01)
        assert statuses(client) == []
        dialled = len(path.network.dialled)
        assert 30 < dialled < 100
        start()
        path.network.pass_time(0.1, 0.01)
        assert path.upstream.take().startswith(b"GET /1 ")
        path.upstream.send(OK)
        assert client.take() == OK
        assert len(path.upstreams) == 1
        assert [line.partition(" ")[2] for line in logged if "8000" in line] == [
            "http://127.0.0.1:8000 cannot be reached: Connection was refused by other side: 111: Connection refused.;"
            " requests wait for up to 5 s",
            "http://127.0.0.1:8000 accepts connections again, after 3.0 s",
        ]


def test_an_application_that_ends_is_let_go() -> None:
    """Nobody listens any more: what is idle is given up, since the application may wait for that to end itself."""
    with proxy(backend=PATIENT) as path:
        clients = [path.client() for _ in range(2)]
        for client in clients:
            client.send(REQUEST % 1)
        idle, used_last = path.upstreams
        for peer in (idle, used_last):
            peer.take()
            peer.send(OK)
        start = stop(path)
        clients[1].send(REQUEST % 2)
        assert (idle.saw, used_last.saw) == (OPEN, OPEN)
        used_last.reset()  # so that the request needs another connection, which is refused
        assert idle.saw == RESET
        assert path.pool.open == 0
        start()
        path.network.pass_time(0.1, 0.01)
        path.upstream.send(OK)
        assert clients[1].take().endswith(OK)


def test_what_is_under_way_is_finished() -> None:
    """Only then the connection to the application that ends is given up; those to its successor are kept."""
    with proxy(backend=PATIENT) as path:
        first, second = (path.client() for _ in range(2))
        first.send(REQUEST % 1)
        busy = path.upstream
        start = stop(path)
        second.send(REQUEST % 2)
        assert busy.saw == OPEN
        busy.send(OK)
        assert statuses(first) == [200]
        assert busy.saw == RESET
        start()
        path.network.pass_time(0.1, 0.01)
        path.upstream.send(OK)
        assert statuses(second) == [200]
        kept = path.upstream
        first.send(REQUEST % 3)
        assert path.upstream is kept
        kept.send(OK)
        assert statuses(first) == [200]


def test_in_their_order_by_one_connect_loop() -> None:
    """However many wait, one connect at a time is tried; then all are served, the first one first."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        clients = [path.client() for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(REQUEST % number)
        path.network.pass_time(1.0, 0.01)
        assert len(path.network.dialled) < 30
        assert upstream(path).waiting == 20
        start()
        path.network.pass_time(0.1, 0.01)
        assert upstream(path).waiting == 0
        targets = [peer.take().split(b" ")[1] for peer in path.upstreams]
        assert targets == [b"/%d" % number for number in range(20)]
        for peer in path.upstreams:
            peer.send(OK)
        assert [client.take() for client in clients] == [OK] * 20


def test_until_it_has_waited_long_enough() -> None:
    """502 after try_for; after that at once; and the first request after the application's return is served."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        client = path.client()
        client.send(REQUEST % 1)
        path.network.pass_time(4.0, 0.05)
        assert statuses(client) == []
        path.network.pass_time(2.5, 0.05)
        assert statuses(client) == [502]
        client.send(REQUEST % 2)
        assert statuses(client) == [502]
        start()
        client.send(REQUEST % 3)
        path.upstream.send(OK)
        assert statuses(client) == [200]


def test_nobody_answers_at_all() -> None:
    """Where connects run into their time-out, a dead application costs nobody the time again."""
    with proxy(backend=PATIENT, timeouts=Timeouts(connect=2.0)) as path:
        path.network.silent.add(HERE)
        client = path.client()
        client.send(REQUEST % 1)
        path.network.pass_time(9.0, 0.1)
        assert statuses(client) == [502]
        client.send(REQUEST % 2)
        assert statuses(client) == [502]
        path.network.silent.clear()
        path.network.pass_time(3.0, 0.1)
        client.send(REQUEST % 3)
        path.upstream.send(OK)
        assert statuses(client) == [200]


def test_a_body_waits_unread() -> None:
    """A client that sends a large one is not read meanwhile, and it arrives whole."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        client = path.client()
        body = bytes(range(256)) * 4096
        client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        path.network.pass_time(2.0, 0.05)
        assert len(client.outgoing) > len(body) // 2
        start()
        path.network.pass_time(0.3, 0.05)
        assert path.upstream.take().endswith(body)


def test_a_client_that_leaves_is_forgotten() -> None:
    """Nothing is sent for it later; when nobody waits, the connection that was tried is closed again."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        client, other = path.client(), path.client()
        for each in (client, other):
            each.send(REQUEST % 1)
        path.network.pass_time(0.5, 0.05)
        client.reset()
        assert upstream(path).waiting == 1
        other.reset()
        assert upstream(path).waiting == 0
        start()
        path.network.pass_time(1.0, 0.05)
        assert path.upstream.take() == b""
        assert path.upstream.lost is not None
        assert path.pool.open == 0


def test_no_more_than_may_wait() -> None:
    """503 for the others, at once."""
    with proxy(backend=Backend(try_for=5.0, max_waiting=2)) as path:
        stop(path)
        clients = [path.client() for _ in range(3)]
        for client in clients:
            client.send(REQUEST % 1)
        assert [statuses(client) for client in clients] == [[], [], [503]]


def test_closed_before_any_answer_again_and_again() -> None:
    """A request that is taken and never answered is sent again three times and no more: it may be to blame."""
    with proxy(backend=PATIENT) as path:
        client = path.client()
        client.send(REQUEST % 1)
        for number in range(4):
            assert len(path.upstreams) == number + 1
            assert path.upstream.take()
            path.upstream.reset()
        assert statuses(client) == [502]
        client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n")
        path.upstream.reset()
        assert statuses(client) == [502]
        assert len(path.upstreams) == 5


def test_closed_after_long_thought() -> None:
    """A request that the application worked on for longer than try_for is not sent again."""
    with proxy(backend=PATIENT) as path:
        client = path.client()
        client.send(REQUEST % 1)
        path.pass_time(6.0)
        path.upstream.reset()
        assert statuses(client) == [502]
        assert len(path.upstreams) == 1


def test_closing_lets_those_who_wait_wait() -> None:
    """An upstream that is replaced serves its last requests, then tries nothing any more."""
    with proxy(backend=PATIENT) as path:
        start = stop(path)
        client = path.client()
        client.send(REQUEST % 1)
        upstream(path).close()
        path.network.pass_time(1.0, 0.05)
        start()
        path.network.pass_time(0.2, 0.05)
        path.upstream.send(OK)
        assert client.take() == OK
        assert path.pool.open == 0
        stop(path)
        dialled = len(path.network.dialled)
        path.network.pass_time(3.0, 0.05)
        assert len(path.network.dialled) == dialled


def test_closed_with_one_under_way_that_is_sent_again() -> None:
    """A reload has put another upstream in its place; the request still waits for its application as any other."""
    with proxy(backend=PATIENT) as path:
        client = path.client()
        client.send(REQUEST % 1)
        path.upstream.take()
        upstream(path).close()
        start = stop(path)
        path.upstream.reset()
        path.network.pass_time(1.0, 0.01)
        start()
        path.network.pass_time(0.5, 0.01)
        assert path.upstream.take().startswith(b"GET /1 ")
        path.upstream.send(OK)
        assert client.take() == OK
        path.pass_time(2)
        assert path.pool.open == 0


def test_to_and_fro(logged: list[str]) -> None:
    """An address that refuses every other moment, for it is overloaded, does not fill the log."""
    with proxy(backend=PATIENT) as path:
        client = path.client()
        for _ in range(20):
            start = stop(path)
            other = path.client()
            other.send(REQUEST % 1)
            start()
            path.network.pass_time(0.2, 0.05)
            path.upstream.send(OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length"))
            assert statuses(other) == [200]
        client.reset()
        assert len([line for line in logged if "cannot be reached" in line]) == 1
        assert len([line for line in logged if "accepts connections again" in line]) == 1


class TestBounds:
    """Connections in all, and at once."""

    def test_a_request_waits_for_a_free_connection(self) -> None:
        """Two connections for three clients; who waited longest is next."""
        with proxy(backend=Backend(max_connections=2)) as path:
            clients = [path.client() for _ in range(4)]
            for number, client in enumerate(clients):
                client.send(REQUEST % number)
            assert len(path.upstreams) == 2
            first = path.upstreams[0]
            first.take()
            first.send(OK)
            assert first.take().startswith(b"GET /2 ")
            first.send(OK)
            assert first.take().startswith(b"GET /3 ")
            first.send(OK)
            path.upstreams[1].send(OK)
            assert [client.take() for client in clients] == [OK] * 4

    def test_a_connection_that_ends_makes_room(self) -> None:
        """Another one is opened for whoever waits."""
        with proxy(backend=Backend(max_connections=1)) as path:
            one, two = path.client(), path.client()
            one.send(REQUEST % 1)
            two.send(REQUEST % 2)
            path.upstream.send(OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length"))
            assert len(path.upstreams) == 2
            assert path.upstream.take().startswith(b"GET /2 ")

    def test_none_becomes_free(self) -> None:
        """503 after the connect timeout."""
        with proxy(backend=Backend(max_connections=1)) as path:
            one, two = path.client(), path.client()
            one.send(REQUEST % 1)
            two.send(REQUEST % 2)
            path.pass_time(4.0)
            assert statuses(two) == []
            path.pass_time(2.0)
            assert statuses(two) == [503]
            path.upstream.send(OK)
            assert one.take() == OK

    def test_no_crowd_at_the_door(self) -> None:
        """Many requests at once open a bounded number of connections at a time."""
        with proxy() as path:
            path.network.silent.add(HERE)
            for _ in range(100):
                path.client().send(REQUEST % 1)
            assert path.pool.dialling == DIALS_AT_ONCE
            assert upstream(path).waiting == 100 - DIALS_AT_ONCE


class TestHealth:
    """Addresses that accept and do not answer."""

    BACKEND = Backend(try_for=0.0, passive_check=PassiveCheck(failures=2, window=10.0, cool_down=10.0))

    def setup_method(self) -> None:
        self.healthy: set[Peer] = set()

    def sick(self, path: Proxy, times: int) -> None:
        """The first address closes without an answer, the second answers."""

        def accept(peer: Peer) -> None:
            self.healthy.add(peer)
            path.upstreams.append(peer)

        path.network.listeners[THERE] = accept
        for _ in range(times):
            client = path.client()
            client.send(REQUEST % 1)
            for peer in path.upstreams:
                if peer.take():
                    peer.send(OK) if peer in self.healthy else peer.reset()

    def asked(self, path: Proxy, times: int) -> list[object]:
        """Which address gets each of so many requests; all are answered."""
        places: list[object] = []
        for _ in range(times):
            client = path.client()
            client.send(REQUEST % 1)
            for peer in path.upstreams:
                if peer.take():
                    places.append(THERE if peer in self.healthy else HERE)
                    peer.send(OK)
            assert client.take() == OK
        return places

    def test_out_and_on_trial_and_back(self, logged: list[str]) -> None:
        """Two failures: out; after the cool-down one request; answered: back in its turn."""
        with proxy(routes=TWO, backend=self.BACKEND) as path:
            self.sick(path, 4)
            assert any("gets no requests for 10 s: the connection was lost" in line for line in logged)
            assert self.asked(path, 4) == [THERE] * 4
            path.pass_time(11.0)
            assert self.asked(path, 1) == [HERE]
            assert any("answers again" in line for line in logged)
            assert sorted(map(str, self.asked(path, 4))) == [str(HERE)] * 2 + [str(THERE)] * 2

    def test_one_failure_on_trial(self) -> None:
        """Out for another cool-down; nobody else is asked to try it meanwhile."""
        with proxy(routes=TWO, backend=self.BACKEND) as path:
            self.sick(path, 4)
            path.pass_time(11.0)
            client = path.client()
            client.send(REQUEST % 1)
            trial = path.upstream
            assert trial.take()
            assert self.asked(path, 3) == [THERE] * 3
            trial.reset()
            assert statuses(client) == [502]
            assert self.asked(path, 3) == [THERE] * 3
            path.pass_time(21.0)
            assert self.asked(path, 1) == [HERE]

    def test_the_last_one_standing(self) -> None:
        """With the other address refusing, it gets every request however it fails."""
        with proxy(routes=TWO, backend=self.BACKEND) as path:
            for number in range(6):
                client = path.client()
                client.send(REQUEST % number)
                assert path.upstream.take()
                path.upstream.reset()
                assert statuses(client) == [502]


def test_clients_are_announced() -> None:
    """With send_proxy each connection begins with its client, and serves one request."""
    with proxy(backend=Backend(send_proxy="v1")) as path:
        for host in ("192.0.2.7", "192.0.2.8"):
            client = path.client(host)
            client.send(REQUEST % 1)
            assert path.upstream.take().startswith(b"PROXY TCP4 %b 192.0.2.1 40000 443\r\nGET /1 " % host.encode())
            path.upstream.send(OK)
            assert client.take() == OK
            assert path.upstream.lost is not None
        assert len(path.upstreams) == 2


def test_a_unix_socket_whose_queue_is_full(tmp_path: Path) -> None:
    """It refuses for a moment, in words; what waits there is served when there is room."""
    path = str(tmp_path / "app.sock")
    ended: list[str] = []
    failures: list[UpstreamError] = []

    def failed(error: UpstreamError) -> None:
        failures.append(error)
        ended.append(str(error))

    with loop() as turning, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        deadlines = Deadlines(turning.reactor)
        pool = Pool(turning.reactor, UpstreamAddress(path=path), deadlines, Timeouts(), Backend())
        for _ in range(3):
            pool.dial(lambda connection: ended.append("connected"), failed).start()
        turning.until(lambda: len(ended) == 3, "three ends")
        assert ended.count("connected") < 3
        assert "more connections wait there than it allows" in ended[-1]
        assert not any(isinstance(error, RefusedError) for error in failures), "somebody listens"
        assert pool.dialling == 0
