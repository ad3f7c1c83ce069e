"""Upstreams of all kinds behind the appliance: several addresses, TLS, names, health checks, the PROXY protocol."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.support.appliance import Appliance, SiteConnection
from tests.support.backend import OK, Backend
from tests.support.certificates import Authority, make_certificate, shared_authority
from tests.support.processes import free_port

UNREACHABLE = "https://127.0.0.1:1/directory"


def named(name: str) -> bytes:
    """An answer that says who gave it."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name.encode())


class Site(Appliance):
    """The appliance with one site, ``one.test``; ``keys`` are TOML for it, ``listen`` for the listeners."""

    def __init__(self, folder: Path, keys: str, listen: str = "", timeouts: str = "") -> None:
        super().__init__(folder)
        self.config.write_text(
            f'state_dir = "{self.state_dir}"\n'
            f'[listen]\nhttp = ["tcp:{self.http_port}:interface=127.0.0.1"]\n'
            f'https = ["tcp:{self.https_port}:interface=127.0.0.1"]\n{listen}\n'
            f'[acme]\ndirectory = "{UNREACHABLE}"\nagree_tos = true\n[timeouts]\n{timeouts}\n'
            f'[[site]]\nnames = ["one.test"]\n{keys}\n'
        )
        self.keep("one.test", make_certificate(["one.test"]))

    def connect(self) -> SiteConnection:
        """A client."""
        return self.client("one.test", shared_authority().pem)

    def get(self, path: str = "/") -> tuple[int, str]:
        """One request on its own connection."""
        with self.connect() as client:
            response = client.get(path)
            return response.status, response.read().decode()


def listed(*backends: Backend) -> str:
    """The ``upstream`` key for several."""
    return f"upstream = {json.dumps([f'http://127.0.0.1:{backend.port}' for backend in backends])}\n"


def test_weights_and_an_address_that_goes_and_comes(tmp_path: Path) -> None:
    """Two of three requests go to the heavier one; while it is gone all go to the other, and nobody fails."""
    with Backend(lambda _: named("a")) as a, Backend(lambda _: named("b")) as b:
        keys = f'upstream = ["http://127.0.0.1:{a.port}", {{url = "http://127.0.0.1:{b.port}", weight = 2}}]'
        with Site(tmp_path, keys) as site:
            assert Counter(site.get() for _ in range(12)) == {(200, "a"): 4, (200, "b"): 8}
            b.stop()
            assert Counter(site.get() for _ in range(12)) == {(200, "a"): 12}
            site.wait_for(lambda: f"http://127.0.0.1:{b.port} cannot be reached" in site.output(), 5)
            b.start()
            site.wait_for(lambda: f"http://127.0.0.1:{b.port} accepts connections again" in site.output(), 5)
            assert Counter(site.get() for _ in range(12)) == {(200, "a"): 4, (200, "b"): 8}
            assert site.output().count("cannot be reached") == site.output().count("accepts connections again") == 1


def test_the_same_client_the_same_address(tmp_path: Path) -> None:
    """client_hash by the client's address, as a load balancer announces it."""
    with Backend(lambda _: named("a")) as a, Backend(lambda _: named("b")) as b:
        keys = f'{listed(a, b)}balance = "client_hash"'
        with Site(tmp_path, keys, 'proxy_protocol_from = ["127.0.0.1"]') as site:
            chosen = {}
            for number in range(20):
                address = f"192.0.2.{number}"
                answers = {announced(site, f"PROXY TCP4 {address} 192.0.2.99 4000{turn} 443\r\n") for turn in range(3)}
                assert len(answers) == 1
                chosen[address] = answers.pop()
            assert set(chosen.values()) == {"a", "b"}


