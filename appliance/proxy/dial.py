"""Opening one connection to an upstream: its name, its addresses one after the other, the PROXY header, TLS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import ECONNREFUSED, EMFILE, ENFILE, ENOBUFS, ENOENT, ENOMEM
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL._util import ffi, lib
from OpenSSL.crypto import X509
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.errors import RefusedError, UpstreamError
from appliance.net.deadlines import NEVER
from appliance.proxy.connection import UpstreamConnection
from appliance.tls.peername import require_name

if TYPE_CHECKING:
    from appliance.proxy.pool import Pool

CONNECT, TLS, HTTP_2, LOCAL = "connect", "tls", "http2", "local"
"""Phases of a dial's error. The first may be over soon, as an application that restarts; the next two are not. The last
is not the application's doing: this machine has no more sockets to give."""

_OWN_ERRORS = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})

_NOBODY_LISTENS = frozenset({ECONNREFUSED, ENOENT})
"""At a port, or at a UNIX socket's name."""

_HTTP_1_1, _HTTP_2 = [b"http/1.1"], [b"h2"]


@implementer(IProtocolFactory)
class Dial:
    """One attempt to connect: ends with exactly one call of ``connected`` or ``failed``, unless it is cancelled."""

    noisy = False

    def __init__(
        self,
        pool: Pool,
        connected: Callable[[Any], None],
        failed: Callable[[UpstreamError], None],
        announcement: bytes = b"",
    ) -> None:
        """``announcement`` is what the connection begins with, before TLS."""
        self.pool = pool
        self.announcement = announcement
        self._connected = connected
        self._failed = failed
        self._ended = False
        self._connector: Any = None
        self._connection: Any = None
        self._forget_name: Callable[[], None] | None = None
        self._timer: IDelayedCall | None = None
        self._hosts: list[str] = []
        self._reasons: list[str] = []
        self._error: type[UpstreamError] = RefusedError
        """What it is if all fails: this as long as everybody asked refuses."""
        self._allowed = pool.timeouts.connect
        self._began = 0.0

    def start(self) -> None:
        """Begin. May already be over when this returns."""
        pool = self.pool
        pool.dialling += 1
        self._began = pool.deadlines.seconds()
        address = pool.address
        if address.path:
            pool.connect("", self, self._allowed)
            return
        self._timer = pool.reactor.callLater(self._allowed, self._name_overdue)
        self._forget_name = pool.names.resolve(address.host, self._resolved)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._ended:
            return
        self._end()
        if self._connector is not None:
            self._connector.stopConnecting()
        if self._connection is not None:
            self._connection.close()
        self.pool.dialled()

    @property
    def took(self) -> float:
        """Seconds since it began."""
        return self.pool.deadlines.seconds() - self._began

    # --- the name ---

    def _resolved(self, hosts: Sequence[str], reason: str) -> None:
        self._forget_name = None
        self._stop_timer()
        if not hosts:
            self.fail(UpstreamError(CONNECT, reason))
            return
        # Every address has its turn at being the first, so that a name with several spreads its connections.
        turn = self.pool.turn() % len(hosts)
        self._hosts = [*hosts[turn:], *hosts[:turn]]
        self._allowed /= len(hosts)
        self._next_host()

    def _name_overdue(self) -> None:
        self._timer = None
        seconds = self.pool.timeouts.connect
        self.fail(UpstreamError(CONNECT, f"the name {self.pool.address.host} was not resolved within {seconds:g} s"))

    def _next_host(self) -> None:
        factory: Any = self
        if self.pool.tls is not None:
            factory = _TlsFactory(self.pool.tls, True, self)
        self.pool.connect(self._hosts.pop(0), factory, self._allowed)

    # --- from Twisted: IProtocolFactory, and what a connector tells its factory ---

    def buildProtocol(self, address: IAddress) -> Any:
        """See IProtocolFactory."""
        self._connector = None
        self._connection = self.pool.build(self)
        return self._connection

    def doStart(self) -> None:
        """See IProtocolFactory."""

    def doStop(self) -> None:
        """See IProtocolFactory."""

    def startedConnecting(self, connector: Any) -> None:
        """See IConnector."""
        self._connector = connector

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """See IConnector."""
        self._connector = None
        if self._ended:
            return
        number = getattr(reason.value, "osError", None)
        if number in _OWN_ERRORS:
            self.fail(UpstreamError(LOCAL, f"no connection to it could be begun: {reason.getErrorMessage()}", 503))
            return
        self._reasons.append(_connect_error(reason))
        if number not in _NOBODY_LISTENS:
            self._error = UpstreamError
        if self._hosts:
            self._next_host()
        else:
            self.fail(self._error(CONNECT, "; ".join(dict.fromkeys(self._reasons))))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """See IConnector: the connection itself knows."""

    # --- from the connection, and the end ---

    def made(self, connection: Any) -> None:
        """The connection can take a request."""
        if not self._ended:
            self._end()
            self._connected(connection)
            self.pool.dialled()

    def fail(self, error: UpstreamError) -> None:
        """It comes to nothing."""
        if not self._ended:
            self._end()
            self._failed(error)
            self.pool.dialled()

    def _end(self) -> None:
        self._ended = True
        self.pool.dialling -= 1
        self._stop_timer()
        if self._forget_name is not None:
            self._forget_name()
            self._forget_name = None

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class DialledConnection(UpstreamConnection):
    """A connection that tells its dial once it stands."""

    __slots__ = ("_dial", "_pool")

    def __init__(self, dial: Dial) -> None:
        pool = dial.pool
        super().__init__(pool, pool.deadlines, pool.timeouts)
        self._pool = pool
        self._dial: Dial | None = dial

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        super().makeConnection(transport)
        self._pool.opened(self)
        dial = self._dial
        assert dial is not None
        if dial.announcement:
            transport.write(dial.announcement)
        self._made()

    def _made(self) -> None:
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.made(self)


