"""Who is who while a request is served: the client, the handler that decides, the exchange that answers.

Protocols only, so that HTTP/1.1 connections and HTTP/2 streams are the same to those who answer them.
"""

from __future__ import annotations

from typing import Any, Protocol

from appliance.http.errorpages import ErrorPages
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.net.proxyprotocol import Connection


class Downstream(Protocol):
    """The client's side of an exchange: `server.ServerConnection`, or a `http2stream.Stream`."""

    @property
    def client(self) -> str:
        """The client's IP address; empty if it has none."""

    @property
    def ends(self) -> Connection | None:
        """Both ends of the client's connection; None if they have no addresses."""

    def send_continue(self) -> None:
        """Ask for the body, if the client waits to be asked."""

    def send_informational(self, response: ResponseHead) -> None:
        """Pass on a 1xx."""

    def send_head(self, response: ResponseHead) -> None:
        """Begin the response; may be held back until ``send_body``, ``end`` or ``flush``."""

    def flush(self) -> None:
        """Send what is held back."""

    def send_body(self, data: bytes) -> None:
        """Send a piece, not empty."""

    def end_chunked_and_body(self, data: bytes) -> None:
        """Send the last piece, not empty, and the end."""

    def end(self, trailers: Fields | None = None) -> None:
        """The response is complete; ``trailers``, names in lower case, for a client that takes them."""

    def fail(self, status: int, reset: int | None = None, fields: Fields | tuple[()] = ()) -> None:
        """Answer an error, with these fields, or break off what was begun: over HTTP/2 with the code ``reset``."""

    def pause_request(self) -> None:
        """Read no more of the request for now."""

    def resume_request(self) -> None:
        """Go on reading it."""


class Switching(Downstream, Protocol):
    """One whose request asked for another protocol: `server.ServerConnection`, or a `http2tunnel.TunnelStream`."""

    def switch(self, response: ResponseHead) -> Tunnel:
        """Become a tunnel, which is to be talked to from now on."""


class Tunnel(Protocol):
    """The client's side of an exchange after a 101: a `tunnel.ClientTunnel`, or a `http2tunnel.TunnelStream`."""

    def tunnel_opened(self) -> None:
        """Called once, when the exchange is ready for what the client sent ahead."""

    def pause_request(self) -> None:
        """Take no more from the client for now."""

    def resume_request(self) -> None:
        """Go on taking."""

    def fail(self, status: int, reset: int | None = None) -> None:
        """Break it off."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes for the client."""

    def tunnel_ended(self) -> None:
        """No more bytes for the client."""

    def tunnel_lost(self) -> None:
        """The tunnel's other end is gone."""


class Client(Downstream, Protocol):
    """The same, as the handler knows it."""

    memo: Any
    """The handler's own, for what does not change between the requests of one connection."""

    @property
    def scheme(self) -> bytes:
        """``https`` or ``http``."""

    @property
    def port(self) -> int:
        """The port the client connected to; 0 on a UNIX socket."""

    @property
    def transport(self) -> Any:
        """The connection's transport."""

    def answer(self, page: tuple[ResponseHead, bytes]) -> None:
        """Answer the request on the spot, with ``(head, body)`` of `pages`."""


class Exchange(Protocol):
    """The life of one request behind a connection; what answers it tells the client through `Downstream`."""

    def start(self) -> None:
        """Called once, when the connection is ready to be told. What of the body came with the head is told before."""

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body, or of a tunnel."""

    def body_ended(self, trailers: Fields | None = None) -> None:
        """The request is complete, with its trailers; in a tunnel: the client will send no more."""

    def pause(self) -> None:
        """The client does not take more at present."""

    def resume(self) -> None:
        """The client takes more again."""

    def client_lost(self) -> None:
        """Nobody is left to answer."""


class Handler(Protocol):
    """Decides what becomes of a request."""

    errors: ErrorPages
    """What clients are told when it comes to nothing."""

    def handle(self, connection: Client, request: RequestHead) -> Exchange | None:
        """Answer on the spot, by ``answer`` or ``fail``, and return None, or return the exchange that will."""
