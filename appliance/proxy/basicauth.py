"""The gate that asks for a name and a password (RFC 7617). The work on hashes is done in threads, and bounded."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from appliance.config.site import HeaderEdits
from appliance.http.message import NO_BODY, Fields, RequestHead
from appliance.http.serving import Client, Exchange
from appliance.proxy.credentials import Credentials, is_basic
from appliance.proxy.edits import FieldEdit
from appliance.proxy.routing import RouteEntry
from appliance.proxy.target import Target
from appliance.proxy.trust import TrustedProxies, household

AT_ONCE = 2
"""Hashes worked out at the same time: each takes a processor and some memory."""
MOST_WAITING = 64
MOST_OF_ONE = 8
"""Of one client, so that who guesses does not keep others out."""

_AUTHORIZATION = re.compile(rb"(?im)^authorization: ([^\r]*)")

_WITHOUT = FieldEdit([HeaderEdits(remove=("Authorization",))])

_RETRY: Fields = [(b"Retry-After", b"1")]

Verdict = Callable[[bool | None], None]
"""Is told whether credentials are right; None: that could not be found out."""


class Verifications:
    """The work on credentials of all sites; the same ones are never worked on twice at once."""

    log = Logger()

    def __init__(self, defer: Callable[[Callable[[], Any]], Deferred[Any]]) -> None:
        """``defer`` runs something in a thread."""
        self._defer = defer
        self._asked: dict[bytes, list[Verdict]] = {}
        self._waiting: deque[tuple[Credentials, bytes, bytes, str]] = deque()
        self._running = 0
        self._by_client: Counter[str] = Counter()

    def ask(self, credentials: Credentials, digest: bytes, authorization: bytes, client: str, tell: Verdict) -> None:
        """Find out whether ``authorization`` is right; ``tell`` is called now, if too many ask, or later."""
        if digest in self._asked:
            self._asked[digest].append(tell)
        elif len(self._waiting) >= MOST_WAITING or self._by_client[client] >= MOST_OF_ONE:
            tell(None)
        else:
            self._asked[digest] = [tell]
            self._by_client[client] += 1
            self._waiting.append((credentials, digest, authorization, client))
            self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._running < AT_ONCE:
            self._running += 1
            Deferred.fromCoroutine(self._judge(*self._waiting.popleft()))

    async def _judge(self, credentials: Credentials, digest: bytes, authorization: bytes, client: str) -> None:
        right: bool | None = None
        try:
            right = await self._defer(lambda: credentials.judge(authorization))
        except Exception:  # memory, threads: of this machine, not of the client
            self.log.failure("a password could not be checked")
        else:
            credentials.learn(digest, bool(right))
        self._running -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        told = self._asked.pop(digest)
        self._go_on()
        for tell in told:
            try:
                tell(right)
            except Exception:  # of one request; the others are still to be told
                self.log.failure("unexpected error as a request was let in")


class AuthGate:
    """Lets in who knows a password."""

    __slots__ = ("_behind", "_challenge", "_credentials", "_proxies", "_strips", "_verifications")

    def __init__(
        self, credentials: Credentials, verifications: Verifications, proxies: TrustedProxies, behind: Target
    ) -> None:
        self._credentials = credentials
        self._verifications = verifications
        self._proxies = proxies
        self._behind = behind
        self._strips = not credentials.auth.forward_authorization
        realm = credentials.auth.realm.encode("ascii")
        self._challenge: Fields = [(b"WWW-Authenticate", b'Basic realm="%b", charset="UTF-8"' % realm)]

    def begin(self, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes) -> Exchange | None:
        """See Target."""
        given = _AUTHORIZATION.findall(request.lines)
        if len(given) != 1 or not is_basic(given[0]):
            connection.fail(401, fields=self._challenge)
            return None
        digest = self._credentials.digest(given[0])
        right = self._credentials.known(digest)
        if right is None:
            return _Entering(self, digest, given[0], connection, request, route, origin)
        return self.judged(right, connection, request, route, origin)

    def ask(self, digest: bytes, authorization: bytes, connection: Client, request: RequestHead, tell: Verdict) -> None:
        """Have credentials worked out."""
        client = household(self._proxies.client(connection.client, request.forwarding))
        self._verifications.ask(self._credentials, digest, authorization, client, tell)

    def judged(
        self, right: bool | None, connection: Client, request: RequestHead, route: RouteEntry[Any], origin: bytes
    ) -> Exchange | None:
        """Go on with a request, now that it is known whether its credentials are right."""
        if right is None:
            connection.fail(503, fields=_RETRY)
            return None
        if not right:
            connection.fail(401, fields=self._challenge)
            return None
        if self._strips:
            _WITHOUT.apply(request)
        return self._behind.begin(connection, request, route, origin)


class _Entering:
    """An exchange whose credentials are being worked out; then it stands before the one that answers."""

    __slots__ = (
        "_asked",
        "_connection",
        "_early",
        "_ended",
        "_gate",
        "_gone",
        "_inner",
        "_paused",
        "_trailers",
    )

    def __init__(
        self,
        gate: AuthGate,
        digest: bytes,
        authorization: bytes,
        connection: Client,
        request: RequestHead,
        route: RouteEntry[Any],
        origin: bytes,
    ) -> None:
        self._gate = gate
        self._asked = digest, authorization, request, route, origin
        self._connection = connection
        self._inner: Exchange | None = None
        self._early: list[bytes] = []
        """Pieces of the body that came with the head, or within the window of an HTTP/2 stream."""
        self._ended = request.framing == NO_BODY
        self._trailers: Fields | None = None
        self._paused = False
        self._gone = False

    def start(self) -> None:
        """See Exchange."""
        if not self._ended:
            self._connection.pause_request()
        digest, authorization, request, _, _ = self._asked
        self._gate.ask(digest, authorization, self._connection, request, self._judged)

    def _judged(self, right: bool | None) -> None:
        if self._gone:
            return
        connection = self._connection
        if not self._ended:
            connection.resume_request()  # what answers decides for itself
        _, _, request, route, origin = self._asked
        inner = self._inner = self._gate.judged(right, connection, request, route, origin)
        if inner is None:
            return
        for piece in self._early:
            inner.body_received(piece)
        self._early.clear()
        if self._ended and request.framing != NO_BODY:
            inner.body_ended(self._trailers)
        if self._paused:
            inner.pause()
        inner.start()

    def body_received(self, data: bytes) -> None:
        """See Exchange."""
        if self._inner is None:
            self._early.append(data)
        else:
            self._inner.body_received(data)

    def body_ended(self, trailers: Fields | None = None) -> None:
        """See Exchange."""
        self._ended = True
        if self._inner is None:
            self._trailers = trailers
        else:
            self._inner.body_ended(trailers)

    def pause(self) -> None:
        """See Exchange."""
        self._paused = True
        if self._inner is not None:
            self._inner.pause()

    def resume(self) -> None:
        """See Exchange."""
        self._paused = False
        if self._inner is not None:
            self._inner.resume()

    def client_lost(self) -> None:
        """See Exchange."""
        self._gone = True
        if self._inner is not None:
            self._inner.client_lost()
