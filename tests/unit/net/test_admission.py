"""Who is let in when many come, and who makes room."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from appliance.config import Limits, Timeouts
from appliance.net.admission import Admission, default_connections, default_per_client, possible_connections
from appliance.net.listener import ClientFactory
from tests.support.proxying import OK, REQUEST, Proxy, proxy
from tests.support.transports import FINISHED, OPEN, Peer


def admission(connections: int = 100, per_client: int = 100, *exempt: str, clock: Clock | None = None) -> Admission:
    return Admission((clock or Clock()).seconds, connections, per_client, [ip_network(each) for each in exempt])


class TestDefaults:
    @pytest.mark.parametrize(
        ("descriptors", "connections"), [(20, 1), (256, 96), (1024, 480), (20_000, 9_968), (65_536, 10_000)]
    )
    def test_connections(self, descriptors: int, connections: int) -> None:
        """Half of the descriptors, as each client's request may need a connection of its own, up to ten thousand."""
        assert default_connections(descriptors) == connections

    def test_possible(self) -> None:
        """More than there are descriptors for is never admitted; one always is."""
        assert possible_connections(1000, 256) == 192
        assert possible_connections(100, 256) == 100
        assert possible_connections(100, 30) == 1

    def test_per_client(self) -> None:
        """No client can take all."""
        assert default_per_client(10_000) == 7_500
        assert default_per_client(1) == 1


class TestBounds:
    def test_in_all(self) -> None:
        """Up to the bound, and again after one has left."""
        bound = admission(3)
        clients = [bound.admit(f"192.0.2.{number}") for number in range(4)]
        assert clients == ["192.0.2.0", "192.0.2.1", "192.0.2.2", None]
        assert (bound.open, bound.refused) == (3, 1)
        bound.leave("192.0.2.1")
        assert bound.admit("192.0.2.9") == "192.0.2.9"
        assert bound.open == 3

    def test_per_client(self) -> None:
        """One address has its share, another one its own."""
        bound = admission(100, 2)
        assert [bound.admit("192.0.2.1") for _ in range(3)] == ["192.0.2.1", "192.0.2.1", None]
        assert bound.admit("192.0.2.2") == "192.0.2.2"
        bound.leave("192.0.2.1")
        bound.leave("192.0.2.1")
        bound.leave("192.0.2.2")
        assert bound.open == 0
        assert [bound.admit("192.0.2.1") for _ in range(3)] == ["192.0.2.1", "192.0.2.1", None]

    def test_ipv6_by_network(self) -> None:
        """The 64 bits below are the client's own to choose from; the zone says nothing."""
        bound = admission(100, 2)
        assert bound.admit("2001:db8:0:1::1") == "2001:db8:0:1::/64"
        assert bound.admit("2001:db8:0:1:ffff::2") == "2001:db8:0:1::/64"
        assert bound.admit("2001:db8:0:1::3%eth0") is None
        assert bound.admit("2001:db8:0:2::1") == "2001:db8:0:2::/64"

    def test_ipv4_through_ipv6(self) -> None:
        """It is the same client by either socket."""
        bound = admission(100, 1)
        assert bound.admit("::ffff:192.0.2.1") == "192.0.2.1"
        assert bound.admit("192.0.2.1") is None

    def test_exempt(self) -> None:
        """A proxy in front brings many clients; so does a UNIX socket. The bound for all holds for them too."""
        bound = admission(5, 1, "10.0.0.0/8", "2001:db8::/32")
        assert [bound.admit(host) for host in ("10.0.0.1", "10.0.0.1", "2001:db8::1", "")] == [""] * 4
        assert bound.admit("192.0.2.1") == "192.0.2.1"
        assert bound.admit("10.0.0.1") is None
        bound.leave("")
        assert bound.admit("10.0.0.1") == ""


