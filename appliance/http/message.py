"""Heads of requests and responses, as every HTTP version understands them: data only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from appliance.http.record import Record

Fields = list[tuple[bytes, bytes]]
"""Header fields in their order: name as received, value without white space at its ends."""

NO_BODY: Final = 0
"""A framing: nothing follows the head. Any positive number is a body of so many bytes."""
CHUNKED: Final = -1
"""A framing: the body's length is not known beforehand; chunks (HTTP/1.1) or frames (HTTP/2) end it."""
UNTIL_CLOSE: Final = -2
"""A framing of responses alone: the body ends with the connection (RFC 9112 section 6.3 item 8)."""


class RequestHead:
    """A request, refused already if anything about it was doubtful.

    ``fields`` holds only what may be forwarded as it is: framing, hop-by-hop and forwarding fields are not in it.
    """

    __slots__ = (
        "authority",
        "expects_continue",
        "fields",
        "forwarding",
        "framing",
        "host",
        "keep_alive",
        "method",
        "record",
        "takes_trailers",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, method: bytes, target: bytes, version: int) -> None:
        self.method = method
        self.target = target
        """Path and query as sent (origin-form), or ``*``."""
        self.version = version
        """The minor version of HTTP/1: 0 or 1."""
        self.fields: Fields = []
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
        self.record: Record | None = None
        """Where to note what becomes of it, if anybody wants to know."""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


class ResponseHead:
    """A response's status and fields; ``fields`` is without framing and hop-by-hop fields."""

    __slots__ = ("fields", "framing", "keep_alive", "reason", "stated_length", "status", "upgrade", "version")

    def __init__(self, status: int, reason: bytes, version: int = 1) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields: Fields = []
        self.framing = NO_BODY
        self.stated_length: int | None = None
        """Content-Length of a response without a body: 0, or what a GET would have had (HEAD, 304); None: not said."""
        self.keep_alive = version == 1
        self.upgrade = b""
        """The protocol switched to, in a 101."""
