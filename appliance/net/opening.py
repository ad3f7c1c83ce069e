"""Endpoint strings to open ports, on inherited sockets where there are any; and how to leave them to others."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is touched here)

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from appliance.errors import ListenError
from appliance.net.unixport import UnixPort
from appliance.process.inheritance import Inheritance


def open_port(
    listening: Any, endpoint: str, factory: IProtocolFactory, inherited: Inheritance | None = None
) -> Deferred[IListeningPort]:
    """The open port of an endpoint. ``listening`` provides what the endpoint asks of a reactor, and IReactorSocket.

    Fails with ``CannotListenError`` and what else endpoints fail with.
    """
    descriptor = inherited.take(endpoint) if inherited is not None else None
    if descriptor is None:
        try:
            opening: Deferred[IListeningPort] = serverFromString(listening, endpoint).listen(factory)
        except LookupError:  # of systemd's index= and name=
            return fail(ListenError("systemd has passed no such socket: see the [Socket] unit, and that it is active"))
        return opening
    with socket.socket(fileno=descriptor) as found:
        found.setblocking(False)
        port: IListeningPort = listening.adoptStreamPort(found.fileno(), found.family, factory)
    return succeed(port)


def leave_to_others(port: IListeningPort) -> None:
    """Have this port's end mean nothing to other processes that have its socket: it stays open, and keeps its name."""
    untyped: Any = port
    untyped._shouldShutdown = False
    if isinstance(port, UnixPort):
        port.keep_file()
