"""The demo CA on a loopback port, as a service; its keys and its root on disk."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from appliance import atomicfile
from appliance.ca.authority import NAME, Authority
from appliance.ca.model import Identifier
from appliance.ca.policy import Policy
from appliance.ca.resource import ca_site
from appliance.ca.server import EmbeddedCa
from appliance.ca.validation import Http01, resolve_localhost
from appliance.errors import CertificateError, ConfigurationError, Mistake

MAX_CONNECTIONS = 200
_YEAR = timedelta(days=365)
_DAY = timedelta(days=1)
_log = Logger()


class _Connections(WrappingFactory):
    """Knows the open connections, so that the service can close them, and takes only so many."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper | None:  # type: ignore[override]
        if len(self.protocols) >= MAX_CONNECTIONS:
            return None
        return super().buildProtocol(addr)


class CaService(Service):
    """Listens while it runs. ``ca`` is the CA; with port 0 its ``directory_url`` is right only after the start."""

    def __init__(
        self, reactor: Any, ca: EmbeddedCa, *, port: int = 0, interface: str = "127.0.0.1", tls: bool = False
    ) -> None:
        """``reactor`` provides IReactorTCP, IReactorSSL, IReactorTime. Raises ConfigurationError if not loopback."""
        if not ipaddress.ip_address(interface).is_loopback:
            mistake = Mistake("interface", f"{interface} is no loopback address; the demo CA serves this machine only")
            raise ConfigurationError((mistake,), "demo CA")
        self.ca = ca
        self._reactor = reactor
        self._interface = interface
        self._port = port
        self._tls = tls
        self._listening: Any = None
        self._connections: Any = _Connections(ca_site(ca, reactor))  # type: ignore[no-untyped-call]
        self._announce(port)

    @property
    def directory_url(self) -> str:
        """Where clients begin."""
        return self.ca.directory_url

    @property
    def root_pem(self) -> bytes:
        """What clients must trust to believe its certificates, and itself over TLS."""
        return self.ca.root_pem

    def startService(self) -> None:
        """Listen."""
        factory, at = self._connections, {"interface": self._interface, "backlog": 50}
        if self._tls:
            options = _tls_options(self.ca.authority, self._interface, self.ca.now())
            self._listening = self._reactor.listenSSL(self._port, factory, options, **at)
        else:
            self._listening = self._reactor.listenTCP(self._port, factory, **at)
        self._announce(self._listening.getHost().port)
        super().startService()  # type: ignore[no-untyped-call]
        _log.info("{name}: directory {url}; not for production names", name=NAME, url=self.directory_url)

    def stopService(self) -> Deferred[None]:
        """Close the port and every connection."""
        super().stopService()  # type: ignore[no-untyped-call]
        port, self._listening = self._listening, None
        for connection in list(self._connections.protocols):
            connection.transport.abortConnection()
        return succeed(None) if port is None else maybeDeferred(port.stopListening)

    def _announce(self, port: int) -> None:
        host = f"[{self._interface}]" if ":" in self._interface else self._interface
        self.ca.base_url = f"{'https' if self._tls else 'http'}://{host}:{port}"


def service(
    reactor: Any,
    now: Callable[[], datetime],
    *,
    policy: Policy | None = None,
    port: int = 0,
    tls: bool = False,
    http_port: int = 80,
    https_port: int = 443,
    resolve: Callable[[str], str | None] = resolve_localhost,
    authority_file: Path | None = None,
    root_file: Path | None = None,
) -> CaService:
    """A demo CA that validates HTTP-01 for real, at ``http_port`` of the addresses that ``resolve`` gives.

    With ``authority_file`` its keys outlive the process (0600); ``root_file`` is where its root is written for
    ``curl --cacert``. Raises StoreError if they cannot be.
    """
    policy = policy or Policy()
    if authority_file is None:
        authority = Authority.create(now(), policy.suffixes)
    else:
        authority = load_authority(authority_file, now(), policy)
    if root_file is not None:
        atomicfile.replace(root_file, authority.root_pem)
        root_file.chmod(0o644)
    validator = Http01(reactor, http_port, https_port, resolve)
    ca = EmbeddedCa(reactor, now, {"http-01": validator}, policy, authority)
    return CaService(reactor, ca, port=port, tls=tls)


def load_authority(path: Path, now: datetime, policy: Policy) -> Authority:
    """The authority kept in ``path``; a new one if there is none, or it is damaged, expired or for other suffixes."""
    pem = atomicfile.read(path)
    if pem is not None:
        try:
            found = Authority.from_pem(pem)
            if found.expires > now + _DAY and found.constrained_to(policy.suffixes):
                return found
            _log.info("{name}: new keys, the old ones expire or are for other names", name=NAME)
        except CertificateError as error:
            aside = atomicfile.set_aside(path, now)
            _log.warn("{error} ({path} is now {aside})", error=error, path=path, aside=aside)
    created = Authority.create(now, policy.suffixes)
    atomicfile.replace(path, created.to_pem())
    return created


def _tls_options(authority: Authority, interface: str, now: datetime) -> CertificateOptions:
    """For the CA's own listener: a certificate for the interface and ``localhost``."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = (Identifier("dns", "localhost"), Identifier("ip", interface))
    leaf, intermediate, *_ = x509.load_pem_x509_certificates(
        authority.chains(authority.sign(key.public_key(), names, now, _YEAR, "localhost"))[0]
    )
    options: Any = CertificateOptions  # declared for pyOpenSSL's own classes, which pyOpenSSL has deprecated
    made: CertificateOptions = options(
        privateKey=key,
        certificate=leaf,
        extraCertChain=[intermediate],
        acceptableProtocols=[b"http/1.1"],  # without any, Twisted fails the handshake of clients that offer some
    )
    return made
