"""What a request meets on its way through a site's rules, over real connections in memory."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from appliance.config import Limits, Route, Site, UpstreamAddress
from appliance.config.files import Root
from appliance.config.site import BasicAuth, HeaderEdits, Hsts, RateLimit, Redirect, Respond, Rules
from appliance.files.target import FileTargets
from appliance.net.turn import Turn
from appliance.proxy.assembly import RETRY_AFTER, Assembly
from appliance.proxy.basicauth import MOST_OF_ONE, MOST_WAITING
from appliance.proxy.trust import TrustedProxies
from tests.support import http2
from tests.support.passwords import cheap_hash
from tests.support.proxying import OK, TOKEN_PATH, Proxy, proxy, read_responses
from tests.support.transports import FINISHED, OPEN, Peer

APPLICATION = UpstreamAddress("127.0.0.1", 8000)
TO_APPLICATION = Route("/", (APPLICATION,))
AUTH = BasicAuth((("anna", cheap_hash(b"secret")),), "Staff")
RIGHT = b"Authorization: Basic %b\r\n" % b64encode(b"anna:secret")


@contextmanager
def logged() -> Iterator[list[str]]:
    """What is logged within a with-block."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


class Threads:
    """Work for threads, done when the test says so; at once by default."""

    def __init__(self) -> None:
        self.at_once = True
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.done = 0

    def defer(self, work: Callable[[], Any]) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.waiting.append((work, deferred))
        if self.at_once:
            self.work()
        return deferred

    def work(self) -> None:
        """Do what waits, and what comes of that."""
        while self.waiting:
            work, deferred = self.waiting.pop(0)
            self.done += 1
            try:
                result = work()
            except Exception as error:
                deferred.errback(error)
            else:
                deferred.callback(result)


class Front:
    """A site before an application."""

    def __init__(self, path: Proxy, trusted: list[str]) -> None:
        self.path = path
        self.threads = Threads()
        proxies = TrustedProxies(map(ip_network, trusted))
        clock = path.network
        files = FileTargets(Turn(clock), self.threads.defer, lambda: 1_800_000_000.0, clock.seconds)
        self.assembly = Assembly(path.handler, proxies, clock.seconds, self.threads.defer, files)
        path.handler._proxies = proxies
        path.respond()

    def serve(self, *routes: Route, names: tuple[str, ...] = ("example.com",), **more: Any) -> None:
        """A site with these routes; by default, all goes to the application."""
        self.site = Site(names, routes or (TO_APPLICATION,), **more)
        upstream = self.path.behind[0]
        upstreams = {(self.site.name, route.path): upstream for route in self.site.routes if route.upstreams}
        self.assembly.serve([self.site], upstreams)

    @property
    def received(self) -> list[tuple[bytes, bytes, dict[bytes, bytes], bytes]]:
        """Requests that the application got: method, target, fields, body."""
        return [
            (method, target, dict(fields), body)
            for application in self.path.applications
            for method, target, fields, body in application.requests
        ]


@contextmanager
def front(trusted: list[str] | None = None, **more: Any) -> Iterator[Front]:
    """A site for the length of a with-block."""
    with proxy(**more) as path:
        yield Front(path, trusted or [])


def asking(target: bytes = b"/", fields: bytes = b"", method: bytes = b"GET", host: bytes = b"example.com") -> bytes:
    """A request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, fields)


def answers(client: Peer, *methods: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Status, fields and body of each answer that came."""
    found = read_responses(client.take(), methods or [b"GET"], client.saw != OPEN)
    assert all(complete for _, _, _, complete in found)
    return [(status, dict(fields), body) for status, fields, body, _ in found]


def ask(
    client: Peer, target: bytes = b"/", fields: bytes = b"", **more: bytes
) -> tuple[int, dict[bytes, bytes], bytes]:
    """The answer to one request."""
    client.send(asking(target, fields, **more))
    (answer,) = answers(client, more.get("method", b"GET"))
    return answer


def status(client: Peer, target: bytes = b"/", fields: bytes = b"", **more: bytes) -> int:
    """Of the answer to one request."""
    return ask(client, target, fields, **more)[0]


