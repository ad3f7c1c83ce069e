"""Certificates handed out, revoked, and asked about (RFC 8555 sections 7.4.2 and 7.6, RFC 9773)."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.acme.jose import AccountKey, b64url
from appliance.ca.policy import Policy, Window
from tests.support.certificates import make_certificate
from tests.support.demo_ca import START, World, make_csr

DAY = timedelta(days=1)


def der(leaf):
    return b64url(leaf.public_bytes(Encoding.DER))


def other_account(world):
    world.key, world.kid = AccountKey.generate(), None
    world.register()


def test_chains():
    """Leaf and intermediate; Links lead from each chain to the other, whose intermediate has another issuer."""
    world = World()
    order = world.finalize(world.prove(world.order("one.test")))
    first = world.post(order.json["certificate"])
    assert first.headers["Content-Type"] == ["application/pem-certificate-chain"]
    alternate = first.headers["Link"][0].removeprefix("<").partition(">")[0]
    second = world.post(alternate)
    assert second.headers["Link"][0] == f'<{order.json["certificate"]}>;rel="alternate"'
    chains = [x509.load_pem_x509_certificates(each.body) for each in (first, second)]
    assert chains[0][0] == chains[1][0]
    for chain, root in zip(chains, (world.ca.authority.root, world.ca.authority.other_root), strict=True):
        chain[0].verify_directly_issued_by(chain[1])
        chain[1].verify_directly_issued_by(root)


def test_reading():
    """By its own account, with an empty payload."""
    world = World()
    url = world.finalize(world.prove(world.order("one.test"))).json["certificate"]
    assert world.post(url, {}).code == "malformed"
    assert world.post(world.url("certificate/AAAA.AAAA")).status == 404
    other_account(world)
    assert world.post(url).status == 404


class TestRevocation:
    """Section 7.6."""

    def revoke(self, world, leaf, key=None, **fields):
        return world.post(world.url("revoke-cert"), {"certificate": der(leaf)} | fields, key)

    def test_by_its_account(self):
        """Once; afterwards it is alreadyRevoked, and renewalInfo says that it is high time."""
        world = World()
        leaf = world.issue("one.test")
        reply = self.revoke(world, leaf, reason=4)
        assert (reply.status, reply.body) == (200, b"")
        again = self.revoke(world, leaf)
        assert (again.status, again.code) == (400, "alreadyRevoked")
        window = world.send("GET", f"/renewal-info/{world.ca.issued[0].id}").json["suggestedWindow"]
        assert window["end"] < "2027-01-01"

    def test_by_its_key(self):
        """Signed by the certificate's own key, without any account; another key may not."""
        world, key = World(), ec.generate_private_key(ec.SECP256R1())
        order = world.finalize(world.prove(world.order("one.test")), make_csr("one.test", key=key))
        leaf = x509.load_pem_x509_certificates(world.post(order.json["certificate"]).body)[0]
        assert self.revoke(world, leaf, AccountKey.generate()).code == "unauthorized"
        assert self.revoke(world, leaf, AccountKey.of(key)).status == 200

    def test_by_who_holds_the_names(self):
        """Another account may if it is authorized for all of them."""
        world = World()
        leaf = world.issue("one.test", "two.test")
        other_account(world)
        world.prove(world.order("one.test"))
        assert self.revoke(world, leaf).code == "unauthorized"
        world.prove(world.order("two.test"))
        assert self.revoke(world, leaf).status == 200

    @pytest.mark.parametrize("reason", [2, 7, 11, -1, "1", True, None, [1]])
    def test_reasons(self, reason):
        """Only those that RFC 5280 has for leaves."""
        world = World()
        assert self.revoke(world, world.issue("one.test"), reason=reason).code == "badRevocationReason"

    def test_what_is_not_ours(self):
        """No certificate, a foreign one, one with our identifier but another signature."""
        world = World()
        world.register()
        for wrong in (None, "AAAA", "a b"):
            assert world.post(world.url("revoke-cert"), {"certificate": wrong}).code == "malformed"
        for foreign in (make_certificate(["one.test"]).leaf, World().issue("one.test"), world.ca.authority.root):
            assert self.revoke(world, foreign).code == "malformed"


class TestRenewalInformation:
    """RFC 9773 section 4."""

    def ask(self, world):
        return world.send("GET", f"/renewal-info/{world.ca.issued[-1].id}")

    def test_usual_window(self):
        """Opens with a third of the life left, read without signature, Retry-After beside it."""
        world = World()
        world.issue("one.test")
        reply = self.ask(world)
        assert reply.json == {"suggestedWindow": {"start": "2027-03-02T00:00:00Z", "end": "2027-03-03T19:12:00Z"}}
        assert reply.headers["Retry-After"] == ["21600"]

    def test_window_of_choice(self):
        """From a function of the certificate and the present; with the reason's URL."""
        world = World(Policy(renewal_info_poll=60))
        world.issue("one.test")
        url = "https://demo-ca.invalid/why"
        world.change(renewal_window=lambda issued, now: Window(issued.not_before - DAY, now, url))
        world.clock.advance(5)
        reply = self.ask(world)
        assert reply.headers["Retry-After"] == ["60"]
        assert reply.json == {
            "suggestedWindow": {"start": "2026-12-31T00:00:00Z", "end": "2027-01-01T00:00:05Z"},
            "explanationURL": url,
        }

    def test_none(self):
        """Unknown certificates are 404; without RFC 9773 all of them, and the directory does not offer it."""
        world = World()
        world.issue("one.test")
        assert "renewalInfo" in world.send("GET", "/directory").json
        assert world.send("GET", "/renewal-info/AAAA.AAAA").status == 404
        assert world.send("POST", "/renewal-info/AAAA.AAAA").status == 405
        world.change(renewal_window=None)
        assert "renewalInfo" not in world.send("GET", "/directory").json
        assert self.ask(world).code == "malformed"

    def test_dates_come_from_the_clock_passed_in(self):
        """A year later everything is a year later."""
        world = World()
        world.clock.advance(DAY.total_seconds() * 365)
        assert world.issue("one.test").not_valid_before_utc == START + 365 * DAY
