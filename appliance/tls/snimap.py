"""Which certificate a TLS client gets: the map from server names to sites, swapped while connections are open."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.logger import Logger

from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate, wildcard_of
from appliance.tls.clienthello import LONGEST, application_protocols, missing, server_name
from appliance.tls.context import HTTP_1_1, fallback_context, site_context

log = Logger()


class _Proof:
    """The app data of a connection that is a CA's TLS-ALPN-01 validation, and nothing else."""


PROOF = _Proof()


class ChallengeContexts(Protocol):
    """The TLS-ALPN-01 challenges being presented; false when there are none, so that looking costs nothing."""

    def __len__(self) -> int:
        """How many there are."""

    def context(self, name: str, protocols: tuple[bytes, ...], /) -> SSL.Context | None:
        """What a ClientHello for ``name`` with this ALPN offer is answered with; None if it is an ordinary one."""


class ServedCertificate:
    """One site's certificate as it is being served. A renewal makes a new one; connections keep theirs."""

    __slots__ = ("_context", "_protocols", "certificate", "names", "site")

    def __init__(
        self, site: str, names: Iterable[str], certificate: Certificate, protocols: tuple[bytes, ...] = (HTTP_1_1,)
    ) -> None:
        self.site = site
        self.names = frozenset(name.lower() for name in names)
        self.certificate = certificate
        self._protocols = protocols
        self._context: SSL.Context | None = None

    @property
    def context(self) -> SSL.Context:
        """The context for new connections, made when first needed. Raises `CertificateError` if OpenSSL refuses it."""
        if self._context is None:
            self._context = site_context(self.certificate, self._protocols)
        return self._context

    def forget_context(self) -> None:
        """Have the next connection make a new context, with new ticket keys: old tickets end in a full handshake."""
        self._context = None

    def offer(self, protocols: tuple[bytes, ...]) -> None:
        """Agree on these by ALPN from now on."""
        self._protocols = protocols
        self.forget_context()

    def covers(self, host: str) -> bool:
        """Whether a request for ``host`` (no port) may be answered on a connection that proved this certificate."""
        return self.certificate.covers(host.strip("[]"))