class TestAnswers:
    def test_no_rules(self) -> None:
        """A site without any leads straight to its application."""
        with front() as site:
            site.serve()
            assert ask(site.path.client())[2] == b"ok"
            assert [target for _, target, _, _ in site.received] == [b"/"]

    def test_redirect(self) -> None:
        """Path and query stay, the application hears nothing."""
        with front() as site:
            site.serve(
                Route("/old", redirect=Redirect("https://new.example{path}")),
                Route("/cut", strip_prefix=True, redirect=Redirect("/to{path}", 302)),
                Route("/host", redirect=Redirect("https://{host}:1/", 307)),
            )
            client = site.path.client()
            assert ask(client, b"/old/a?b=c")[:2][0] == 308
            assert ask(client, b"/old/a?b=c")[1][b"location"] == b"https://new.example/old/a?b=c"
            assert ask(client, b"/old//evil.example")[1][b"location"] == b"https://new.example/old//evil.example"
            assert ask(client, b"/cut/a?b=c")[1][b"location"] == b"/to/a?b=c"
            assert ask(client, b"/host", host=b"EXAMPLE.com")[1][b"location"] == b"https://example.com:1/"
            found, fields, body = ask(client, b"/cut", method=b"POST")
            assert (found, fields[b"location"], fields[b"content-length"], body) == (302, b"/to/", b"0", b"")
            assert site.path.network.dialled == []

    def test_redirect_of_everything(self) -> None:
        """OPTIONS * has no path to keep."""
        with front() as site:
            site.serve(Route("/", redirect=Redirect("https://new.example{path}")))
            assert ask(site.path.client(), b"*", method=b"OPTIONS")[1][b"location"] == b"https://new.example/"

    @pytest.mark.parametrize(
        ("respond", "fields", "body"),
        [
            (Respond(), {b"content-length": b"0"}, b""),
            (Respond(410, "gone"), {b"content-length": b"4", b"content-type": b"text/plain; charset=utf-8"}, b"gone"),
            (Respond(200, "ä", "text/html"), {b"content-length": b"2", b"content-type": b"text/html"}, "ä".encode()),
            (Respond(204), {}, b""),
            (Respond(599), {b"content-length": b"0"}, b""),
        ],
    )
    def test_fixed(self, respond: Respond, fields: dict[bytes, bytes], body: bytes) -> None:
        """The same for everybody; a HEAD gets the head."""
        with front() as site:
            site.serve(Route("/", respond=respond))
            client = site.path.client()
            assert ask(client) == (respond.status, fields, body)
            assert ask(client) == (respond.status, fields, body)
            assert ask(client, method=b"HEAD") == (respond.status, fields, b"")
            assert client.saw == OPEN

    def test_upload(self) -> None:
        """A body that nobody wants: the answer at once, and the connection ends after it."""
        with front() as site:
            site.serve(Route("/", respond=Respond(body="no")))
            client = site.path.client()
            answer = ask(client, fields=b"Content-Length: 100000\r\n", method=b"POST")
            assert (answer[0], answer[1][b"connection"], client.saw) == (200, b"close", FINISHED)

    def test_to_name(self) -> None:
        """All other names go to one, with path, query and port; wildcards too."""
        with front() as site:
            site.path.handler._served = lambda transport: Everything()
            site.serve(names=("example.com", "www.example.com", "*.example.com", "::1"), redirect_to="example.com")
            client = site.path.client()
            for host, location in [
                (b"www.example.com", b"https://example.com/a?b"),
                (b"x.example.com:8443", b"https://example.com:8443/a?b"),
                (b"www.example.com:443", b"https://example.com/a?b"),
                (b"[::1]", b"https://example.com/a?b"),
                (b"[::1]:1", b"https://example.com:1/a?b"),
            ]:
                found, fields, _ = ask(client, b"/a?b", host=host)
                assert (found, fields[b"location"]) == (308, location)
            assert (
                ask(client, b"*", method=b"OPTIONS", host=b"www.example.com")[1][b"location"] == b"https://example.com/"
            )
            assert ask(client)[2] == b"ok"
            site.serve(names=("::1", "example.com"), redirect_to="::1")
            assert ask(client, b"/a")[1][b"location"] == b"https://[::1]/a"

    def test_no_route(self) -> None:
        """A path that nothing is for is answered with 404 behind all that holds for the site."""
        with front() as site:
            site.serve(Route("/a", (APPLICATION,)), hsts=Hsts())
            found, fields, _ = ask(site.path.client(), b"/b")
            assert (found, fields[b"strict-transport-security"]) == (404, b"max-age=31536000")


