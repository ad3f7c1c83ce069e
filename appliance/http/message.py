"""Heads of requests and responses, as every HTTP version understands them: data only."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from appliance.http.http2priority import Priority
    from appliance.http.observing import Client

Fields = list[tuple[bytes, bytes]]
"""Header fields in their order: name as received, value without white space at its ends."""

NO_BODY: Final = 0
"""A framing: nothing follows the head. Any positive number is a body of so many bytes."""
CHUNKED: Final = -1
"""A framing: the body's length is not known beforehand; chunks (HTTP/1.1) or frames (HTTP/2) end it."""
UNTIL_CLOSE: Final = -2
"""A framing of responses alone: the body ends with the connection (RFC 9112 section 6.3 item 8)."""


_LINE = re.compile(rb"([^:]+): ([^\r]*)\r\n")


@cache
def _finder(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:\A|\n)(?i:%b): ([^\r]*)" % re.escape(name))


class Head:
    """The header fields that may be passed on as they are, which most requests only pass through.

    HTTP/1 has them as lines, and passes them on as those; they become a list for whoever looks at them one by one.
    """

    __slots__ = ("_fields", "_lines")

    _fields: Fields | None
    _lines: bytes

    @property
    def fields(self) -> Fields:
        """Name as received and value, in their order. The list may be changed in place."""
        fields = self._fields
        if fields is None:
            fields = self._fields = _LINE.findall(self._lines)
        return fields

    @fields.setter
    def fields(self, fields: Fields) -> None:
        self._fields = fields

    def first(self, name: bytes) -> bytes:
        """The value of the first field of this name, which is in lower case; empty if there is none."""
        if self._fields is None:
            found = _finder(name).search(self._lines)
            return found[1] if found is not None else b""
        return next((value for each, value in self._fields if each.lower() == name), b"")

    @property
    def held(self) -> object:
        """The fields in whatever form they are kept, for comparing them with another's."""
        return self._lines if self._fields is None else self._fields

    @property
    def lines(self) -> bytes:
        """``Name: value`` and CR LF, for each."""
        if self._fields is None:
            return self._lines
        return b"".join([b"%b: %b\r\n" % field for field in self._fields])

    @lines.setter
    def lines(self, lines: bytes) -> None:
        self._lines = lines
        self._fields = None


class Edit(Protocol):
    """Changes header fields, none of which are this connection's own."""

    def apply(self, head: Head) -> None:
        """Change those of ``head``."""


class RequestHead(Head):
    """A request, refused already if anything about it was doubtful.

    Framing, hop-by-hop and forwarding fields are not among its fields. It takes along what becomes of it, noted by
    those it passes, for whoever observes requests: see `observing`. Some of that is noted only while somebody does.
    """

    __slots__ = (
        "answered",
        "authority",
        "bytes_in",
        "bytes_out",
        "client",
        "ended",
        "expects_continue",
        "fault",
        "forwarding",
        "framing",
        "host",
        "keep_alive",
        "method",
        "number",
        "open_ended",
        "priority",
        "response_edit",
        "sent",
        "site",
        "started",
        "status",
        "takes_trailers",
        "target",
        "upgrade",
        "upstream",
        "version",
    )

    def __init__(self, method: bytes, target: bytes, version: int) -> None:
        self._fields = None
        self._lines = b""
        self.method = method
        self.target = target
        """Path and query as sent (origin-form), or ``*``."""
        self.version = version
        """The minor version of HTTP/1: 0 or 1."""
        self.forwarding: Fields = []
        """Forwarding fields the client sent, names in lower case: for peers listed as trusted proxies only."""
        self.authority = b""
        """``Host`` as the client wrote it, or the authority of an absolute-form target."""
        self.host = b""
        """The authority without port and without a final dot, in lower case."""
        self.framing = NO_BODY
        self.keep_alive = version == 1
        self.expects_continue = False
        self.takes_trailers = False
        """Whether the client said so (``TE: trailers``)."""
        self.upgrade = b""
        """The protocol asked for by ``Upgrade``, when ``Connection`` names it."""
        self.priority: Priority | None = None
        """What an HTTP/2 client says of the answer's urgency, if it says anything."""
        self.open_ended = False
        """Whether it may go on for ever, silent or not: a remote call that an application took over HTTP/2."""
        self.response_edit: Edit | None = None
        """What is to be done to the header fields of the final response, whoever gives it."""
        # Set in one go, not a line each: every request pays for it.
        self.site = self.upstream = self.fault = ""
        self.number = self.status = self.bytes_in = self.bytes_out = 0
        self.started = self.sent = self.answered = self.ended = 0.0

    site: str
    """The site's name; empty if the request was answered before, or for want of, one."""
    upstream: str
    """The address that was asked last; empty if the appliance answered by itself."""
    fault: str
    """Who broke it off: the phase in which the upstream failed (see UpstreamError), ``client``, nobody: empty."""
    number: int
    """How many requests there were in this process, this one included; 0 if nobody observes it."""
    status: int
    """What the client was sent: 101 for a tunnel; 0 until then."""
    bytes_in: int
    """Of its body, or of what went into a tunnel; framing and TLS not counted. Only if somebody observes it."""
    bytes_out: int
    """Likewise, of the response's."""
    started: float
    """When the head began to arrive, in seconds of the monotonic clock as all times. Only if somebody observes it."""
    sent: float
    """When the upstream was sent it; 0 if none was."""
    answered: float
    """When the response's head was passed on, if that was before its end; else 0. Only if somebody observes it."""
    ended: float
    """When it was over, or broken off. Only if somebody observes it."""
    client: Client
    """The connection that it came over. Only if somebody observes it, and it has ended."""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


class ResponseHead(Head):
    """A response's status and fields, without framing and hop-by-hop fields."""

    __slots__ = ("framing", "keep_alive", "reason", "stated_length", "status", "upgrade", "version")

    def __init__(self, status: int, reason: bytes, version: int = 1) -> None:
        self._fields = None
        self._lines = b""
        self.status = status
        self.reason = reason
        self.version = version
        self.framing = NO_BODY
        self.stated_length: int | None = None
        """Content-Length of a response without a body: 0, or what a GET would have had (HEAD, 304); None: not said."""
        self.keep_alive = version == 1
        self.upgrade = b""
        """The protocol switched to, in a 101."""
