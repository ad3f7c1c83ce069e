"""What follows a swap: a look at the wire, then exports and hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pem
import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, execute, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.config import Site
from appliance.config.alarm import Export
from appliance.errors import CertificateError, StoreError
from appliance.ops.deploy import handshake
from appliance.ops.deploy.afterswap import Installer
from appliance.ops.deploy.deployer import Deployer
from appliance.tls.certificate import Certificate
from appliance.tls.endpoint import TlsListening
from appliance.tls.snimap import SniMap
from tests.support.certificates import make_certificate
from tests.support.loop import Loop, loop
from tests.support.processes import free_port
from tests.support.renewalworld import failure_of, not_yet, succeeded
from tests.support.reports import NOW
from tests.support.slowdisk import SlowDisk

ONE = make_certificate(["one.test", "*.one.test"])
OTHER = make_certificate(["one.test"])


class Kept:
    """A store of one certificate."""

    def __init__(self, answer: Deferred[Any] | None = None) -> None:
        self.certificate: Certificate | None = None
        self.error: Exception | None = None
        self.slow = False
        self.waiting: list[Deferred[Any]] = []

    def answer(self) -> None:
        self.slow = False
        for waiting in self.waiting:
            if not waiting.called:
                waiting.errback(KeyError("nothing"))

    def get(self, name: str) -> Deferred[Any]:
        if self.slow:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if self.error is not None:
            return fail(self.error)
        if self.certificate is None:
            return fail(KeyError(name))
        return succeed(pem.parse(self.certificate.to_pem()))


class Gone:
    """A port that is closed by now."""

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", free_port())


class Installing:
    """An installer with its surroundings."""

    def __init__(self, turning: Loop) -> None:
        self.loop = turning
        self.map = SniMap()
        self.store = Kept()
        self.ports: list[Any] = []
        self.deployed: list[str] = []
        self.wanting: set[str] = set()
        self.installer = Installer(turning.reactor, lambda: NOW, self.map, lambda: self.ports, self.store, self)

    def wants(self, site: str) -> bool:
        return site in self.wanting

    async def __call__(self, site: str, certificate: Certificate) -> str:
        self.deployed.append(f"{certificate.serial:x}")
        return ""

    def listen(self, served: SniMap, protocol: type[Protocol] = Protocol) -> None:
        listening: Any = TlsListening(self.loop.reactor, served)
        self.ports.append(listening.listenTCP(0, Factory.forProtocol(protocol), interface="127.0.0.1"))

    def install(self, certificate: Certificate = ONE, names: tuple[str, ...] = ("one.test",)) -> Any:
        before = len(self.deployed)
        self.installer.install("one.test", names, certificate)
        self.loop.until(lambda: len(self.deployed) > before)
        return self.installer.known("one.test")


@pytest.fixture
def installing() -> Iterator[Installing]:
    with loop() as turning:
        made = Installing(turning)
        yield made
        made.installer.close()
        turning.turn(50)  # what is being closed needs a few


def test_the_wire_shows_what_was_put_into_service(installing: Installing) -> None:
    """By a real handshake with the listener, and the store has the same."""
    installing.listen(installing.map)
    installing.store.certificate = ONE
    known = installing.install()
    assert (known.problem, known.served) == ("", f"{ONE.serial:x}")
    assert known.way.startswith("127.0.0.1 port ")
    assert known.checked == NOW
    assert installing.deployed == [known.served]


def test_the_listener_sees_a_client_that_leaves_in_good_order(installing: Installing) -> None:
    """Its handshake is whole, so that nobody's failure is counted."""
    saw: list[object] = []

    @implementer(IHandshakeListener)
    class Listener(Protocol):
        def handshakeCompleted(self) -> None:
            saw.append("handshake")

        def connectionLost(self, reason: Failure = connectionDone) -> None:
            saw.append(reason.type)

    installing.listen(installing.map, Listener)
    assert installing.install().problem == ""
    assert saw == ["handshake", ConnectionDone]


