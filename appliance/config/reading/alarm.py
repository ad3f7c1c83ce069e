"""``[alarm]``, ``[site.export]`` and ``deploy_hook`` as operators write them."""

from __future__ import annotations

import grp
import shutil
from urllib.parse import urlsplit

from appliance.config.alarm import Alarm, Export
from appliance.config.reading import values
from appliance.config.reading.schema import Place, Refused, Table


def command(value: object, place: Place) -> tuple[str, ...]:
    """Read a program and its arguments, ``["/bin/x", "y"]``; no shell reads them."""
    words = values.COMMAND(value, place)
    program = str(place.document.folder / words[0]) if "/" in words[0] else words[0]
    if shutil.which(program) is None:
        shown = values.shown_program(program)
        raise Refused(f"must be a program and its arguments, each in quotes of its own: {shown} cannot be run")
    return (program, *words[1:])


def web_address(value: object, place: Place) -> str:
    """Read an ``http`` or ``https`` URL; it is never repeated in a message: whoever knows it can write there."""
    text = values.credential(value, place)
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:
        good = False
    if not good:
        raise Refused('must be a URL such as "https://hooks.example.com/alarm"')
    return text


def group(value: object, place: Place) -> str:
    """Read the name of a group of this system."""
    name = values.text(value, place)
    try:
        grp.getgrnam(name)
    except KeyError:
        raise Refused(f"must be a group of this system: there is no {name} (groupadd {name} makes it)") from None
    return name


ALARM = Table(
    {"webhook": web_address, "command": command, "email": values.email, "sendmail": values.path},
    Alarm,
)

EXPORT = Table(
    {"to": values.folder, "group": group},
    Export,
    required={"to": 'the folder for the copies, as in to = "/etc/dovecot/tls"'},
)
