"""Words between two processes, a line each."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from appliance.process import link
from appliance.process.link import Link, LinkLostError


def test_words() -> None:
    """They arrive whole and in order; after them, that the other end is gone, as often as one asks."""
    end, transport = Link(), StringTransport()
    end.makeConnection(transport)
    first, second, third, fourth = (Deferred.fromCoroutine(end.hear()) for _ in range(4))
    heard: list[object] = []
    for each in (first, second, third, fourth):
        each.addCallbacks(heard.append, lambda failure: heard.append(failure.type))
    end.dataReceived(b"started 1")
    assert heard == []
    end.dataReceived(b"2\nprepared\n")
    assert heard == ["started 12", "prepared"]
    end.say(link.GO)
    assert transport.value() == b"go\n"
    end.connectionLost(Failure(ConnectionDone()))
    assert heard == ["started 12", "prepared", LinkLostError, LinkLostError]
    end.close()
    assert transport.disconnecting