def announced(site: Site, header: str | bytes) -> str:
    """The body of an answer to a client that a load balancer announced by ``header``."""
    context = ssl.create_default_context(cadata=shared_authority().pem.decode())
    raw = socket.create_connection(("127.0.0.1", site.https_port), timeout=10)
    with raw:
        raw.sendall(header if isinstance(header, bytes) else header.encode())
        with context.wrap_socket(raw, server_hostname="one.test") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
            response = HTTPResponse(client)
            response.begin()
            return response.read().decode()


def test_proxy_protocol_in_and_out(tmp_path: Path) -> None:
    """What a load balancer announces ahead of TLS reaches the application: in headers, and as a PROXY header again."""
    with (
        Backend() as backend,
        Site(tmp_path, f'{listed(backend)}send_proxy = "v1"', 'proxy_protocol_from = ["127.0.0.0/8", "::1"]') as site,
    ):
        assert announced(site, "PROXY TCP4 203.0.113.7 198.51.100.1 51234 8443\r\n") == "ok"
        [request] = backend.requests
        assert request.startswith(b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 8443\r\nGET / HTTP/1.1\r\n")
        assert b"X-Forwarded-For: 203.0.113.7\r\n" in request
        assert b"X-Forwarded-Port: 8443\r\n" in request
        assert announced(site, "PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n") == "ok"
        assert backend.requests[1].startswith(b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n")
        v2 = b"\r\n\r\n\0\r\nQUIT\n" + b"\x20\x00\x00\x00"  # LOCAL: the load balancer speaks for itself
        assert announced(site, v2) == "ok"
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in backend.requests[2]
        assert backend.connections == 3
        with socket.create_connection(("127.0.0.1", site.http_port), timeout=10) as plain:
            plain.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 80\r\nGET /a HTTP/1.1\r\nHost: one.test\r\n\r\n")
            assert plain.recv(4096).startswith(b"HTTP/1.1 308 ")


@pytest.mark.parametrize(
    ("networks", "sent", "words"),
    [
        ('["127.0.0.1"]', b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", "it does not begin with a PROXY"),
        ('["127.0.0.1"]', b"PROXY TCP4 1.2.3.4\r\n", "its PROXY line is malformed"),
        ('["127.0.0.1"]', b"PRO", "it did not send a PROXY protocol header in time"),
        ('["192.0.2.0/24"]', b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\n", "it is not in proxy_protocol_from"),
    ],
)
def test_connections_without_a_good_announcement(tmp_path: Path, networks: str, sent: bytes, words: str) -> None:
    """They are closed without an answer, and the log says why."""
    with (
        Site(tmp_path, 'upstream = "http://127.0.0.1:9"', f"proxy_protocol_from = {networks}", "header = 1") as site,
        socket.create_connection(("127.0.0.1", site.http_port), timeout=10) as client,
    ):
        client.sendall(sent)
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
        # The helpers that wait for the listeners connect without a header too, and are counted in the same line.
        site.wait_for(lambda: "Closed a connection from 127.0.0.1: " in site.output(), 5)
        assert "Traceback" not in site.output()
        site.wait_for(lambda: words in site.output() or "connection from" in site.output(), 5)


def test_tls_upstreams_are_verified(tmp_path: Path) -> None:
    """A private CA's certificate for the right name is accepted; SNI and the name are the upstream's."""
    private = Authority.make("Private Root")
    ca = tmp_path / "private.pem"
    ca.write_bytes(private.pem)
    good = make_certificate(["localhost"], authority=private)
    with Backend(certificate=good, folder=tmp_path) as backend:
        keys = f'upstream = "https://localhost:{backend.port}"\nupstream_ca_file = "{ca}"\nsend_proxy = "v2"'
        with Site(tmp_path, keys) as site:
            assert site.get() == (200, "ok")
            assert backend.requests[0].startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01")


@pytest.mark.parametrize(
    ("names", "key", "words"),
    [
        (["other.test"], True, "its certificate is not for localhost, but for other.test"),
        (["localhost"], False, "its certificate is not trusted: unable to get local issuer certificate"),
    ],
)
def test_tls_upstreams_that_prove_nothing(tmp_path: Path, names: list[str], key: bool, words: str) -> None:
    """502 at once, and a line that says what is wrong with the certificate."""
    private = Authority.make("Private Root")
    ca = tmp_path / "private.pem"
    ca.write_bytes(private.pem)
    with Backend(certificate=make_certificate(names, authority=private), folder=tmp_path) as backend:
        keys = f'upstream = "https://localhost:{backend.port}"\n' + (f'upstream_ca_file = "{ca}"' if key else "")
        with Site(tmp_path, keys) as site:
            began = time.monotonic()
            assert site.get()[0] == 502
            assert time.monotonic() - began < 3
            site.wait_for(lambda: f"failed at connect: https://localhost:{backend.port}: {words}" in site.output(), 5)
            assert not backend.requests


def test_an_upstream_that_speaks_no_tls(tmp_path: Path) -> None:
    """502 at once, in OpenSSL's words."""
    with (
        Backend(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as backend,
        Site(tmp_path, f'upstream = "https://127.0.0.1:{backend.port}"') as site,
    ):
        assert site.get()[0] == 502
        site.wait_for(lambda: "the TLS handshake failed: wrong version number" in site.output(), 5)


@pytest.mark.parametrize("missing", [True, False])
def test_unix_socket_that_is_made_again(tmp_path: Path, missing: bool) -> None:
    """Requests wait while the socket is missing, or while nobody listens on it."""
    path = tmp_path / "app.sock"
    with Backend(path=path) as backend, Site(tmp_path, f'upstream = "unix:{path}"') as site:
        assert site.get() == (200, "ok")
        backend.stop()
        if missing:
            path.unlink()
        with ThreadPoolExecutor(5) as clients:
            answers = [clients.submit(site.get) for _ in range(5)]
            site.wait_for(lambda: "cannot be reached" in site.output(), 5)
            backend.start()
            assert [answer.result(20) for answer in answers] == [(200, "ok")] * 5


def test_ipv6_upstream(tmp_path: Path) -> None:
    """By its literal address."""
    with (
        Backend(host="::1") as backend,
        Site(tmp_path, f'upstream = "http://[::1]:{backend.port}"') as site,
    ):
        assert site.get() == (200, "ok")


def test_localhost_is_127_0_0_1_first_and_then_the_other(tmp_path: Path) -> None:
    """An application on ``::1`` alone is found as well."""
    with Backend(host="::1") as backend, Site(tmp_path, f'upstream = "http://localhost:{backend.port}"') as site:
        assert [site.get() for _ in range(3)] == [(200, "ok")] * 3


def test_a_name_that_cannot_be_resolved(tmp_path: Path) -> None:
    """It keeps nothing from starting; its requests are 502 with the reason, others are served."""
    keys = 'upstream = "http://nowhere.invalid:80"\ntry_for = "1s"\n[[site.route]]\npath = "/good"\n'
    with Backend() as backend, Site(tmp_path, f"{keys}{listed(backend)}") as site:
        assert site.get("/good") == (200, "ok")
        assert site.get("/")[0] == 502
        site.wait_for(lambda: "nowhere.invalid" in site.output() and "cannot be resolved" in site.output(), 10)
        assert site.get("/good") == (200, "ok")


def test_a_dead_application_is_502_at_once_after_a_while(tmp_path: Path) -> None:
    """The first request waits for try_for; later ones do not, and the first after its return is served."""
    backend = Backend(port=free_port())
    with Site(tmp_path, f'{listed(backend)}try_for = "1s"') as site:
        began = time.monotonic()
        assert site.get()[0] == 502
        assert time.monotonic() - began > 0.9
        began = time.monotonic()
        assert [site.get()[0] for _ in range(5)] == [502] * 5
        assert time.monotonic() - began < 4  # five that wait would take five seconds
        with backend:
            assert site.get() == (200, "ok")


def test_requests_with_a_body_wait_too(tmp_path: Path) -> None:
    """The body is not read meanwhile, and arrives whole."""
    port = free_port()
    backend = Backend(port=port)
    with Site(tmp_path, f'upstream = "http://127.0.0.1:{port}"') as site, site.connect() as client:
        client.putrequest("POST", "/upload", skip_host=True)
        for name, value in (("Host", "one.test"), ("Content-Length", "300000")):
            client.putheader(name, value)
        client.endheaders()
        site.wait_for(lambda: "cannot be reached" in site.output(), 5)
        with backend:
            client.send(b"x" * 300000)
            assert client.getresponse().status == 200
        assert backend.requests[0].startswith(b"POST /upload")


def test_more_requests_than_may_wait(tmp_path: Path) -> None:
    """503 for those, at once."""
    with Site(tmp_path, f'upstream = "http://127.0.0.1:{free_port()}"\nmax_waiting = 2\ntry_for = "3s"') as site:
        statuses: list[int] = []
        with ThreadPoolExecutor(5) as clients:
            for _ in range(5):
                clients.submit(lambda: statuses.append(site.get()[0]))
            site.wait_for(lambda: len(statuses) == 3, 2.5)
            assert statuses == [503] * 3
        assert sorted(statuses) == [502, 502, 503, 503, 503]


def test_active_checks(tmp_path: Path) -> None:
    """An address that answers its check wrongly gets no requests until it answers well; one line for each change."""
    sick = threading.Event()

    def say(request: bytes) -> bytes:
        if b"GET /health HTTP/1.1\r\nHost: one.test\r\n" in request:
            return b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" if sick.is_set() else OK
        return named("a")

    with Backend(say) as a, Backend(lambda _: named("b")) as b:
        keys = f'{listed(a, b)}[site.health_check]\npath = "/health"\ninterval = "100ms"\n'
        with Site(tmp_path, keys) as site:
            assert Counter(site.get() for _ in range(4)) == {(200, "a"): 2, (200, "b"): 2}
            sick.set()
            site.wait_for(lambda: "fails its health check: it answered 503" in site.output(), 5)
            assert Counter(site.get() for _ in range(4)) == {(200, "b"): 4}
            sick.clear()
            site.wait_for(lambda: "passes its health check" in site.output(), 5)
            assert Counter(site.get() for _ in range(4)) == {(200, "a"): 2, (200, "b"): 2}
            assert site.output().count("health check") == 2


def test_passive_checks(tmp_path: Path) -> None:
    """An address that accepts and never answers is left out for the cool-down, then tried, then back."""
    sick = threading.Event()
    sick.set()
    with Backend(lambda _: None if sick.is_set() else named("a")) as a, Backend(lambda _: named("b")) as b:
        keys = f'{listed(a, b)}[site.passive_check]\nfailures = 2\nwindow = "10s"\ncool_down = "1s"\n'
        with Site(tmp_path, keys) as site:
            assert Counter(site.get() for _ in range(8)) == {(200, "b"): 8}  # replays hide the sick one
            site.wait_for(lambda: "gets no requests for 1 s" in site.output(), 5)
            asked = len(a.requests)
            assert Counter(site.get() for _ in range(4)) == {(200, "b"): 4}
            assert len(a.requests) <= asked + 1
            sick.clear()

            def back() -> bool:
                return site.get() is not None and "answers again" in site.output()

            site.wait_for(back, 5)
            assert {site.get() for _ in range(4)} == {(200, "a"), (200, "b")}


def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    """Twenty clients at once over two connections: all are served, in turn."""
    lock, at_once, most = threading.Lock(), [0], [0]

    def say(request: bytes) -> bytes:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        with lock:
            at_once[0] -= 1
        return OK

    with Backend(say) as backend, Site(tmp_path, f"{listed(backend)}max_connections = 2") as site:
        with ThreadPoolExecutor(20) as clients:
            answers = [clients.submit(site.get) for _ in range(20)]
            assert [answer.result(20) for answer in answers] == [(200, "ok")] * 20
        assert most[0] <= 2
