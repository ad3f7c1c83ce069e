"""Issuance from a real Pebble that refuses half of all nonces and really validates."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from attrs import evolve
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.agent import CaAgent
from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.acme.client import AcmeClient
from appliance.acme.issuer import Issuer
from appliance.acme.jose import AccountKey
from appliance.config import Acme, ExternalAccount
from appliance.errors import AcmeConnectionError, AcmeError, AcmeProblemError, AcmeProtocolError, OrderError
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pebble import Pebble, PebbleSettings
from tests.support.processes import eventually, free_port

E = TypeVar("E", bound=Exception)

clock: Any = reactor


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class ChallengePages(Resource):
    """The appliance's HTTP listener, as far as a CA sees it."""

    isLeaf = True

    def __init__(self, pending: PendingChallenges) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pending = pending
        self.hosts: list[bytes] = []

    def render_GET(self, request: Request) -> bytes:
        answer = self.pending.answer(request.uri)
        if answer is None:
            request.setResponseCode(404)
            return b""
        self.hosts.append(request.getRequestHostname())
        return answer


async def refusal(kind: type[E], coroutine: Coroutine[Deferred[Any], Any, object]) -> E:
    """The error that this ends with, which must be of that kind."""
    try:
        ended = await coroutine
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} expected, not {ended}")


def leads_to_root(certificate: Certificate, root: bytes) -> bool:
    """Whether OpenSSL finds the way from the leaf over what is served to that root."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(x509.load_pem_x509_certificate(root)))
    chain = [crypto.X509.from_cryptography(one) for one in certificate.intermediates]
    leaf = crypto.X509.from_cryptography(certificate.leaf)
    crypto.X509StoreContext(store, leaf, chain).verify_certificate()
    return True


class PebbleCase(TestCase):
    """One Pebble for all tests of a class; each test has its own listener, state folder and connections."""

    timeout = 60
    settings: ClassVar[dict[str, Any]] = {}
    pebble: ClassVar[Pebble]
    folder: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="pebble-")
        settings = PebbleSettings(free_port(), **{"nonce_reject": 50, **cls.settings})
        cls.pebble = Pebble(settings, Path(cls.folder.name))
        try:
            cls.pebble.start()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pebble.stop()
        cls.folder.cleanup()

    def setUp(self) -> None:
        self.pending = PendingChallenges()
        self.pages = ChallengePages(self.pending)
        port = clock.listenTCP(self.pebble.settings.http_port, Site(self.pages), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.state_dir = Path(self.enterContext(tempfile.TemporaryDirectory())) / "new"
        self.acme = Acme(self.pebble.directory_url, "ops@example.test", agree_tos=True, ca_file=self.pebble.ca_file)

    def issuer(self, *responders: Any, **changes: Any) -> Issuer:
        """An issuer with connections of its own."""
        acme = evolve(self.acme, **changes)
        agent = CaAgent(clock, acme.ca_file)
        self.addCleanup(agent.close)
        return Issuer(
            clock, agent, acme, self.state_dir, responders or [self.pending], now=utc_now, defer=deferToThread
        )


class Issuance(PebbleCase):
    """HTTP-01 and DNS-01, good names and bad ones."""

    settings: ClassVar[dict[str, Any]] = {"blocklist": ["blocked.test"]}

    async def test_several_names(self) -> None:
        """One certificate with all names, really validated, leading to Pebble's root."""
        names = ["b.test", "a.test", "www.a.test"]
        certificate = await self.issuer().issue(names)
        certificate.check(names, utc_now())
        assert certificate.names == set(names)
        assert leads_to_root(certificate, self.pebble.root())
        assert {host.partition(b":")[0] for host in self.pages.hosts} == {name.encode() for name in names}
        assert len(self.pending) == 0

    async def test_again_after_a_restart(self) -> None:
        """The account is found on disk; authorizations that are valid already are no trouble."""
        first = await self.issuer().issue(["again.test"])
        for _ in range(3):
            second = await self.issuer().issue(["again.test"])
            assert second.serial != first.serial
            assert second.key.public_key() != first.key.public_key()
        folders = list((self.state_dir / "accounts").iterdir())
        assert len(folders) == 1
        assert {file.stat().st_mode & 0o777 for file in folders[0].iterdir()} == {0o600}

    async def test_several_at_once(self) -> None:
        """Sites that start together share one registration, and do not disturb each other."""
        issuer = self.issuer()
        waiting = [Deferred.fromCoroutine(issuer.issue([f"{name}.test", f"www.{name}.test"])) for name in "uvw"]
        await refusal(OrderError, issuer.issue(["blocked.test"]))
        for name, issuing in zip("uvw", waiting, strict=True):
            (await issuing).check([f"{name}.test", f"www.{name}.test"], utc_now())

    async def test_blocked_name(self) -> None:
        """The bad one of two is named, with the CA's words and ours."""
        error = await refusal(OrderError, self.issuer().issue(["fine.test", "blocked.test"]))
        assert list(error.failures) == ["blocked.test"]
        assert "issuance is forbidden by policy" in str(error)
        assert "take it out of the site's names" in str(error)

    async def test_name_that_leads_elsewhere(self) -> None:
        """Pebble cannot connect; the other name's verdict is awaited all the same."""
        self.pebble.dns("add-a", host="elsewhere.test", addresses=["127.0.0.9"])
        error = await refusal(OrderError, self.issuer().issue(["elsewhere.test", "here.test"]))
        assert {name: problem.code for name, problem in error.failures.items()} == {"elsewhere.test": "connection"}
        assert "let the A and AAAA records of elsewhere.test lead to this machine" in str(error)
        assert len(self.pending) == 0

    async def test_apex_and_wildcard_by_dns(self) -> None:
        """A third party's responder; both values stand under one name until both are settled."""
        responder = TextRecords(self.pebble)
        names = ["wild.test", "*.wild.test"]
        certificate = await self.issuer(self.pending, responder).issue(names)
        certificate.check([*names, "any.wild.test"], utc_now())
        responder = TextRecords(self.pebble)
        certificate = await self.issuer(responder).issue(["*.tame.test", "tame.test"])
        certificate.check(["tame.test", "any.tame.test"], utc_now())
        assert responder.hosts == {"_acme-challenge.tame.test."}

    async def test_cancelled(self) -> None:
        """In the middle of an order: nothing stays presented, no connection stays open (trial looks)."""
        never: Deferred[None] = Deferred()
        responder = Slow(never)
        issuing = Deferred.fromCoroutine(self.issuer(responder).issue(["cancelled.test"]))
        await eventually(clock, lambda: responder.started, what="the challenge being presented")
        issuing.cancel()
        await self.assertFailure(issuing, CancelledError)
        assert responder.stopped == 1


