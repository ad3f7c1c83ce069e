"""Rules and answers of sites and routes as operators write them; what they must not change is refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from functools import partial
from typing import Any, Literal

from appliance.config import Route
from appliance.config.reading import values
from appliance.config.reading.backend import BACKEND, backend
from appliance.config.reading.files import ROOT
from appliance.config.reading.schema import Either, Many, Place, Reader, Refused, Table, shown
from appliance.config.site import BasicAuth, HeaderEdits, Hsts, Lines, RateLimit, Redirect, Respond, Rules
from appliance.http.headers import REQUEST_NOT_FORWARDED, RESPONSE_NOT_FORWARDED
from appliance.passwords import PasswordHashError, check_hash

MAX_VALUE = 8192
"""Characters of a header field's value."""
MAX_BODY = 64 * 1024
"""Bytes of a fixed answer."""
PRELOAD_AGE = 365 * 24 * 3600
"""Seconds that browsers' preload lists ask for at least."""

REDIRECTS = (301, 302, 303, 307, 308)

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]{1,256}")
_FIELD_VALUE = re.compile(r"[!-~](?:[ -~\t]*[!-~])?")
_CONTENT_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^.+-]+/[A-Za-z0-9!#$&^.+-]+(?: *; *[A-Za-z0-9-]+=(?:[A-Za-z0-9._-]+|\"[^\"\\]*\"))*"
)
_LOCATION = re.compile(
    r"(?:https?://(?:\{host\}|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?=\{path\}|[/?#]|\Z)|/(?![/\\{]))"
    r"(?:\{path\}|\{host\}|[!#-\[\]_a-z~])*"
)
_USER = re.compile(r"[^:]{1,256}")

_HANDSHAKE = frozenset(b"sec-websocket-" + name for name in (b"accept", b"extensions", b"key", b"protocol", b"version"))
_REQUEST_OWN = REQUEST_NOT_FORWARDED | _HANDSHAKE | {b"via"}
_RESPONSE_OWN = RESPONSE_NOT_FORWARDED | _HANDSHAKE | {b"upgrade", b"content-encoding", b"content-range"}


def _field_name(own: frozenset[bytes], value: object, place: Place) -> str:
    """Read a field's name, but no one's of ``own``."""
    name = values.text(value, place)
    if "_" in name:
        raise Refused(f"must not have underscores, by which {shown(name)} could pose as another field: use hyphens")
    if not _FIELD_NAME.fullmatch(name):
        raise Refused(f"must be the name of a header field, such as X-Frame-Options, not {shown(name)}")
    if name.lower().encode("ascii") in own:
        raise Refused(
            f"must not be changed: {name} is what the appliance itself sets, so that messages stay whole and true"
        )
    return name


def _field_value(value: object, place: Place) -> str:
    """Read a field's value: printable ASCII, so that nothing can be smuggled in after it (RFC 9110 section 5.5).

    It is never repeated in a message: it may be a secret that we share with an application.
    """
    if not isinstance(value, str) or len(value) > MAX_VALUE or not _FIELD_VALUE.fullmatch(value):
        raise Refused(
            f"must be a field's value: a string of at most {MAX_VALUE} printable ASCII characters,"
            " not empty and no blanks at its ends"
        )
    return value


def _lines(own: frozenset[bytes], value: object, place: Place) -> Lines:
    """Read a table of fields by their names, each with a value or a list of them."""
    if not isinstance(value, Mapping):
        raise Refused('must be a table, as in {X-Frame-Options = "DENY"}')
    found: list[tuple[str, str]] = []
    before = len(place.document.mistakes)
    for key, given in value.items():
        for name in place.at(key).read(partial(_field_name, own), key):
            for contents in place.at(key).read(Many(_field_value, or_one=True), given):
                found.extend((name, content) for content in contents)
    if len(place.document.mistakes) > before:
        raise Refused
    return tuple(found)


