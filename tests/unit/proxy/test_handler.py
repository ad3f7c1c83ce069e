"""What becomes of a request on each listener."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.http.server import ServerConnection
from appliance.proxy.handler import RedirectHandler
from appliance.proxy.routing import RouteTable
from tests.support.proxying import OK, REQUEST, TOKEN_PATH, Challenges, Proxy, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, Peer

ANSWER = b"token.thumbprint"


def ask(
    client: Peer, target: bytes, host: bytes = b"example.com", method: bytes = b"GET", fields: bytes = b""
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request; status, fields and body of its answer."""
    client.send(b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, fields))
    [(status, headers, body, complete)] = read_responses(client.take(), [method], client.saw != OPEN)
    assert complete
    return status, dict(headers), body


def plain_client(path: Proxy, https_port: int = 443) -> Peer:
    """A client of the plain HTTP listener."""
    handler = RedirectHandler(Challenges(), https_port)
    connection = ServerConnection(handler, path.deadlines, path.limits, path.timeouts, b"http")
    return path.network.connect(connection, port=80)


class TestChallenges:
    """The token being presented is answered first of all, on both listeners; anything else is an ordinary request."""

    @pytest.mark.parametrize("host", [b"example.com", b"unknown.example", b"192.0.2.1", b"[2001:db8::1]:80"])
    def test_answered(self, host: bytes) -> None:
        """Whatever the host, and never by redirect."""
        with proxy() as path:
            for client in (plain_client(path), path.client()):
                status, headers, body = ask(client, TOKEN_PATH, host)
                assert (status, body) == (200, ANSWER)
                assert headers[b"content-type"] == b"application/octet-stream"
                assert client.saw == OPEN

    def test_head(self) -> None:
        """A HEAD gets the head."""
        with proxy() as path:
            status, headers, body = ask(plain_client(path), TOKEN_PATH, method=b"HEAD")
            assert (status, headers[b"content-length"], body) == (200, b"%d" % len(ANSWER), b"")

    @pytest.mark.parametrize(
        "target",
        [
            b"/.well-known/acme-challenge/unknown",
            b"/.well-known/acme-challenge/",
            TOKEN_PATH + b"?x",
            TOKEN_PATH + b"/",
            TOKEN_PATH.replace(b"acme", b"%61cme"),
            TOKEN_PATH.replace(b"token", b"%74oken"),
            b"/." + TOKEN_PATH,
            b"/x/.." + TOKEN_PATH,
            b"/" + TOKEN_PATH,
            TOKEN_PATH.upper(),
        ],
    )
    def test_ordinary(self, target: bytes) -> None:
        """Another token, a query, an encoded or dotted spelling: redirected, or passed to the application unchanged."""
        with proxy() as path:
            status, headers, body = ask(plain_client(path), target)
            assert (status, headers[b"location"], body) == (308, b"https://example.com" + target, b"")
            client = path.client()
            received, got = path.exchange(client, b"GET %b HTTP/1.1\r\nHost: example.com\r\n\r\n" % target, OK)
            assert received.startswith(b"GET %b HTTP/1.1\r\n" % target)
            assert got == OK

    def test_other_methods(self) -> None:
        """A POST to the token's path is an ordinary request."""
        with proxy() as path:
            assert ask(plain_client(path), TOKEN_PATH, method=b"POST")[0] == 308


class TestRedirects:
    @pytest.mark.parametrize(
        ("target", "host", "location"),
        [
            (b"/", b"example.com", b"https://example.com/"),
            (b"/a%20b?c=d&e", b"EXAMPLE.com:80", b"https://example.com/a%20b?c=d&e"),
            (b"//evil.example/", b"example.com.", b"https://example.com//evil.example/"),
            (b"http://other.example/a", b"example.com", b"https://other.example/a"),
            (b"/", b"[2001:db8::1]:80", b"https://[2001:db8::1]/"),
        ],
    )
    def test_to_https(self, target: bytes, host: bytes, location: bytes) -> None:
        """The same name, path and query on https; the port is https's own."""
        with proxy() as path:
            status, headers, _ = ask(plain_client(path), target, host)
            assert (status, headers[b"location"], headers[b"content-length"]) == (308, location, b"0")

    def test_port(self) -> None:
        """A port that is not 443 is named."""
        with proxy() as path:
            assert ask(plain_client(path, 8443), b"/a")[1][b"location"] == b"https://example.com:8443/a"

    def test_asterisk(self) -> None:
        """OPTIONS * has no path to keep."""
        with proxy() as path:
            assert ask(plain_client(path), b"*", method=b"OPTIONS")[1][b"location"] == b"https://example.com/"

    def test_upload(self) -> None:
        """A body is not wanted: the redirect is said at once, and the connection closes after it."""
        with proxy() as path:
            client = plain_client(path)
            status, headers, _ = ask(client, b"/", method=b"POST", fields=b"Content-Length: 100\r\n")
            assert (status, headers[b"connection"], client.saw) == (308, b"close", FINISHED)