@implementer(IResponder)
class TextRecords:
    """Somebody's DNS-01 responder, made to txacme's interface."""

    challenge_type = "dns-01"

    def __init__(self, pebble: Pebble) -> None:
        self.pebble = pebble
        self.hosts: set[str] = set()

    def start_responding(self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse) -> Any:
        digest = hashlib.sha256(response.key_authorization.encode()).digest()
        value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        host = f"{challenge.validation_domain_name(server_name)}."
        self.hosts.add(host)
        return deferToThread(self.pebble.dns, "set-txt", host=host, value=value)

    def stop_responding(self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse) -> Any:
        host = f"{challenge.validation_domain_name(server_name)}."
        return deferToThread(self.pebble.dns, "clear-txt", host=host)


@implementer(IResponder)
class Slow:
    """An HTTP-01 responder that waits for something."""

    challenge_type = "http-01"

    def __init__(self, ready: Deferred[None]) -> None:
        self.ready = ready
        self.started = self.stopped = 0

    def start_responding(self, *arguments: Any) -> Deferred[None]:
        self.started += 1
        return self.ready

    def stop_responding(self, *arguments: Any) -> None:
        self.stopped += 1


class Outage(PebbleCase):
    """A CA that dies at a bad moment."""

    def interrupting(self, action: Callable[[], object]) -> Any:
        """A responder in whose first challenge ``action`` happens."""
        case = self

        @implementer(IResponder)
        class Interrupting:
            challenge_type = "http-01"
            times = 0

            def start_responding(self, *arguments: Any) -> Any:
                self.times += 1
                if self.times == 1:
                    action()
                return case.pending.start_responding(*arguments)

            def stop_responding(self, *arguments: Any) -> Any:
                return case.pending.stop_responding(*arguments)

        return Interrupting()

    async def test_killed_and_restarted_during_an_order(self) -> None:
        """Pebble forgets everything: the account is registered again with its key, and the order made again."""

        def restart() -> None:
            self.pebble.kill_ca()
            self.pebble.start_ca()

        responder = self.interrupting(restart)
        certificate = await self.issuer(responder).issue(["restarted.test"])
        certificate.check(["restarted.test"], utc_now())
        assert leads_to_root(certificate, self.pebble.root())
        assert responder.times == 2
        assert len(self.pending) == 0

    async def test_killed_during_an_order(self) -> None:
        """Said in plain words, soon; the next attempt works when the CA is back."""
        issuer = self.issuer(self.interrupting(self.pebble.kill_ca))
        try:
            error = await refusal(AcmeConnectionError, issuer.issue(["killed.test"]))
            assert "have killed.test checked: " in str(error)
            assert len(self.pending) == 0
            error = await refusal(AcmeConnectionError, issuer.issue(["killed.test"]))
            assert "nothing listens there (connection refused)" in str(error)
        finally:
            self.pebble.start_ca()
        (await issuer.issue(["killed.test"])).check(["killed.test"], utc_now())


