"""One request as a line of the access log. No header fields but ``Referer`` and ``User-Agent`` are ever written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted

from appliance.http.message import RequestHead
from appliance.http.record import Record

LONGEST_VALUE = 2048
"""Bytes of a request target or header value that are written; the rest is cut off."""

PROTOCOLS = {0: "HTTP/1.0", 1: "HTTP/1.1", 2: "HTTP/2.0"}
"""By `RequestHead.version`."""

Line = Callable[[Record, float], str]
"""A record, and seconds since the epoch at which it ended, to a line without its end."""

_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


class JsonLine:
    """The record as one JSON object; times in seconds."""

    def __init__(self, redact: Callable[[bytes], bytes], identify: Callable[[Record], str]) -> None:
        """``identify`` gives the request's id."""
        self._redact = redact
        self._identify = identify
        self._stamp = _Stamp("%Y-%m-%dT%H:%M:%S", time.gmtime)

    def __call__(self, record: Record, ended: float) -> str:
        """See Line."""
        method, host, target, protocol, referer, agent = _asked(record.request, self._redact)
        second, fraction = self._stamp(ended)
        started, sent, answered = record.started, record.sent, record.answered
        text = (
            f'{{"time":"{second}.{fraction:03d}Z","id":"{self._identify(record)}","site":"{record.site}"'
            f',"client":"{record.client}","method":"{method}","host":{quoted(host)},"target":{quoted(target)}'
            f',"protocol":"{protocol}","tls":"{record.tls}","status":{record.status},"bytes_in":{record.bytes_in}'
            f',"bytes_out":{record.bytes_out},"seconds":{record.ended - started:.6f}'
        )
        if record.upstream:
            text += f',"upstream":{quoted(record.upstream)}'
            if sent:
                text += f',"upstream_wait":{sent - started:.6f}'
                if answered:
                    text += f',"upstream_seconds":{answered - sent:.6f}'
        if referer:
            text += f',"referer":{quoted(referer)}'
        if agent:
            text += f',"user_agent":{quoted(agent)}'
        return f'{text},"fault":"{record.fault}"}}' if record.fault else text + "}"


class CombinedLine:
    """The record as NCSA combined log format, which most log analysers read."""

    def __init__(self, redact: Callable[[bytes], bytes]) -> None:
        self._redact = redact
        self._stamp = _Stamp("%d/%b/%Y:%H:%M:%S %z", time.localtime)

    def __call__(self, record: Record, ended: float) -> str:
        """See Line."""
        method, _, target, protocol, referer, agent = _asked(record.request, self._redact)
        asked = f"{method} {_escaped(target)} {protocol}" if method else ""
        return (
            f'{record.client or "-"} - - [{self._stamp(ended)[0]}] "{asked}" {record.status} {record.bytes_out}'
            f' "{_escaped(referer) or "-"}" "{_escaped(agent) or "-"}"'
        )


def _asked(request: RequestHead | None, redact: Callable[[bytes], bytes]) -> tuple[str, str, str, str, str, str]:
    """Method, host, target, protocol, referer and user agent: all empty for what was no request."""
    if request is None:
        return "", "", "", "", "", ""
    referer = agent = b""
    for name, value in request.fields:
        size = len(name)
        if size == 10 and name.lower() == b"user-agent":
            agent = value
        elif size == 7 and name.lower() == b"referer":
            referer = redact(value)
    return (
        _text(request.method),
        _text(request.host),
        _text(redact(request.target)),
        PROTOCOLS.get(request.version, ""),
        _text(referer),
        _text(agent),
    )


def _text(value: bytes) -> str:
    return value[:LONGEST_VALUE].decode("utf-8", "backslashreplace")


def _escaped(text: str) -> str:
    """Nothing in it can end the quotes or the line."""
    return _UNSAFE.sub(lambda found: "".join(f"\\x{byte:02X}" for byte in found[0].encode("utf-8")), text)


class _Stamp:
    """Times of day, each second formatted once."""

    def __init__(self, form: str, split: Callable[[float], time.struct_time]) -> None:
        self._form = form
        self._split = split
        self._second = -1
        self._text = ""

    def __call__(self, when: float) -> tuple[str, int]:
        """The second as text, and the milliseconds since."""
        second = int(when)
        if second != self._second:
            self._second = second
            self._text = time.strftime(self._form, self._split(second))
        return self._text, int((when - second) * 1000)
