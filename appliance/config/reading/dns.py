"""``[acme.dns]`` and ``[site.dns]`` as operators write them: one table, whose ``provider`` says which keys it has."""

from __future__ import annotations

import base64
import binascii
import importlib
import importlib.util
import ipaddress
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from appliance.config.dns import CustomResponder, Dns, DnsHook, DynamicUpdate, Lexicon, NameServer, Options, TsigKey
from appliance.config.reading import values
from appliance.config.reading.schema import Many, Place, Refused, Table, shown

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
"""For TSIG; the first is the default. HMAC-MD5 is not to be used any more (RFC 8945 section 6)."""

LONGEST = 600.0
"""Seconds that publishing one record, or waiting until it is seen, may be given: an order as a whole has 900."""

_KEY_NAME = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_LEXICON_NAME = re.compile(r"[a-z0-9_]+")
_FACTORY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")


def name_server(value: object, place: Place) -> NameServer:
    """Read ``HOST`` or ``HOST:PORT``, IPv6 addresses with a port in brackets; the host may be a name."""
    text = values.text(value, place)
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") if port else "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (_PORT.fullmatch(port) and 0 < int(port) <= values.MAX_PORT):
        raise Refused(f'must be a server such as "192.0.2.53" or "[2001:db8::53]:53", not {shown(value)}')
    try:
        return NameServer(str(ipaddress.ip_address(host)), int(port))
    except ValueError:
        return NameServer(_host_name(host, place), int(port))


def name_server_address(value: object, place: Place) -> NameServer:
    """Read the same, by address only: to look up a name, there must be a resolver first."""
    server = name_server(value, place)
    try:
        ipaddress.ip_address(server.host)
    except ValueError as error:
        raise Refused(f"must be the server's IP address, not {shown(value)}") from error
    return server


def secret(value: object, place: Place) -> str:
    """Read a TSIG key's secret; it is never repeated in a message."""
    try:
        text = values.text(value, place)
        if base64.b64decode(text, validate=True):
            return text
    except (Refused, binascii.Error, ValueError):
        pass
    raise Refused("must be the key's secret, base64, as tsig-keygen prints it")


def secret_file(value: object, place: Place) -> str:
    """Read a file that holds nothing but such a secret."""
    try:
        return secret(values.readable(value, place).decode("ascii").strip(), place)
    except UnicodeDecodeError as error:
        raise Refused("must be a file that holds the key's secret, base64, and nothing else") from error


def options(value: object, place: Place) -> Options:
    """Read a table of any keys with plain values, which are not repeated in messages: credentials are among them."""
    if not isinstance(value, Mapping):
        raise Refused("must be a table")
    for key, each in value.items():
        if not isinstance(each, str | int | float | bool):
            place.at(key).note("must be a string, a number, true or false")
    if any(not isinstance(each, str | int | float | bool) for each in value.values()):
        raise Refused
    return dict(value)


