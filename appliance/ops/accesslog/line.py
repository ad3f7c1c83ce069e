"""Requests as lines of the access log. No header fields but ``Referer`` and ``User-Agent`` are ever written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as encode

from appliance.http.message import RequestHead

LONGEST_VALUE = 2048
"""Bytes of a request target or header value that are written; the rest is cut off."""

_LONGEST_REMEMBERED = 2048
"""Bytes of header fields that a connection keeps, to know them again."""

PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
"""By `RequestHead.version`, where the connection does not tell."""

WAIT = 0.001
"""Seconds that a request waited for a connection to its upstream; shorter waits are not written."""

Line = Callable[[RequestHead], str]
"""A request that has ended, to a line without its end."""

_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')

_MILLISECONDS = [f"{number:03d}Z" for number in range(1000)]


class _Second:
    """The current second of the day as text, formatted once."""

    def __init__(self, wall: Callable[[float], float], form: str, split: Callable[[float], time.struct_time]) -> None:
        self._wall = wall
        self._form = form
        self._split = split
        self.since = float("-inf")
        """When it began, by the monotonic clock."""
        self.text = ""

    def begin(self, now: float) -> None:
        """It is another one now."""
        when = self._wall(now)
        self.since = now - when % 1
        self.text = time.strftime(self._form, self._split(when))


class JsonLine:
    """The request as one JSON object; times in seconds. ``prefix`` and its number are its id.

    A microsecond in here is a microsecond for each request: hence one long function, and what the requests of a
    connection have in common made once.
    """

    def __init__(self, redact: Callable[[bytes], bytes], prefix: str, wall: Callable[[float], float]) -> None:
        """``wall`` turns a time of the monotonic clock into seconds since the epoch."""
        self._redact = redact
        self._prefix = prefix
        self._second = _Second(wall, "%Y-%m-%dT%H:%M:%S", time.gmtime)

    def write(self, request: RequestHead) -> str:
        """See Line."""
        client = request.client
        logged = client.logged
        key = (request.site, request.upstream, request.method, request.version, request.host, request.held)
        if logged is None or logged[0] != key:
            logged = key, *self._describe(request)
            client.logged = logged if len(request.lines) <= _LONGEST_REMEMBERED else None
        now = request.ended
        second = self._second
        past = now - second.since
        if not 0.0 <= past < 1.0:
            second.begin(now)
            past = now - second.since
        target = request.target
        if b"?" in target:
            target = self._redact(target)
        shown = encode(target[:LONGEST_VALUE].decode("utf-8", "backslashreplace"))
        sent, started, tail = request.sent, request.started, logged[2]
        if request.fault:
            tail += f',"fault":"{request.fault}"'
        if sent - started >= WAIT:
            tail += f',"upstream_wait":{sent - started:.6f}'
        answered = request.answered or (0.0 if request.fault else now)
        if sent and answered:
            tail = f',"upstream_seconds":{answered - sent:.6f}{tail}'
        return (
            f'{{"time":"{second.text}.{_MILLISECONDS[int(past * 1000)]}","id":"{self._prefix}{request.number:x}"'
            f',{logged[1]},"target":{shown},"status":{request.status},"bytes_in":{request.bytes_in}'
            f',"bytes_out":{request.bytes_out},"seconds":{now - started:.6f}{tail}}}'
        )

    def _describe(self, request: RequestHead) -> tuple[str, str]:
        """What is the same for many requests of a connection: before what differs, and after."""
        client = request.client
        agent, referer = request.first(b"user-agent"), request.first(b"referer")
        return (
            f'"site":"{request.site}","client":"{client.client}","tls":"{client.tls}"'
            f',"protocol":"{client.protocol or PROTOCOLS[request.version]}","upstream":{encode(request.upstream)}'
            f',"user_agent":{_quoted(agent)},"host":{_quoted(request.host)},"method":{_quoted(request.method)}'
        ), f',"referer":{_quoted(self._redact(referer))}' if referer else ""


class CombinedLine:
    """The request in NCSA combined log format, which most log analysers read."""

    def __init__(self, redact: Callable[[bytes], bytes], wall: Callable[[float], float]) -> None:
        """``wall`` turns a time of the monotonic clock into seconds since the epoch."""
        self._redact = redact
        self._second = _Second(wall, "%d/%b/%Y:%H:%M:%S %z", time.localtime)

    def write(self, request: RequestHead) -> str:
        """See Line."""
        client = request.client
        asked = ""
        agent, referer = _escaped(request.first(b"user-agent")), _escaped(self._redact(request.first(b"referer")))
        if request.method:
            protocol = client.protocol or PROTOCOLS[request.version]
            asked = f"{_escaped(request.method)} {_escaped(self._redact(request.target))} {protocol}"
        now = request.ended
        second = self._second
        if not 0.0 <= now - second.since < 1.0:
            second.begin(now)
        return (
            f'{client.client or "-"} - - [{second.text}] "{asked}" {request.status} {request.bytes_out}'
            f' "{referer or "-"}" "{agent or "-"}"'
        )


def _quoted(value: bytes) -> str:
    return encode(value[:LONGEST_VALUE].decode("utf-8", "backslashreplace"))


def _escaped(value: bytes) -> str:
    """Nothing in it can end the quotes or the line."""
    text = value[:LONGEST_VALUE].decode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: "".join(f"\\x{byte:02X}" for byte in found[0].encode("utf-8")), text)