class Everything:
    """A certificate for all names."""

    def covers(self, host: str) -> bool:
        return True


class TestHeaders:
    def test_requests(self) -> None:
        """What the application gets; what tells where a request came from is not touched."""
        site_wide = HeaderEdits((("X-A", "1"),), (("X-B", "2"),), ("Accept",))
        with front() as site:
            site.serve(
                Route("/x", (APPLICATION,), rules=Rules(request_headers=HeaderEdits((("X-A", "3"),)))),
                rules=Rules(request_headers=site_wide),
            )
            client = site.path.client()
            sent = b"accept: */*\r\nx-a: 0\r\nX-B: 0\r\nCookie: c\r\n"
            assert status(client, b"/x", sent) == 200
            fields = site.received[0][2]
            assert (fields[b"x-a"], b"accept" in fields, fields[b"cookie"]) == (b"3", False, b"c")
            assert fields[b"x-forwarded-for"] == b"192.0.2.7"
            assert site.path.applications[0].raw.count(b"X-B: ") == 2

    def test_responses(self) -> None:
        """Of the application, and of the appliance itself."""
        edits = HeaderEdits((("X-A", "1"),), (("Set-Cookie", "b=2"),), ("Server",))
        response = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 0\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok"
        with front() as site:
            site.path.respond(response)
            site.serve(TO_APPLICATION, Route("/r", respond=Respond()), rules=Rules(response_headers=edits))
            client = site.path.client()
            client.send(asking())
            assert client.take() == (
                b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
            )
            assert ask(client, b"/r")[1][b"x-a"] == b"1"

    def test_failures(self) -> None:
        """An application that is not there is answered for under the same rules, and so is what is too large."""
        with front(limits=Limits(body_bytes=10)) as site:
            del site.path.network.listeners["127.0.0.1", 8000]
            site.serve(hsts=Hsts(60))
            client = site.path.client()
            found, fields, _ = ask(client)
            assert (found, fields[b"strict-transport-security"]) == (502, b"max-age=60")

    def test_upgrades(self) -> None:
        """The answer to a WebSocket's handshake is an answer, and the tunnel is none of the rules' business."""
        with front() as site:
            site.path.network.listeners["127.0.0.1", 8000] = site.path.upstreams.append
            site.serve(hsts=Hsts(60))
            client = site.path.client()
            client.send(asking(fields=b"Connection: upgrade\r\nUpgrade: websocket\r\n"))
            site.path.upstream.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            head, _, rest = client.take().partition(b"\r\n\r\n")
            assert b"\r\nStrict-Transport-Security: max-age=60\r\n" in head
            assert rest == b"hello"


class TestAddresses:
    @pytest.mark.parametrize(
        ("allow", "deny", "client", "admitted"),
        [
            (["192.0.2.0/24"], [], "192.0.2.7", True),
            (["192.0.2.0/24"], [], "198.51.100.1", False),
            (["192.0.2.0/24", "2001:db8::/32"], [], "2001:db8::1", True),
            (["192.0.2.0/24"], ["192.0.2.7/32"], "192.0.2.7", False),
            ([], ["192.0.2.0/24"], "192.0.2.7", False),
            ([], ["192.0.2.0/24"], "198.51.100.1", True),
            ([], ["192.0.2.0/24"], "::ffff:192.0.2.7", False),
        ],
    )
    def test_networks(self, allow: list[str], deny: list[str], client: str, admitted: bool) -> None:
        """In one that is allowed, if there are any, and in none that is denied."""
        with front() as site:
            site.serve(rules=Rules(tuple(allow), tuple(deny)))
            assert status(site.path.client(client)) == (200 if admitted else 403)
            assert len(site.received) == admitted

    def test_both_hold(self) -> None:
        """A route cannot open what the site has closed."""
        with front() as site:
            open_route = Route("/x", (APPLICATION,), rules=Rules(allow=("0.0.0.0/0",)))
            closed_route = Route("/y", (APPLICATION,), rules=Rules(deny=("192.0.2.8",)))
            site.serve(open_route, closed_route, rules=Rules(allow=("192.0.2.0/24",)))
            found = [status(site.path.client(host), b"/x") for host in ("192.0.2.8", "198.51.100.1")]
            found += [status(site.path.client(host), b"/y") for host in ("192.0.2.7", "192.0.2.8")]
            assert found == [200, 403, 200, 403]

    def test_what_clients_say(self) -> None:
        """X-Forwarded-For counts from trusted proxies only; what these do not know is let in nowhere."""
        with front(trusted=["192.0.2.0/24"]) as site:
            site.serve(rules=Rules(allow=("203.0.113.0/24",)))
            said = b"X-Forwarded-For: 203.0.113.5\r\n"
            assert status(site.path.client("198.51.100.1"), fields=said) == 403
            assert status(site.path.client("192.0.2.1"), fields=said) == 200
            assert status(site.path.client("192.0.2.1")) == 403
            site.serve(rules=Rules(deny=("198.51.100.0/24",)))
            assert status(site.path.client("192.0.2.1"), fields=b"X-Forwarded-For: unknown\r\n") == 403


