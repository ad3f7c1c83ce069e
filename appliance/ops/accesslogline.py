"""Requests as lines of the access log. No header fields but ``Referer`` and ``User-Agent`` are ever written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii as encode

from appliance.http.message import RequestHead
from appliance.http.record import Record

LONGEST_VALUE = 2048
"""Bytes of a request target or header value that are written; the rest is cut off."""

PROTOCOLS = ("HTTP/1.0", "HTTP/1.1")
"""By `RequestHead.version`, where nothing else is told."""

WAIT = 0.001
"""Seconds that a request waited for a connection to its upstream; shorter waits are not written."""

Lines = Callable[[Sequence[Record], float], list[str]]
"""Requests, and the seconds from their clock to the epoch's, to lines without their ends."""

_Common = tuple[str, str, str, str, str, int, bytes, bytes, bytes]

_MOST_COMMON = 2048

_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


class JsonLines:
    """Each request as one JSON object; times in seconds. ``prefix`` and its number are its id.

    A microsecond in here is a microsecond for each request: hence one long function, and what many requests have in
    common made once.
    """

    def __init__(self, redact: Callable[[bytes], bytes], prefix: str) -> None:
        self._redact = redact
        self._prefix = prefix
        self._common: dict[_Common, str] = {}

    def __call__(self, records: Sequence[Record], offset: float) -> list[str]:
        """See Lines."""
        lines = []
        prefix, known, redact = self._prefix, self._common, self._redact
        now, stamp = 0, ""
        for record in records:
            version, method, host, target, agent, tail = 1, b"", b"", b"", b"", ""
            request = record.request
            if request is not None:
                version, method, host, target = request.version, request.method, request.host, request.target
                for name, value in request.fields:
                    if len(name) == 10 and name.lower() == b"user-agent":
                        agent = value
                    elif len(name) == 7 and name.lower() == b"referer":
                        tail = f',"referer":{_quoted(redact(value))}'
                if b"?" in target:
                    target = redact(target)
            key = (
                record.site,
                record.client,
                record.tls,
                record.upstream,
                record.protocol,
                version,
                method,
                host,
                agent,
            )
            started, sent, ended = record.started, record.sent, record.ended
            if sent:
                if record.answered:
                    tail = f',"upstream_seconds":{record.answered - sent:.6f}{tail}'
                if sent - started >= WAIT:
                    tail = f',"upstream_wait":{sent - started:.6f}{tail}'
            if record.fault:
                tail += f',"fault":"{record.fault}"'
            when = ended + offset
            if int(when) != now:
                now = int(when)
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            lines.append(
                f'{{"time":"{stamp}.{int((when - now) * 1000):03d}Z","id":"{prefix}{record.number:x}"'
                f',{known.get(key) or self._describe(key)},"target":{_quoted(target)},"status":{record.status}'
                f',"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out},"seconds":{ended - started:.6f}{tail}}}'
            )
        return lines

    def _describe(self, key: _Common) -> str:
        """What is the same for many requests of a client."""
        site, client, tls, upstream, protocol, version, method, host, agent = key
        if len(self._common) >= _MOST_COMMON:
            self._common.clear()
        self._common[key] = text = (
            f'"site":"{site}","client":"{client}","tls":"{tls}","protocol":"{protocol or PROTOCOLS[version]}"'
            f',"upstream":{encode(upstream)},"user_agent":{_quoted(agent)},"host":{_quoted(host)}'
            f',"method":{_quoted(method)}'
        )
        return text


class CombinedLines:
    """The requests in NCSA combined log format, which most log analysers read."""

    def __init__(self, redact: Callable[[bytes], bytes]) -> None:
        self._redact = redact

    def __call__(self, records: Sequence[Record], offset: float) -> list[str]:
        """See Lines."""
        lines = []
        now, stamp = 0, ""
        for record in records:
            when = int(record.ended + offset)
            if when != now:
                now = when
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(now))
            asked, referer, agent = self._asked(record, record.request) if record.request else ("", "", "")
            lines.append(
                f'{record.client or "-"} - - [{stamp}] "{asked}" {record.status} {record.bytes_out}'
                f' "{referer or "-"}" "{agent or "-"}"'
            )
        return lines

    def _asked(self, record: Record, request: RequestHead) -> tuple[str, str, str]:
        """The request line, referer and user agent."""
        referer = agent = ""
        for name, value in request.fields:
            if len(name) == 10 and name.lower() == b"user-agent":
                agent = _escaped(value)
            elif len(name) == 7 and name.lower() == b"referer":
                referer = _escaped(self._redact(value))
        protocol = record.protocol or PROTOCOLS[request.version]
        return f"{_escaped(request.method)} {_escaped(self._redact(request.target))} {protocol}", referer, agent


def _quoted(value: bytes) -> str:
    return encode(value[:LONGEST_VALUE].decode("utf-8", "backslashreplace"))


def _escaped(value: bytes) -> str:
    """Nothing in it can end the quotes or the line."""
    text = value[:LONGEST_VALUE].decode("utf-8", "backslashreplace")
    return _UNSAFE.sub(lambda found: "".join(f"\\x{byte:02X}" for byte in found[0].encode("utf-8")), text)
