"""Endpoint strings to open ports, on inherited sockets where there are any; and how to leave them to others."""

# mypy: disable-error-code="no-untyped-call"
# (Twisted has no annotations for most of what is touched here)

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from appliance.errors import ListenError
from appliance.net.unixport import UnixPort
from appliance.process.inheritance import Inheritance

_passed: dict[int, Any] = {}
"""The latest port on each socket that systemd passed, by its descriptor: the process has these once, so has this."""


def open_port(
    listening: Any, endpoint: str, factory: IProtocolFactory, inherited: Inheritance | None = None
) -> Deferred[IListeningPort]:
    """The open port of an endpoint. ``listening`` provides what the endpoint asks of a reactor, and IReactorSocket.

    Fails with ``CannotListenError``, ``ListenError`` and what else endpoints fail with.
    """
    descriptor = inherited.take(endpoint) if inherited is not None else None
    if descriptor is not None:
        return maybeDeferred(_adopt, listening, descriptor, factory)
    try:
        wanted = serverFromString(listening, endpoint)
    except LookupError:  # of systemd's index= and name=
        return fail(
            ListenError(
                "systemd has passed no such socket: see the [Socket] unit, and that it is active;"
                " after an upgrade, one that was not in use takes a restart"
            )
        )
    except (AttributeError, TypeError, ValueError) as error:
        return fail(ListenError(f'{error}: write it as "systemd:domain=INET6:index=0" or "tcp:443"'))
    if isinstance(wanted, AdoptedStreamServerEndpoint):
        return maybeDeferred(_adopt_passed, listening, wanted.fileno, factory)
    opening: Deferred[IListeningPort] = wanted.listen(factory)
    return opening


def _adopt_passed(listening: Any, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
    """A port on a socket of systemd's, which stays open: closed, its number would soon be another socket's."""
    before = _passed.get(descriptor)
    if before is not None and before.connected and not before.disconnecting:
        raise ListenError("another endpoint has this socket of systemd's: each needs its own, see the [Socket] unit")
    port = _passed[descriptor] = _adopt(listening, os.dup(descriptor), factory)
    return port


def _adopt(listening: Any, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
    with socket.socket(fileno=descriptor) as found:
        found.setblocking(False)
        port: IListeningPort = listening.adoptStreamPort(found.fileno(), found.family, factory)
    return port


def leave_to_others(port: IListeningPort) -> None:
    """Have this port's end mean nothing to other processes that have its socket: it stays open, and keeps its name."""
    untyped: Any = port
    untyped._shouldShutdown = False
    if isinstance(port, UnixPort):
        port.keep_file()
