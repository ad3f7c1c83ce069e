"""Opening connections to upstreams on real sockets: names with several addresses, TLS, and what errors say."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import TimeoutError
from twisted.python.failure import Failure

from appliance import config
from appliance.config import Timeouts, UpstreamAddress
from appliance.errors import RefusedError, UpstreamError
from appliance.net.deadlines import Deadlines
from appliance.proxy.dial import Dial
from appliance.proxy.pool import Pool
from tests.support.backend import Backend
from tests.support.certificates import Authority, make_certificate
from tests.support.loop import Loop, loop


class Names:
    """What a name stands for; nothing: the question is never answered."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.forgotten = False

    def resolve(self, host: str, told: Callable[[tuple[str, ...], str], None]) -> Callable[[], None] | None:
        if self.addresses:
            told(self.addresses, "")
            return None

        def forget() -> None:
            self.forgotten = True

        return forget


class Dialling:
    """A pool for one address, and how its dials ended."""

    def __init__(self, turning: Loop, port: int, names: Names, ca_file: Path | None = None) -> None:
        self.turning = turning
        self.ended: list[Any] = []
        self.nobody_listens = False
        address = UpstreamAddress("app.test", port, tls=ca_file is not None)
        self.deadlines = Deadlines(turning.reactor)
        timeouts = Timeouts(connect=0.3)
        stand_in: Any = names
        asked = config.Backend(ca_file=ca_file)
        self.pool = Pool(turning.reactor, address, self.deadlines, timeouts, asked, names=stand_in)

    def start(self) -> Dial:
        """A dial, begun."""

        def failed(error: UpstreamError) -> None:
            self.nobody_listens = isinstance(error, RefusedError)
            self.ended.append((error.phase, str(error)))

        dial = self.pool.dial(self.ended.append, failed)
        dial.start()
        return dial

    def end(self) -> Any:
        """How one ends."""
        self.start()
        self.turning.until(lambda: self.ended, "the end of the dial")
        assert self.pool.dialling == 0
        return self.ended.pop()


@pytest.fixture
def turning() -> Iterator[Loop]:
    with loop() as made:
        yield made
        made.turn(5)  # connections that were given up are closed in a later turn


def test_every_address_has_its_turn_at_being_the_first(turning: Loop) -> None:
    """One that refuses is passed over within the dial."""
    with Backend() as backend:
        dialling = Dialling(turning, backend.port, Names("127.0.0.9", "127.0.0.1"))
        connections = [dialling.end() for _ in range(4)]
        assert [connection.transport.getPeer().host for connection in connections] == ["127.0.0.1"] * 4
        assert dialling.pool.open == 4
        for connection in connections:
            connection.close()
        assert dialling.pool.open == 0


