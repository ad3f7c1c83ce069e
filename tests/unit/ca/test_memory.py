"""Our own client, connected to the CA without sockets, under a clock that the test moves."""

import io
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.ca.memory import MemoryAgent
from appliance.ca.policy import Policy
from appliance.ca.server import Outage
from appliance.ca.validation import TableValidator
from appliance.config import Acme
from tests.support.demo_ca import World


class MemoryAgentTests(SynchronousTestCase):
    """What a Twisted Agent does."""

    def test_answers_at_once(self):
        """Status, headers and body, as a response over a socket has them."""
        world = World()
        response = self.successResultOf(MemoryAgent(world.ca).request(b"GET", world.ca.directory_url.encode()))
        assert (response.code, response.phrase) == (200, b"OK")
        assert response.headers.getRawHeaders("content-type") == ["application/json"]
        body = self.successResultOf(readBody(response))
        assert len(body) == response.length
        assert b"newNonce" in body

    def test_bodies(self):
        """Are collected from their producer, however it is driven, and headers are found by any case."""
        world = World()
        started = []
        cooperator = type("Cooperator", (), {"cooperate": lambda self, work: started.append(work) or self})()
        cooperator.whenDone = lambda: done
        done = Deferred()
        url = world.url("new-account").encode()
        content = world.key.sign({"termsOfServiceAgreed": True}, url=url.decode(), nonce=world.nonce())
        producer = FileBodyProducer(io.BytesIO(content), cooperator)
        headers = Headers({"Content-TYPE": ["application/jose+json"]})
        pending = MemoryAgent(world.ca).request(b"POST", url, headers, producer)
        self.assertNoResult(pending)
        list(started[0])
        done.callback(None)
        assert self.successResultOf(pending).code == 201

    def test_outages(self):
        """A refused connection, silence, 503."""
        world = World()
        agent, url = MemoryAgent(world.ca), world.ca.directory_url.encode()
        world.ca.outage = Outage.DROP
        self.failureResultOf(agent.request(b"GET", url), ConnectionRefusedError)
        world.ca.outage = Outage.HANG
        self.assertNoResult(agent.request(b"GET", url))
        world.ca.outage = Outage.ERROR
        assert self.successResultOf(agent.request(b"GET", url)).code == 503


class IssuanceTests(SynchronousTestCase):
    """The appliance's issuer without sockets, files' threads or waiting."""

    def test_a_year_of_renewals(self):
        """Certificates of 64 days, each for the date it is on, with validation against the table of challenges."""
        pending = PendingChallenges()
        world = World(Policy(lifetime=timedelta(days=64), reject_nonces=0.3))
        world.ca._validators["http-01"] = TableValidator(pending.answer)
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        settings = Acme(directory=world.ca.directory_url, agree_tos=True)
        agent = MemoryAgent(world.ca)
        issuer = Issuer(world.clock, agent, settings, folder, [pending], now=world.now, defer=execute)
        for _ in range(9):
            issuing = Deferred.fromCoroutine(issuer.issue(["one.test", "www.one.test"]))
            for _ in range(20):
                world.clock.advance(1)
            certificate = self.successResultOf(issuing)
            certificate.check(["one.test", "www.one.test"], world.now())
            assert certificate.not_after > world.now() + timedelta(days=63)
            world.clock.advance(timedelta(days=42).total_seconds())
        assert len(world.ca.issued) == world.ca.counts["finalize"] == 9
        assert world.ca.counts["badNonce"] > 0
        assert len(pending) == 0
