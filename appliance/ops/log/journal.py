"""The log in systemd's journal, with fields: ``journalctl -t appliance APPLIANCE_SITE=example.com``.

The protocol is systemd's own, see https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a datagram for each entry.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from appliance.ops.log.fields import PRIORITIES, fields, level, words
from appliance.ops.log.text import text_log_observer, without_chatter

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "appliance"

LONGEST_VALUE = 32 * 1024
"""Bytes of a field; the rest is cut off. A datagram has room for some 200 KiB, and an event has few fields."""

_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]+")
_LONGEST_NAME = 64


def journal_log_observer(out: IO[Any], path: Path = SOCKET) -> ILogObserver:
    """An observer that sends to the journal, and what that does not take as text to ``out``."""
    return without_chatter(JournalObserver(path, text_log_observer(out)))


def leads_to_journal(out: IO[Any], environment: Mapping[str, str]) -> bool:
    """Whether what is written to ``out`` ends up in the journal, as systemd tells by ``$JOURNAL_STREAM``."""
    with suppress(OSError, ValueError):
        status = os.fstat(out.fileno())
        return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False


@implementer(ILogObserver)
class JournalObserver:
    """Never waits: an entry that the journal does not take at once goes to ``otherwise``."""

    def __init__(self, path: Path, otherwise: ILogObserver) -> None:
        self._path = str(path)
        self._otherwise = otherwise
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        try:
            self._socket.sendto(entry(event), self._path)
        except OSError:
            self._otherwise(event)

    def close(self) -> None:
        """Give the socket back; everything goes to ``otherwise`` from here on."""
        self._socket.close()


def entry(event: LogEvent) -> bytes:
    """One event as the journal takes it."""
    parts = [
        _field("MESSAGE", words(event)),
        _field("PRIORITY", str(PRIORITIES[level(event)])),
        _field("SYSLOG_IDENTIFIER", IDENTIFIER),
        _field("APPLIANCE_LOGGER", event.get("log_namespace") or ""),
    ]
    parts += (_field(_name(name), str(value)) for name, value in fields(event))
    return b"".join(parts)


def _name(name: str) -> str:
    return f"APPLIANCE_{_NOT_IN_NAMES.sub('_', name.upper())}"[:_LONGEST_NAME]


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")[:LONGEST_VALUE]
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode("ascii"), data)
    return b"%b\n%b%b\n" % (name.encode("ascii"), struct.pack("<Q", len(data)), data)
