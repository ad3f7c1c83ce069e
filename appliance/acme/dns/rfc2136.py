"""Dynamic updates (RFC 2136), signed with TSIG (RFC 8945): BIND, Knot, PowerDNS and others take them."""

from __future__ import annotations

import socket
from functools import partial

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from appliance.acme.dns.lookup import is_address
from appliance.acme.dns.record import TxtRecord
from appliance.config.dns import DynamicUpdate, NameServer
from appliance.errors import ResponderError
from appliance.store import Defer

TTL = 60
TIMEOUT = 10.0
"""Seconds for one answer of the server."""


class DynamicUpdates:
    """A `Publisher` that tells the zone's primary."""

    def __init__(self, settings: DynamicUpdate, defer: Defer) -> None:
        """``defer`` runs what blocks in a thread."""
        self._settings = settings
        self._defer = defer
        self._key = None
        if settings.key is not None:
            key = settings.key
            self._key = dns.tsig.Key(key.name, key.secret, dns.name.from_text(key.algorithm))

    async def present(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._defer(partial(self._update, record, add=True))

    async def withdraw(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._defer(partial(self._update, record, add=False))

    def _update(self, record: TxtRecord, *, add: bool) -> None:
        zone = self._settings.zone or self._zone(record.name)
        update = dns.update.UpdateMessage(dns.name.from_text(zone))
        name = dns.name.from_text(record.name)
        if not name.is_subdomain(dns.name.from_text(zone)):
            raise ResponderError(f"{record.name} is not in the zone {zone}: correct zone, or leave it out")
        value = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, f'"{record.value}"')
        if add:
            update.add(name, TTL, value)
        else:
            update.delete(name, value)
        step = f"{'add' if add else 'remove'} the TXT record {record.name} in the zone {zone}"
        rcode = self._exchange(update, step).rcode()
        if rcode != dns.rcode.NOERROR:
            raise ResponderError(
                f"{self._who()} will not {step}: {dns.rcode.to_text(rcode)}.{self._advice(rcode, zone)}"
            )

    def _zone(self, name: str) -> str:
        """
        The server's zone that ``name`` is in: the owner of the SOA record that comes with any answer of it.

        Of any but a wildcard's CNAME, which is about where that leads: then what is above ``name`` is asked about.
        """
        step = f"tell the zone that {name} is in"
        answer = self._exchange(dns.message.make_query(name, dns.rdatatype.SOA), step)
        for rrset in (*answer.answer, *answer.authority):
            if rrset.rdtype == dns.rdatatype.SOA and dns.name.from_text(name).is_subdomain(rrset.name):
                return rrset.name.to_text(omit_final_dot=True)
        above = name.partition(".")[2]
        if above and any(rrset.rdtype == dns.rdatatype.CNAME for rrset in answer.answer):
            return self._zone(above)
        raise ResponderError(
            f"{self._who()} cannot {step} ({dns.rcode.to_text(answer.rcode())}): it should be the zone's primary;"
            " or set zone"
        )

    def _exchange(self, message: dns.message.Message, step: str) -> dns.message.Message:
        if self._key is not None:
            message.use_tsig(self._key, algorithm=self._key.algorithm)
        problem = ""
        for address in self._addresses():
            try:
                return dns.query.tcp(message, address, TIMEOUT, self._settings.server.port)
            except dns.tsig.PeerError as error:
                raise ResponderError(f"{self._who()} will not {step}: {self._tsig_words(error)}") from error
            except dns.exception.DNSException as error:
                problem = str(error) or type(error).__name__
            except (OSError, EOFError) as error:
                problem = getattr(error, "strerror", None) or str(error) or "the connection was closed"
        raise ResponderError(f"{self._who()} could not be asked to {step}: {problem}")

    def _addresses(self) -> list[str]:
        server: NameServer = self._settings.server
        if is_address(server.host):
            return [server.host]
        try:
            found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ResponderError(f"the name server {server.host} has no address: {error.strerror}") from error
        return list(dict.fromkeys(str(each[4][0]) for each in found))

    def _who(self) -> str:
        return f"the name server {self._settings.server}"

    def _tsig_words(self, error: dns.tsig.PeerError) -> str:
        name = self._settings.key.name if self._settings.key else ""
        if isinstance(error, dns.tsig.PeerBadKey):
            return f"it does not know the key {name}, or not with that algorithm: compare key_name and algorithm"
        if isinstance(error, dns.tsig.PeerBadSignature):
            return f"its key {name} has another secret: compare secret"
        if isinstance(error, dns.tsig.PeerBadTime):
            return "its clock and ours are too far apart: see to both"
        return str(error) or type(error).__name__

    def _advice(self, rcode: dns.rcode.Rcode, zone: str) -> str:
        who = f"the key {self._settings.key.name}" if self._settings.key else "this machine"
        if rcode == dns.rcode.REFUSED:
            return f" Let it allow {who} to change TXT records there (BIND: update-policy, Knot: acl)"
        if rcode in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
            return f" It is not the primary of {zone}, or does not know {who}"
        return ""
