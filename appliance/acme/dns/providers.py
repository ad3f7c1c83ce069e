"""From a configuration to the responder it asks for."""

from __future__ import annotations

from typing import Any

from appliance.acme.dns.exec_hook import ExecHook
from appliance.acme.dns.lexicon import LexiconRecords
from appliance.acme.dns.lookup import Lookup
from appliance.acme.dns.record import Publisher
from appliance.acme.dns.responder import DnsResponder
from appliance.acme.dns.rfc2136 import DynamicUpdates
from appliance.acme.dns.third_party import third_party
from appliance.dnsconfig import Dns, DnsHook, DynamicUpdate, Lexicon
from appliance.store import Defer


def dns_responder(dns: Dns, reactor: Any, defer: Defer) -> DnsResponder:
    """The responder for ``acme.dns`` or a ``site.dns``. Raises ResponderError for what only making it shows."""
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
            return third_party(dns.provider, reactor)
