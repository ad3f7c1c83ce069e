"""TLS on the socket: OpenSSL reads and writes the descriptor itself, with no buffer of ours between (the hot path).

`TlsServer` is Twisted's ``tcp.Server`` with the two calls that touch the socket replaced, so its queue, producers,
half-close and flushing before a close are Twisted's own. What TLS adds is that either direction may have to wait for
the other: reading may have to write first (a handshake, a key update), and nothing is written before the handshake.
"""
# mypy: disable-error-code="no-untyped-call,override,no-any-return"
# (Twisted has no annotations for most of what is extended here, and too narrow ones for why a connection ends)

from __future__ import annotations

import socket
from socket import IPPROTO_TCP, TCP_CORK

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, INegotiated
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

from appliance.net.accepting import Accepted
from appliance.net.immediate import ImmediatePort, ImmediateWrites
from appliance.net.lingering import LingeringClose
from appliance.tls.clienthello import LONGEST, missing
from appliance.tls.records import (
    RECORD,
    agreed_protocol,
    raise_for,
    read_records,
    shake_hands,
    write_record,
    write_records,
)
from appliance.tls.snimap import SniMap, is_proof


@implementer(INegotiated)
class TlsServer(ImmediateWrites, LingeringClose, Accepted, Server):
    """The server's end of a TLS connection over an accepted TCP socket.

    ``connectionMade`` comes at once, as with Twisted's own TLS; `handshaking` tells when data may flow, and a protocol
    that provides ``IHandshakeListener`` is told. Nothing here limits the time of a handshake: its owner's sweep looks
    at `handshaking` and calls ``abortConnection``.

    ``connectionLost`` reasons: ``ConnectionDone`` after a close_notify or our own close; ``ConnectionLost`` if the
    client's data may have been cut short; an ``SSL.Error`` if the handshake or the protocol failed.
    """

    handshaking = True
    """Whether the handshake is still under way."""

    server: TlsPort
    _tls: SSL.Connection | None = None
    _failed: Exception | None = None  # what ended TLS; every later write meets it again
    _writes_wait = True  # nothing can be written before something was read: no use in watching for writability
    _reads_wait = False  # nothing can be read before something was written: no use in watching for readability
    _reading = False  # whether the owner wants data
    _awaited = False  # whether the rest of the ClientHello was waited for

    # -- reading

    def doRead(self) -> Exception | None:
        """Continue the handshake or deliver data: some records at once, so that others have their turn."""
        if self.handshaking:
            failed = self._handshake()
            if failed is not None or self.handshaking or not self._reading:
                return failed
        tls = self._tls
        assert tls is not None
        data = b""
        ended: Exception | None = None
        try:
            data, result = read_records(tls)
            if result <= 0:
                raise_for(tls, result)
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            self._wait_for_write()
        except SSL.ZeroReturnError:
            ended = main.CONNECTION_DONE
        except SSL.Error as error:
            ended = self._failure(error)
        if self._writes_wait:
            self._writes_may_go_on()
        if data:
            self.protocol.dataReceived(data)
        return None if ended is None else self._input_ended(ended)

    def _input_ended(self, reason: Exception) -> Exception | None:
        """The client will send no more. ``reason``, if the connection is over with that; None if it lives on."""
        if not self.connected or self.disconnecting:
            return None  # the protocol was given data just now, and closed
        if reason is main.CONNECTION_DONE and not IHalfCloseableProtocol.providedBy(self.protocol):
            if self.producer is None and (self.dataBuffer or self._tempDataBuffer):
                self.loseConnection()  # after what is queued: a close_notify does not stop the client from reading
                return None
            self._send_close_notify()
        return reason

    def _handshake(self) -> Exception | None:
        """Go as far as the socket allows; the reason for giving up, if it came to that."""
        try:
            tls = self._tls
            if tls is None:
                tls = self._begin()
                if tls is None or not shake_hands(tls):
                    return None
            elif not self._shake_hands_corked(tls):
                return None
        except SSL.WantWriteError:
            self._wait_for_write()
            return None
        except SSL.Error as error:
            return self._failure(error)
        except OSError:
            return main.CONNECTION_LOST
        self.handshaking = False
        self._handshake_completed()
        return None

    def _shake_hands_corked(self, tls: SSL.Connection) -> bool:
        """A handshake's end, after which OpenSSL writes each session ticket by itself: one segment for all."""
        self.socket.setsockopt(IPPROTO_TCP, TCP_CORK, 1)
        try:
            return shake_hands(tls)
        finally:
            self.socket.setsockopt(IPPROTO_TCP, TCP_CORK, 0)

    def _begin(self) -> SSL.Connection | None:
        """Look at the ClientHello, without taking it from the socket, to know which site's context to begin on."""
        try:
            client_hello = self.socket.recv(LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        if not client_hello:
            raise SSL.SysCallError(-1, "Unexpected EOF")
        if self._awaited:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        elif (whole := missing(client_hello)) > 0:
            # With a key share for X25519MLKEM768 it takes two segments, which need not come together. What is only
            # looked at stays readable: without this mark the reactor would turn idly until all is there.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, whole)
            self._awaited = True
            return None
        self._tls = self.server.sni_map.connection(client_hello, self.socket)
        return self._tls

    def _handshake_completed(self) -> None:
        self._writes_may_go_on()
        if self._tls is not None and is_proof(self._tls):
            self.loseConnection()
        elif self.disconnecting:
            self.stopReading()  # closed while the handshake was under way: only the flushing is left to do
        elif IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()

    # -- writing

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Encrypt and send what the socket takes, up to ``SEND_LIMIT`` bytes: their number, or what ended TLS."""
        if self._failed is not None:
            return self._failed
        if self._writes_wait or not data:
            return 0
        tls = self._tls
        assert tls is not None
        sent = 0
        try:
            if len(data) <= RECORD and data.__class__ is bytes:  # from write(); doWrite() gives memoryviews
                sent = write_record(tls, data)
            else:
                # Records together make larger segments than each by itself, and fewer of them.
                self.socket.setsockopt(IPPROTO_TCP, TCP_CORK, 1)
                sent, result = write_records(tls, data, 0, min(len(data), self.SEND_LIMIT))
                self.socket.setsockopt(IPPROTO_TCP, TCP_CORK, 0)
                raise_for(tls, result)
        except SSL.WantWriteError:
            pass
        except SSL.WantReadError:
            self._writes_wait = True
            super().stopWriting()
        except SSL.Error as error:
            self._failed = self._failure(error)
            return self._failed
        return sent

    def doWrite(self) -> Exception | None:
        """Do what waited for the socket to take data: reading, if it had to write first; then the queue."""
        if self._reads_wait:
            self._reads_wait = False
            super().stopWriting()
            if self._reading:
                super().startReading()
            failed = self.doRead() if self._reading or self.handshaking else None
            if failed is not None or self._reads_wait or not self.connected:
                return failed
            if self.dataBuffer or self._tempDataBuffer or self.disconnecting:
                self.startWriting()
            return None
        return super().doWrite()

    # -- closing

    def loseConnection(self) -> None:
        """Send what is queued, then a close_notify, then close. In a handshake with nothing queued it aborts."""
        if not self.handshaking:
            super().loseConnection()
        elif not (self.dataBuffer or self._tempDataBuffer):
            self.abortConnection()
        elif self.connected:
            self.disconnecting = True  # _handshake_completed() goes on from here

    def _end_writing(self) -> bool:
        return not self._reads_wait and self._send_close_notify() and super()._end_writing()

    def _postLoseConnection(self) -> Exception | None:
        if not self._send_close_notify():
            self.startWriting()
            return None
        return super()._postLoseConnection()

    def _closeWriteConnection(self) -> None:
        if self._send_close_notify():
            super()._closeWriteConnection()
        else:
            self._writeDisconnected = False
            self.startWriting()

    def _send_close_notify(self) -> bool:
        """Whether that is done with, be it because it cannot be done; else wait until the socket takes data."""
        try:
            if self._tls is not None and not self.handshaking and self._failed is None:
                self._tls.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            pass
        return True

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over."""
        super().connectionLost(reason)
        self._tls = None

    # -- the reactor's attention

    def startReading(self) -> None:
        """Watch for readability, now or once that can be of use."""
        self._reading = True
        if not self._reads_wait:
            super().startReading()

    def stopReading(self) -> None:
        """No longer watch for readability."""
        self._reading = False
        super().stopReading()

    def startWriting(self) -> None:
        """Watch for writability, now or once that can be of use."""
        if not self._writes_wait:
            super().startWriting()

    def _wait_for_write(self) -> None:
        """OpenSSL must write before it can read: with data unread, watching for these would turn idly."""
        self._reads_wait = True
        super().stopReading()
        super().startWriting()

    def _writes_may_go_on(self) -> None:
        self._writes_wait = False
        if self.dataBuffer or self._tempDataBuffer or self.disconnecting or self._writeDisconnecting:
            super().startWriting()

    # -- ISSLTransport, INegotiated

    def getHandle(self) -> SSL.Connection | None:
        """OpenSSL's connection; None until the client's first bytes came, and after the end."""
        return self._tls

    def getPeerCertificate(self) -> object:
        """The client's certificate: None, as none is asked for."""
        return None if self._tls is None else self._tls.get_peer_certificate()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """What ALPN chose; None before the handshake is over, or if the client did not ask."""
        return (agreed_protocol(self._tls) or None) if self._tls is not None else None

    def startTLS(self, ctx: object, normal: bool = True) -> None:
        """Refused: this is TLS already."""
        raise RuntimeError("this connection speaks TLS already")

    def _failure(self, error: SSL.Error) -> Exception:
        """The ``connectionLost`` reason for an error: OpenSSL's own, or that the socket was closed or reset."""
        if isinstance(error, SSL.SysCallError) or not error.args or not error.args[0]:
            return main.CONNECTION_LOST
        return error


class TlsPort(ImmediatePort):
    """A listening TCP socket whose connections are `TlsServer`. ``sni_map`` is set before it listens."""

    transport = TlsServer  # type: ignore[assignment]
    _type = "TLS"
    sni_map: SniMap
