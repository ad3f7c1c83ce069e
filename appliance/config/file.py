"""The configuration as operators write it, TOML or command-line options: what keys there are, and what they mean.

A key is one line in its table here, one attribute in :mod:`appliance.config`, and one paragraph in
``etc/appliance.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import frozen

from appliance.acme import keys
from appliance.config import (
    LETS_ENCRYPT,
    Acme,
    CertificateAuthority,
    Configuration,
    ExternalAccount,
    Limits,
    Listen,
    Route,
    Site,
    Timeouts,
)
from appliance.config.alarm import Export
from appliance.config.dns import Dns
from appliance.config.reading import alarm, values
from appliance.config.reading.alarm import ALARM, EXPORT
from appliance.config.reading.backend import BACKEND, UPSTREAMS
from appliance.config.reading.dns import DNS
from appliance.config.reading.files import error_pages
from appliance.config.reading.ops import ACCESS_LOG, LOG, METRICS
from appliance.config.reading.schema import Document, KeyPath, Many, Place, Reader, Refused, Table, unique
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
from appliance.config.reading.tomllines import locate
from appliance.config.site import Hsts, Rules
from appliance.errors import ConfigurationError, Mistake

DEFAULT_FILE = Path("/etc/appliance/appliance.toml")

COMMAND_LINE = "command line"

MAX_BYTES = 16 * 1024 * 1024
"""Larger files are refused: a hundred thousand sites fit in."""

_POSITION = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)")


_STATE_DIR = re.compile(r"^[ \t]*state_dir[ \t]*=.*$", re.MULTILINE)

DNS_01 = "dns-01"

WHY_AGREE = "a CA issues certificates only to those who agree to its terms of service"


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


def _external_account(
    place: Place, kid: str, hmac_key: str | None = None, hmac_key_file: str | None = None
) -> ExternalAccount:
    key = hmac_key or hmac_key_file
    if key is None or (hmac_key and hmac_key_file):
        raise Refused("needs hmac_key or hmac_key_file, and only one of them")
    return ExternalAccount(kid, key)


def _issuer(**given: Any) -> dict[str, Any]:
    """Kept as it is until the defaults are known."""
    return given


def _acme(place: Place, issuer: tuple[dict[str, Any], ...] = (), directory: str | None = None, **given: Any) -> Acme:
    """Hand the table's own keys down to the issuers as defaults."""
    if issuer and directory is not None:
        place.at("directory").note("is for a single CA, and there are [[acme.issuer]] tables: move it into one of them")
    defaults: dict[str, Any] = {key: given[key] for key in ("email", "agree_tos", "ca_file") if key in given}
    issuers = tuple(CertificateAuthority(**(defaults | each)) for each in issuer)
    return Acme(directory=directory or LETS_ENCRYPT, issuer=issuers, **given)


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


def _agreed(value: object, place: Place) -> bool:
    if not values.boolean(value, place):
        raise Refused(f"must be true; {WHY_AGREE}")
    return True


KEY_TYPE = values.one_of(*keys.TYPES)

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

EXTERNAL_ACCOUNT = Table(
    {"kid": values.text, "hmac_key": values.hmac_key, "hmac_key_file": values.hmac_key_file},
    _external_account,
    required={"kid": "the key's identifier, which the CA hands out with it"},
    at_place=True,
)

AUTHORITY: dict[str, Reader[Any]] = {
    "email": values.email,
    "ca_file": values.certificates_file,
    "external_account": EXTERNAL_ACCOUNT,
    "profile": values.text,
    "preferred_chain": values.text,
}

ISSUER: Table[dict[str, Any]] = Table(
    {"name": unique(values.text), "directory": unique(values.directory_url), **AUTHORITY},
    _issuer,
    required={
        "name": "what sites and messages call this CA",
        "directory": "where the CA is",
    },
)

ACME = Table(
    {
        "name": values.text,
        "directory": values.directory_url,
        "agree_tos": _agreed,
        **AUTHORITY,
        "issuer": Many(ISSUER),
        "key_type": KEY_TYPE,
        "max_orders": values.whole(1, 1000),
        "rehearsal": values.directory_url,
        "dns": DNS,
    },
    _acme,
    required={"agree_tos": f"set it to true; {WHY_AGREE}"},
    at_place=True,
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


@frozen
class Override:
    """A value from the command line, and the option it came with, which messages name."""

    option: str
    value: object


def load(file: Path | None, overrides: Mapping[KeyPath, Override] = MappingProxyType({})) -> Configuration:
    """Read ``file``, where there is one, with ``overrides`` put in; nothing on disk is changed.

    Raises :class:`ConfigurationError` with every mistake, in the order of the file.
    """
    tables, lines = ({}, {}) if file is None else _parse(file)
    for path, override in overrides.items():
        _put(tables, path, override.value)
    document = Document(
        CONFIGURATION,
        folder=(file or Path("file")).absolute().parent,
        lines=lines,
        options={path: override.option for path, override in overrides.items()},
    )
    for configuration in Place(document).read(CONFIGURATION, tables):
        return configuration
    mistakes = sorted(document.mistakes, key=lambda mistake: mistake.line or 0)
    raise ConfigurationError(tuple(mistakes), COMMAND_LINE if file is None else str(file))


def state_dir_of(file: Path) -> Path:
    """The ``state_dir`` of a file that has mistakes, as far as it can be made out; else the default."""
    try:
        text = file.read_bytes()[:MAX_BYTES].decode("utf-8", "replace")
        found = _STATE_DIR.search(text)
        given = tomllib.loads(found[0])["state_dir"] if found else None
    except (OSError, tomllib.TOMLDecodeError):
        given = None
    return file.absolute().parent / given if isinstance(given, str) and given else Configuration(()).state_dir


def _parse(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The tables of a file, and the lines of its keys. A file that is no TOML at all has one mistake."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigurationError((Mistake("", f"is larger than {MAX_BYTES} bytes"),), str(file))
        text = content.decode("utf-8")
        return tomllib.loads(text), locate(text)
    except OSError as error:
        mistake = Mistake("", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        mistake = Mistake("", "is not UTF-8, which TOML is written in", content.count(b"\n", 0, error.start) + 1)
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        line = int(found[1]) if found and found[1] else content.count(b"\n") + 1
        mistake = Mistake("", f"is not TOML: {_POSITION.sub('', str(error))}", line)
    except RecursionError:
        mistake = Mistake("", "is nested too deeply")
    raise ConfigurationError((mistake,), str(file))


def _put(tables: dict[str, Any], path: KeyPath, value: object) -> None:
    """Set a key, a key of a table, or one more site. A table that is no table stays, to be noted as such."""
    match path:
        case ("site", int()):
            tables.setdefault("site", []).append(value)
        case (str(table), str(key)):
            below = tables.setdefault(table, {})
            if isinstance(below, dict):
                below[key] = value
        case _:
            tables[str(path[0])] = value
