"""Which certificate a TLS client gets: the map from server names to sites, swapped while connections are open."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL
from twisted.logger import Logger

from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate, wildcard_of
from appliance.tls.clienthello import server_name
from appliance.tls.context import fallback_context, site_context

log = Logger()


class ServedCertificate:
    """One site's certificate as it is being served. A renewal makes a new one; connections keep theirs."""

    __slots__ = ("_context", "certificate", "names", "site")

    def __init__(self, site: str, names: Iterable[str], certificate: Certificate) -> None:
        self.site = site
        self.names = frozenset(name.lower() for name in names)
        self.certificate = certificate
        self._context: SSL.Context | None = None

    @property
    def context(self) -> SSL.Context:
        """The context for new connections, made when first needed. Raises `CertificateError` if OpenSSL refuses it."""
        if self._context is None:
            self._context = site_context(self.certificate)
        return self._context

    def forget_context(self) -> None:
        """Have the next connection make a new context, with new ticket keys: old tickets end in a full handshake."""
        self._context = None

    def covers(self, host: str) -> bool:
        """Whether a request for ``host`` (no port) may be answered on a connection that proved this certificate."""
        return self.certificate.covers(host)


class SniMap:
    """Server names, exact and wildcard, to what is served for them. One object, shared by listeners and renewal."""

    def __init__(self) -> None:
        self._by_name: dict[str, ServedCertificate] = {}
        self._by_site: dict[str, ServedCertificate] = {}
        self.fallback = fallback_context(self._choose)
        """For handshakes whose server name is not known before they begin; see `context.fallback_context`."""

    def swap(self, site: str, names: Iterable[str], certificate: Certificate) -> None:
        """Serve ``certificate`` for ``names``, which replace those the site had, to all new connections.

        Raises `CertificateError` if OpenSSL refuses it; the old one is served on, then.
        """
        served = ServedCertificate(site, names, certificate)
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
        served = self.lookup(name) if name else None
        # Without a site's context the fallback's callback has its say: it refuses the name, or reports what is broken.
        context = _context_of(served) or self.fallback
        connection = SSL.Connection(context, tcp_socket)
        connection.set_app_data(served if context is not self.fallback else None)
        connection.set_accept_state()
        return connection

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

    def _choose(self, connection: SSL.Connection) -> None:
        """OpenSSL's servername callback. An exception in here would only be printed, so none leaves."""
        try:
            name = connection.get_servername()
            served = self.lookup(name.decode("ascii")) if name else None
            if served is not None:
                connection.set_context(served.context)
                connection.set_app_data(served)
        except UnicodeDecodeError:
            pass  # not a host name; the alert for unknown ones answers it
        except Exception:
            log.failure("choosing a certificate for {name!r} failed; the client gets an alert", name=name)


def _context_of(served: ServedCertificate | None) -> SSL.Context | None:
    try:
        return served.context if served is not None else None
    except CertificateError:
        return None


def served_certificate(transport: Any) -> ServedCertificate | None:
    """What this connection's handshake chose; None before that, and on a transport without TLS.

    Serves both TLS on the socket and Twisted's own TLS protocol, if that was made by `endpoint.TlsListening`.
    """
    handle = transport.getHandle()
    if not isinstance(handle, SSL.Connection):
        return None
    served = handle.get_app_data()
    return served if isinstance(served, ServedCertificate) else None
