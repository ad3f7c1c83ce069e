"""The CA on a loopback port: over HTTP and TLS, with its files, its bounds, its outages."""

import json
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from appliance.ca import listening
from appliance.ca.authority import Authority
from appliance.ca.listening import CaService, load_authority, service
from appliance.ca.policy import TEST_SUFFIXES, Policy
from appliance.ca.server import MAX_BODY, Outage
from appliance.errors import ConfigurationError
from tests.support.demo_ca import START, World


class Conversation(Protocol):
    """Sends what it is told, and gives all that came back when the other side closes."""

    def __init__(self):
        self.received = b""
        self.closed = Deferred()

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason=connectionDone):
        self.closed.callback(self.received)


def request(head, body=b"", *headers):
    lines = [f"{head} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def split(answer):
    """Status, headers (lower-case), body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


class ListeningTests(TestCase):
    """Over real sockets."""

    timeout = 20

    def start(self, **options):
        started = CaService(reactor, World().ca, **options)
        started.startService()
        self.addCleanup(started.stopService)
        return started

    async def connect(self, started):
        port = int(started.directory_url.split(":")[2].split("/")[0])
        return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Conversation())

    async def exchange(self, started, data):
        conversation = await self.connect(started)
        conversation.transport.write(data)
        return split(await conversation.closed)

    async def test_answers(self):
        """Status, headers and body as the CA gave them; the directory's URLs name the port it listens on."""
        started = self.start()
        status, headers, body = await self.exchange(started, request("GET /directory"))
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body)["newNonce"] == started.directory_url.replace("directory", "new-nonce")
        for method, expected in (("GET", 204), ("HEAD", 200)):
            status, headers, body = await self.exchange(started, request(f"{method} /new-nonce"))
            assert (status, body) == (expected, b"")
            assert len(headers["replay-nonce"]) == 22
            assert "content-type" not in headers

    async def test_problems(self):
        """As problem documents, also for methods that twisted.web does not know."""
        started = self.start()
        for method, expected in (("GET", 405), ("BREW", 405), ("POST", 415)):
            status, headers, body = await self.exchange(started, request(f"{method} /new-order"))
            assert (status, headers["content-type"]) == (expected, "application/problem+json")
            assert json.loads(body)["status"] == expected

    async def test_large_bodies(self):
        """Refused, with and without a length; no more than the bound is kept."""
        started = self.start()
        large = b"x" * (MAX_BODY * 20)
        chunked = b"".join(b"1000\r\n" + b"x" * 0x1000 + b"\r\n" for _ in range(64)) + b"0\r\n\r\n"
        for headers, body in (
            (f"Content-Length: {len(large)}", large),
            ("Transfer-Encoding: chunked", chunked),
        ):
            status, _, _ = await self.exchange(
                started, request("POST /new-order", body, headers, "Content-Type: application/jose+json")
            )
            assert status == 413

    async def test_outages(self):
        """A connection closed without an answer; one left open until the service stops."""
        started = self.start()
        started.ca.outage = Outage.DROP
        conversation = await self.connect(started)
        conversation.transport.write(request("GET /directory"))
        assert await conversation.closed == b""
        started.ca.outage = Outage.HANG
        conversation = await self.connect(started)
        conversation.transport.write(request("GET /directory"))
        silent = conversation.closed
        await maybeDeferred(started.stopService)
        assert await silent == b""

    async def test_many_connections(self):
        """Beyond a bound they are closed at once, the others stay; room comes back."""
        self.patch(listening, "MAX_CONNECTIONS", 2)
        started = self.start()
        kept = [await self.connect(started) for _ in range(2)]
        for each in kept:
            each.transport.write(request("GET /terms").replace(b"Connection: close\r\n", b"X: y\r\n"))
        refused = await self.connect(started)
        assert await refused.closed == b""
        kept[0].transport.loseConnection()
        await kept[0].closed
        status, _, _ = await self.exchange(started, request("GET /directory"))
        assert status == 200
        assert not kept[1].closed.called

    async def test_start_again(self):
        """On the same port, when one was chosen."""
        started = self.start()
        port = int(started.directory_url.split(":")[2].split("/")[0])
        await maybeDeferred(started.stopService)
        again = self.start(port=port)
        assert again.directory_url == started.directory_url
        status, _, _ = await self.exchange(again, request("GET /directory"))
        assert status == 200

    async def test_tls(self):
        """With a certificate by its own root, for the address and ``localhost``, however strict the client is."""
        authority = Authority.create(datetime.now(UTC), TEST_SUFFIXES)
        world = World()
        world.ca._core.authority = authority
        world.now = lambda: datetime.now(UTC)
        world.ca._core.now = world.now
        started = CaService(reactor, world.ca, tls=True)
        started.startService()
        self.addCleanup(started.stopService)
        assert started.directory_url.startswith("https://127.0.0.1:")
        for host in ("127.0.0.1", "localhost"):
            status = await deferToThread(_fetch, started.directory_url, started.root_pem.decode(), host)
            assert status == 200

    def test_loopback_only(self):
        """Any other interface is refused."""
        for interface in ("0.0.0.0", "192.0.2.1", "::"):
            with pytest.raises(ConfigurationError, match="no loopback address"):
                CaService(reactor, World().ca, interface=interface)
        assert CaService(reactor, World().ca, interface="::1").directory_url == "http://[::1]:0/directory"


def _fetch(url, root, host):
    import http.client

    context = ssl.create_default_context(cadata=root)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    port = int(url.split(":")[2].split("/")[0])
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=5)
    connection.request("GET", "/directory")
    status = connection.getresponse().status
    connection.close()
    return status


class TestFiles:
    """Keys that outlive the process, and the root for clients."""

    def test_kept(self, tmp_path):
        """The same keys the next time, readable for the owner only; the root for everybody."""
        options = {"authority_file": tmp_path / "ca.pem", "root_file": tmp_path / "root.pem"}
        first, second = (service(reactor, lambda: START, **options) for _ in range(2))
        assert first.root_pem == second.root_pem == (tmp_path / "root.pem").read_bytes()
        assert (tmp_path / "ca.pem").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o644

    def test_not_kept(self):
        """Without a file each service has keys of its own."""
        first, second = (service(reactor, lambda: START) for _ in range(2))
        assert first.root_pem != second.root_pem

    @pytest.mark.parametrize("reason", ["damaged", "expiring", "other names"])
    def test_made_anew(self, tmp_path, reason):
        """When the old ones are of no use; damaged ones are set aside."""
        path = tmp_path / "ca.pem"
        old = load_authority(path, START, Policy())
        assert load_authority(path, START, Policy()).root == old.root
        now, policy = START, Policy()
        if reason == "damaged":
            path.write_bytes(path.read_bytes()[:-100])
        elif reason == "expiring":
            now = START + timedelta(days=1825)
        else:
            policy = Policy(suffixes=None)
        new = load_authority(path, now, policy)
        assert new.root != old.root
        assert load_authority(path, now, policy).root == new.root
        assert len(list(tmp_path.glob("*.corrupt-*"))) == (reason == "damaged")
