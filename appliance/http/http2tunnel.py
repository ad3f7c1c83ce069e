"""WebSocket over HTTP/2 (RFC 8441): a stream that becomes a tunnel to an application that speaks HTTP/1.1.

The client's CONNECT is an upgrade to the application. The handshake's key and its proof (RFC 6455 section 4), which
HTTP/2 leaves out, are the appliance's own to send and to check.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from secrets import token_bytes
from typing import TYPE_CHECKING

from appliance.http.http2frames import CANCEL
from appliance.http.http2headers import response_fields
from appliance.http.http2stream import Stream
from appliance.http.message import Fields, RequestHead, ResponseHead
from appliance.http.websocketframes import GOODBYE_SECONDS, ServerFrames
from appliance.net.deadlines import NEVER

if TYPE_CHECKING:
    from appliance.http.http2 import Http2Connection

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HANDSHAKE = frozenset({b"sec-websocket-key", b"sec-websocket-accept"})


class TunnelStream(Stream):
    """What the client sends before the application has agreed waits, within the stream's window."""

    __slots__ = ("_ahead", "_frames", "_leaving", "_proof", "_tunnel", "half_closes")

    def __init__(self, connection: Http2Connection, stream_id: int, request: RequestHead) -> None:
        super().__init__(connection, stream_id, request)
        self.half_closes = False
        self._tunnel = False
        self._ahead = b""
        self._frames = ServerFrames()
        self._leaving = False

    def begin(self) -> None:
        """See ServerStream."""
        key = b64encode(token_bytes(16))
        self._proof = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
        request = self._request
        assert isinstance(request, RequestHead)
        request.fields = _without_handshake(request.fields)
        request.fields.append((b"sec-websocket-key", key))
        super().begin()

    def data_received(self, data: bytes) -> None:
        """See FlowStream."""
        if self._tunnel:
            super().data_received(data)
            self._renew_deadline()
        else:
            self._ahead += data
            self.untaken += len(data)

    def remote_ended(self, trailers: Fields) -> None:
        """See FlowStream."""
        if self._tunnel:
            super().remote_ended(trailers)

    def send_head(self, response: ResponseHead) -> None:
        """Begin a response that is no agreement: the client would take a 2xx for one."""
        if response.status < 300:
            response.status = 502
        super().send_head(response)

    def switch(self, response: ResponseHead) -> TunnelStream:
        """The application agreed: the stream is a tunnel from here on."""
        proofs = [value for name, value in response.fields if name.lower() == b"sec-websocket-accept"]
        if proofs != [self._proof]:
            self._let_go()
            self.fail(502)
            return self
        self._awaited = False
        self._tunnel = self.half_closes = True
        self._request.status = 101
        self._request.answered = self._connection.deadlines.seconds()
        agreed = ResponseHead(200, b"")
        agreed.fields = _without_handshake(response.fields)
        self._engine.send_headers(self, response_fields(agreed), False)
        return self

    def tunnel_opened(self) -> None:
        """See serving.Tunnel."""
        if not self._tunnel:
            return
        ahead, self._ahead = self._ahead, b""
        if ahead:
            self.untaken = 0
            super().data_received(ahead)
        self._renew_deadline()
        if self.remote_closed:
            super().remote_ended([])
        if self._leaving:
            self.leave()

    def leave(self) -> None:
        """See ServerStream: a Close frame, at the end of the one under way."""
        self._leaving = True
        if self._tunnel and not self.local_closed:
            goodbye = self._frames.leave()
            if goodbye:
                self.send_body(goodbye)
            self._renew_deadline()

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the application."""
        data = self._frames.feed(data)
        if not data:
            return
        self.send_body(data)
        if not self.pending:
            self._renew_deadline()

    def tunnel_ended(self) -> None:
        """The application will send no more."""
        self._engine.sender.send(self, b"", True)

    def tunnel_lost(self) -> None:
        """The application is gone; what it said last still goes out."""
        self._exchange = None
        self.half_closes = False
        if not self.local_closed:
            self._engine.sender.send(self, b"", True)
        elif self.id in self._engine.streams:
            self._engine.reset(self, CANCEL)

    def _renew_deadline(self) -> None:
        """A tunnel may be silent for as long as it is allowed to; before, it is the application's turn."""
        idle = self._connection.timeouts.websocket_idle
        if self.pending:
            super()._renew_deadline()
        elif self._tunnel and self._frames.over:
            self._sweep_at(self._connection.deadlines.seconds() + GOODBYE_SECONDS)
        elif self._tunnel and idle is not None:
            self._sweep_at(self._connection.deadlines.seconds() + idle)
        else:
            self.deadline = NEVER

    def expire(self, now: float) -> None:
        """See Deadlines."""
        if self.pending:
            super().expire(now)
        else:
            self._break(CANCEL)


def _without_handshake(fields: Fields) -> Fields:
    return [field for field in fields if field[0].lower() not in _HANDSHAKE]
