"""Which certificate a TLS client gets: the map from server names to sites, swapped while connections are open."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.logger import Logger

from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate, wildcard_of
from appliance.tls.clienthello import LONGEST, application_protocols, server_name
from appliance.tls.context import HTTP_1_1, check_loads, fallback_context
from appliance.tls.contextcache import ContextCache

CONTEXTS = 2048
"""How many contexts are kept: of 28 KiB each, so 56 MiB at most."""

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

    __slots__ = ("certificate", "site")

    def __init__(self, site: str, certificate: Certificate) -> None:
        self.site = site
        self.certificate = certificate

    def covers(self, host: str) -> bool:
        """Whether a request for ``host`` (no port) may be answered on a connection that proved this certificate."""
        return self.certificate.covers(host.strip("[]"))


class SniMap:
    """Server names, exact and wildcard, to what is served for them. One object, shared by listeners and renewal.

    A name leads to a site, the site to its certificate: a swap is one assignment, however many names and sites there
    are. Contexts are made for those that clients ask for.
    """

    def __init__(
        self,
        challenges: ChallengeContexts | None = None,
        protocols: tuple[bytes, ...] = (HTTP_1_1,),
        contexts: int = CONTEXTS,
    ) -> None:
        """``challenges``: what CAs are answered with, and nobody else. ``protocols``: see `offer`.

        ``contexts``: how many are kept for the next handshake. Open connections keep theirs in any case.
        """
        self._challenges = challenges
        self._most_contexts = contexts
        self._sites: dict[str, str] = {}
        """Which site a name belongs to."""
        self._addresses: dict[str, str] = {}
        """The same of names that are addresses."""
        self._names: dict[str, frozenset[str]] = {}
        """Which names a site was put in for."""
        self._served: dict[str, ServedCertificate] = {}
        """What a site is served with."""
        self._taken: set[str] = set()
        """The kinds of certificates that OpenSSL takes: thousands are swapped in at the start."""
        self.offer(protocols)

    def offer(self, protocols: tuple[bytes, ...]) -> None:
        """Agree on these by ALPN, the best first, with clients that connect from now on."""
        self._contexts = ContextCache(protocols, self._most_contexts)
        self.fallback = fallback_context(self._choose, protocols)
        """For handshakes whose server name is not known before they begin; see `context.fallback_context`."""

    def swap(self, site: str, names: Iterable[str], certificate: Certificate) -> None:
        """Serve ``certificate`` for ``names``, which replace those the site had, to all new connections.

        Raises `CertificateError` if OpenSSL refuses it; the old one is served on, then.
        """
        if not certificate.owned or certificate.kind not in self._taken:
            check_loads(certificate)
            self._taken.add(certificate.kind)
        old = self._served.get(site)
        wanted = frozenset(name.lower() for name in names)
        self._rename(site, certificate.names if wanted == certificate.names else wanted)  # as a rule: kept once
        self._served[site] = ServedCertificate(site, certificate)
        if old is not None:
            self._contexts.forget(old)

    def remove(self, site: str) -> None:
        """Serve nothing for the site's names any more."""
        old = self._served.pop(site, None)
        self._rename(site, frozenset())
        if old is not None:
            self._contexts.forget(old)

    def lookup(self, server_name: str) -> ServedCertificate | None:
        """What is served for a name: its own entry, else that of the wildcard over it, else None."""
        name = server_name.lower()
        site = self._sites.get(name) or self._sites.get(wildcard_of(name))
        return self._served.get(site) if site is not None else None

    @property
    def sites(self) -> tuple[str, ...]:
        """Those that something is served for."""
        return tuple(self._served)

    def names_of(self, site: str) -> frozenset[str]:
        """The names that a site was put in for."""
        return self._names.get(site, frozenset())

    def served(self, site: str) -> ServedCertificate | None:
        """What is served for a site, by the site's own name."""
        return self._served.get(site)

    def rotate_ticket_keys(self) -> None:
        """Make all session tickets issued so far worthless. To be called daily: a stolen key opens a day's sessions."""
        self._contexts.forget_all()

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
        context = self._context_of(served) or self.fallback
        return _accepting(context, tcp_socket, served if context is not self.fallback else None)

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

    def _context_of(self, served: ServedCertificate | None) -> SSL.Context | None:
        try:
            return self._contexts.get(served) if served is not None else None
        except CertificateError:
            return None

    def _rename(self, site: str, names: frozenset[str]) -> None:
        """Have ``names`` lead to the site, and nothing else that did."""
        before = self._names.get(site, frozenset())
        if names:
            self._names[site] = names
        else:
            self._names.pop(site, None)
        for known, of_this_kind in ((self._sites, names), (self._addresses, frozenset(filter(_is_address, names)))):
            for name in before - names:
                if known.get(name) == site:  # it may have moved to another
                    del known[name]
            known.update(dict.fromkeys(of_this_kind, site))

    def _by_address(self, connection: SSL.Connection) -> ServedCertificate | None:
        """For clients that asked for an IP address, which they cannot name (RFC 6066 section 3).

        It is the one they have connected to; behind a router they have not, so the only address served will do.
        """
        addresses = self._addresses
        if not addresses:
            return None
        try:
            local = connection.getsockname()[0].removeprefix("::ffff:")
        except (AttributeError, OSError):  # TLS over memory has no socket
            local = ""
        site = addresses.get(local) or (next(iter(addresses.values())) if len(addresses) == 1 else None)
        return self._served.get(site) if site is not None else None

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
                connection.set_context(self._contexts.get(served))
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
