"""Readers of the single values a configuration is made of; each message says what would be right."""

from __future__ import annotations

import ipaddress
import math
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import idna
from cryptography import x509
from twisted.internet.endpoints import serverFromString

from appliance.config import UpstreamAddress
from appliance.config.reading.schema import Many, Place, Reader, Refused, shown

T = TypeVar("T")

MAX_NAME = 253
"""Characters of a domain name (RFC 1035 section 2.3.4, without the root)."""
MAX_SOCKET_PATH = 107
"""Bytes of a UNIX socket's path on Linux (unix(7)), without the closing zero."""
MAX_PORT = 65535
MAX_SECONDS = 24 * 60 * 60.0

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@]+)(?::(?P<port>[0-9]{1,5}))?")
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PLAIN_NAME = re.compile(r"(?:(?!-|..--)[a-z0-9-]{1,63}(?<!-)\.)+[a-z]{2,63}")
"""What IDNA leaves as it is: lower-case letters, digits, hyphens inside, and no A-labels."""
_ROUTE_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_TARGET = re.compile(r"/[!-\"$-~]*")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_TCP_PORT = re.compile(r"tcp6?:(?:port=)?([0-9]+)")
_SYSTEMD = re.compile(r"systemd:(?:(?:.*:)?domain=)?(?:INET6?|UNIX)(?::.*)?")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DEFAULT_PORTS = {"http": 80, "https": 443, "h2c": 80}


def _text(what: str) -> Callable[[Callable[[str, Place], T]], Reader[T]]:
    """Make a reader of strings from a function that need not care for other types, empty or unprintable text."""

    def decorate(function: Callable[[str, Place], T]) -> Reader[T]:
        def read(value: object, place: Place) -> T:
            if not isinstance(value, str):
                raise Refused(f"must be {what}, in quotes, not {shown(value)}")
            if not value or not value.isprintable() or value != value.strip():
                raise Refused(f"must be {what}, not {shown(value)}")
            return function(value, place)

        return read

    return decorate


def boolean(value: object, place: Place) -> bool:
    """Read ``true`` or ``false``."""
    if not isinstance(value, bool):
        raise Refused(f"must be true or false, not {shown(value)}")
    return value


def whole(least: int, most: int) -> Reader[int]:
    """Read whole numbers from ``least`` to ``most``."""

    def read(value: object, place: Place) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Refused(f"must be a whole number from {least} to {most}, not {shown(value)}")
        return value

    return read


def one_of(*names: str) -> Reader[str]:
    """Read one of a few words."""

    def read(value: object, place: Place) -> str:
        if value not in names:
            quoted = [f'"{name}"' for name in names]
            raise Refused(f"must be {', '.join(quoted[:-1])} or {quoted[-1]}, not {shown(value)}")
        return str(value)

    return read


def seconds(value: object, place: Place) -> float:
    """Read a time span, ``5`` or ``"5s"``: more than none, at most a day."""
    number = _seconds(value)
    if not 0 < number <= MAX_SECONDS:
        raise Refused(f"must be a number of seconds, above 0 and at most {MAX_SECONDS:.0f}, not {shown(value)}")
    return number


def patience(value: object, place: Place) -> float:
    """Read a time span that may be none."""
    return 0.0 if _seconds(value) == 0 else seconds(value, place)


def _seconds(value: object) -> float:
    """Seconds as a number or with their unit; NaN for anything else."""
    if isinstance(value, int) and not 0 <= value <= MAX_SECONDS:
        return math.nan  # it may be more than a float can be
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else math.nan


@_text("a domain name")
def domain_name(value: str, place: Place) -> str:
    """Read a name for a certificate: no scheme, port or closing dot. Returns it as lower-case A-labels (RFC 5891)."""
    bare = _SCHEME.sub("", value).split("/")[0]
    if bare != value:
        raise Refused(f'must be a domain name, not a URL: write "{bare}"')
    host, colon, port = value.partition(":")
    if colon and port.isdigit():
        raise Refused(f'must not have a port, the ports are set in [listen]: write "{host}"')
    if _address(value.strip("[]")) is not None:
        raise Refused(f"must be a domain name: {shown(value)} is an IP address")
    if value.endswith("."):
        raise Refused(f'must not end with a dot: write "{value.rstrip(".")}"')
    wildcard = "*." if value.startswith("*.") else ""
    return wildcard + _a_labels(value.removeprefix("*."))


@_text("a domain name or an IP address")
def site_name(value: str, place: Place) -> str:
    """Read a name of a site: a domain name, or an IP address (RFC 8738) in its one spelling."""
    return _address(value) or domain_name(value, place)


