"""The configuration that the running service has, and the way to another one while it runs.

What can fail is done first and changes nothing that anybody would notice: files are read, what is new is made, the
store is looked into, new listeners are opened. Then everything is put in place within one turn of the reactor. What is
the same in both configurations stays the same object all the while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from attrs import frozen
from twisted.logger import Logger

from appliance import descriptors
from appliance.acme.issuers import Authorities, Issuers
from appliance.acme.renewal import RenewalService
from appliance.admission import Admission, default_connections, default_per_client, possible_connections
from appliance.announced import Announcing
from appliance.applications import Applications
from appliance.applications import Prepared as PreparedApplications
from appliance.config import Configuration, Limits, Listen
from appliance.difference import Difference, compare
from appliance.entrances import Entrance
from appliance.errors import ApplianceError, RestartNeededError
from appliance.http.errorpages import ErrorPages
from appliance.listener import Listener
from appliance.ops.operating import Operating
from appliance.ops.watching import Watch
from appliance.proxy.assembly import Assembly
from appliance.proxy.handler import ProxyHandler, RedirectHandler
from appliance.proxy.trust import TrustedProxies
from appliance.tls.context import HTTP_1_1, HTTP_2
from appliance.tls.snimap import SniMap

_log = Logger()

_TCP_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?([0-9]+)")


@frozen(eq=False)
class Parts:
    """Everything that a configuration says something about."""

    admission: Admission
    announcing: Announcing | None
    applications: Applications
    assembly: Assembly
    certificates: SniMap
    handler: ProxyHandler
    http: Entrance
    https: Entrance
    issuers: Issuers
    proxies: TrustedProxies
    operating: Operating
    redirect: RedirectHandler
    renewal: RenewalService
    watch: Watch


@frozen(eq=False)
class _Prepared:
    """What was made for a configuration, and is not in place yet."""

    authorities: Authorities
    applications: PreparedApplications
    http: Sequence[Listener]
    https: Sequence[Listener]


class Configured:
    """The one owner of the current configuration."""

    def __init__(self, current: Configuration, parts: Parts) -> None:
        """``parts`` are as ``current`` says."""
        self.current = current
        self._parts = parts

    async def change(self, wanted: Configuration) -> Difference:
        """
        Have another configuration; one such call at a time. Returns what was different, when all of it is in place.

        Raises ApplianceError when it cannot be had; then everything is as before. RestartNeededError names the keys
        that cannot be changed.
        """
        difference = compare(self.current, wanted)
        if difference.refused:
            raise RestartNeededError(difference.refused)
        parts = self._parts
        authorities = parts.issuers.prepare(wanted)
        applications = parts.applications.prepare(wanted.sites)
        stored = await parts.renewal.look(wanted.sites)
        if not parts.renewal.running:
            raise ApplianceError("the appliance is stopping")
        http, https = self._open(wanted)
        self._put_in_place(wanted, difference, _Prepared(authorities, applications, http, https))
        await parts.renewal.replace_sites(wanted.sites, stored)
        for site in wanted.sites:
            if site.name in difference.passed_on:
                parts.operating.installer.pass_on(site.name, site.names)
        return difference

    def _open(self, wanted: Configuration) -> tuple[Sequence[Listener], Sequence[Listener]]:
        """Open the new listeners; all of them, or none. Raises ListenError."""
        parts = self._parts
        http = parts.http.prepare(wanted.listen.http)
        try:
            https = parts.https.prepare(wanted.listen.https)
            try:
                parts.watch.prepare(wanted)
            except Exception:
                parts.https.discard(https)
                raise
        except Exception:
            parts.http.discard(http)
            raise
        return http, https

    def _put_in_place(self, wanted: Configuration, difference: Difference, prepared: _Prepared) -> None:
        parts, before = self._parts, self.current
        self.current = wanted
        self._use_authorities(wanted, "acme" in difference.settings, prepared.authorities)
        parts.applications.apply(prepared.applications, wanted.timeouts)
        parts.assembly.serve(wanted.sites, parts.applications.upstreams)
        parts.watch.apply(wanted)
        parts.operating.apply(wanted)
        self._use_networks(wanted)
        parts.redirect.https_port = https_port(wanted.listen.https)
        parts.handler.request_id = parts.watch.request_id
        parts.handler.errors = parts.redirect.errors = ErrorPages(wanted.error_pages, parts.watch.identify)
        if before.listen.http2 != wanted.listen.http2:
            parts.certificates.offer(protocols(wanted.listen))
        for entrance, listeners in ((parts.http, prepared.http), (parts.https, prepared.https)):
            entrance.clients.apply(wanted.limits, wanted.timeouts, parts.watch.observer, wanted.listen.http2)
            entrance.apply(listeners)

    def _use_authorities(self, wanted: Configuration, changed: bool, authorities: Authorities) -> None:
        """Orders that have failed are tried again only where something about the CAs has changed."""
        parts, acme = self._parts, wanted.acme
        changed = changed or authorities.issuers != parts.issuers.current
        parts.issuers.apply(authorities)
        if changed:
            parts.renewal.replace_authorities(
                authorities.issuers, authorities.rehearsal, acme.key_type, acme.max_orders
            )

    def _use_networks(self, wanted: Configuration) -> None:
        parts = self._parts
        trusted = networks(wanted.trusted_proxies)
        parts.proxies.networks = trusted
        parts.admission.apply(*bounds(wanted.limits), trusted)
        if parts.announcing is not None:
            parts.announcing.apply(networks(wanted.listen.proxy_protocol_from), wanted.timeouts.header)


def networks(texts: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks in CIDR notation."""
    return tuple(ip_network(network) for network in texts)


def protocols(listen: Listen) -> tuple[bytes, ...]:
    """What is offered by ALPN, the best first."""
    return (HTTP_2, HTTP_1_1) if listen.http2 else (HTTP_1_1,)


def bounds(limits: Limits, descriptors_allowed: Callable[[], int] = descriptors.limit) -> tuple[int, int]:
    """How many connections there may be from all clients, and from each."""
    allowed = descriptors_allowed()
    connections = limits.connections or default_connections(allowed)
    possible = possible_connections(connections, allowed)
    if possible < connections:
        _log.warn(
            "limits.connections = {connections} needs more file descriptors than the {allowed} that the system allows"
            " (LimitNOFILE= of systemd, ulimit -n): {possible} it is",
            connections=connections,
            allowed=allowed,
            possible=possible,
        )
    return possible, limits.connections_per_client or default_per_client(possible)


def https_port(endpoints: Sequence[str]) -> int:
    """The port that redirects name: the first HTTPS listener's, 443 where its endpoint string does not tell."""
    for endpoint in endpoints:
        match = _TCP_PORT.match(endpoint)
        if match is not None:
            return int(match[1])
    return 443
