"""The demo CA and our own client against each other, over real sockets, and what curl says to the result."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from appliance.acme.agent import CaAgent
from appliance.acme.challenges import PendingChallenges
from appliance.acme.issuer import Issuer
from appliance.acme.jose import b64url
from appliance.ca.listening import service
from appliance.ca.policy import Policy, Rate, RateLimits
from appliance.ca.server import Outage
from appliance.config import Acme, ExternalAccount
from appliance.errors import AcmeError, AcmeProblemError, OrderError


def utc_now() -> datetime:
    return datetime.now(UTC)


class Challenges(Resource):
    """An HTTP listener that answers what is pending, as the appliance's does."""

    isLeaf = True

    def __init__(self, pending):
        super().__init__()
        self.pending = pending

    def render_GET(self, request):
        found = self.pending.answer(request.path)
        if found is None:
            request.setResponseCode(404)
        return found or b"nothing here"


class Hello(Resource):
    """What curl is after."""

    isLeaf = True

    def render_GET(self, request):
        return b"hello"


class Stranger(Resource):
    """Somebody else's server, where the name leads."""

    isLeaf = True

    def render_GET(self, request):
        return b"something else"


class EmbeddedCaTests(TestCase):
    """Issuance as the appliance does it."""

    timeout = 60

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / "root.pem"
        self.pending = PendingChallenges()
        self.http_port = self.listen(Site(Challenges(self.pending)))

    def listen(self, site, options=None):
        """On a free loopback port; its number."""
        if options is None:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def start_ca(self, policy=None, **options):
        """A CA that finds every name on this machine."""
        options = {"tls": True, "authority_file": self.folder / "ca.pem", "http_port": self.http_port} | options
        resolve = options.pop("resolve", lambda name: "127.0.0.1")
        started = service(reactor, utc_now, policy=policy, root_file=self.root, resolve=resolve, **options)
        started.startService()
        self.addCleanup(started.stopService)
        return started

    def issuer(self, ca, **acme):
        """Our client, which has ``folder`` for its account."""
        trust = self.root if ca.directory_url.startswith("https:") else None
        agent = CaAgent(reactor, trust)
        self.addCleanup(agent.close)
        settings = Acme(directory=ca.directory_url, agree_tos=True, **acme)
        return Issuer(reactor, agent, settings, self.folder, [self.pending], now=utc_now, defer=deferToThread)

    async def curl(self, certificate, name):
        """Serve with the certificate, and fetch as a stranger who trusts only the root."""
        options = CertificateOptions(certificate.key, certificate.leaf, extraCertChain=list(certificate.intermediates))
        port = self.listen(Site(Hello()), options)
        arguments = ["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--cacert", str(self.root)]
        arguments += ["--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/"]
        return await getProcessOutputAndValue(shutil.which("curl"), arguments)

    async def test_issued_and_served(self):
        """With half of the nonces rejected and certificates of a minute: two sites at once, and curl is content."""
        ca = self.start_ca(Policy(lifetime=timedelta(seconds=60), reject_nonces=0.5, unknown_challenge=True))
        issuer = self.issuer(ca)
        names = (["one.localhost", "www.one.localhost"], ["two.test"])
        certificates = await gatherResults([ensureDeferred(issuer.issue(each)) for each in names])
        for certificate, wanted in zip(certificates, names, strict=True):
            certificate.check(wanted, utc_now())
            assert certificate.not_after - certificate.not_before == timedelta(seconds=60)
            for name in wanted:
                assert await self.curl(certificate, name) == (b"hello", b"", 0)
        assert ca.ca.counts["badNonce"] > 0
        assert not len(self.pending)

    async def test_over_plain_http(self):
        """On loopback there is nobody to hide from."""
        ca = self.start_ca(tls=False)
        certificate = await self.issuer(ca).issue(["one.localhost", "127.0.0.1"])
        assert await self.curl(certificate, "one.localhost") == (b"hello", b"", 0)

    async def test_slow_ca(self):
        """One that takes its time to validate and to sign, and says when to ask again."""
        ca = self.start_ca(Policy(validation_delay=0.3, issuance_delay=0.3, poll_after=1))
        certificate = await self.issuer(ca).issue(["one.localhost"])
        certificate.check(["one.localhost"], utc_now())

    async def test_what_cannot_be_validated(self):
        """The order's error has the CA's problem for each name: of another machine's listener, and of none."""
        ca = self.start_ca(http_port=self.listen(Site(Stranger())))
        failures = await self.fail_to_issue(ca, ["one.test", "two.test"])
        assert failures["one.test"].code == "unauthorized"
        assert "something else" in failures["one.test"].detail
        assert set(failures) <= {"one.test", "two.test"}

        closed = reactor.listenTCP(0, Site(Hello()), interface="127.0.0.1")
        nowhere = closed.getHost().port
        await maybeDeferred(closed.stopListening)
        failures = await self.fail_to_issue(self.start_ca(http_port=nowhere), ["one.test"])
        assert failures["one.test"].code == "connection"

    async def fail_to_issue(self, ca, names):
        with pytest.raises(OrderError) as caught:
            await self.issuer(ca).issue(names)
        assert not len(self.pending)
        return caught.value.failures

    async def test_refused_names(self):
        """Production names and blocked ones never get as far as a validation."""
        ca = self.start_ca(Policy(blocked=frozenset({"blocked.test"})))
        issuer = self.issuer(ca)
        for name, words in (("www.example.com", "demo CA certifies only"), ("blocked.test", "block list")):
            with pytest.raises(AcmeError, match=words):
                await issuer.issue([name])
        assert (await issuer.issue(["fine.test"])).names == {"fine.test"}

    async def test_restarted(self):
        """Its keys outlive it, its accounts do not: our client, which kept its own, registers again."""
        ca = self.start_ca()
        await self.issuer(ca).issue(["one.test"])
        port = int(ca.directory_url.split(":")[2].split("/")[0])
        await maybeDeferred(ca.stopService)
        again = self.start_ca(port=port)
        assert again.root_pem == ca.root_pem
        certificate = await self.issuer(again).issue(["two.test"])
        assert await self.curl(certificate, "two.test") == (b"hello", b"", 0)

    async def test_external_accounts(self):
        """Without the binding no account; with it, certificates."""
        secret = b"an external account's secret key"
        ca = self.start_ca(Policy(external_accounts={"kid-1": secret}))
        with pytest.raises(AcmeError):
            await self.issuer(ca).issue(["one.test"])
        issuer = self.issuer(ca, external_account=ExternalAccount("kid-1", b64url(secret)))
        assert (await issuer.issue(["one.test"])).names == {"one.test"}

    async def test_outages(self):
        """Every kind is an AcmeError to our client; after it, the same issuer goes on."""
        ca = self.start_ca()
        issuer = self.issuer(ca)
        await issuer.issue(["one.test"])
        for outage in (Outage.ERROR, Outage.DROP):
            ca.ca.outage = outage
            with pytest.raises(AcmeError):
                await issuer.issue(["one.test"])
        ca.ca.outage = Outage.HANG
        waiting = Deferred.fromCoroutine(issuer.issue(["one.test"]))
        waiting.addTimeout(0.3, reactor)
        with pytest.raises(Exception, match=r"0\.3"):
            await waiting
        ca.ca.outage = Outage.NONE
        assert (await issuer.issue(["one.test"])).names == {"one.test"}

    async def test_rate_limits(self):
        """The problem and its Retry-After reach the caller."""
        hour = timedelta(hours=1)
        ca = self.start_ca(Policy(limits=RateLimits(certificates_per_name_set=Rate(1, hour))))
        issuer = self.issuer(ca)
        await issuer.issue(["one.test"])
        with pytest.raises(AcmeProblemError) as caught:
            await issuer.issue(["one.test"])
        assert caught.value.problem.code == "rateLimited"
        assert 3500 < caught.value.problem.retry_after <= 3600
