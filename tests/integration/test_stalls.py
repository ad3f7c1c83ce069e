"""Clients that stall, each in its own way: every one is ended at its own deadline, and told why if it can be."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.slow import Client, Clients, trusting

HANDSHAKE, HEADER, IDLE, BODY = 2.0, 4.0, 6.0, 8.0
TIMEOUTS = f"[timeouts]\nhandshake = {HANDSHAKE}\nheader = {HEADER}\nidle = {IDLE}\nbody = {BODY}\n"
LATE = 2.5
"""How long after its deadline an end may come: a sweep a second, and a busy machine."""

HEAD = b"GET /echo HTTP/1.1\r\nHost: one.test\r\n"


@frozen
class Stall:
    """What a client sends, before it sends ``drip`` once a second; how long that may go on, and what it is told."""

    sent: bytes
    after: float
    status: int
    drip: bytes = b""
    tls: bool = True
    plain: bool = False


def client_hello(name: str = "one.test") -> bytes:
    """A ClientHello as OpenSSL makes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


STALLS = {
    "no ClientHello": Stall(b"", HANDSHAKE, 0, tls=False),
    "half a ClientHello": Stall(client_hello()[:100], HANDSHAKE, 0, tls=False),
    "a ClientHello at 1 byte/s": Stall(client_hello()[:100], HANDSHAKE, 0, b"\0", tls=False),
    "a ClientHello and no more": Stall(client_hello(), HANDSHAKE, 0, tls=False),
    "silence after the handshake": Stall(b"", HEADER, 0),
    "empty lines after the handshake": Stall(b"\r\n", HEADER, 0),
    "half a header": Stall(HEAD, HEADER, 408),
    "a header at 1 byte/s": Stall(HEAD + b"X-Slow: ", HEADER, 408, b"x"),
    "half a header of a second request": Stall(HEAD + b"\r\n" + HEAD, HEADER, 200),
    "idle after an answer": Stall(HEAD + b"\r\n", IDLE, 200),
    "half a body": Stall(b"POST /upload HTTP/1.1\r\nHost: one.test\r\nContent-Length: 9\r\n\r\nhalf", BODY, 408),
    "a body at 1 byte/s": Stall(
        b"POST /upload HTTP/1.1\r\nHost: one.test\r\nContent-Length: 9999\r\n\r\nhalf", BODY, 408, b"x"
    ),
    "half a chunk": Stall(
        b"POST /upload HTTP/1.1\r\nHost: one.test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", BODY, 408
    ),
    "nothing on the plain listener": Stall(b"", HEADER, 0, tls=False, plain=True),
    "half a header on the plain listener": Stall(HEAD, HEADER, 408, tls=False, plain=True),
    "a header at 1 byte/s on the plain listener": Stall(HEAD + b"X-Slow: ", HEADER, 408, b"x", tls=False, plain=True),
}


def test_each_at_its_own_deadline(tmp_path: Path) -> None:
    """All at once; one that is ended too early is as wrong as one that is ended too late."""
    root = shared_authority().pem
    tls = trusting(root)
    with uvicorn(tmp_path) as application:
        appliance = Appliance(tmp_path)
        appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory", more=TIMEOUTS)
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance, Clients() as clients:
            stalling: dict[str, Client] = {}
            for name, stall in STALLS.items():
                port = appliance.http_port if stall.plain else appliance.https_port
                client = stalling[name] = Client(port, tls if stall.tls else None)
                client.began_waiting = time.monotonic()
                client.send(stall.sent)
                clients.add(client)
            clients.watch(BODY + LATE + 1, every=1.0, act=_dripping(stalling))
            wrong = {name: problem for name, stall in STALLS.items() if (problem := _problem(stall, stalling[name]))}
            assert wrong == {}
            assert "Traceback" not in appliance.output()


def _dripping(stalling: dict[str, Client]) -> Callable[[], None]:
    def drip() -> None:
        for name, client in stalling.items():
            if client.ended is None and STALLS[name].drip:
                client.send(STALLS[name].drip)

    return drip


def _problem(stall: Stall, client: Client) -> str:
    """What is wrong with how it ended."""
    if client.ended is None:
        return "not ended"
    took = client.ended - client.began_waiting
    if not stall.after - 0.1 <= took <= stall.after + LATE:
        return f"ended after {took:.1f} s instead of {stall.after:g}"
    if client.status != stall.status:
        return f"told {client.received[:60]!r} instead of {stall.status}"
    return ""
