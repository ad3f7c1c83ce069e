"""HTTP-01 over loopback sockets: what proves a name, what does not, and in which words (RFC 8555 section 8.3)."""

import pytest
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import ResponseFailed

from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.ca.model import Identifier
from appliance.ca.validation import (
    MAX_ANSWER,
    MAX_REDIRECTS,
    Http01,
    TableValidator,
    UnprovenError,
    _explain,
    resolve_localhost,
)
from tests.support.certificates import make_certificate

NAME = Identifier("dns", "one.test")
TOKEN = "a-token"
EXPECTED = "a-token.thumbprint"


def answer(body=EXPECTED, status="200 OK", *headers):
    """A whole response; the connection closes after it."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


def redirect(location, status="302 Found"):
    return answer("moved", status, f"Location: {location}")


class Canned(Protocol):
    """Answers each request with what the test put in; None is silence."""

    def connectionMade(self):
        self.factory.open.add(self)

    def dataReceived(self, data):
        self.factory.requests.append(data)
        given = self.factory.answers[min(len(self.factory.requests), len(self.factory.answers)) - 1]
        if given is not None:
            self.transport.write(given)
            self.transport.loseConnection()

    def connectionLost(self, reason=connectionDone):
        self.factory.open.discard(self)
        if self.factory.closed is not None and not self.factory.open:
            self.factory.closed.callback(None)


class Server(Factory):
    """One listener of canned answers."""

    protocol = Canned

    def __init__(self, *answers):
        self.answers, self.requests, self.open, self.closed = answers, [], set(), None


class Http01Tests(TestCase):
    """Against listeners that answer what each test says."""

    timeout = 20

    def serve(self, *answers, tls=False):
        """Listen; the factory, with its port."""
        server = Server(*answers)
        if tls:
            certificate = make_certificate(["one.test"])
            options = CertificateOptions(certificate.key, certificate.leaf)
            port = reactor.listenSSL(0, server, options, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, server, interface="127.0.0.1")
        server.port = port.getHost().port

        def close():
            for each in server.open:
                each.transport.abortConnection()
            return port.stopListening()

        self.addCleanup(close)
        return server

    def validate(self, server, tls_server=None, name=NAME, timeout=5.0, resolve=lambda name: "127.0.0.1"):
        tls_port = 1 if tls_server is None else tls_server.port
        return Http01(reactor, server.port, tls_port, resolve, timeout)(name, TOKEN, EXPECTED)

    async def refuse(self, *given, **more):
        """The problem's code and words."""
        with pytest.raises(UnprovenError) as caught:
            await self.validate(*given, **more)
        return caught.value.problem.code, caught.value.problem.detail

    async def test_proven(self):
        """The exact path is asked for once, with the name as Host."""
        server = self.serve(answer())
        await self.validate(server)
        (request,) = server.requests
        assert request.startswith(b"GET /.well-known/acme-challenge/a-token HTTP/1.1\r\n")
        assert f"Host: one.test:{server.port}\r\n".encode() in request

    async def test_white_space_at_the_end(self):
        """Does not count."""
        await self.validate(self.serve(answer(EXPECTED + " \r\n\t\n")))

    async def test_addresses(self):
        """An IP identifier needs no resolution."""
        await self.validate(self.serve(answer()), name=Identifier("ip", "127.0.0.1"), resolve=lambda name: 1 / 0)

    async def test_names_below_localhost(self):
        """Lead to this machine by themselves."""
        await self.validate(self.serve(answer()), name=Identifier("dns", "x.localhost"), resolve=resolve_localhost)

    async def test_wrong_answers(self):
        """Other content, other statuses, content before or cut short: unauthorized, with what was seen."""
        for given, words in (
            (answer("a-token.other"), "a-token.other"),
            (answer(" " + EXPECTED), "not the expected one"),
            (answer(EXPECTED[:-1]), "not the expected one"),
            (answer(""), "not the expected one"),
            (answer(EXPECTED, "404 Not Found"), "404"),
            (answer(EXPECTED, "201 Created"), "201"),
        ):
            code, detail = await self.refuse(self.serve(given))
            assert code == "unauthorized"
            assert words in detail

    async def test_endless_answers(self):
        """No more than a few KiB are read."""
        code, _ = await self.refuse(self.serve(answer("x" * (MAX_ANSWER * 50))))
        assert code == "unauthorized"
        await self.validate(self.serve(answer(EXPECTED + " " * (MAX_ANSWER * 50))))

    async def test_redirects(self):
        """Followed to other paths, names, and the default port that the listener stands for."""
        server = self.serve(
            redirect("/elsewhere?x=1", "301 Moved"),
            redirect("http://two.test/three", "307 Temporary"),
            redirect("//two.test:80/four", "308 Permanent"),
            answer(),
        )
        await self.validate(server)
        lines = [each.split(b"\r\n")[0] for each in server.requests]
        assert lines[1:] == [b"GET /elsewhere?x=1 HTTP/1.1", b"GET /three HTTP/1.1", b"GET /four HTTP/1.1"]
        assert b"two.test" in server.requests[-1]

    async def test_redirect_to_tls(self):
        """Whatever certificate is there, even of another name."""
        tls = self.serve(answer(), tls=True)
        for location in ("https://one.test/x", "https://two.test:443/x", "https://127.0.0.1/x"):
            await self.validate(self.serve(redirect(location)), tls)

    async def test_redirect_to_tls_that_is_none(self):
        """Its own type of problem."""
        plain = self.serve(b"nonsense, not TLS at all\r\n\r\n")
        code, _ = await self.refuse(self.serve(redirect("https://one.test/x")), plain)
        assert code == "tls"

    async def test_too_many_redirects(self):
        """Ten are followed, not one more."""
        await self.validate(self.serve(*[redirect("/x")] * MAX_REDIRECTS, answer()))
        server = self.serve(redirect("/x"))
        code, detail = await self.refuse(server)
        assert (code, len(server.requests)) == ("connection", MAX_REDIRECTS + 1)
        assert "more than 10 redirects" in detail

    async def test_redirects_to_nowhere(self):
        """Other ports, other schemes, no URL, none at all (which is the same place again)."""
        for location in ("http://one.test:22/", "ftp://one.test/", "http://[/", "http://one.test:x/", "javascript:x"):
            code, detail = await self.refuse(self.serve(redirect(location)))
            assert code == "connection"
            assert "redirected to" in detail
        code, _ = await self.refuse(self.serve(answer("", "302 Found")))
        assert code == "connection"

    async def test_refused(self):
        """Nobody listens."""
        port = reactor.listenTCP(0, Server(), interface="127.0.0.1")
        server = Server()
        server.port = port.getHost().port
        await maybeDeferred(port.stopListening)
        code, detail = await self.refuse(server)
        assert code == "connection"
        assert "connection refused" in detail

    async def test_silence(self):
        """The time for the whole is bounded, before the answer and in the middle of it."""
        half = answer("x", "200 OK", "Content-Length: 1000")
        for silent in (self.serve(None), self.serve_and_wait(half)):
            code, detail = await self.refuse(silent, timeout=0.2)
            assert code == "connection"
            assert "no answer in time" in detail

    def serve_and_wait(self, beginning):
        """Sends the beginning of an answer, then nothing."""
        server = self.serve(None)

        class Slow(Canned):
            def dataReceived(self, data):
                self.transport.write(beginning)

        server.protocol = Slow
        return server

    async def test_nonsense(self):
        """Something that is no HTTP, or an early end."""
        for given in (b"SSH-2.0-x\r\n\r\n", b""):
            code, _ = await self.refuse(self.serve(given))
            assert code == "connection"

    async def test_unresolvable(self):
        """Has the type dns. ``.invalid`` never resolves (RFC 6761 section 6.4)."""
        name = Identifier("dns", "x.invalid")
        code, detail = await self.refuse(self.serve(answer()), name=name, resolve=resolve_localhost)
        assert code == "dns"
        assert "x.invalid" in detail