class TestSites:
    def test_unknown_host(self) -> None:
        """404, and the application hears nothing."""
        with proxy() as path:
            client = path.client()
            assert ask(client, b"/", b"unknown.example")[0] == 404
            assert (client.saw, path.network.dialled) == (OPEN, [])

    def test_another_certificates_site(self) -> None:
        """421 for a site that this connection's certificate is not for; the connection may go on with its own."""
        with proxy() as path:
            client = path.client()
            assert ask(client, b"/", b"other.example")[0] == 421
            assert path.network.dialled == []
            assert path.exchange(client, REQUEST % 1, OK)[1] == OK
            assert ask(client, b"/", b"other.example")[0] == 421

    def test_no_certificate(self) -> None:
        """Without a certificate a connection is for no site at all."""
        with proxy() as path:
            path.handler._served = lambda transport: None
            assert ask(path.client(), b"/")[0] == 421

    def test_head_of_a_page(self) -> None:
        """A HEAD gets the page's length and no page."""
        with proxy() as path:
            client = path.client()
            status, headers, body = ask(client, b"/", b"unknown.example", b"HEAD")
            assert (status, body) == (404, b"")
            assert int(headers[b"content-length"]) > 100
            assert path.exchange(client, REQUEST % 1, OK)[1] == OK

    @pytest.mark.parametrize("host", [b"EXAMPLE.com", b"example.com.", b"example.com:443", b"Example.Com.:8443"])
    def test_spellings(self, host: bytes) -> None:
        """Case, a final dot and a port do not matter to the route; the application sees what the client wrote."""
        with proxy() as path:
            received, _ = path.exchange(path.client(), b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, OK)
            assert b"\r\nHost: %b\r\n" % host in received
            assert b"\r\nX-Forwarded-Host: %b\r\n" % host in received

    def test_each_request_its_own_host(self) -> None:
        """What is remembered of a connection's last host does not hold for another."""
        with proxy() as path:
            client = path.client()
            for host in (b"example.com", b"example.com:1", b"EXAMPLE.com", b"example.com"):
                received, _ = path.exchange(client, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, OK)
                assert b"\r\nX-Forwarded-Host: %b\r\n" % host in received
            assert ask(client, b"/", b"unknown.example")[0] == 404
            assert path.exchange(client, REQUEST % 1, OK)[1] == OK

    def test_new_routes(self) -> None:
        """New routes hold from the next request on, also on connections that are open."""
        with proxy() as path:
            client = path.client()
            path.exchange(client, REQUEST % 1, OK)
            before = path.handler.routes
            path.handler.routes = RouteTable({})
            assert ask(client, b"/")[0] == 404
            path.handler.routes = before
            assert path.exchange(client, REQUEST % 1, OK)[1] == OK


class TestRoutes:
    ROUTES = ((b"/api", "127.0.0.1:8000", True), (b"/app", "127.0.0.1:8000", False))

    def test_no_route(self) -> None:
        """A path that no route is for is 404."""
        with proxy(routes=self.ROUTES) as path:
            assert ask(path.client(), b"/other")[0] == 404
            assert ask(path.client(), b"/apix")[0] == 404

    def test_stripped(self) -> None:
        """A stripped prefix is told in X-Forwarded-Prefix, and only there."""
        with proxy(routes=self.ROUTES) as path:
            client = path.client()
            asked = b"GET %b HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-Prefix: /evil\r\n\r\n"
            received, _ = path.exchange(client, asked % b"/api/x?y", OK)
            assert received.startswith(b"GET /x?y HTTP/1.1\r\n")
            assert received.count(b"X-Forwarded-Prefix") == received.count(b"X-Forwarded-Prefix: /api\r\n") == 1
            received, _ = path.exchange(client, asked % b"/app/x", OK)
            assert received.startswith(b"GET /app/x HTTP/1.1\r\n")
            assert b"X-Forwarded-Prefix" not in received


class TestTrustedProxies:
    SENT = (
        b"GET / HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: http\r\n"
        b"Forwarded: for=198.51.100.1\r\n\r\n"
    )

    @pytest.mark.parametrize(
        ("client", "trusted"),
        [
            ("192.0.2.7", True),
            ("192.0.3.7", False),
            ("2001:db8::1", True),
            ("2001:db9::1", False),
            ("::ffff:192.0.2.7", True),
        ],
    )
    def test_trust(self, client: str, trusted: bool) -> None:
        """What a client says of where a request came from counts only if it is a trusted proxy."""
        with proxy(trusted=["192.0.2.0/24", "2001:db8::/32"]) as path:
            received, _ = path.exchange(path.client(client), self.SENT, OK)
            fields: dict[str, Any] = dict(line.split(": ") for line in received.decode().split("\r\n")[1:-2])
            address = client.removeprefix("::ffff:")
            if trusted:
                assert fields["X-Forwarded-For"] == f"198.51.100.1, {address}"
                assert fields["X-Forwarded-Proto"] == "http"
                assert fields["Forwarded"].startswith("for=198.51.100.1, for=")
            else:
                assert fields["X-Forwarded-For"] == address
                assert fields["X-Forwarded-Proto"] == "https"
                assert fields["Forwarded"].startswith("for=")
                assert "198.51.100.1" not in received.decode()

    def test_nobody_by_default(self) -> None:
        """Unless told otherwise nobody is trusted, the machine itself neither."""
        with proxy() as path:
            received, _ = path.exchange(path.client("127.0.0.1"), self.SENT, OK)
            assert b"198.51.100.1" not in received