class SniMap:
    """Server names, exact and wildcard, to what is served for them. One object, shared by listeners and renewal."""

    def __init__(self, challenges: ChallengeContexts | None = None, protocols: tuple[bytes, ...] = (HTTP_1_1,)) -> None:
        """``challenges``: what CAs are answered with, and nobody else. ``protocols``: see `offer`."""
        self._challenges = challenges
        self._by_name: dict[str, ServedCertificate] = {}
        self._by_site: dict[str, ServedCertificate] = {}
        self.offer(protocols)

    def offer(self, protocols: tuple[bytes, ...]) -> None:
        """Agree on these by ALPN, the best first, with clients that connect from now on."""
        self._protocols = protocols
        self.fallback = fallback_context(self._choose, protocols)
        """For handshakes whose server name is not known before they begin; see `context.fallback_context`."""
        for served in self._by_site.values():
            served.offer(protocols)

    def swap(self, site: str, names: Iterable[str], certificate: Certificate) -> None:
        """Serve ``certificate`` for ``names``, which replace those the site had, to all new connections.

        Raises `CertificateError` if OpenSSL refuses it; the old one is served on, then.
        """
        served = ServedCertificate(site, names, certificate, self._protocols)
        _ = served.context
        self._replace(site, served)

    def remove(self, site: str) -> None:
        """Serve nothing for the site's names any more."""
        self._replace(site, None)

    def lookup(self, server_name: str) -> ServedCertificate | None:
        """What is served for a name: its own entry, else that of the wildcard over it, else None."""
        name = server_name.lower()
        by_name = self._by_name
        return by_name.get(name) or by_name.get(wildcard_of(name))

    def served(self, site: str) -> ServedCertificate | None:
        """What is served for a site, by the site's own name."""
        return self._by_site.get(site)

    def rotate_ticket_keys(self) -> None:
        """Make all session tickets issued so far worthless. To be called daily: a stolen key opens a day's sessions."""
        for served in self._by_site.values():
            served.forget_context()

    def connection(self, client_hello: bytes, tcp_socket: socket.socket) -> SSL.Connection:
        """The server's end of a handshake, on the context of the site that ``client_hello`` names.

        ``client_hello`` is what has arrived so far and is left unread in the socket. If it does not tell the name,
        the handshake begins on the fallback context. What was chosen is the connection's app data.
        """
        name = server_name(client_hello)
        if self._challenges and (proof := self._proof(name, client_hello)) is not None:
            return _accepting(proof, tcp_socket, PROOF)
        served = self.lookup(name) if name else None
        # Without a site's context the fallback's callback has its say: it refuses the name, or reports what is broken.
        context = _context_of(served) or self.fallback
        return _accepting(context, tcp_socket, served if context is not self.fallback else None)

    def wanted(self, client_hello: bytes) -> int:
        """How many bytes are to be waited for before `connection` is called; 0 for what there is.

        Not 0 only while a TLS-ALPN-01 challenge is presented: a CA must be recognised, even if its ClientHello comes in
        two segments.
        """
        return missing(client_hello) if self._challenges else 0

    def watch(self, connection: SSL.Connection, data: bytes) -> None:
        """For TLS over memory: what a connection on `fallback` is about to read, before anything has been chosen."""
        seen = connection.get_app_data()
        if self._challenges and not isinstance(seen, ServedCertificate | _Proof):
            connection.set_app_data(((seen if isinstance(seen, bytes) else b"") + data)[:LONGEST])

    def _proof(self, name: str | None, client_hello: object) -> SSL.Context | None:
        """The context for a CA that validates ``name``; None for everybody else."""
        if not name or not self._challenges or not isinstance(client_hello, bytes):
            return None
        return self._challenges.context(name, application_protocols(client_hello))

    def _replace(self, site: str, served: ServedCertificate | None) -> None:
        by_name, by_site = self._by_name.copy(), self._by_site.copy()
        old = by_site.pop(site, None)
        for name in old.names if old is not None else ():
            if by_name.get(name) is old:
                del by_name[name]
        if served is not None:
            by_name.update(dict.fromkeys(served.names, served))
            by_site[site] = served
        self._by_name, self._by_site = by_name, by_site

    def _by_address(self, connection: SSL.Connection) -> ServedCertificate | None:
        """For clients that asked for an IP address, which they cannot name (RFC 6066 section 3).

        It is the one they have connected to; behind a router they have not, so the only address served will do.
        """
        addresses = {name: served for name, served in self._by_name.items() if _is_address(name)}
        if not addresses:
            return None
        try:
            local = connection.getsockname()[0].removeprefix("::ffff:")
        except (AttributeError, OSError):  # TLS over memory has no socket
            local = ""
        return addresses.get(local) or (next(iter(addresses.values())) if len(addresses) == 1 else None)

    def _choose(self, connection: SSL.Connection) -> None:
        """OpenSSL's servername callback. An exception in here would only be printed, so none leaves."""
        try:
            name = connection.get_servername()
            text = name.decode("ascii") if name else ""
            proof = self._proof(text, connection.get_app_data())
            served = self.lookup(text) if text else self._by_address(connection)
            if proof is not None:
                connection.set_context(proof)
                connection.set_app_data(PROOF)
            elif served is not None:
                connection.set_context(served.context)
                connection.set_app_data(served)
        except UnicodeDecodeError:
            pass  # not a host name; the alert for unknown ones answers it
        except Exception:
            log.failure("choosing a certificate for {name!r} failed; the client gets an alert", name=name)


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _accepting(context: SSL.Context, tcp_socket: socket.socket, app_data: object) -> SSL.Connection:
    connection = SSL.Connection(context, tcp_socket)
    connection.set_app_data(app_data)
    connection.set_accept_state()
    return connection


def _context_of(served: ServedCertificate | None) -> SSL.Context | None:
    try:
        return served.context if served is not None else None
    except CertificateError:
        return None


def is_proof(connection: SSL.Connection) -> bool:
    """Whether the handshake is a CA's TLS-ALPN-01 validation: after it the connection is to be closed."""
    return connection.get_app_data() is PROOF


def served_certificate(transport: Any) -> ServedCertificate | None:
    """What this connection's handshake chose; None before that, and on a transport without TLS.

    Serves both TLS on the socket and Twisted's own TLS protocol, if that was made by `endpoint.TlsListening`.
    """
    handle = transport.getHandle()
    if not isinstance(handle, SSL.Connection):
        return None
    served = handle.get_app_data()
    return served if isinstance(served, ServedCertificate) else None