def _address(value: str) -> str | None:
    """An IP address in its one spelling; None if ``value`` is none."""
    if value[-1:].isalpha() and ":" not in value:
        return None  # nearly all names, of which there may be thousands
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return None


def _a_labels(value: str) -> str:
    if "*" in value:
        raise Refused(
            f'{shown(value)} is no wildcard: the star stands for the whole first label, as in "*.example.com"'
        )
    if len(value) <= MAX_NAME and _PLAIN_NAME.fullmatch(value):
        return value  # nearly all names, of which there may be thousands
    try:
        # The length first: idna takes its time over long input.
        name = idna.encode(value, uts46=True, std3_rules=True).decode("ascii") if len(value) <= MAX_NAME else ""
    except idna.IDNAError as error:
        raise Refused(f"{shown(value)} is no domain name: {error}") from error
    if not name or len(name) > MAX_NAME:
        raise Refused(f"{shown(value)} is no domain name: longer than {MAX_NAME} characters")
    return name


@_text('"http://HOST:PORT", "https://HOST:PORT", "h2c://HOST:PORT" or "unix:/PATH"')
def upstream(value: str, place: Place) -> UpstreamAddress:
    """Read where an application listens."""
    if value.startswith("unix:"):
        return _unix_socket(value.removeprefix("unix:"), place)
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise Refused(f'must begin with http://, https:// or unix:, as in "http://{shown(value).strip(chr(34))}"')
    if scheme.lower() not in _DEFAULT_PORTS:
        raise Refused(f"must begin with http://, https://, h2c:// or unix:, not {shown(scheme + separator)}")
    if "@" in rest.split("/")[0]:
        raise Refused("must not hold a user or password: the appliance does not log in to applications")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if authority != rest:
        raise Refused(f'must end after the port: write "{scheme}://{authority}"; to take off a path, use strip_prefix')
    return _tcp(scheme.lower(), authority)


def _unix_socket(name: str, place: Place) -> UpstreamAddress:
    if name.startswith("//"):
        raise Refused(f'must have one slash after the colon: write "unix:/{name.lstrip("/")}"')
    if not name or name.endswith("/"):
        raise Refused('must name the socket\'s file, as in "unix:/run/app.sock"')
    path = str(place.document.folder / name)
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise Refused(f"must be a path of at most {MAX_SOCKET_PATH} bytes, which is all a UNIX socket can have")
    return UpstreamAddress(path=path)


def _tcp(scheme: str, authority: str) -> UpstreamAddress:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise Refused(f'must be "{scheme}://HOST:PORT", an IPv6 address in brackets, not {shown(authority)}')
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port <= MAX_PORT:
        raise Refused(f"must have a port from 1 to {MAX_PORT}, not {port}")
    return UpstreamAddress(host=_host(found["host"]), port=port, tls=scheme == "https", http2=scheme == "h2c")


def _host(text: str) -> str:
    """A name or an address; names may have underscores, which container networks like."""
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text.strip("[]")))
        except ValueError as error:
            raise Refused(f"must have an IPv6 address between the brackets, not {shown(text)}") from error
    host = text.lower()
    labels = host.split(".")
    if not all(map(_HOST_LABEL.fullmatch, labels)) or len(host) > MAX_NAME:
        raise Refused(f"must have a host name or an IP address, not {shown(text)}")
    if labels[-1].isdigit():
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise Refused(f"must have an IPv4 address of four numbers, not {shown(text)}") from error
    return host


@_text('a path such as "/api"')
def route_path(value: str, place: Place) -> str:
    """Read a path prefix. It has one spelling: no closing slash, no dot segments, nothing percent-encoded."""
    if not value.startswith("/"):
        raise Refused(f'must begin with "/": write "/{value}"')
    if not _ROUTE_PATH.fullmatch(value):
        raise Refused(f"must be a plain path, without query, blanks, percent signs or other encodings: {shown(value)}")
    if {".", ".."} & set(value.split("/")) or "//" in value:
        raise Refused(f'must not have ".", ".." or empty segments: {shown(value)}')
    if value != "/" and value.endswith("/"):
        raise Refused(f'must not end with "/": write "{value[:-1]}", which matches that path and all below it')
    return value


@_text("what to ask for, such as /health")
def request_target(value: str, place: Place) -> str:
    """Read a path with or without a query, as it goes into a request."""
    if not _TARGET.fullmatch(value):
        raise Refused(f'must begin with "/" and be in ASCII without blanks, as in "/health": {shown(value)}')
    return value