class ExplanationTests(SynchronousTestCase):
    """Failures that sockets seldom produce."""

    timeout = 20

    def test_unusual_failures(self):
        """The layer's own words; its type's name if it has none."""
        failure = Failure(ResponseFailed([Failure(ConnectionLost("cut"))]))
        assert "cut" in _explain(failure, "one.test", "URL").value.problem.detail
        assert "KeyError" in _explain(Failure(KeyError()), "one.test", "URL").value.problem.detail


class TableTests(SynchronousTestCase):
    """Validation without network, against the table the listeners answer from."""

    timeout = 20

    def test_presented(self):
        """Proven while it is presented, not before and not by another one."""
        pending = PendingChallenges()
        validator = TableValidator(pending.answer)
        failure = self.failureResultOf(validator(NAME, TOKEN, EXPECTED), UnprovenError)
        assert "no challenge is presented" in str(failure.value)
        pending.start_responding("one.test", PresentedChallenge("http-01", TOKEN), ChallengeResponse(EXPECTED))
        assert self.successResultOf(validator(NAME, TOKEN, EXPECTED)) is None
        failure = self.failureResultOf(validator(NAME, TOKEN, "a-token.other"), UnprovenError)
        assert failure.value.problem.code == "unauthorized"


class LocalhostTests(SynchronousTestCase):
    """Which names lead here."""

    timeout = 20

    def test_names(self):
        """Only ``localhost`` and names below it."""
        assert resolve_localhost("localhost") == "127.0.0.1"
        assert resolve_localhost("a.b.localhost") == "127.0.0.1"
        assert resolve_localhost("notlocalhost") is None
        assert resolve_localhost("localhost.test") is None