@implementer(IHandshakeListener)
class SecureConnection(DialledConnection):
    """A connection over TLS: it stands when the upstream has proved its name."""

    __slots__ = ("handshake",)

    def __init__(self, dial: Dial) -> None:
        super().__init__(dial)
        self.handshake: Handshake | None = None
        """What is to be known of the handshake while it is under way."""

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol. The PROXY header has gone ahead already, see `_TlsProtocol`."""
        UpstreamConnection.makeConnection(self, transport)
        self._pool.opened(self)
        self.deadline = self._deadlines.seconds() + self._timeouts.connect

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self.handshake = None
        self.deadline = NEVER
        self._made()

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        dial, self._dial = self._dial, None
        super().connectionLost(reason)
        if dial is not None:
            dial.fail(handshake_error(reason, self.handshake))
        self.handshake = None

    def expire(self, now: float) -> None:
        """See Deadlines."""
        dial, self._dial = self._dial, None
        super().expire(now)
        if dial is not None:
            dial.fail(UpstreamError(CONNECT, f"no TLS handshake within {self._timeouts.connect:g} s"))


class _TlsProtocol(TLSMemoryBIOProtocol):
    """Sends the PROXY header ahead of the handshake."""

    def makeConnection(self, transport: Any) -> None:
        dial = self.factory.wrappedFactory
        if dial.announcement:
            transport.write(dial.announcement)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]


class _TlsFactory(TLSMemoryBIOFactory):
    noisy = False
    protocol = _TlsProtocol


@implementer(IOpenSSLClientConnectionCreator)
class UpstreamTls:
    """How an ``https`` upstream is spoken to: one context, made once; its name is verified by service-identity."""

    def __init__(self, host: str, ca_file: Path | None, *, http2: bool = False) -> None:
        """``ca_file``: PEM certificates to trust in place of the system's. Raises OSError or ValueError over it.

        ``http2`` offers that by ALPN and nothing else.
        """
        trust = None
        if ca_file is not None:
            certificates = x509.load_pem_x509_certificates(ca_file.read_bytes())
            trust = trustRootFromCertificates([_twisted_certificate(certificate) for certificate in certificates])
        self._host = host
        self._options = optionsForClientTLS(host, trustRoot=trust, acceptableProtocols=_HTTP_2 if http2 else _HTTP_1_1)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection: SSL.Connection = self._options.clientConnectionForTLS(tlsProtocol)
        wrapped: Any = tlsProtocol.wrappedProtocol
        wrapped.handshake = Handshake(connection, self._host, require_name(connection, self._host))
        return connection


class Handshake:
    """A handshake under way: OpenSSL's connection, whom it is to, and a certificate refused for its names."""

    __slots__ = ("connection", "host", "refused")

    def __init__(self, connection: SSL.Connection, host: str, refused: list[X509]) -> None:
        self.connection = connection
        self.host = host
        self.refused = refused


def _twisted_certificate(certificate: x509.Certificate) -> Certificate:
    return Certificate.loadPEM(certificate.public_bytes(Encoding.PEM))


def _connect_error(reason: Failure) -> str:
    """Twisted's words for it. A UNIX socket whose queue is full has none: the connection merely ends."""
    error: Any = reason.value
    if error.args and isinstance(error.args[0], Failure):
        return "The connection was closed while it was being opened: more connections wait there than it allows."
    return reason.getErrorMessage()


def handshake_error(reason: Failure, handshake: Handshake | None) -> UpstreamError:
    """What went wrong, in words that say what to look at."""
    if handshake is not None and handshake.refused:
        names = _names(handshake.refused[0])
        return UpstreamError(TLS, f"its certificate is not for {handshake.host}, but for {names}")
    error: Any = reason.value
    if not isinstance(error, SSL.Error):
        return UpstreamError(CONNECT, f"the TLS handshake was broken off: {reason.getErrorMessage()}")
    verified = lib.SSL_get_verify_result(handshake.connection._ssl) if handshake is not None else 0
    if verified:
        words = ffi.string(lib.X509_verify_cert_error_string(verified)).decode("ascii")
        return UpstreamError(
            TLS, f"its certificate is not trusted: {words} (a private CA's certificate goes into upstream_ca_file)"
        )
    errors = error.args[0] if error.args else ()
    words = "; ".join(text for _, _, text in errors) or "no reason given"
    return UpstreamError(TLS, f"the TLS handshake failed: {words}")


def _names(certificate: X509) -> str:
    """The names in a certificate."""
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return "no name at all"
    return ", ".join(str(name.value) for name in names)
