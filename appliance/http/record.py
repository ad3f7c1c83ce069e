"""What becomes of each request, for those who count and write it down: kept only while somebody does."""

from __future__ import annotations

from typing import Protocol

from appliance.http.message import RequestHead

CLIENT_GONE = 499
"""The status noted for a request whose client went away before an answer began. Nobody was sent it."""


class Record:
    """One request, filled in by those it passes. Times are seconds of the monotonic clock, 0 for what did not happen.

    ``request.record`` is the way to it for handler and exchange; None while nobody observes. An observer makes it and
    sets everything: that is cheaper by half than an ``__init__``, and every request pays for it.
    """

    __slots__ = (
        "answered",
        "bytes_in",
        "bytes_out",
        "client",
        "ended",
        "fault",
        "number",
        "protocol",
        "request",
        "sent",
        "site",
        "started",
        "status",
        "tls",
        "upstream",
    )

    request: RequestHead | None
    """None for what could not be read as one."""
    client: str
    """The client's IP address; empty on a UNIX socket."""
    tls: str
    """The version, ``TLSv1.3``; empty without TLS."""
    protocol: str
    """The version of HTTP, if it is not HTTP/1."""
    number: int
    """How many requests there were in this process, this one included."""
    site: str
    """The site's name; empty if the request was answered before, or for want of, one."""
    upstream: str
    """The address that was asked last; empty if the appliance answered by itself."""
    status: int
    """What the client was sent: 101 for a tunnel; 0 until then."""
    bytes_in: int
    """Of the request's body, or of what went into a tunnel; framing and TLS not counted."""
    bytes_out: int
    started: float
    """When the request's head began to arrive."""
    sent: float
    """When the upstream was sent it."""
    answered: float
    """When the response's head was passed on."""
    ended: float
    fault: str
    """Who broke it off: the phase in which the upstream failed (see UpstreamError), ``client``, nobody: empty."""


class Observer(Protocol):
    """Is told of every request, once as it begins and once as it ends, and of every TLS handshake."""

    def begin(self, request: RequestHead | None, client: str, tls: str, began: float) -> Record:
        """A request was read; None: something that is none. Every record is given to `end` in the end."""

    def end(self, record: Record, now: float, whole: bool) -> None:
        """It is over. ``whole``: its response was passed on to the end."""

    def handshake_completed(self, version: str) -> None:
        """A client's TLS connection stands."""

    def handshake_failed(self, reason: BaseException | None) -> None:
        """It does not, for what ``connectionLost`` gave as the reason."""
