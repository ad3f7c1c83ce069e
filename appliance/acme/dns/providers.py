"""From a configuration to the responders it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme.dns.exec_hook import ExecHook
from appliance.acme.dns.lexicon import LexiconRecords
from appliance.acme.dns.lookup import Lookup
from appliance.acme.dns.record import Publisher
from appliance.acme.dns.responder import DnsResponder
from appliance.acme.dns.rfc2136 import DynamicUpdates
from appliance.acme.dns.third_party import ThirdParty
from appliance.acme.responders import Responders
from appliance.config import Configuration
from appliance.config.dns import Dns, DnsHook, DynamicUpdate, Lexicon
from appliance.store import Defer


def responders_for(
    configuration: Configuration, own: Sequence[IResponder], make: Callable[[Dns], IResponder]
) -> Responders:
    """The responders of every site's names: ``own``, then DNS-01 by ``make``; a site may want one kind only."""

    def made(dns: Dns | None) -> list[IResponder]:
        return [] if dns is None else [make(dns)]

    shared = made(configuration.acme.dns)
    by_name: dict[str, list[IResponder]] = {}
    for site in configuration.sites:
        usable = [*own, *(made(site.dns) or shared)]
        wanted = [each for each in usable if site.challenge in (None, each.challenge_type)]
        by_name.update(dict.fromkeys(site.names, wanted))
    return Responders([*own, *shared], by_name)


def dns_responder(dns: Dns, reactor: Any, defer: Defer) -> DnsResponder:
    """The responder for ``acme.dns`` or a ``site.dns``."""
    lookup = Lookup(dns.resolvers)
    return DnsResponder(
        reactor, _publisher(dns, reactor, defer), lookup, defer, dns.propagation_timeout, dns.nameservers
    )


def _publisher(dns: Dns, reactor: Any, defer: Defer) -> Publisher:
    match dns.provider:
        case DynamicUpdate():
            return DynamicUpdates(dns.provider, defer)
        case Lexicon():
            return LexiconRecords(reactor, dns.provider, dns.resolvers)
        case DnsHook():
            return ExecHook(reactor, dns.provider)
        case _:
            return ThirdParty(dns.provider, reactor)