class TestRates:
    def test_limit(self) -> None:
        """Beyond it 429, and when to come again; others are not concerned, nor is the connection."""
        with front() as site:
            site.serve(rules=Rules(rate_limit=RateLimit(2, 10.0)))
            client = site.path.client()
            assert [status(client) for _ in range(2)] == [200, 200]
            found, fields, _ = ask(client)
            assert (found, fields[b"retry-after"], client.saw) == (429, b"5", OPEN)
            assert status(site.path.client("192.0.2.8")) == 200
            site.path.pass_time(5)
            assert [status(client) for _ in range(2)] == [200, 429]
            assert len(site.received) == 4

    def test_households(self) -> None:
        """All addresses of an IPv6 /64 are one client."""
        with front() as site:
            site.serve(rules=Rules(rate_limit=RateLimit(1, 10.0)))
            found = [status(site.path.client(host)) for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
            assert found == [200, 429, 200]

    def test_behind_a_proxy(self) -> None:
        """Its clients are told apart."""
        with front(trusted=["192.0.2.0/24"]) as site:
            site.serve(rules=Rules(rate_limit=RateLimit(1, 10.0)))
            client = site.path.client("192.0.2.1")
            said = [b"X-Forwarded-For: %b\r\n" % each for each in (b"203.0.113.1", b"203.0.113.2", b"203.0.113.1")]
            assert [status(client, fields=each) for each in said] == [200, 200, 429]

    def test_both_hold(self) -> None:
        """A route's limit, and the site's over all of its routes."""
        with front() as site:
            narrow = Route("/x", (APPLICATION,), rules=Rules(rate_limit=RateLimit(1, 10.0)))
            site.serve(narrow, TO_APPLICATION, rules=Rules(rate_limit=RateLimit(3, 10.0)))
            client = site.path.client()
            assert [status(client, target) for target in (b"/x", b"/x", b"/", b"/")] == [200, 429, 200, 429]

    def test_kept(self) -> None:
        """Other sites, other routes, the same limit: who has used it up has used it up. Another limit begins anew."""
        with front() as site:
            rules = Rules(rate_limit=RateLimit(1, 10.0))
            site.serve(rules=rules)
            client = site.path.client()
            assert status(client) == 200
            site.serve(TO_APPLICATION, Route("/r", respond=Respond()), rules=rules, hsts=Hsts())
            assert status(client) == 429
            site.serve(rules=evolve(rules, rate_limit=RateLimit(2, 10.0)))
            assert status(client) == 200
            site.serve(rules=rules)
            assert status(client) == 200


class TestMaintenance:
    def test_on_and_off(self) -> None:
        """A page, when to come back, and back without anything else; on connections that are open."""
        with front() as site:
            site.serve(Route("/x", (APPLICATION,), rules=Rules(basic_auth=AUTH)), hsts=Hsts())
            client = site.path.client()
            assert status(client, b"/x", RIGHT) == 200
            site.assembly.close(frozenset({"example.com"}))
            for target in (b"/x", b"/nowhere"):
                found, fields, body = ask(client, target)
                assert (found, fields[b"retry-after"]) == (503, b"%d" % RETRY_AFTER)
                assert b"strict-transport-security" in fields
                assert b"<!doctype html>" in body
            assert ask(client, TOKEN_PATH)[2] == b"token.thumbprint"
            assert client.saw == OPEN
            site.assembly.close(frozenset())
            assert status(client, b"/x", RIGHT) == 200
            assert status(client, b"/x") == 401

    def test_by_configuration(self) -> None:
        """The switch does not open what the file has closed; a switch that is on stays so over new sites."""
        with front() as site:
            site.serve(maintenance=True)
            client = site.path.client()
            assert status(client) == 503
            site.assembly.close(frozenset({"example.com", "gone.example"}))
            site.assembly.close(frozenset({"gone.example"}))
            assert status(client) == 503
            site.assembly.close(frozenset({"example.com"}))
            site.serve()
            assert status(client) == 503
            site.assembly.close(frozenset())
            assert status(client) == 200

    def test_who_is_not_let_in(self) -> None:
        """Addresses and rates hold on; passwords are not asked for."""
        with front() as site:
            rules = Rules(deny=("192.0.2.8",), rate_limit=RateLimit(1, 10.0), basic_auth=AUTH)
            site.serve(rules=rules, maintenance=True)
            client = site.path.client()
            assert [status(client), status(client)] == [503, 429]
            assert status(site.path.client("192.0.2.8")) == 403


class TestPasswords:
    def test_asked_for(self) -> None:
        """Without credentials, or with others than Basic, or two of them: 401, and what is wanted."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            for fields in (b"", b"Authorization: Bearer x\r\n", RIGHT + RIGHT):
                found, answered, _ = ask(client, fields=fields)
                assert (found, answered[b"www-authenticate"]) == (401, b'Basic realm="Staff", charset="UTF-8"')
            assert (site.threads.done, site.received) == (0, [])

    def test_let_in(self) -> None:
        """Worked out once; the application does not see the credentials."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            assert [status(client, fields=RIGHT) for _ in range(3)] == [200, 200, 200]
            assert site.threads.done == 1
            assert all(b"authorization" not in fields for _, _, fields, _ in site.received)

    def test_forwarded(self) -> None:
        """Unless it is to see them."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=evolve(AUTH, forward_authorization=True)))
            assert status(site.path.client(), fields=RIGHT) == 200
            assert site.received[0][2][b"authorization"].startswith(b"Basic ")

    def test_wrong(self) -> None:
        """The same wrong ones are worked out once, too."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            wrong = b"Authorization: Basic %b\r\n" % b64encode(b"anna:guess")
            assert [status(client, fields=wrong) for _ in range(2)] == [401, 401]
            assert site.threads.done == 1
            assert site.received == []

    def test_routes(self) -> None:
        """A route may have users of its own, or let everybody in."""
        with front() as site:
            others = BasicAuth((("bob", cheap_hash(b"b")),))
            site.serve(
                Route("/open", (APPLICATION,), rules=Rules(basic_auth=False)),
                Route("/bob", (APPLICATION,), rules=Rules(basic_auth=others)),
                TO_APPLICATION,
                rules=Rules(basic_auth=AUTH),
            )
            client = site.path.client()
            bobs = b"Authorization: Basic %b\r\n" % b64encode(b"bob:b")
            assert [status(client, target) for target in (b"/", b"/open", b"/bob")] == [401, 200, 401]
            assert [status(client, target, RIGHT) for target in (b"/", b"/open", b"/bob")] == [200, 200, 401]
            assert [status(client, target, bobs) for target in (b"/", b"/bob")] == [401, 200]

    def test_kept(self) -> None:
        """What was found out holds while the users stay as they are, and no longer."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            assert status(client, fields=RIGHT) == 200
            site.serve(rules=Rules(basic_auth=AUTH), hsts=Hsts())
            assert status(client, fields=RIGHT) == 200
            assert site.threads.done == 1
            changed = (("anna", cheap_hash(b"another")),)
            site.serve(rules=Rules(basic_auth=evolve(AUTH, users=changed)))
            assert status(client, fields=RIGHT) == 401

    def test_a_body_meanwhile(self) -> None:
        """What comes of a body while credentials are worked out is passed on, in its order, and no more is read."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.send(asking(fields=RIGHT + b"Content-Length: 6\r\n", method=b"POST") + b"ab")
            client.send(b"cd")
            assert site.received == []
            site.threads.work()
            site.path.network.settle()
            client.send(b"ef")
            assert [found for found, _, _ in answers(client, b"POST")] == [200]
            assert site.received[0][3] == b"abcdef"

    def test_a_whole_body_meanwhile(self) -> None:
        """It may have ended before."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.send(asking(fields=RIGHT + b"Content-Length: 2\r\n", method=b"POST") + b"ab")
            site.threads.work()
            site.path.network.settle()
            assert [found for found, _, _ in answers(client, b"POST")] == [200]
            assert site.received[0][3] == b"ab"

    def test_a_refused_body(self) -> None:
        """Who is not let in is told so at once, and the rest of the body is not waited for."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            wrong = b"Authorization: Basic %b\r\n" % b64encode(b"anna:guess")
            client.send(asking(fields=wrong + b"Content-Length: 6\r\n", method=b"POST") + b"ab")
            site.threads.work()
            site.path.network.settle()
            assert [found for found, _, _ in answers(client, b"POST")] == [401]
            assert client.saw == FINISHED

    def test_gone_meanwhile(self) -> None:
        """A client that does not wait is not asked for again; what was found out is kept."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.send(asking(fields=RIGHT))
            client.reset()
            site.threads.work()
            site.path.network.settle()
            assert site.received == []
            assert status(site.path.client(), fields=RIGHT) == 200
            assert site.threads.done == 1

    def test_at_once(self) -> None:
        """Many requests with the same credentials wait for one thread."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            clients = [site.path.client() for _ in range(6)]
            for client in clients:
                client.send(asking(fields=RIGHT))
            site.threads.work()
            site.path.network.settle()
            assert [answers(client)[0][0] for client in clients] == [200] * 6
            assert site.threads.done == 1

    def test_guesses(self) -> None:
        """One client may have few of them waiting, all together not many; the rest are told to come again."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))

            def guess(number: int, host: str) -> Peer:
                client = site.path.client(host)
                client.send(asking(fields=b"Authorization: Basic %b\r\n" % b64encode(b"anna:%d" % number)))
                return client

            of_one = [guess(number, "192.0.2.7") for number in range(MOST_OF_ONE + 1)]
            ((found, fields, _),) = answers(of_one[-1])
            assert (found, fields[b"retry-after"]) == (503, b"1")
            others = [guess(100 + number, f"192.0.3.{number}") for number in range(MOST_WAITING)]
            refused = [client for client in others if client.incoming]
            assert 0 < len(refused) < MOST_OF_ONE
            assert len(site.threads.waiting) == 2
            site.threads.work()
            site.path.network.settle()
            waited = [*of_one[:-1], *(client for client in others if client not in refused)]
            assert {answers(client)[0][0] for client in waited} == {401}
            assert guess(1000, "192.0.2.7").incoming == b""

    def test_no_thread(self) -> None:
        """What the machine cannot find out is nobody's fault: 503, and tried again the next time."""
        with front() as site:
            site.serve(rules=Rules(basic_auth=AUTH))
            site.threads.at_once = False
            client = site.path.client()
            client.send(asking(fields=RIGHT))
            ((_, deferred),) = site.threads.waiting
            site.threads.waiting.clear()
            with logged() as failures:
                deferred.errback(MemoryError())
            site.path.network.settle()
            assert answers(client)[0][0] == 503
            assert failures
            site.threads.at_once = True
            assert status(client, fields=RIGHT) == 200

    def test_one_that_breaks(self) -> None:
        """A fault with one request is logged, and those that wait with it are served."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            server = site.path.server()
            broken, client = site.path.network.connect(server), site.path.client()
            broken.send(asking(fields=RIGHT))
            client.send(asking(fields=RIGHT))
            assert server._exchange is not None
            server._exchange._asked = ()  # type: ignore[attr-defined]
            with logged() as failures:
                site.threads.work()
            site.path.network.settle()
            assert any("unexpected error" in line for line in failures)
            assert answers(client)[0][0] == 200

    def test_a_websocket(self) -> None:
        """Goes on as a tunnel once it is let in, whatever the client sent ahead."""
        with front() as site:
            site.threads.at_once = False
            site.path.network.listeners["127.0.0.1", 8000] = site.path.upstreams.append
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.send(asking(fields=RIGHT + b"Connection: upgrade\r\nUpgrade: websocket\r\n") + b"ahead")
            site.threads.work()
            site.path.network.settle()
            site.path.upstream.take()
            site.path.upstream.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            assert client.take().endswith(b"hello")
            assert site.path.upstream.take() == b"ahead"
            client.send(b"more")
            assert site.path.upstream.take() == b"more"
            client.finish()
            assert site.path.upstream.saw == FINISHED

    def test_slow_readers(self) -> None:
        """A client that takes nothing stops the application, also where it had to wait to be let in."""
        with front() as site:
            site.threads.at_once = False
            site.path.network.listeners["127.0.0.1", 8000] = site.path.upstreams.append
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.capacity = 0
            client.send(asking(fields=RIGHT))
            site.threads.work()
            site.path.network.settle()
            site.path.upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 4_000_000)
            assert len(site.path.upstream.outgoing) > 3_000_000
            client.capacity = 1e9
            site.path.network.settle()
            assert len(client.take()) > 4_000_000

    def test_gone_later(self) -> None:
        """A client that goes away after it was let in takes its request to the application along."""
        with front() as site:
            site.threads.at_once = False
            site.path.network.listeners["127.0.0.1", 8000] = site.path.upstreams.append
            site.serve(rules=Rules(basic_auth=AUTH))
            client = site.path.client()
            client.send(asking(fields=RIGHT))
            site.threads.work()
            site.path.network.settle()
            client.reset()
            assert site.path.upstream.saw != OPEN

    def test_told_to_pause_meanwhile(self) -> None:
        """What the client's side said before there was anybody to hear is passed on."""
        with front() as site:
            site.threads.at_once = False
            site.path.network.listeners["127.0.0.1", 8000] = site.path.upstreams.append
            site.serve(rules=Rules(basic_auth=AUTH))
            server = site.path.server()
            client = site.path.network.connect(server)
            client.send(asking(fields=RIGHT))
            for told in ("pause", "resume", "pause"):
                getattr(server._exchange, told)()
            entering = server._exchange
            site.threads.work()
            site.path.network.settle()
            site.path.upstream.send(OK)
            assert client.take() == b""
            assert entering is not None
            entering.resume()
            site.path.network.settle()
            assert client.take().endswith(b"ok")


class TestFiles:
    def test_beside_an_application(self, tmp_path: Path) -> None:
        """A folder at a path, all rules holding for it; the rest is the application's."""
        (tmp_path / "a.css").write_text("a{}")
        (tmp_path / "index.html").write_text("page")
        with front() as site:
            static = Route(
                "/static", root=Root(tmp_path, "max-age=60", "index.html"), rules=Rules(deny=("192.0.2.66/32",))
            )
            site.serve(TO_APPLICATION, static)
            client = site.path.client()
            code, fields, body = ask(client, b"/static/a.css")
            assert (code, fields[b"cache-control"], body) == (200, b"max-age=60", b"a{}")
            assert ask(client, b"/static/x/y", b"Accept: text/html\r\n")[2] == b"page"
            assert ask(client, b"/a.css")[2] == b"ok"
            assert status(site.path.client("192.0.2.66"), b"/static/a.css") == 403

    def test_a_site_of_files(self, tmp_path: Path) -> None:
        """A folder may be all there is."""
        (tmp_path / "index.html").write_text("page")
        with front() as site:
            site.serve(Route("/", root=Root(tmp_path)))
            assert ask(site.path.client())[2] == b"page"
            assert not site.received


class TestCompression:
    @pytest.mark.parametrize(
        ("of_site", "of_route", "compressed"),
        [(None, None, False), (True, None, True), (None, True, True), (True, False, False), (False, True, True)],
    )
    def test_for_sites_and_routes(
        self, tmp_path: Path, of_site: bool | None, of_route: bool | None, compressed: bool
    ) -> None:
        """As the site has it, unless the route says otherwise."""
        (tmp_path / "a.css").write_text("a{}" * 1000)
        with front() as site:
            rules = Rules(compress=of_route)
            site.serve(Route("/", root=Root(tmp_path), rules=rules), rules=Rules(compress=of_site))
            fields = ask(site.path.client(), b"/a.css", b"Accept-Encoding: gzip\r\n")[1]
            assert (b"content-encoding" in fields) is compressed

    def test_with_edits_of_the_request(self, tmp_path: Path) -> None:
        """What the application is not told of, the appliance still knows: it compresses in its place."""
        with front() as site:
            site.path.respond(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: 3000\r\n\r\n" + b"a{}" * 1000
            )
            site.serve(rules=Rules(compress=True, request_headers=HeaderEdits(remove=("Accept-Encoding",))))
            fields = ask(site.path.client(), b"/a.css", b"Accept-Encoding: gzip\r\n")[1]
            assert fields[b"content-encoding"] == b"gzip"
            assert b"accept-encoding" not in site.received[0][2]


class TestHttp2:
    """Streams are let in, or not, as connections are."""

    CREDENTIALS = (b"authorization", RIGHT.removeprefix(b"Authorization: ").strip())

    def test_a_body_meanwhile(self) -> None:
        """No more than the stream's window of it is held; then all of it is passed on."""
        body = b"0123456789abcdef" * 16_000
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = http2.Client(site.path)
            window = client.frames.settings.get(4, 65_535)
            client.send(http2.headers(1, (*http2.POST, self.CREDENTIALS), False))
            pieces = [body[at : at + 16_000] for at in range(0, len(body), 16_000)]
            first = window // 16_000
            client.send(b"".join(http2.data(1, piece) for piece in pieces[:first]))
            assert client.frames.credit.get(1, 0) == 0
            site.threads.work()
            site.path.network.settle()
            client.read()
            assert client.frames.credit[1] >= first * 16_000
            for piece in pieces[first:]:
                client.send(http2.data(1, piece))
            client.send(http2.data(1, end=True))
            client.read()
            assert client.frames.answer(1) == (200, b"ok", True)
            assert site.received[0][3] == body

    def test_refused(self) -> None:
        """What was sent of the body counts for the connection's window again."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH), hsts=Hsts(60))
            client = http2.Client(site.path)
            before = client.frames.credit.get(0, 0)
            for stream in range(1, 81, 2):
                wrong = (b"authorization", b"Basic " + b64encode(b"anna:%d" % stream))
                client.send(http2.headers(stream, (*http2.POST, wrong), False) + http2.data(stream, b"x" * 16_000))
                site.threads.work()
                site.path.network.settle()
                client.read()
                assert client.frames.answer(stream)[0] == 401
            fields = dict(client.frames.fields[1][-1])
            assert fields[b"www-authenticate"].startswith(b"Basic ")
            assert fields[b"strict-transport-security"] == b"max-age=60"
            assert site.threads.done == 40
            assert client.frames.credit[0] - before > 40 * 16_000 // 2
            assert client.alive

    def test_gone_meanwhile(self) -> None:
        """A stream that is reset while its credentials are worked out asks for nothing more."""
        with front() as site:
            site.threads.at_once = False
            site.serve(rules=Rules(basic_auth=AUTH))
            client = http2.Client(site.path)
            client.send(http2.headers(1, (*http2.GET, self.CREDENTIALS)) + http2.rst_stream(1))
            site.threads.work()
            site.path.network.settle()
            assert site.received == []

    def test_answers_and_rules(self) -> None:
        """The same on every version."""
        with front() as site:
            site.serve(
                Route("/r", redirect=Redirect("https://b.example{path}")),
                Route("/f", respond=Respond(204)),
                rules=Rules(rate_limit=RateLimit(2, 10.0)),
            )
            client = http2.Client(site.path)
            asked = [
                http2.headers(n, http2.changed(http2.GET, path=path))
                for n, path in ((1, b"/r?x"), (3, b"/f"), (5, b"/f"))
            ]
            client.send(b"".join(asked))
            client.read()
            assert [client.frames.answer(n)[0] for n in (1, 3, 5)] == [308, 204, 429]
            assert dict(client.frames.fields[1][-1])[b"location"] == b"https://b.example/r?x"
            assert b"content-length" not in dict(client.frames.fields[3][-1])
