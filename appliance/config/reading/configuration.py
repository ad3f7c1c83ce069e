"""What keys a configuration has, and what one table says about another.

A key is one line in its table, here or in a neighbouring module, one attribute in :mod:`appliance.config`, and one
paragraph in ``etc/appliance.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.config import Acme, Configuration, Limits, Listen, Route, Site, Timeouts
from appliance.config.alarm import Export
from appliance.config.dns import Dns
from appliance.config.reading import alarm, values
from appliance.config.reading.acme import ACME, KEY_TYPE, WHY_AGREE
from appliance.config.reading.alarm import ALARM, EXPORT
from appliance.config.reading.backend import BACKEND, UPSTREAMS
from appliance.config.reading.dns import DNS
from appliance.config.reading.files import error_pages
from appliance.config.reading.ops import ACCESS_LOG, LOG, METRICS
from appliance.config.reading.schema import Many, Place, Refused, Table, unique
from appliance.config.reading.site import (
    ANSWERED_BY,
    ANSWERS,
    HSTS,
    RULES,
    answered,
    check_names,
    edits_hsts,
    take_rules,
    twice,
)
from appliance.config.site import Hsts, Rules

DNS_01 = "dns-01"


def _site(
    place: Place,
    names: tuple[str, ...],
    route: tuple[Route, ...] = (),
    issuer: tuple[str, ...] = (),
    profile: str | None = None,
    key_type: str | None = None,
    challenge: str | None = None,
    dns: Dns | None = None,
    export: Export | None = None,
    deploy_hook: tuple[str, ...] = (),
    redirect_to: str | None = None,
    hsts: Hsts | None = None,
    maintenance: bool = False,
    **given: Any,
) -> Site:
    """Join the short form, ``upstream`` or another answer, and the long one, ``[[site.route]]``."""
    rules = take_rules(given)
    own = next((key for key in ANSWERED_BY if key in given), None)
    if own is not None and any(each.path == "/" for each in route):
        place.at(own).note('is what "/" goes to, and a route for "/" is there too: leave one of them out')
    routes = route if own is None else (*route, answered(place, "/", given, False, Rules()))
    for key in given if own is None else ():
        place.at(key).note("is about the site's own upstream, which it has not: put it into a [[site.route]]")
    if dns is not None and challenge not in (None, DNS_01):
        place.at("dns").note(f'is for challenge = "{DNS_01}", and this site has "{challenge}": leave one of them out')
    challenge = challenge or (DNS_01 if dns is not None else None)
    check_names(place, names, redirect_to)
    if hsts is not None and any(map(edits_hsts, (rules, *(each.rules for each in route)))):
        place.at("hsts").note("is set here and among the response_headers: leave one of them out")
    if rules.basic_auth is False:
        place.at("basic_auth").note("false is for a route of a site that has it: leave it out")
    return Site(
        names,
        routes,
        issuer,
        profile,
        key_type,
        challenge,
        dns,
        export,
        deploy_hook,
        redirect_to,
        hsts,
        maintenance,
        rules,
    )


def _route(place: Place, path: str, strip_prefix: bool = False, **given: Any) -> Route:
    return answered(place, path, given, strip_prefix, take_rules(given))


def _configuration(place: Place, site: tuple[Site, ...] = (), **others: Any) -> Configuration:
    """Check what one table says about another."""
    configuration = Configuration(sites=site, **others)
    known = [authority.label for authority in configuration.acme.authorities]
    unknown = [
        (place.at("site").at(number).at("issuer"), name)
        for number, each in enumerate(site)
        for name in each.issuer
        if name not in known
    ]
    for where, name in unknown:
        where.note(f'has "{name}", which no [[acme.issuer]] is named; there are {", ".join(known)}')
    unprovable = [
        (place.at("site").at(number), *found)
        for number, each in enumerate(site)
        for found in _unprovable(each, configuration.acme)
    ]
    for where, key, message in unprovable:
        where.at(key).note(message)
    clashes = [] if configuration.access_log is None else list(twice(site, configuration.access_log.request_id_header))
    for path in clashes:
        Place(place.document, path).note("is about the request_id_header of [access_log], which is set there")
    if unknown or unprovable or clashes:
        raise Refused
    return configuration


def _unprovable(site: Site, acme: Acme) -> Iterator[tuple[str, str]]:
    """What no CA can be shown: the key, and what to do about it."""
    set_up = "set up [acme.dns], or [site.dns] for this site"
    wildcards = ", ".join(name for name in site.names if name.startswith("*."))
    has_dns = (site.dns or acme.dns) is not None
    if wildcards and site.challenge not in (None, DNS_01):
        yield "challenge", f'must be "{DNS_01}": a CA certifies wildcards ({wildcards}) no other way'
    elif wildcards and not has_dns:
        yield "names", f"has {wildcards}, and a CA certifies wildcards over DNS-01 only: {set_up}"
    elif site.challenge == DNS_01 and not has_dns:
        yield "challenge", f'is "{DNS_01}", which needs somewhere to put records: {set_up}'


ENDPOINTS = Many(unique(values.endpoint), or_one=True)

ROUTE = Table(
    {
        "path": unique(values.route_path, depth=2),
        "upstream": UPSTREAMS,
        "strip_prefix": values.boolean,
        **ANSWERS,
        **BACKEND,
        **RULES,
    },
    _route,
    required={
        "path": 'what the requests\' paths begin with, as in path = "/api"',
        "upstream": f"where they go, or {' or '.join(ANSWERS)} in its place",
    },
    at_place=True,
    instead={"upstream": ANSWERS},
)

SITE = Table(
    {
        "names": Many(unique(values.site_name)),
        "issuer": Many(values.text, or_one=True),
        "profile": values.text,
        "key_type": KEY_TYPE,
        "challenge": values.one_of("http-01", "tls-alpn-01", DNS_01),
        "dns": DNS,
        "export": EXPORT,
        "deploy_hook": alarm.command,
        "upstream": UPSTREAMS,
        "route": Many(ROUTE),
        "redirect_to": values.site_name,
        "hsts": HSTS,
        "maintenance": values.boolean,
        **ANSWERS,
        **BACKEND,
        **RULES,
    },
    _site,
    required={
        "names": 'the site\'s domain names, as in names = ["example.com"]',
        "upstream": 'where the application listens, as in upstream = "http://127.0.0.1:8000", or a [[site.route]]',
    },
    instead={"upstream": ("route", *ANSWERS)},
    at_place=True,
)

LISTEN = Table(
    {
        "http": ENDPOINTS,
        "https": ENDPOINTS,
        "proxy_protocol_from": Many(unique(values.network)),
        "http2": values.boolean,
    },
    Listen,
)

LIMITS = Table(
    {
        "header_bytes": values.whole(1024, 1024 * 1024),
        "target_bytes": values.whole(256, 1024 * 1024),
        "headers": values.whole(8, 10_000),
        "body_bytes": values.whole(0, 2**63 - 1),
        "body_rate": values.whole(0, 2**31),
        "requests_per_connection": values.whole(1, 2**63 - 1),
        "concurrent_streams": values.whole(1, 10_000),
        "connections": values.whole(1, 1_000_000),
        "connections_per_client": values.whole(1, 1_000_000),
    },
    Limits,
)

TIMEOUTS = Table(
    {
        "handshake": values.seconds,
        "header": values.seconds,
        "idle": values.seconds,
        "body": values.seconds,
        "connect": values.seconds,
        "first_byte": values.seconds,
        "websocket_idle": values.seconds,
        "upstream_idle": values.seconds,
    },
    Timeouts,
)

CONFIGURATION = Table(
    {
        "state_dir": values.folder,
        "drain_timeout": values.seconds,
        "upgrade_timeout": values.seconds,
        "workers": values.whole(1, 64),
        "trusted_proxies": Many(unique(values.network)),
        "error_pages": error_pages,
        "listen": LISTEN,
        "acme": ACME,
        "limits": LIMITS,
        "timeouts": TIMEOUTS,
        "alarm": ALARM,
        "log": LOG,
        "access_log": ACCESS_LOG,
        "metrics": METRICS,
        "site": Many(SITE),
    },
    _configuration,
    required={
        "acme": f"the table with agree_tos = true in it; {WHY_AGREE}",
    },
    at_place=True,
    only_with={"acme": "site"},
)
