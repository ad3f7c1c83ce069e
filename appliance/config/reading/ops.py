"""``[log]``, ``[access_log]`` and ``[metrics]`` as operators write them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

from appliance.config.ops import AccessLog, Log, Metrics
from appliance.config.reading import values
from appliance.config.reading.schema import Many, Place, Refused, Table, shown, unique

STANDARD_OUTPUT = "-"

_WORD = re.compile(r"[A-Za-z0-9]+")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_RESERVED = re.compile(
    r"(?i:host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|keep-alive|cookie|authorization"
    r"|proxy-.*|forwarded|x-forwarded-.*)"
)
_INTERFACE = re.compile(r"(?:^|:)interface=((?:\\.|[^:\\])*)")
_MODE = re.compile(r":mode=([0-7]{3,4})(?::|$)")


def log_file(value: object, place: Place) -> Path | None:
    """Read a file's name, or ``-`` for standard output. Its folder must be there."""
    if value == STANDARD_OUTPUT:
        return None
    name = values.path(value, place)
    if values.is_folder(name):
        raise Refused(f"must be a file: {name} is a folder")
    if not values.is_folder(name.parent):
        raise Refused(f"must be in a folder that is there: {name.parent} is none")
    return name


def word(value: object, place: Place) -> str:
    """Read a word as it stands in parameters' names; they are taken apart at all but letters and digits."""
    text = values.text(value, place)
    if not _WORD.fullmatch(text):
        raise Refused(f"must be one word of letters and digits, not {shown(value)}: names are taken apart into such")
    return text.lower()


def field_name(value: object, place: Place) -> str:
    """Read the name of a header field that nothing else depends on."""
    text = values.text(value, place)
    if not _FIELD_NAME.fullmatch(text) or _RESERVED.fullmatch(text):
        raise Refused(f'must be a field name of its own such as "X-Request-Id", not {shown(value)}')
    return text


def metrics_endpoint(value: object, place: Place) -> str:
    """Read an endpoint; a UNIX socket, which all users could connect to by default, must have a mode."""
    endpoint = values.endpoint(value, place)
    if endpoint.lower().startswith("unix:"):
        mode = _MODE.search(endpoint)
        if mode is None or int(mode[1], 8) & 0o007:
            raise Refused(f'must not be for all users of this machine: write "{_MODE.sub("", endpoint)}:mode=660"')
    return endpoint


def inner_endpoint(value: str) -> bool:
    """Whether an endpoint can only be reached from this machine, as far as it tells."""
    kind = value.partition(":")[0].lower()
    if kind == "unix":
        return True
    if kind not in ("tcp", "tcp6"):
        return False
    interface = _INTERFACE.search(value)
    try:
        return interface is not None and ipaddress.ip_address(interface[1].replace("\\", "")).is_loopback
    except ValueError:
        return False


def _metrics(place: Place, listen: tuple[str, ...], public: bool = False, **others: Any) -> Metrics:
    """Nobody from outside reads these by accident: names, traffic and failures of every site are in them."""
    for endpoint in listen:
        if not public and not inner_endpoint(endpoint):
            place.at("listen").note(
                f"{shown(endpoint)} may be open to other machines: name a loopback address, as in"
                ' "tcp:9145:interface=127.0.0.1", or set public = true if that is what you want'
            )
    return Metrics(listen, public, **others)


LOG = Table(
    {
        "format": values.one_of("text", "json", "journal"),
        "level": values.one_of("debug", "info", "warn", "error", "critical"),
    },
    Log,
)

ACCESS_LOG = Table(
    {
        "file": log_file,
        "format": values.one_of("json", "combined"),
        "redact": Many(unique(word)),
        "request_id_header": field_name,
    },
    AccessLog,
    required={"file": 'where lines go, as in file = "/var/log/appliance/access.log", or "-" for standard output'},
)

METRICS = Table(
    {
        "listen": Many(unique(metrics_endpoint), or_one=True),
        "public": values.boolean,
        "max_sites": values.whole(1, 10_000),
        "buttons": values.boolean,
    },
    _metrics,
    required={"listen": 'where they are to be had, as in listen = "tcp:9145:interface=127.0.0.1"'},
    at_place=True,
)
