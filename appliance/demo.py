"""``twist appliance --demo``: the whole appliance on one machine, with applications and a CA of its own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate as PeerCertificate
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.server import Site as WebSite
from zope.interface import implementer

from appliance.app import Appliance, build
from appliance.ca.listening import CaService, service
from appliance.ca.policy import Policy
from appliance.clock import utc_now
from appliance.config import Acme, Configuration, Listen, Route, Site, UpstreamAddress
from appliance.errors import ConfigurationError, Mistake

NAMES = ("one.localhost", "two.localhost")
"""RFC 6761 section 6.3: names below ``localhost`` lead to this machine, without any DNS."""

LIFETIME = timedelta(seconds=75)
"""Of the demo's certificates: renewed at half of it, so that it can be watched."""

HTTP = "tcp:8080:interface=127.0.0.1"
HTTPS = "tcp:8443:interface=127.0.0.1"

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the certificates being served."""
LOOK_TIMEOUT = 5.0

_PORT = re.compile(r"tcp:(?:port=)?([1-9][0-9]*)(?=:|\Z)")

_log = Logger()


def make_service(reactor: Any, http: Sequence[str], https: Sequence[str], state_dir: str | None) -> Demo:
    """The demo, listening on the first of each kind of endpoints. Raises ConfigurationError with every mistake."""
    listen = Listen(http=tuple(http) or (HTTP,), https=tuple(https) or (HTTPS,))
    mistakes = [
        Mistake(f"--{option}", f"must be a TCP port, as in {example}, for the demo")
        for option, endpoints, example in (("http", listen.http, HTTP), ("https", listen.https, HTTPS))
        if not all(map(_PORT.match, endpoints))
    ]
    if mistakes:
        raise ConfigurationError(tuple(mistakes), "command line")
    return Demo(reactor, listen, None if state_dir is None else Path(state_dir).absolute())


def configuration(
    listen: Listen, state_dir: Path, directory: str, ca_file: Path, upstreams: Sequence[UpstreamAddress]
) -> Configuration:
    """What the demo runs: one site for each of ``NAMES``, with one of ``upstreams`` behind it."""
    return Configuration(
        sites=tuple(Site((name,), (Route("/", (upstream,)),)) for name, upstream in zip(NAMES, upstreams, strict=True)),
        state_dir=state_dir,
        listen=listen,
        acme=Acme(directory=directory, agree_tos=True, ca_file=ca_file),
    )


class Demo(MultiService):
    """Two applications, a CA, the appliance between them, and somebody who watches the certificates."""

    def __init__(self, reactor: Any, listen: Listen, state_dir: Path | None) -> None:
        """Without ``state_dir`` the state is in a temporary folder that goes with the service."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._listen = listen
        # Goes with the process, should the start fail.
        self._temporary = None if state_dir else tempfile.TemporaryDirectory(prefix="appliance-demo-")
        self._state_dir = state_dir or Path(cast(Any, self._temporary).name)
        self._http_port, self._https_port = _port(listen.http[0]), _port(listen.https[0])
        self.root_file = self._state_dir / "root.pem"
        self._pages = [Page(name) for name in NAMES]
        self._applications: list[Any] = []
        # Here, not at the start: what is wrong with the folder is to be said before anything runs.
        self._ca = self._make_ca()
        self._ca.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._trusted = trustRootFromCertificates([PeerCertificate.loadPEM(self._ca.root_pem)])
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor
        self._announced = False
        self._appliance: Appliance | None = None

    def startService(self) -> None:
        """Start the CA and the applications, whose ports are known only then, and the appliance with them."""
        self._applications = [self._serve(page) for page in self._pages]
        super().startService()  # type: ignore[no-untyped-call]
        upstreams = [UpstreamAddress(host="127.0.0.1", port=each.getHost().port) for each in self._applications]
        wanted = configuration(self._listen, self._state_dir, self._ca.directory_url, self.root_file, upstreams)
        self._appliance = build(self._reactor, wanted, source="with --demo")
        self._appliance.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._watch.start(LOOK_INTERVAL)

    async def reload(self) -> None:
        """Raises ApplianceError: there is no file to read."""
        if self._appliance is not None:
            await self._appliance.reloading.reload()

    async def _stop(self) -> None:
        if self._watch.running:
            self._watch.stop()
        await maybeDeferred(super().stopService)
        for each in self._applications:
            await maybeDeferred(each.stopListening)
        if self._temporary is not None:
            self._temporary.cleanup()

    def stopService(self) -> Deferred[None]:
        """Stop the appliance and the CA, then the applications."""
        return Deferred.fromCoroutine(self._stop())

    def _make_ca(self) -> CaService:
        return service(
            self._reactor,
            utc_now,
            policy=Policy(lifetime=LIFETIME),
            tls=True,
            http_port=self._http_port,
            https_port=self._https_port,
            authority_file=self._state_dir / "demo-ca.pem",
            root_file=self.root_file,
        )

    def _serve(self, page: Page) -> Any:
        return self._reactor.listenTCP(0, WebSite(page), interface="127.0.0.1")

    async def _look(self) -> None:
        for page in self._pages:
            certificate = await self._served(page.name)
            if certificate is not None:
                page.show(certificate)
        if not self._announced and all(page.certificate for page in self._pages):
            self._announced = True
            _log.info(
                "both sites are certified; their certificates live for {life:.0f} s", life=LIFETIME.total_seconds()
            )
            for page in self._pages:
                _log.info(
                    "try: curl --cacert {root} https://{name}:{port}/",
                    root=self.root_file,
                    name=page.name,
                    port=self._https_port,
                )

    async def _served(self, name: str) -> x509.Certificate | None:
        """The certificate that a client gets now, as far as it can verify it; None while there is none."""
        options = optionsForClientTLS(name, trustRoot=self._trusted)
        place = TCP4ClientEndpoint(self._reactor, "127.0.0.1", self._https_port, timeout=LOOK_TIMEOUT)
        try:
            look = cast(Look, await wrapClientTLS(options, place).connect(Factory.forProtocol(Look)))
            return await look.seen.addTimeout(LOOK_TIMEOUT, self._reactor)
        except Exception as error:
            _log.debug("{name}: no certificate yet: {error}", name=name, error=error)
            return None


