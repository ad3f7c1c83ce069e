"""One HTTP/2 connection to an upstream: frames from and to the socket, its calls, time, and a way to end.

It stands when the upstream's SETTINGS have come, and takes calls until either side wants no more; those under way are
finished first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.errors import UpstreamError
from appliance.http.flow import unsent
from appliance.http.http2bounds import Patience
from appliance.http.http2client import ClientEngine
from appliance.http.http2frames import NO_ERROR, PREFACE, Http2ConnectionError, ping
from appliance.net.deadlines import NEVER
from appliance.proxy.dial import CONNECT, HTTP_2, Dial, Handshake, handshake_error

if TYPE_CHECKING:
    from appliance.proxy.http2call import Call
    from appliance.proxy.http2pool import Http2Pool

_REQUESTS: Final = 1000
"""After so many a connection is replaced. Hypercorn ends its own at the next one, and drops what is under way there."""
_CANCELS: Final = 100
"""After so many calls that clients took back, too: applications see rapid resets in them, and end what all share."""
_LINGER_SECONDS: Final = 6.0
_PING_SECONDS: Final = 10.0
_UNSENT_BYTES: Final = 512 * 1024
"""With so much waiting for the upstream to read, it gets no more requests on this connection."""
_ALIVE: Final = b"alive?\0\0"
_HTTP_1: Final = b"HTTP/1."


@implementer(IProtocol, IPushProducer, IHandshakeListener)
class Link:
    """Speaks HTTP/2 to one upstream, for as many exchanges at once as it allows."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_cancelled",
        "_dial",
        "_gone",
        "_paused",
        "_pool",
        "_quiet",
        "_retired",
        "_turn",
        "_unsent",
        "_waking",
        "address",
        "deadline",
        "deadlines",
        "engine",
        "exchanges",
        "handshake",
        "scheme",
        "timeouts",
        "transport",
    )

    def __init__(self, pool: Http2Pool, dial: Dial) -> None:
        self._pool = pool
        self._dial: Dial | None = dial
        self._turn = pool.turns
        self.address = pool.name
        self.scheme = b"http" if pool.tls is None else b"https"
        self.deadlines = pool.deadlines
        self.timeouts = pool.timeouts
        self.transport: Any = None
        self.handshake: Handshake | None = None
        """What is to be known of the TLS handshake while it is under way."""
        self.deadline = NEVER
        self.exchanges = 0
        """How many calls were begun."""
        self._cancelled = 0
        self._paused = False
        self._unsent = 0
        self._waking = False
        self._quiet = False
        """Whether nothing was heard of the upstream since the deadline was set."""
        self._asked = False
        """Whether it was sent a PING to see if it lives."""
        self._retired = False
        self._gone = False
        patience = Patience(pool.deadlines.seconds)
        self.engine = ClientEngine(patience, self._wake, self._flush, self._settled, self.retire)

    # --- from the pool and the calls ---

    @property
    def room(self) -> int:
        """How many calls may be begun now."""
        if self._retired or self._gone or (self._paused and unsent(self.transport) > _UNSENT_BYTES):
            return 0
        return self.engine.room

    @property
    def busy(self) -> int:
        """How many calls are under way."""
        return len(self.engine.streams)

    def opened(self) -> int:
        """A call begins; which one it is, counted from 1."""
        if not self.engine.streams:
            self._renew_deadline()
        self.exchanges += 1
        if self.exchanges >= _REQUESTS:
            self.retire()
        return self.exchanges

    def cancelled(self) -> None:
        """A call was taken back."""
        self._cancelled += 1
        if self._cancelled >= _CANCELS:
            self.retire()

    def blame(self, error: UpstreamError) -> None:
        """The upstream is to blame for a request that was not answered."""
        self._pool.failed(error)

    def retire(self) -> None:
        """Take no more calls, and end after those under way."""
        if not self._retired:
            self._retired = True
            self._pool.retired(self)
            self._turn.at_end(self._close_if_done)

    def close(self) -> None:
        """End at once."""
        self._lose("closed")
        self.transport.abortConnection()

    def ended(self, call: Call) -> None:
        """A call is over, be it well or not."""
        if not self.engine.streams and not self._gone:
            self._renew_deadline()
            if self._retired:
                self._turn.at_end(self._close_if_done)
        self._pool.roomier(call)

    def _close_if_done(self) -> None:
        if self._retired and not self.engine.streams:
            self._end(NO_ERROR)

    def _end(self, code: int, reason: str = "") -> None:
        """Say goodbye, and close."""
        if not self._gone:
            self.engine.leave(code, reason)
            self._flush()
            self._lose(f"ended: {reason}" if reason else "closed")
            self.deadline = self.deadlines.seconds() + _LINGER_SECONDS
            self.deadlines.add(self)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _lose(self, how: str) -> None:
        """Be gone as far as everyone else is concerned."""
        if self._gone:
            return
        self._gone = True
        self.deadline = NEVER
        self.deadlines.discard(self)
        self._pool.closed(self)
        for call in list(self.engine.streams.values()):
            self.engine.forget(call)
            call.was_lost(how)

    # --- from Twisted ---

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        transport.registerProducer(self, True)
        self.deadline = self.deadlines.seconds() + self.timeouts.connect
        self.deadlines.add(self)
        self._pool.opened(self)
        if self._pool.tls is None:
            self._greet()

    def connectionMade(self) -> None:
        """See IProtocol."""

    def handshakeCompleted(self) -> None:
        """See IHandshakeListener."""
        self.handshake = None
        chosen = self.transport.negotiatedProtocol
        if chosen == b"h2":
            self._greet()
        else:
            spoken = chosen.decode("ascii", "replace") if chosen else "nothing"
            self._unfit(
                UpstreamError(HTTP_2, f"offered HTTP/2 (ALPN) it chose {spoken}: is http2 = true right for it?")
            )

    def _greet(self) -> None:
        self.transport.write(PREFACE)
        self._flush()

    def _settled(self) -> None:
        """The upstream's SETTINGS have come; the first ones greet."""
        if self._dial is None:
            self._pool.roomier(None)
            return
        if not self.engine.room:
            self._unfit(UpstreamError(HTTP_2, "it allows no streams at all"))
            return
        dial, self._dial = self._dial, None
        self._renew_deadline()
        dial.made(self)

    def _unfit(self, error: UpstreamError) -> None:
        """It is of no use."""
        dial, self._dial = self._dial, None
        if dial is not None:
            dial.fail(error)
        self.close()

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        if self._gone:
            return
        self._quiet = False
        try:
            more = self.engine.receive(data)
        except Http2ConnectionError as fault:
            self._fault(fault, data)
            return
        if more and not self._gone:
            self.transport.pauseProducing()
            self._turn.at_end(self._go_on)

    def _fault(self, fault: Http2ConnectionError, data: bytes) -> None:
        """End the connection for what the upstream did."""
        if self._dial is not None:
            spoken = "it speaks HTTP/1.1" if data.startswith(_HTTP_1) else f"it does not speak HTTP/2 ({fault})"
            self._unfit(UpstreamError(HTTP_2, f"{spoken}: is h2c://, or http2 = true, right for it?"))
            return
        self._pool.failed(UpstreamError("head", f"it broke the rules of HTTP/2: {fault}"))
        self._end(fault.code, str(fault))

    def connectionLost(self, reason: Failure) -> None:
        """See IProtocol."""
        dial, self._dial = self._dial, None
        done = reason.check(ConnectionDone) is not None
        self._lose("closed" if done else f"lost ({reason.getErrorMessage()})")
        self.deadlines.discard(self)
        if dial is None:
            return
        if self._pool.tls is not None and (self.handshake is not None or reason.check(SSL.Error)):
            dial.fail(handshake_error(reason, self.handshake))
        else:
            dial.fail(UpstreamError(CONNECT, "it closed the connection before it had spoken HTTP/2"))
        self.handshake = None

    def pauseProducing(self) -> None:
        """See IPushProducer: the socket is full."""
        if not self._paused:
            self._paused = True
            self.engine.sender.hold()
            self._unsent = unsent(self.transport)
            self.deadline = self.deadlines.seconds() + self.timeouts.body

    def resumeProducing(self) -> None:
        """See IPushProducer: the socket has taken all."""
        self._paused = False
        self._renew_deadline()
        self.engine.sender.release()

    def stopProducing(self) -> None:
        """See IPushProducer: the connection is going; connectionLost tells the calls."""

    # --- input and output ---

    def _go_on(self) -> None:
        """Take the frames that the last turn left."""
        if not self._gone:
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def _wake(self) -> None:
        if not self._waking and self.transport is not None:
            self._waking = True
            self._turn.at_end(self._flush_at_end)

    def _flush_at_end(self) -> None:
        self._waking = False
        self._flush()

    def _flush(self) -> None:
        """Write what there is: at the end of a turn, so that its calls share records and system calls."""
        if self.transport is None or self._gone:
            return
        output = self.engine.take_output()
        if output:
            self.transport.write(output)

    # --- time ---

    def _renew_deadline(self) -> None:
        """Count anew how long it may be silent: with calls under way before it is asked, else for good."""
        if not self._gone and not self._paused and self._dial is None:
            self._quiet = True
            self._asked = False
            self.deadline = self.deadlines.seconds() + self.timeouts.idle

    def expire(self, now: float) -> None:
        """The deadline has passed; see Deadlines."""
        if self._gone:
            self.transport.abortConnection()
        elif self._dial is not None:
            self._unfit(UpstreamError(CONNECT, f"no greeting in HTTP/2 within {self.timeouts.connect:g} s"))
        elif self._paused:
            left = unsent(self.transport)
            if left == self._unsent:
                self._give_up(f"given up, because nothing was taken from it for {self.timeouts.body:g} s,")
                return
            self._unsent = left  # slow, but moving
            self.deadline = now + self.timeouts.body
        elif not self.engine.streams:
            self.retire()
        elif self._quiet and self._asked:
            self._give_up(f"given up, because it did not answer a PING for {_PING_SECONDS:g} s,")
        elif self._quiet:
            self._asked = True
            self.engine.emit(ping(_ALIVE))
            self.deadline = now + _PING_SECONDS
        else:
            self._renew_deadline()

    def _give_up(self, how: str) -> None:
        self._lose(how)
        self.transport.abortConnection()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "upstream h2"
