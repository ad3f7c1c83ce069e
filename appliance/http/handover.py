"""A connection that goes on as another protocol's."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper


def hand_over(transport: Any, successor: IProtocol) -> None:
    """Have ``successor`` be told from now on what happens on ``transport``, in place of the protocol it was made for.

    That one, which has registered itself as the transport's producer, is told nothing any more, not the end either.
    """
    transport.unregisterProducer()
    if isinstance(transport, ProtocolWrapper):
        transport.wrappedProtocol = successor
    else:
        transport.protocol = successor
    successor.makeConnection(transport)
