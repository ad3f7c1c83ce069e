"""Why handshakes fail: real ones, with a client that is wrong about something."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionLost

from appliance.ops.metrics.handshakereasons import reason_of
from appliance.tls.context import NoCommonProtocol, site_context
from tests.support.certificates import make_certificate


def refused(client: Any) -> SSL.Error:
    """What the server's handshake with this client raises; ``client`` is called with a socket, and may fail."""
    ours, theirs = socket.socketpair()
    context = site_context(make_certificate(["one.test"]))
    connection = SSL.Connection(context, ours)
    connection.set_accept_state()
    thread = threading.Thread(target=_quietly, args=(client, theirs))
    thread.start()
    ours.settimeout(None)
    try:
        with pytest.raises(SSL.Error) as raised:
            connection.do_handshake()
    finally:
        ours.close()
        thread.join(10)
        theirs.close()
    return raised.value


def _quietly(client: Any, theirs: socket.socket) -> None:
    try:
        client(theirs)
    except OSError:
        pass
    finally:
        theirs.close()


def shakes_hands(**options: Any) -> Any:
    """A client that does not verify unless it is told to."""

    def client(theirs: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = options.get("verify", ssl.CERT_NONE)
        if "ciphers" in options:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(options["ciphers"])
        context.wrap_socket(theirs, server_hostname="one.test")

    return client


def test_a_client_that_does_not_trust() -> None:
    """It says so by an alert."""
    assert reason_of(refused(shakes_hands(verify=ssl.CERT_REQUIRED))) == "refused_by_client"


def test_a_client_with_other_ciphers() -> None:
    """None in common."""
    assert reason_of(refused(shakes_hands(ciphers="AES128-SHA256"))) == "no_shared_cipher"


def test_a_client_of_another_protocol() -> None:
    """Plain HTTP, as scanners and misconfigured clients speak it."""
    assert reason_of(refused(lambda theirs: theirs.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n"))) == "not_tls"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (ConnectionAborted(), "timeout"),
        (ConnectionLost(), "closed"),
        (None, "closed"),
        (SSL.Error([]), "closed"),
        (NoCommonProtocol([("SSL routines", "", "the client speaks only b'foo'")]), "alpn"),
        (SSL.Error([("SSL routines", "", "no suitable signature algorithm")]), "unknown_name"),
        (SSL.Error([("SSL routines", "", "unsupported protocol")]), "protocol_version"),
        (SSL.Error([("SSL routines", "", "something that OpenSSL has thought of since")]), "other"),
    ],
)
def test_words(reason: BaseException | None, word: str) -> None:
    """Whatever it is, it is one of a few words."""
    assert reason_of(reason) == word
