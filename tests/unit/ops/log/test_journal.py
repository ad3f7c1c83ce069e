"""The journal's protocol, spoken to a socket of ours."""

from __future__ import annotations

import io
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import Logger

from appliance.ops.log.journal import LONGEST_VALUE, JournalObserver, leads_to_journal
from appliance.ops.log.text import text_log_observer


@contextmanager
def journal(folder: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A socket where systemd has its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        path = folder / "socket"
        receiving.bind(str(path))
        receiving.setblocking(False)
        yield path, receiving


def read(datagram: bytes) -> dict[str, str]:
    """The fields of an entry, as journald reads them."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def test_entries(tmp_path: Path) -> None:
    """Message, priority and what the event is about; lines may be many, values long."""
    out = io.StringIO()
    with journal(tmp_path) as (path, receiving):
        observer = JournalObserver(path, text_log_observer(out))
        log = Logger("appliance.demo", observer=observer)
        log.error("{site}: one\ntwo", site="example.com", **{"Odd-name é": 5}, long="x" * 100_000)
        found = read(receiving.recv(1024 * 1024))
        log.debug("quiet")
        assert read(receiving.recv(1024))["PRIORITY"] == "7"
        observer.close()
    assert found.pop("APPLIANCE_LONG") == "x" * LONGEST_VALUE
    assert found == {
        "MESSAGE": "example.com: one\ntwo",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "appliance",
        "APPLIANCE_LOGGER": "appliance.demo",
        "APPLIANCE_SITE": "example.com",
        "APPLIANCE_ODD_NAME_": "5",
    }
    assert out.getvalue() == ""


def test_no_journal(tmp_path: Path) -> None:
    """What the journal does not take, because it is full or not there, goes where it would go without it."""
    out = io.StringIO()
    with journal(tmp_path) as (path, _):
        observer = JournalObserver(path, text_log_observer(out))
        log = Logger("appliance.demo", observer=observer)
        for number in range(2000):
            log.info("message {number}", number=number)
    assert "message 1999" in out.getvalue()
    assert "message 0\n" not in out.getvalue()
    log.info("all gone")
    observer.close()
    log.info("closed")
    assert "all gone" in out.getvalue()
    assert "closed" in out.getvalue()


def test_whether_it_is_the_journal() -> None:
    """systemd tells the device and inode of what it passed; anything else is not the journal."""
    with tempfile.TemporaryFile("w") as out:
        status = os.fstat(out.fileno())
        assert leads_to_journal(out, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not leads_to_journal(out, {"JOURNAL_STREAM": "1:2"})
        assert not leads_to_journal(out, {})
    assert not leads_to_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})