def test_a_listener_that_does_not_close(installing: Installing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it showed counts; it is left without its consent."""
    monkeypatch.setattr(handshake, "PARTING", 0.05)
    saw: list[object] = []

    @implementer(IHandshakeListener)
    class Listener(Protocol):
        def handshakeCompleted(self) -> None:
            self.transport.pauseProducing()  # type: ignore[union-attr]
            installing.loop.reactor.callLater(0.2, self.transport.resumeProducing)  # type: ignore[union-attr]

        def connectionLost(self, reason: Failure = connectionDone) -> None:
            saw.append(reason.type)

    installing.listen(installing.map, Listener)
    known = installing.install()
    assert (known.problem, known.served, saw) == ("", f"{ONE.serial:x}", [])
    installing.loop.until(lambda: saw)


def test_without_a_port_of_its_own_the_map_is_asked(installing: Installing) -> None:
    """In memory; for a wildcard by a name below it."""
    known = installing.install(names=("*.one.test",))
    assert (known.problem, known.way, known.served) == ("", "in memory", f"{ONE.serial:x}")


def test_a_site_of_addresses_only_is_not_asked_for(installing: Installing) -> None:
    """TLS clients name no addresses."""
    known = installing.install(make_certificate(["127.0.0.1", "::1"]), ("127.0.0.1", "::1"))
    assert (known.problem, known.served) == ("", None)


def test_a_wire_that_shows_another_is_called_out(installing: Installing) -> None:
    """As if something else listened on our port."""
    elsewhere = SniMap()
    elsewhere.swap("one.test", ["one.test"], OTHER)
    installing.listen(elsewhere)
    assert f"shows {OTHER.serial:x}" in installing.install().problem


def test_a_wire_that_shows_nothing_is_called_out(installing: Installing) -> None:
    """A handshake that fails, a port where nobody listens."""
    installing.listen(SniMap())
    assert "failed" in installing.install().problem
    installing.ports = [Gone()]
    assert "refused" in installing.install().problem


def test_a_store_that_has_another_is_called_out(installing: Installing) -> None:
    """A restart would serve that; likewise one that cannot be read."""
    installing.store.certificate = OTHER
    assert f"the store has {OTHER.serial:x}" in installing.install().problem
    installing.store.error = StoreError("the disk is gone")
    assert "the disk is gone" in installing.install().problem


def test_a_certificate_that_openssl_refuses_changes_nothing(installing: Installing) -> None:
    """The swap itself fails, as that of the map."""
    with pytest.raises(CertificateError):
        installing.installer.install("one.test", ("one.test",), Certificate(OTHER.key, ONE.leaf))
    assert installing.installer.known("one.test").checked is None


def test_the_newest_swap_counts(installing: Installing) -> None:
    """What follows an older one is given up."""
    installing.listen(installing.map)
    installing.installer.install("one.test", ("one.test",), ONE)
    assert installing.install(OTHER).served == f"{OTHER.serial:x}"
    assert installing.deployed == [f"{OTHER.serial:x}"]


def test_of_thousands_at_once_few_are_looked_at(installing: Installing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones; of the others those that have copies or hooks get these."""
    monkeypatch.setattr("appliance.ops.deploy.afterswap.MOST_LOOKS", 3)
    installing.wanting.add("s7.test")
    installing.store.slow = True
    made = {f"s{number}.test": make_certificate([f"s{number}.test"]) for number in range(8)}
    for name, certificate in made.items():
        installing.installer.install(name, [name], certificate)
    installing.store.answer()
    installing.loop.until(lambda: f"{made['s7.test'].serial:x}" in installing.deployed)
    looked_at = [name for name in made if installing.installer.known(name).checked is not None]
    assert looked_at == ["s0.test", "s1.test", "s2.test", "s3.test", "s4.test"]
    assert all(installing.map.served(name) is not None for name in made)


def test_closing_gives_up_whatever_waits(installing: Installing) -> None:
    """However many they are, each in its own time."""
    installing.store.slow = True
    for number in range(150):
        installing.installer.install(f"s{number}.test", [f"s{number}.test"], ONE)
    installing.installer.close()
    installing.store.answer()
    assert installing.deployed == []


def test_a_handshake_in_memory_with_nothing_to_show() -> None:
    """Fails as on the wire."""
    with pytest.raises(SSL.Error):
        handshake.in_memory(SniMap(), "one.test")


@pytest.mark.parametrize(
    ("bound", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1"), ("::1", "::1")],
)
def test_where_a_listener_is_reached(bound: str, reached: str) -> None:
    """From this machine."""
    assert handshake.loopback_for(bound) == reached


def in_place(work: Callable[[], Any]) -> Deferred[Any]:
    return execute(work)


def deployed(turning: Loop, folder: Path, site: Site, certificate: Certificate = ONE) -> str:
    """What a deployer says."""
    deployer = Deployer(turning.reactor, {"one.test": site}, folder, in_place)
    results: list[Any] = []
    Deferred.fromCoroutine(deployer("one.test", certificate)).addBoth(results.append)
    turning.until(lambda: reapAllProcesses() or results)
    return str(results[0])


def test_copies_and_hook_once_for_each_certificate(tmp_path: Path) -> None:
    """A restart repeats neither; a new certificate does."""
    log = tmp_path / "log"
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$APPLIANCE_SITE $APPLIANCE_SERIAL $1 $APPLIANCE_EXPORT" >> {log}\n')
    script.chmod(0o755)
    site = Site(("one.test",), (), export=Export(tmp_path / "out"), deploy_hook=(str(script), "x"))
    with loop() as turning:
        assert [deployed(turning, tmp_path / "s", site, each) for each in (ONE, ONE, OTHER, OTHER)] == [""] * 4
        assert deployed(turning, tmp_path / "s", Site(("one.test",), ())) == ""
        assert deployed(turning, tmp_path / "s", Site(("two.test",), ())) == ""
    lines = log.read_text().splitlines()
    assert lines == [f"one.test {each.serial:x} x {tmp_path / 'out'}" for each in (ONE, OTHER)]
    assert Certificate.from_pem((tmp_path / "out" / "combined.pem").read_bytes()).leaf == OTHER.leaf


def test_a_hook_that_fails_runs_again(tmp_path: Path) -> None:
    """And its words are told; one that cannot be started, too; so is an export that fails."""
    script = tmp_path / "hook"
    script.write_text("#!/bin/sh\necho no server; exit 4\n")
    script.chmod(0o755)
    site = Site(("one.test",), (), deploy_hook=(str(script), "hush"))
    with loop() as turning:
        problem = deployed(turning, tmp_path / "s", site)
        assert problem.startswith(f"the deploy hook {script} failed (status 4: no server); it runs again")
        script.write_text("#!/bin/sh\nexit 0\n")
        assert deployed(turning, tmp_path / "s", site) == ""
        assert "status" not in deployed(turning, tmp_path / "s", site)
        (tmp_path / "file").write_text("")
        bad = Site(("one.test",), (), export=Export(tmp_path / "file"))
        assert "could not be passed on" in deployed(turning, tmp_path / "s", bad)


def test_a_newer_copy_waits_for_the_older(tmp_path: Path) -> None:
    """Two swaps follow each other while the disk is slow: no key of the one beside the chain of the other."""
    disk = SlowDisk()
    deployer = Deployer(None, {"one.test": Site(("one.test",), (), export=Export(tmp_path / "out"))}, tmp_path, disk)
    first, second = (Deferred.fromCoroutine(deployer("one.test", each)) for each in (ONE, OTHER))
    first.cancel()
    not_yet(first)
    assert len(disk.waiting) == 1
    disk.work(1)
    assert isinstance(failure_of(first), CancelledError)
    not_yet(second)
    disk.work()
    assert succeeded(second) == ""
    assert disk.most == 1
    assert Certificate.from_pem((tmp_path / "out" / "combined.pem").read_bytes()).leaf == OTHER.leaf