@_text('an endpoint such as "tcp:443"')
def endpoint(value: str, place: Place) -> str:
    """Read a Twisted server endpoint string; TLS endpoints are refused, as the appliance does TLS itself.

    What systemd passes is only there when the service runs, so it is not looked for.
    """
    kind = value.partition(":")[0].lower()
    if value.isdecimal():
        raise Refused(f'must be an endpoint: write "tcp:{value}"')
    if kind in {"ssl", "tls", "txsni", "le", "lets", "haproxy"}:
        raise Refused(
            f'must be a plain endpoint such as "tcp:443", not {shown(value)}: the appliance does the rest itself'
        )
    try:
        port = _TCP_PORT.match(value)
        if port is not None and int(port[1]) > MAX_PORT:
            raise ValueError(f"ports end at {MAX_PORT}")
        if kind == "systemd" and not _SYSTEMD.fullmatch(value):
            raise ValueError("its domain is INET, INET6 or UNIX")
        with suppress(LookupError):  # of systemd's index= and name=
            serverFromString(None, value)
    except Exception as error:  # whatever that kind's parser, which may be a plugin, raises for its arguments
        raise Refused(f'must be an endpoint such as "tcp:443", not {shown(value)}: {error}') from error
    return value


@_text("an address such as admin@example.com")
def email(value: str, place: Place) -> str:
    """Read one e-mail address, as CAs take it: ASCII, without ``mailto:``."""
    if not _EMAIL.fullmatch(value):
        raise Refused(f"must be one address such as admin@example.com, not {shown(value)}")
    return value


@_text("an https:// URL")
def directory_url(value: str, place: Place) -> str:
    """Read an ACME directory's URL: https, or http to this machine only (RFC 8555 section 6.1)."""
    scheme, separator, rest = value.partition("://")
    authority = _AUTHORITY.match(rest)
    if not separator or authority is None or " " in rest:
        raise Refused(f"must be an https:// URL, not {shown(value)}")
    host = _host(authority["host"])
    if scheme != "https" and not (scheme == "http" and host in {"localhost", "127.0.0.1", "::1"}):
        raise Refused(f"must be an https:// URL (http:// only to localhost), not {shown(value)}")
    return value


@_text("a network such as 10.0.0.0/8")
def network(value: str, place: Place) -> str:
    """Read a CIDR network; a single address is the network of that address."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise Refused(f"must be a network such as 10.0.0.0/8, not {shown(value)}: {error}") from error


@_text("a file name")
def path(value: str, place: Place) -> Path:
    """Read a file name; relative ones are relative to the configuration's folder."""
    return place.document.folder / value


def readable(value: object, place: Place) -> bytes:
    """Read the name of a file, and then the file."""
    name = path(value, place)
    try:
        return name.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {name}: {error.strerror}") from error


def is_folder(name: Path) -> bool | None:
    """Whether there is a folder of that name, or a file; None if nothing is. Raises Refused if that cannot be seen."""
    try:
        return stat.S_ISDIR(name.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Refused(f"cannot be looked at: {name}: {error.strerror}") from error


def folder(value: object, place: Place) -> Path:
    """Read the name of a folder, which may be made later, but not in a file's place."""
    name = path(value, place)
    if is_folder(name) is False:
        raise Refused(f"must be a folder: {name} is a file")
    return name


def certificates_file(value: object, place: Place) -> Path:
    """Read the name of a file of PEM certificates, at least one."""
    name = path(value, place)
    try:
        x509.load_pem_x509_certificates(readable(value, place))
    except ValueError as error:
        raise Refused(f"must be a file of PEM certificates: {name} has none that can be read") from error
    return name


text = _text("a string")(lambda value, place: value)


def credential(value: object, place: Place) -> str:
    """Read a string that may be a secret: it is never repeated in a message."""
    try:
        return text(value, place)
    except Refused:
        raise Refused("must be a string, in quotes, not empty, on one line and without blanks at its ends") from None


def hmac_key(value: object, place: Place) -> str:
    """Read a base64url key; it is never repeated in a message. Padding, which some CAs print, is left out."""
    key = credential(value, place).rstrip("=")
    if not _BASE64URL.fullmatch(key) or len(key) % 4 == 1:
        raise Refused("must be base64url, as the CA printed it")
    return key


def hmac_key_file(value: object, place: Place) -> str:
    """Read a file that holds such a key."""
    content = readable(value, place)
    try:
        return hmac_key(content.decode("ascii").strip(), place)
    except (UnicodeDecodeError, Refused) as error:
        raise Refused("must be a file that holds the key, base64url on one line, and nothing else") from error


COMMAND = Many(credential, or_one=True)
"""Reads a program and its arguments, among which there may be secrets."""


def shown_program(command: str) -> str:
    """A program that is refused; what may be arguments, written in the same quotes, is left out."""
    name, blank, _ = command.partition(" ")
    return f"{name}{blank and ' …'}"
