"""Who is told what becomes of each request, to count it and write it down. The request itself takes along the facts."""

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


class Observer(Protocol):
    """Is told of every request and every TLS handshake."""

    begun: int
    """How many requests were read, or what is none. Whoever reads one counts it, gives it that number and its time, and
    calls `end` in the end; that is no call of its own, as every request would pay for it."""

    def end(self, request: RequestHead, client: Client, now: float, whole: bool) -> None:
        """It is over. ``whole``: its response was passed on to the end.

        ``request`` has neither method nor target if it was none.
        """

    def handshake_completed(self, version: str) -> None:
        """A client's TLS connection stands."""

    def handshake_failed(self, reason: BaseException | None) -> None:
        """It does not, for what ``connectionLost`` gave as the reason."""