def test_all_addresses_refuse(turning: Loop) -> None:
    """The same reason is given once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dialling = Dialling(turning, taken.getsockname()[1], Names("127.0.0.1", "127.0.0.9"))
        reason = "Connection was refused by other side: 111: Connection refused."
        assert dialling.end() == ("connect", reason)
        assert dialling.nobody_listens


def test_one_of_several_does_not_answer(turning: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others refuse: that nobody listens is not known then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dialling = Dialling(turning, taken.getsockname()[1], Names("127.0.0.1", "127.0.0.9"))
        connect = dialling.pool.connect

        def answering(host: str, factory: Any, timeout: float) -> None:
            if host == "127.0.0.9":
                factory.clientConnectionFailed(None, Failure(TimeoutError()))
            else:
                connect(host, factory, timeout)

        monkeypatch.setattr(dialling.pool, "connect", answering)
        phase, reason = dialling.end()
        assert (phase, "refused" in reason, "timeout" in reason) == ("connect", True, True)
        assert not dialling.nobody_listens


def test_a_unix_socket_that_is_gone(turning: Loop, tmp_path: Path) -> None:
    """Nobody listens there."""
    dialling = Dialling(turning, 80, Names())
    dialling.pool.address = UpstreamAddress(path=str(tmp_path / "gone.sock"))
    assert dialling.end()[0] == "connect"
    assert dialling.nobody_listens


def test_a_name_without_an_answer(turning: Loop) -> None:
    """It is waited for as long as for a connection; or until nobody wants it any more."""
    names = Names()
    dialling = Dialling(turning, 80, names)
    assert dialling.end() == ("connect", "the name app.test was not resolved within 0.3 s")
    assert names.forgotten
    names.forgotten = False
    dial = dialling.start()
    dial.cancel()
    dial.cancel()
    assert names.forgotten
    assert not turning.reactor.getDelayedCalls()


def test_taken_back_while_connecting(turning: Loop) -> None:
    """Nothing is told, nothing remains."""
    with Backend() as backend:
        dialling = Dialling(turning, backend.port, Names("127.0.0.1"))
        dialling.start().cancel()
        turning.turn(5)
        assert dialling.ended == []
        assert (dialling.pool.dialling, dialling.pool.open) == (0, 0)


class TestTls:
    """Upstreams that prove who they are, or do not."""

    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        made = Authority.make("Private Root")
        (tmp_path / "ca.pem").write_bytes(made.pem)
        return made

    def dialling(self, turning: Loop, port: int, tmp_path: Path) -> Dialling:
        """By the private CA."""
        return Dialling(turning, port, Names("127.0.0.1"), tmp_path / "ca.pem")

    def test_proved(self, turning: Loop, tmp_path: Path, authority: Authority) -> None:
        """The connection stands after the handshake, and sees it when its upstream closes."""
        certificate = make_certificate(["app.test"], authority=authority)
        with Backend(certificate=certificate, folder=tmp_path) as backend:
            dialling = self.dialling(turning, backend.port, tmp_path)
            connection = dialling.end()
            assert connection.handshake is None
            assert connection.transport.negotiatedProtocol is None  # the backend knows no ALPN
            dialling.pool.released(connection)
            assert dialling.pool.idle == 1
            backend.stop()
            turning.until(lambda: dialling.pool.open == 0, "the upstream's close")

    @pytest.mark.parametrize(
        ("names", "age", "own", "words"),
        [
            (["other.test", "192.0.2.1"], 0, True, "not for app.test, but for other.test, 192.0.2.1"),
            ([], 0, True, "not for app.test, but for no name at all"),
            (["app.test"], 30, True, "not trusted: certificate has expired"),
            (["app.test"], 0, False, "not trusted: unable to get local issuer certificate"),
        ],
    )
    def test_not_proved(
        self, turning: Loop, tmp_path: Path, authority: Authority, names: list[str], age: int, own: bool, words: str
    ) -> None:
        """What is wrong with the certificate, in words."""
        begin = datetime.now(UTC) - timedelta(days=age + 1)
        signer = authority if own else Authority.make("Another Root")
        certificate = make_certificate(
            names, authority=signer, not_before=begin, not_after=begin + timedelta(days=age or 10)
        )
        with Backend(certificate=certificate, folder=tmp_path) as backend:
            dialling = self.dialling(turning, backend.port, tmp_path)
            phase, reason = dialling.end()
            assert phase == "tls"
            assert reason.startswith(f"its certificate is {words}")
            turning.until(lambda: dialling.pool.open == 0, "the close")
            assert not backend.requests

    def test_no_tls(self, turning: Loop, tmp_path: Path, authority: Authority) -> None:
        """OpenSSL's words."""
        with Backend(greeting=b"220 mail.test ESMTP\r\n") as backend:
            dialling = self.dialling(turning, backend.port, tmp_path)
            assert dialling.end() == ("tls", "the TLS handshake failed: wrong version number")

    def test_silence(self, turning: Loop, tmp_path: Path, authority: Authority) -> None:
        """A handshake may take as long as a connect."""
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            dialling = self.dialling(turning, silent.getsockname()[1], tmp_path)
            dialling.deadlines.startService()
            assert dialling.end() == ("connect", "no TLS handshake within 0.3 s")
            dialling.deadlines.stopService()
            assert dialling.pool.open == 0

    def test_broken_off(self, turning: Loop, tmp_path: Path, authority: Authority) -> None:
        """An application that restarts may do that: it is worth another try."""
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            dialling = self.dialling(turning, server.getsockname()[1], tmp_path)
            dialling.start()
            turning.until(lambda: dialling.pool.open, "the connection")
            accepted, _ = server.accept()
            accepted.close()
            turning.until(lambda: dialling.ended, "the end")
            phase, reason = dialling.ended[0]
            assert phase == "connect"
            assert reason.startswith("the TLS handshake was broken off: ")

    def test_taken_back(self, turning: Loop, tmp_path: Path, authority: Authority) -> None:
        """In the middle of a handshake: the connection is closed, nothing is told."""
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            dialling = self.dialling(turning, silent.getsockname()[1], tmp_path)
            dial = dialling.start()
            turning.until(lambda: dialling.pool.open, "the connection")
            dial.cancel()
            turning.turn(5)
            assert dialling.ended == []
            assert (dialling.pool.dialling, dialling.pool.open) == (0, 0)