class TestRoom:
    def test_made_before_the_bound(self) -> None:
        """A sixteenth before the bound idle connections go, so many at a time."""
        bound = admission(32)
        asked: list[int] = []

        def shed(count: int) -> int:
            asked.append(count)
            for _ in range(count):
                bound.leave("192.0.2.1")
            return count

        bound.add_shed(shed)
        for _ in range(30):
            assert bound.admit("192.0.2.1")
        assert asked == []
        for _ in range(6):
            assert bound.admit("192.0.2.1")
        assert (asked, bound.open) == ([2, 2, 2], 30)

    def test_made_once(self) -> None:
        """Connections that were told to go take their time: nobody else is sent away in their place."""
        bound = admission(64)
        asked: list[int] = []
        bound.add_shed(lambda count: asked.append(count) or count)  # type: ignore[func-returns-value]
        for _ in range(60):
            bound.admit("192.0.2.1")
        assert asked == []
        bound.admit("192.0.2.1")
        for _ in range(3):
            assert bound.admit("192.0.2.1")
        assert asked == [4]
        for _ in range(4):
            bound.leave("192.0.2.1")
        assert bound.admit("192.0.2.1")
        assert asked == [4, 4]

    def test_looked_for_seldom_where_there_is_none(self) -> None:
        """With nobody idle there is no use in looking at all connections for each one that is refused."""
        clock = Clock()
        bound = admission(16, clock=clock)
        asked: list[tuple[str, int]] = []
        for name in ("first", "second"):
            bound.add_shed(lambda count, name=name: asked.append((name, count)) or 0)  # type: ignore[misc, func-returns-value]
        for _ in range(100):
            bound.admit("192.0.2.1")
        assert asked == [("first", 1), ("second", 1)]
        clock.advance(1)
        bound.admit("192.0.2.1")
        assert len(asked) == 4

    def test_enough_is_enough(self) -> None:
        """Where the first listener's connections suffice, the second's are left alone."""
        bound = admission(1)
        asked: list[str] = []
        bound.add_shed(lambda count: asked.append("first") or count)  # type: ignore[func-returns-value]
        bound.add_shed(lambda count: asked.append("second") or count)  # type: ignore[func-returns-value]
        bound.admit("192.0.2.1")
        assert asked == []
        bound.admit("192.0.2.1")
        assert asked == ["first"]


def test_log(request: pytest.FixtureRequest) -> None:
    """A line a second at the most, with numbers, and how many it stands for."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event["log_namespace"] == "appliance.net.admission.Admission":
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observe))
    clock = Clock()
    bound = admission(2, 1, clock=clock)
    bound.admit("192.0.2.1")
    for _ in range(5):
        bound.admit("192.0.2.1")
    clock.advance(1)
    bound.admit("2001:db8::1")
    bound.admit("192.0.2.2")
    clock.advance(1)
    bound.admit("192.0.2.2")
    assert lines == [
        "Connection refused: 192.0.2.1 has 1, which is the most for one client",
        "Connection refused: there are 2, which is the most (and 4 more refused since the last such line)",
        "Connection refused: there are 2, which is the most",
    ]


class _Doors:
    """A factory in front of a data path, and the clients it let in."""

    def __init__(self, path: Proxy, connections: int, per_client: int) -> None:
        self.path = path
        self.admission = Admission(path.network.seconds, connections, per_client)
        self.factory = ClientFactory(path.handler, path.deadlines, self.admission, Limits(), Timeouts(), b"https")

    def client(self, host: str = "192.0.2.7") -> Peer | None:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 50_000))
        return None if protocol is None else self.path.network.connect(protocol, host)


class TestFactory:
    def test_counted_until_gone(self) -> None:
        """A client counts until both ends have closed; then there is room for another."""
        with proxy() as path:
            doors = _Doors(path, 100, 2)
            first, second = doors.client(), doors.client()
            assert first is not None
            assert second is not None
            assert doors.client() is None
            assert doors.client("192.0.2.8") is not None
            first.send(b"nonsense\r\n\r\n")
            assert first.saw == FINISHED
            assert doors.client() is None
            first.finish()
            assert doors.client() is not None
            second.reset()
            assert doors.client() is not None
            assert (doors.admission.open, doors.admission.refused) == (3, 2)

    def test_other_addresses(self) -> None:
        """IPv6 is known as such; a UNIX socket's clients have no address."""
        with proxy() as path:
            doors = _Doors(path, 100, 1)
            assert doors.factory.buildProtocol(IPv6Address("TCP", "2001:db8::1", 1)) is not None
            assert doors.factory.buildProtocol(IPv6Address("TCP", "2001:db8::2", 1)) is None
            for _ in range(3):
                assert doors.factory.buildProtocol(UNIXAddress(b"")) is not None

    def test_idle_ones_make_room(self) -> None:
        """The longest idle is closed for who comes; one that has not asked yet, or is being answered, is not."""
        with proxy() as path:
            doors = _Doors(path, 4, 10)
            silent, busy, longest, longer = clients = [doors.client() for _ in range(4)]
            assert None not in clients
            for client in (longest, longer):
                assert client is not None
                client.send(REQUEST % 1)
                path.upstream.send(OK)
                path.pass_time(2)
            assert busy is not None
            busy.send(REQUEST % 2)
            # Its connection counts until the client has closed as well, so the newcomer itself is still refused.
            assert doors.client() is None
            path.network.settle()
            assert [client.saw for client in clients if client] == [OPEN, OPEN, FINISHED, OPEN]
            assert longest is not None
            longest.finish()
            assert doors.client() is not None
            assert silent is not None
            assert silent.saw == OPEN