def options_file(value: object, place: Place) -> Options:
    """Read a TOML file that is such a table."""
    try:
        return options(tomllib.loads(values.readable(value, place).decode("utf-8")), place)
    except UnicodeDecodeError as error:
        raise Refused("must be a TOML file: it is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise Refused('must be a TOML file of options, as in auth_token = "…"') from error


def factory(value: object, place: Place) -> str:
    """Read ``package.module:callable``, and import it, so that what is wrong is known before anything starts."""
    text = values.text(value, place)
    if not _FACTORY.fullmatch(text):
        raise Refused(f'must be "package.module:callable", not {shown(value)}')
    module, _, path = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except ImportError as error:
        raise Refused(f"cannot be imported: {error}. Is it installed beside the appliance?") from error
    except AttributeError as error:
        raise Refused(f"cannot be used: {error}") from error
    except Exception as error:  # of somebody else's module
        raise Refused(f"cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise Refused(f"must be something to call: {text} is {type(found).__name__}")
    return text


def _key_name(value: object, place: Place) -> str:
    text = values.text(value, place)
    if not _KEY_NAME.fullmatch(text):
        raise Refused(f"must be the key's name, not {shown(value)}")
    return text


def _lexicon_name(value: object, place: Place) -> str:
    text = values.text(value, place)
    if not _LEXICON_NAME.fullmatch(text):
        raise Refused(f'must be lexicon\'s name of the DNS service, as in "cloudflare", not {shown(value)}')
    if importlib.util.find_spec("lexicon") is None:
        raise Refused("needs dns-lexicon, which is not installed: pip install 'appliance[lexicon]'")
    return text


def _command(value: object, place: Place) -> tuple[str, ...]:
    command = values.COMMAND(value, place)
    program = str(place.document.folder / command[0])  # as all other files: relative to the configuration's folder
    if shutil.which(program) is None:
        shown_program = values.shown_program(program)
        raise Refused(f"must be a program and its arguments: {shown_program} is no executable file")
    return (program, *command[1:])


def _patience(value: object, place: Place) -> float:
    seconds = values.seconds(value, place)
    if seconds > LONGEST:
        raise Refused(f"must be at most {LONGEST:.0f} seconds: a CA's order does not wait for longer")
    return seconds


def _zone(value: object, place: Place) -> str:
    return _host_name(values.text(value, place).removesuffix("."), place)


def _host_name(value: str, place: Place) -> str:
    name = values.domain_name(value, place)
    if name.startswith("*."):
        raise Refused(f"must be a name, not a wildcard: {shown(value)}")
    return name


@frozen
class _Kind:
    """What ``provider`` may be."""

    build: Callable[..., Any]
    keys: tuple[str, ...]
    required: Mapping[str, str]


def _dynamic_update(
    server: NameServer,
    key_name: str | None = None,
    secret: str | None = None,
    secret_file: str | None = None,
    algorithm: str = ALGORITHMS[0],
    zone: str | None = None,
) -> DynamicUpdate:
    if secret and secret_file:
        raise Refused("has both secret and secret_file: leave one of them out")
    found = secret or secret_file
    if (key_name is None) != (found is None):
        raise Refused("needs key_name together with secret or secret_file")
    key = TsigKey(key_name, found, algorithm) if key_name and found else None
    return DynamicUpdate(server, key, zone)


def _with_options(build: Callable[[str, Options], Any], name: str) -> Callable[..., Any]:
    def built(
        options: Options = MappingProxyType({}), options_file: Options = MappingProxyType({}), **rest: str
    ) -> Any:
        if twice := sorted(options.keys() & options_file.keys()):
            raise Refused(f"has {', '.join(twice)} in options and in options_file: leave one of them out")
        return build(rest[name], {**options_file, **options})

    return built


_OPTIONS = ("options", "options_file")

KINDS = {
    "rfc2136": _Kind(
        _dynamic_update,
        ("server", "key_name", "secret", "secret_file", "algorithm", "zone"),
        {"server": 'the zone\'s primary name server, as in server = "192.0.2.53"'},
    ),
    "lexicon": _Kind(
        _with_options(Lexicon, "name"), ("name", *_OPTIONS), {"name": 'the DNS service, as in name = "cloudflare"'}
    ),
    "exec": _Kind(
        DnsHook, ("command", "timeout"), {"command": 'the program, as in command = ["/usr/local/bin/dns-hook"]'}
    ),
    "responder": _Kind(
        _with_options(CustomResponder, "responder"),
        ("responder", *_OPTIONS),
        {"responder": 'what makes it, as in responder = "package.module:callable"'},
    ),
}

COMMON = ("resolvers", "nameservers", "propagation_timeout")


def _dns(place: Place, provider: str, **given: Any) -> Dns:
    """Hand the keys to the provider they are for, and refuse those that are for another."""
    kind = KINDS[provider]
    own = {key: value for key, value in given.items() if key not in COMMON}
    before = len(place.document.mistakes)
    for key in own.keys() - set(kind.keys):
        place.at(key).note(f'is no key of provider = "{provider}", which has {", ".join(kind.keys)}')
    for key, purpose in kind.required.items():
        if key not in own:
            place.at(key).note(f"is missing: {purpose}")
    if len(place.document.mistakes) > before:
        raise Refused
    return Dns(kind.build(**own), **{key: value for key, value in given.items() if key in COMMON})


ADDRESSES = Many(name_server_address, or_one=True)

DNS = Table(
    {
        "provider": values.one_of(*KINDS),
        "server": name_server,
        "key_name": _key_name,
        "secret": secret,
        "secret_file": secret_file,
        "algorithm": values.one_of(*ALGORITHMS),
        "zone": _zone,
        "name": _lexicon_name,
        "options": options,
        "options_file": options_file,
        "command": _command,
        "timeout": _patience,
        "responder": factory,
        "resolvers": ADDRESSES,
        "nameservers": ADDRESSES,
        "propagation_timeout": _patience,
    },
    _dns,
    required={"provider": f"how records are published: one of {', '.join(KINDS)}"},
    at_place=True,
)