def _check_edits(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Note what would not do what it seems to."""
    kinds: dict[str, list[str]] = {kind: [name for name, _ in found.get(kind, ())] for kind in ("set", "add")}
    kinds["remove"] = [*found.get("remove", ())]
    seen: dict[str, str] = {}
    for kind, names in kinds.items():
        for name in dict.fromkeys(map(str.lower, names)):
            if name in seen:
                place.at(kind).note(f"has {name}, which is in {seen[name]} already: leave one of them out")
            seen.setdefault(name, kind)


def _header_edits(own: frozenset[bytes]) -> Table[HeaderEdits]:
    lines: Reader[Lines] = partial(_lines, own)
    names: Reader[str] = partial(_field_name, own)
    return Table({"set": lines, "add": lines, "remove": Many(names, or_one=True)}, HeaderEdits, check=_check_edits)


def _on(value: object, place: Place) -> Hsts:
    if value is not True:
        raise Refused(
            f"must be true, or a table such as {{max_age = 63072000}}, not {shown(value)}: leave it out for none"
        )
    return Hsts()


def _hsts(place: Place, **given: Any) -> Hsts:
    hsts = Hsts(**given)
    if hsts.preload and not (hsts.include_subdomains and hsts.max_age >= PRELOAD_AGE):
        place.at("preload").note(
            f"is only for include_subdomains = true and a max_age of at least {PRELOAD_AGE}, or no list takes the name"
        )
    return hsts


def location(value: object, place: Place) -> str:
    """Read where a redirect leads: nothing that a client sends can change the host."""
    text = values.text(value, place)
    if not _LOCATION.fullmatch(text):
        raise Refused(
            'must be a URL such as "https://example.com{path}", or a path such as "/new",'
            f" with no other placeholders than {{path}} and {{host}}: {shown(value)}"
        )
    return text


def _redirect_status(value: object, place: Place) -> int:
    if not isinstance(value, int) or value not in REDIRECTS:
        raise Refused(f"must be one of {', '.join(map(str, REDIRECTS))}, not {shown(value)}")
    return value


def _short_redirect(value: object, place: Place) -> Redirect:
    return Redirect(location(value, place))


def _body(value: object, place: Place) -> str:
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > MAX_BODY:
        raise Refused(f"must be a string of at most {MAX_BODY} bytes")
    return value


def _content_type(value: object, place: Place) -> str:
    text = values.text(value, place)
    if not _CONTENT_TYPE.fullmatch(text):
        raise Refused(f'must be a media type such as "text/html; charset=utf-8", not {shown(value)}')
    return text


def _respond(place: Place, **given: Any) -> Respond:
    respond = Respond(**given)
    if respond.body and respond.status in (204, 205, 304):
        place.at("body").note(f"is not for status {respond.status}, which never has one")
    return respond


def _off(value: object, place: Place) -> Literal[False]:
    if value is not False:
        raise Refused("must be a table with users, or false")
    return False


def _users(value: object, place: Place) -> Lines:
    """Read users and the hashes of their passwords, which are not repeated in messages."""
    if not isinstance(value, Mapping) or not value:
        raise Refused('must be a table of users and hashes, as in {anna = "$argon2id$…"}')
    found: list[tuple[str, str]] = []
    for name, hashed in value.items():
        found.extend((name, each) for each in place.at(name).read(partial(_hash, name), hashed))
    if len(found) < len(value):
        raise Refused
    return tuple(found)


def _hash(name: str, value: object, place: Place) -> str:
    if not name.isprintable() or not _USER.fullmatch(name):
        raise Refused("must be a user's name, which has no colons (RFC 7617)")
    if not isinstance(value, str):
        raise Refused("must be the hash that `appliance hash-password` prints, in quotes")
    try:
        check_hash(value)
    except PasswordHashError as error:
        raise Refused(str(error)) from error
    return value


def _realm(value: object, place: Place) -> str:
    text = _field_value(value, place)
    if '"' in text or "\\" in text:
        raise Refused("must not have quotes or backslashes in it")
    return text


HSTS: Reader[Hsts] = Either(
    _on,
    Table(
        {"max_age": values.whole(0, 2**31), "include_subdomains": values.boolean, "preload": values.boolean},
        _hsts,
        at_place=True,
    ),
)

ANSWERS: dict[str, Reader[Any]] = {
    "redirect": Either(
        _short_redirect,
        Table(
            {"to": location, "status": _redirect_status},
            Redirect,
            required={"to": 'where it leads, as in to = "https://example.com{path}"'},
        ),
    ),
    "respond": Table(
        {"status": values.whole(200, 599), "body": _body, "content_type": _content_type}, _respond, at_place=True
    ),
    "root": ROOT,
}
"""What a route may have in place of an upstream."""

RULES: dict[str, Reader[Any]] = {
    "allow": Many(values.network, or_one=True),
    "deny": Many(values.network, or_one=True),
    "rate_limit": Table(
        {"requests": values.whole(1, 1_000_000), "per": values.seconds, "burst": values.whole(1, 1_000_000)},
        RateLimit,
        required={"requests": "how many a client may send in that time"},
    ),
    "basic_auth": Either[BasicAuth | Literal[False]](
        _off,
        Table(
            {"users": _users, "realm": _realm, "forward_authorization": values.boolean},
            BasicAuth,
            required={"users": 'who may come in, as in users = {anna = "$argon2id$…"}'},
        ),
    ),
    "request_headers": _header_edits(_REQUEST_OWN),
    "response_headers": _header_edits(_RESPONSE_OWN),
    "compress": values.boolean,
}


def take_rules(given: dict[str, Any]) -> Rules:
    """What ``given`` says under the keys of `RULES`, which are taken out of it."""
    return Rules(**{key: given.pop(key) for key in RULES if key in given})


ANSWERED_BY = ("upstream", *ANSWERS)
"""Keys of which a route has exactly one, and a site at most one."""


def check_answers(place: Place, found: Mapping[str, Any], others: Set[str]) -> None:
    """Note answers beside the first one, of which a route has exactly one, and keys that are for another answer."""
    answers = [key for key in ANSWERED_BY if key in found or key in others]
    for key in found.keys() & {*answers[1:]}:
        place.at(key).note(f"is a second answer to the same requests beside {answers[0]}: leave one of them out")
    if answers and answers[0] != "upstream":
        for key in found.keys() & BACKEND.keys():
            place.at(key).note(f"is about an upstream, and what answers here is {answers[0]}: leave it out")
    elif (
        answers
        and found.get("send_proxy")
        and (found.get("http2") or any(each.http2 for each in found.get("upstream", ())))
    ):
        place.note("has send_proxy, about one client, and HTTP/2, where many share a connection: leave one of them out")


def answered(path: str, given: dict[str, Any], strip_prefix: bool, rules: Rules) -> Route:
    """A route from the keys that say what answers it, and what these need."""
    answers = {key: given.pop(key) for key in ANSWERED_BY if key in given}
    return Route(path, answers.pop("upstream", ()), strip_prefix, backend(**given), rules=rules, **answers)


def check_names(place: Place, names: tuple[str, ...], redirect_to: str | None) -> None:
    """Note what ``redirect_to`` cannot be."""
    if redirect_to is not None and (redirect_to not in names or redirect_to.startswith("*.")):
        place.at("redirect_to").note(f"must be one of the site's names, {', '.join(names)}, and no wildcard")
    elif redirect_to is not None and len(names) == 1:
        place.at("redirect_to").note("has nothing to redirect: put the other names into names, for the certificate too")


def edits_hsts(edits: HeaderEdits | None) -> bool:
    """Whether these are about the field that ``hsts`` sets."""
    return edits is not None and "strict-transport-security" in edits.names