class ExternalAccounts(PebbleCase):
    """A CA that wants an external account."""

    KEY = base64.urlsafe_b64encode(b"k" * 48).decode()
    settings: ClassVar[dict[str, Any]] = {"external_accounts": {"kid-1": KEY}}

    async def test_bound(self) -> None:
        """With the right key."""
        issuer = self.issuer(external_account=ExternalAccount("kid-1", self.KEY))
        (await issuer.issue(["bound.test"])).check(["bound.test"], utc_now())

    async def test_missing(self) -> None:
        """Said before anything is sent, with the key to set."""
        error = await refusal(AcmeError, self.issuer().issue(["x.test"]))
        assert "put them into acme.external_account" in str(error)

    async def test_wrong(self) -> None:
        """The CA's words."""
        wrong = ExternalAccount("kid-1", base64.urlsafe_b64encode(b"w" * 48).decode())
        error = await refusal(AcmeProblemError, self.issuer(external_account=wrong).issue(["x.test"]))
        assert error.step == "register the account"


class Silent(Protocol):
    """Sends a few bytes on the first request, then nothing for ever."""

    greeting = b""

    def dataReceived(self, data: bytes) -> None:
        if self.greeting:
            assert self.transport is not None
            self.transport.write(self.greeting)
            self.greeting = b""

    def connectionLost(self, reason: object = None) -> None:
        self.factory.gone.callback(None)


@implementer(IOpenSSLContextFactory)
class OneCertificate:
    """A context factory as listenSSL wants it."""

    def __init__(self, certificate: Certificate) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(certificate.leaf)
        self._context.use_privatekey(certificate.key)

    def getContext(self) -> SSL.Context:
        return self._context


class BadServers(TestCase):
    """What stands where the CA should be."""

    timeout = 30

    def client(self, url: str, ca_file: Path | None = None) -> AcmeClient:
        agent = CaAgent(clock, ca_file)
        self.addCleanup(agent.close)
        return AcmeClient(clock, agent, url, utc_now, timeout=0.5)

    async def silent(self, scheme: str, greeting: bytes = b"") -> str:
        """The error about a server that stops in mid-sentence; it must see the connection go."""
        factory = Factory.forProtocol(type("Silent", (Silent,), {"greeting": greeting}))
        gone: Deferred[None] = Deferred()
        factory.gone = gone  # type: ignore[attr-defined]
        port = clock.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = self.client(f"{scheme}://127.0.0.1:{port.getHost().port}/dir")
        asking = client.post("http://127.0.0.1/x", {}, key=AccountKey.generate(), step="x")
        error = await refusal(AcmeConnectionError, asking)
        await gone
        return str(error)

    async def test_never_answers(self) -> None:
        """Neither in TLS, nor in HTTP, nor in the middle of the body."""
        assert "did not answer within 0.5 s" in await self.silent("https")
        assert "did not answer within 0.5 s" in await self.silent("http")
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"
        assert "did not answer within 0.5 s" in await self.silent("http", half)

    async def test_not_http(self) -> None:
        """Something else listens there."""
        factory = Factory.forProtocol(type("Greeter", (Silent,), {"greeting": b"SSH-2.0-OpenSSH\r\n"}))
        gone: Deferred[None] = Deferred()
        factory.gone = gone  # type: ignore[attr-defined]
        port = clock.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        asking = self.client(f"http://127.0.0.1:{port.getHost().port}/dir").directory()
        error = await refusal(AcmeProtocolError, asking)
        assert "is not HTTP" in str(error)
        await gone

    async def over_tls(self, names: list[str], trusted: bool) -> str:
        """The error about a TLS server with a certificate for these names."""
        certificate = make_certificate(names)
        port = clock.listenSSL(0, Site(notFound()), OneCertificate(certificate), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        ca_file = Path(self.enterContext(tempfile.TemporaryDirectory())) / "new"
        ca_file.write_bytes(shared_authority().pem)
        client = self.client(f"https://127.0.0.1:{port.getHost().port}/dir", ca_file if trusted else None)
        error = await refusal(AcmeError, client.directory())
        return str(error)

    async def test_tls_is_verified(self) -> None:
        """The name and the root; with both right, it gets as far as the answer."""
        for names in (["other.test"], []):
            said = await self.over_tls(names, trusted=True)
            assert "its certificate must be for the host in acme.directory" in said
        assert "acme.ca_file must hold the root" in await self.over_tls(["127.0.0.1"], trusted=False)
        assert "404: Not Found, without a problem document" in await self.over_tls(["127.0.0.1"], trusted=True)
