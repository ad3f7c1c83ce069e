"""A CA that says what the test tells it to: an ``IAgent`` without network, for what no well-behaved CA would do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from josepy import b64
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

BASE = "https://ca.test"
DIRECTORY = {"newNonce": f"{BASE}/nonce", "newAccount": f"{BASE}/account", "newOrder": f"{BASE}/order"}


@frozen
class Reply:
    """One answer. A ``body`` that is not bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    nonce: bool = True


@frozen
class Asked:
    """One request as the CA saw it."""

    method: str
    path: str
    headers: Headers
    protected: dict[str, Any] | None = None
    payload: Any = None
    """Decoded; None for POST-as-GET."""


def problem(code: str, detail: str = "because", status: int = 403, **fields: Any) -> Reply:
    """A refusal by ACME's rules."""
    headers = fields.pop("headers", {})
    return Reply({"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, **fields}, status, headers)


Scripted = Reply | BaseException | Deferred[Any] | Callable[[Asked], Reply]
"""What happens to a request: an answer, a failure of the connection, silence, or what a function makes of it."""


@implementer(IAgent)
@define
class ScriptedCa:
    """Answers each path with its scripted replies in turn, the last one for ever; remembers what it was asked."""

    replies: dict[str, list[Scripted]] = field(factory=dict)
    asked: list[Asked] = field(factory=list)
    nonces: int = 0

    @property
    def directory_url(self) -> str:
        return f"{BASE}/directory"

    def __attrs_post_init__(self) -> None:
        self.on("/directory", Reply(DIRECTORY, nonce=False))
        self.on("/nonce", Reply())

    def on(self, path: str, *replies: Scripted) -> None:
        """From now on, ``path`` is answered so."""
        self.replies[path] = list(replies)

    def requests(self, path: str) -> list[Asked]:
        """What was asked of ``path``."""
        return [asked for asked in self.asked if asked.path == path]

    def paths(self) -> list[str]:
        """What was asked, in order, nonces and directories left out."""
        return [asked.path for asked in self.asked if asked.path not in ("/nonce", "/directory")]

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent."""
        asked = self._asked(method.decode(), uri.decode().removeprefix(BASE), headers or Headers(), bodyProducer)
        self.asked.append(asked)
        script = self.replies[asked.path]
        reply = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(reply, Deferred):
            return reply.addCallback(lambda late: self._response(late) if isinstance(late, Reply) else late)
        if isinstance(reply, BaseException):
            failed: Deferred[IResponse] = Deferred()
            failed.errback(Failure(reply))
            return failed
        return succeed(self._response(reply(asked) if callable(reply) else reply))

    def _asked(self, method: str, path: str, headers: Headers, producer: IBodyProducer | None) -> Asked:
        if producer is None:
            return Asked(method, path, headers)
        pieces: list[bytes] = []
        producer.startProducing(_Collector(pieces))
        envelope = json.loads(b"".join(pieces))
        payload = b64.b64decode(envelope["payload"])
        protected = json.loads(b64.b64decode(envelope["protected"]))
        return Asked(method, path, headers, protected, json.loads(payload) if payload else None)

    def _response(self, reply: Reply) -> FakeResponse:
        headers = Headers({name: [value] for name, value in reply.headers.items()})
        if reply.nonce:
            self.nonces += 1
            headers.setRawHeaders("Replay-Nonce", [f"nonce-{self.nonces}"])
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        return FakeResponse(reply.status, headers, body)


@frozen
class _Collector:
    pieces: list[bytes]

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


@implementer(IResponse)
@define
class FakeResponse:
    """An answer whose body is all there."""

    code: int
    headers: Headers
    body: bytes
    phrase: bytes = b""
    version: tuple[bytes, int, int] = (b"HTTP", 1, 1)
    length: int = field(init=False)
    request: Any = None
    previousResponse: Any = None

    def __attrs_post_init__(self) -> None:
        self.length = len(self.body)

    def deliverBody(self, protocol: Protocol) -> None:
        """See IResponse; in small pieces."""
        transport = FakeTransport()
        protocol.makeConnection(transport)
        for start in range(0, len(self.body), 65536):
            protocol.dataReceived(self.body[start : start + 65536])
        protocol.connectionLost(Failure(ResponseDone()))

    def setPreviousResponse(self, response: IResponse) -> None:
        """See IResponse."""
        self.previousResponse = response


class FakeTransport:
    """Counts aborts."""

    def __init__(self) -> None:
        self.aborted = 0

    def abortConnection(self) -> None:
        self.aborted += 1

    def loseConnection(self) -> None:
        raise AssertionError("must be aborted, not asked politely")
