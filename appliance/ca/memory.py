"""A Twisted Agent whose requests go straight into an EmbeddedCa: clients under time travel need no sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from appliance.ca.core import Response
from appliance.ca.server import EmbeddedCa, NoAnswerError


@implementer(IAgent)
class MemoryAgent:
    """What a client may take for ``twisted.web.client.Agent``.

    The answer is there when ``request`` returns, if the body's producer writes all it has when it is started.
    """

    def __init__(self, ca: EmbeddedCa) -> None:
        self._ca = ca

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Fails with ConnectionRefusedError, or never fires, while the CA's outage says so."""
        body = _Body()
        sent = succeed(None) if bodyProducer is None else maybeDeferred(bodyProducer.startProducing, body)
        given = (headers or Headers()).getAllRawHeaders()
        plain = {name.decode().lower(): values[-1].decode() for name, values in given}
        return sent.addCallback(lambda _: self._answer(method.decode(), uri.decode(), plain, bytes(body.data)))

    def _answer(
        self, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> _MemoryResponse | Deferred[_MemoryResponse]:
        try:
            return _MemoryResponse(self._ca.handle(method, url, headers, body))
        except NoAnswerError as silence:
            if silence.hang:
                return Deferred()
            raise ConnectionRefusedError("the demo CA is down") from None


@implementer(IConsumer)
class _Body:
    """A request's body, collected."""

    def __init__(self) -> None:
        self.data = bytearray()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Body producers are started, not registered."""

    def unregisterProducer(self) -> None:
        """See registerProducer."""

    def write(self, data: bytes) -> None:
        self.data += data


@implementer(IResponse)
class _MemoryResponse:
    """An answer whose body is delivered at once."""

    version = (b"HTTP", 1, 1)
    request: IClientRequest | None = None
    previousResponse: IResponse | None = None

    def __init__(self, response: Response) -> None:
        self.code = response.status
        self.phrase = RESPONSES.get(response.status, b"")
        self.length = len(response.body)
        self.headers = Headers()
        for name, value in response.headers:
            self.headers.addRawHeader(name, value)
        self._body = response.body

    def deliverBody(self, protocol: Protocol) -> None:
        protocol.makeConnection(_NoTransport())
        if self._body:
            protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response


@implementer(IPushProducer)
class _NoTransport:
    """What a body comes from: nothing that could be paused or lost."""

    def pauseProducing(self) -> None:
        """All is delivered already."""

    def resumeProducing(self) -> None:
        """See pauseProducing."""

    def stopProducing(self) -> None:
        """See pauseProducing."""

    def loseConnection(self) -> None:
        """See pauseProducing."""

    def abortConnection(self) -> None:
        """See pauseProducing."""
