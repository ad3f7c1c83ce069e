"""What keys a configuration has, and what one table says about another.

A key is one line in its table, here or in a neighbouring module, one attribute in :mod:`appliance.config`, and one
paragraph in ``etc/appliance.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial
from typing import Any

from appliance.config import Acme, Configuration, Limits, Listen, Route, Site, Timeouts
from appliance.config.dns import Dns
from appliance.config.ops import AccessLog
from appliance.config.reading import alarm, values
from appliance.config.reading.acme import ACME, KEY_TYPE, WHY_AGREE
from appliance.config.reading.alarm import ALARM, EXPORT
from appliance.config.reading.backend import BACKEND, UPSTREAMS
from appliance.config.reading.dns import DNS
from appliance.config.reading.files import error_pages
from appliance.config.reading.ops import ACCESS_LOG, LOG, METRICS
from appliance.config.reading.schema import Many, Place, Table, unique
from appliance.config.reading.site import (
    ANSWERED_BY,
    ANSWERS,
    HSTS,
    RULES,
    answered,
    check_answers,
    check_names,
    edits_hsts,
    take_rules,
)
from appliance.config.site import HeaderEdits, Rules

DNS_01 = "dns-01"


def _site(
    names: tuple[str, ...],
    route: tuple[Route, ...] = (),
    challenge: str | None = None,
    dns: Dns | None = None,
    **given: Any,
) -> Site:
    """Join the short form, ``upstream`` or another answer, and the long one, ``[[site.route]]``."""
    rules = take_rules(given)
    own = {key: given.pop(key) for key in (*ANSWERED_BY, *BACKEND) if key in given}
    routes = (*route, answered("/", own, False, Rules())) if own else route
    challenge = challenge or (DNS_01 if dns is not None else None)
    return Site(names, routes, challenge=challenge, dns=dns, rules=rules, **given)


def _check_site(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Compare the keys of a site with each other, and have them compared with other tables later."""
    _check_own(place, found, others)
    challenge = found.get("challenge")
    if "dns" in found and challenge not in (None, DNS_01):
        place.at("dns").note(f'is for challenge = "{DNS_01}", and this site has "{challenge}": leave one of them out')
    if "names" in found and "redirect_to" in found:
        check_names(place, found["names"], found["redirect_to"])
    edits = (found.get("response_headers"), *(each.rules.response_headers for each in found.get("route", ())))
    if "hsts" in found and any(map(edits_hsts, edits)):
        place.at("hsts").note("is set here and among the response_headers: leave one of them out")
    if found.get("basic_auth") is False:
        place.at("basic_auth").note("false is for a route of a site that has it: leave it out")
    _compare_request_id(place, found)
    if "issuer" in found:
        place.document.later.append(partial(_check_issuers, place.at("issuer"), found["issuer"]))
    _compare_proof(place, found, others)


def _check_own(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Compare what answers for the site itself with its routes."""
    own = next((key for key in ANSWERED_BY if key in found or key in others), None)
    if own is not None and any(each.path == "/" for each in found.get("route", ())):
        place.at(own).note('is what "/" goes to, and a route for "/" is there too: leave one of them out')
    given = found.keys() | others
    if own is None and "route" in given and given <= SITE.keys.keys():
        for key in found.keys() & BACKEND.keys():
            place.at(key).note("is about the site's own upstream, which it has not: put it into a [[site.route]]")
    check_answers(place, found, others)


def _route(path: str, strip_prefix: bool = False, **given: Any) -> Route:
    rules = take_rules(given)
    return answered(path, given, strip_prefix, rules)


def _check_route(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    check_answers(place, found, others)
    _compare_request_id(place, found)


def _check_tables(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Check what one table says about another, of which either may be wrong itself, and then tells nothing."""
    sure = "acme" in found or others <= CONFIGURATION.keys.keys() - {"acme"}
    acme = found.get("acme", Acme()) if sure else None
    for check in place.document.later:
        check(acme=acme, access_log=found.get("access_log"))


def _check_issuers(place: Place, names: tuple[str, ...], acme: Acme | None, access_log: AccessLog | None) -> None:
    known = [authority.label for authority in acme.authorities] if acme is not None else []
    for name in names:
        if known and name not in known:
            place.note(f'has "{name}", which no [[acme.issuer]] is named; there are {", ".join(known)}')


def _compare_request_id(place: Place, found: Mapping[str, Any]) -> None:
    if "request_headers" in found:
        place.document.later.append(partial(_check_edits, place.at("request_headers"), found["request_headers"]))


def _check_edits(place: Place, edits: HeaderEdits, acme: Acme | None, access_log: AccessLog | None) -> None:
    header = access_log.request_id_header if access_log is not None else None
    if header is not None and header.lower() in edits.names:
        place.note("is about the request_id_header of [access_log], which is set there")


def _compare_proof(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Note what no CA can be shown, if need be when it is known whether there is an ``[acme.dns]``."""
    wildcards = ", ".join(name for name in found.get("names", ()) if name.startswith("*."))
    challenge = found.get("challenge")
    if not (wildcards or challenge == DNS_01) or not others <= SITE.keys.keys() - {"challenge", "dns"}:
        return
    if wildcards and challenge not in (None, DNS_01):
        place.at("challenge").note(f'must be "{DNS_01}": a CA certifies wildcards ({wildcards}) no other way')
    elif "dns" not in found:
        place.document.later.append(partial(_check_dns, place, wildcards))


def _check_dns(place: Place, wildcards: str, acme: Acme | None, access_log: AccessLog | None) -> None:
    if acme is None or acme.dns is not None:
        return
    set_up = "set up [acme.dns], or [site.dns] for this site"
    if wildcards:
        place.at("names").note(f"has {wildcards}, and a CA certifies wildcards over DNS-01 only: {set_up}")
    else:
        place.at("challenge").note(f'is "{DNS_01}", which needs somewhere to put records: {set_up}')


def _configuration(site: tuple[Site, ...] = (), **others: Any) -> Configuration:
    return Configuration(site, **others)


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
    instead={"upstream": ANSWERS},
    check=_check_route,
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
    check=_check_site,
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
    only_with={"acme": "site"},
    check=_check_tables,
)
