"""What becomes of each request, for those who count and write it down: kept only while somebody does."""

from __future__ import annotations

from typing import Protocol

from appliance.http.message import RequestHead

CLIENT_GONE = 499
"""The status noted for a request whose client went away before an answer began. Nobody was sent it."""


class Record:
    """One request, filled in by those it passes. Times are seconds of the monotonic clock, 0 for what did not happen.

    ``request.record`` is the way to it for handler and exchange; None while nobody observes.
    """

    __slots__ = (
        "answered",
        "bytes_in",
        "bytes_out",
        "client",
        "ended",
        "fault",
        "number",
        "request",
        "sent",
        "site",
        "started",
        "status",
        "tls",
        "upstream",
        "whole",
    )

    def __init__(self, request: RequestHead | None, client: str, tls: str, started: float, number: int) -> None:
        self.request = request
        """None for what could not be read as one."""
        self.client = client
        """The client's IP address; empty on a UNIX socket."""
        self.tls = tls
        """The version, ``TLSv1.3``; empty without TLS."""
        self.site = ""
        """The site's name; empty if the request was answered before, or for want of, one."""
        self.upstream = ""
        """The address that was asked last; empty if the appliance answered by itself."""
        self.status = 0
        """What the client was sent: 101 for a tunnel; 0 until then."""
        self.bytes_in = 0
        """Of the request's body, or of what went into a tunnel; framing and TLS not counted."""
        self.bytes_out = 0
        self.number = number
        """How many requests there were in this process, this one included."""
        self.started = started
        """When the request's head was complete."""
        self.sent = 0.0
        """When the upstream was sent it."""
        self.answered = 0.0
        """When the response began."""
        self.ended = 0.0
        self.whole = False
        """Whether the response came to its end; a tunnel does by closing."""
        self.fault = ""
        """Who broke it off: the phase in which the upstream failed (see UpstreamError), ``client``, nobody: empty."""


class Observer(Protocol):
    """Is told of every request, once as it begins and once as it ends, and of every TLS handshake."""

    def begin(self, request: RequestHead | None, client: str, tls: str) -> Record:
        """A request was read; None: something that is none. Every record is given to `end` in the end."""

    def end(self, record: Record, whole: bool) -> None:
        """It is over. ``whole``: its response was passed on to the end."""

    def handshake_completed(self, version: str) -> None:
        """A client's TLS connection stands."""

    def handshake_failed(self, reason: BaseException | None) -> None:
        """It does not, for what ``connectionLost`` gave as the reason."""
