"""What becomes of each request, for those who count and write it down: kept only while somebody does."""

from __future__ import annotations

from typing import Any, Protocol

from appliance.http.message import RequestHead

CLIENT_GONE = 499
"""The status noted for a request whose client went away before an answer began. Nobody was sent it."""


class Client(Protocol):
    """A client's connection, as far as is told of it."""

    tls: str
    """The version, ``TLSv1.3``; empty without TLS."""
    logged: Any
    """The access log's own, for what does not change between the requests of one connection; None at first."""

    @property
    def client(self) -> str:
        """The client's IP address; empty on a UNIX socket."""

    @property
    def protocol(self) -> str:
        """The version of HTTP, if it is not HTTP/1."""


class Record:
    """One request, filled in by those it passes. Times are seconds of the monotonic clock, 0 for what did not happen.

    ``request.record`` is the way to it for handler and exchange; None while nobody observes. An observer makes it and
    sets everything: that is cheaper by half than an ``__init__``, and every request pays for it. It does not know the
    request: a cycle for each would keep the garbage collector busy.
    """

    __slots__ = (
        "answered",
        "bytes_in",
        "bytes_out",
        "fault",
        "number",
        "sent",
        "site",
        "started",
        "status",
        "upstream",
    )

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
    """When the response's head was passed on, if that was before its end."""
    fault: str
    """Who broke it off: the phase in which the upstream failed (see UpstreamError), ``client``, nobody: empty."""


class Observer(Protocol):
    """Is told of every request, once as it begins and once as it ends, and of every TLS handshake."""

    def begin(self, began: float) -> Record:
        """A request was read, or something that is none. Every record is given to `end` in the end."""

    def end(self, record: Record, request: RequestHead, client: Client, now: float, whole: bool) -> None:
        """It is over. ``whole``: its response was passed on to the end.

        ``request`` has neither method nor target if it was none.
        """

    def handshake_completed(self, version: str) -> None:
        """A client's TLS connection stands."""

    def handshake_failed(self, reason: BaseException | None) -> None:
        """It does not, for what ``connectionLost`` gave as the reason."""