@implementer(IHandshakeListener)
class Look(Protocol):
    """One TLS handshake; ``seen`` fires with the certificate that it showed, or fails as it did."""

    def __init__(self) -> None:
        self.seen: Deferred[x509.Certificate] = Deferred()

    def handshakeCompleted(self) -> None:
        """The certificate is verified."""
        transport = cast(Any, self.transport)
        seen, certificate = self.seen, transport.getPeerCertificate().to_cryptography()
        transport.loseConnection()
        if not seen.called:
            seen.callback(certificate)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """There was no handshake, or it is over."""
        if not self.seen.called:
            self.seen.errback(reason)


class Page(Resource):
    """A demo application: one page, in plain text, on the request and on the certificate it is served under."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.certificate: x509.Certificate | None = None
        self.renewals = -1

    def show(self, certificate: x509.Certificate) -> None:
        """From now on show this certificate; says so in the log when it is a new one."""
        if self.certificate is not None and self.certificate.serial_number == certificate.serial_number:
            return
        self.certificate = certificate
        self.renewals += 1
        _log.info(
            "{name}: {what}, serial {serial:x}, for another {left:.0f} s",
            name=self.name,
            what="renewed" if self.renewals else "certified",
            serial=certificate.serial_number,
            left=self._left(certificate),
        )

    def render(self, request: Request) -> bytes:
        """Any method, any path."""
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return "\n".join(self._lines(request)).encode()

    def _lines(self, request: Request) -> list[str]:
        scheme = request.getHeader("X-Forwarded-Proto") or "http, not through the appliance"
        lines = [
            f"This is {self.name}, a demo application behind the appliance.",
            f"You asked {request.method.decode()} {request.uri.decode('latin-1')[:200]} by {scheme}",
        ]
        if self.certificate is not None:
            lines.append(
                f"Certificate {self.certificate.serial_number:x}, for another {self._left(self.certificate):.0f} s"
            )
            lines.append(f"Renewed {self.renewals} times since the start.")
        return [*lines, ""]

    @staticmethod
    def _left(certificate: x509.Certificate) -> float:
        return max(0.0, (certificate.not_valid_after_utc - utc_now()).total_seconds())


def _port(endpoint: str) -> int:
    found = _PORT.match(endpoint)
    assert found is not None, "make_service lets only such endpoints through"
    return int(found[1])
