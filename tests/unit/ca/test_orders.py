"""Orders: their refusals, their way to a certificate, their budgets (RFC 8555 section 7.4, RFC 9773 section 5)."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from appliance.acme.jose import AccountKey, b64url
from appliance.ca.authority import NAME
from appliance.ca.policy import LETS_ENCRYPT_LIMITS, Policy, Profile, Rate, RateLimits
from tests.support.demo_ca import START, World, make_csr

MINUTE = timedelta(minutes=1)


def test_the_whole_way():
    """pending, ready, valid; the names sorted and once each; the certificate is for all of them."""
    world = World()
    order = world.order("two.test", "One.test", "one.test", "127.0.0.1", "::1")
    assert (order.status, order.json["status"]) == (201, "pending")
    names = [each["value"] for each in order.json["identifiers"]]
    assert names == ["one.test", "two.test", "127.0.0.1", "::1"]
    assert "Retry-After" not in order.headers
    assert world.finalize(order).code == "orderNotReady"
    ready = world.prove(order)
    assert ready.json["status"] == "ready"
    done = world.finalize(ready)
    assert done.json["status"] == "valid"
    assert world.finalize(ready).code == "orderNotReady"
    leaf = x509.load_pem_x509_certificates(world.post(done.json["certificate"]).body)[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in found] == names
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=90)
    assert [each for each, *_ in world.proofs.asked] == names


def test_key_authorizations():
    """The validator is given what the client presents."""
    world = World()
    order = world.order("one.test")
    challenge = world.post(order.json["authorizations"][0]).json["challenges"][0]
    world.prove(order)
    expected = world.key.key_authorization(challenge["token"])
    assert world.proofs.asked == [("one.test", challenge["token"], expected)]


@pytest.mark.parametrize(
    ("identifiers", "code"),
    [
        (None, "malformed"),
        ([], "malformed"),
        ("one.test", "malformed"),
        (["one.test"], "malformed"),
        ([{"type": "dns"}], "malformed"),
        ([{"type": "dns", "value": "one_.test"}], "malformed"),
        ([{"type": "permanent-identifier", "value": "1"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": "*.one.test"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "one.com"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "atest"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": "sub.blocked.test"}], "rejectedIdentifier"),
        ([{"type": "ip", "value": "10.0.0.1"}], "rejectedIdentifier"),
        ([{"type": "dns", "value": f"{number}.test"} for number in range(4)], "malformed"),
    ],
)
def test_refused_names(identifiers, code):
    """What is no list of names, or not for this CA."""
    world = World(Policy(blocked=frozenset({"blocked.test"}), max_identifiers=3))
    world.register()
    reply = world.post(world.url("new-order"), {"identifiers": identifiers})
    assert (reply.status, reply.code) == (400, code)


def test_all_refused_names_are_told():
    """One problem with a subproblem for each name (section 6.7.1)."""
    reply = World().order("one.com", "two.com", "fine.test", "10.0.0.1")
    assert reply.code == "rejectedIdentifier"
    assert [each["identifier"] for each in reply.json["subproblems"]] == [
        {"type": "dns", "value": "one.com"},
        {"type": "dns", "value": "two.com"},
        {"type": "ip", "value": "10.0.0.1"},
    ]


def test_any_name_when_told_so():
    """Without suffixes everything is certified, and the name of the issuer still says what it is."""
    world = World(Policy(suffixes=None))
    assert NAME in world.issue("www.example.com", "10.0.0.1").issuer.rfc4514_string()


def test_what_orders_cannot_ask_for():
    """Dates, payloads when reading, unknown profiles."""
    world = World(Policy(profiles={"shortlived": Profile(timedelta(hours=160))}))
    assert world.order("one.test", notAfter="2027-02-01T00:00:00Z").code == "malformed"
    assert world.post(world.order("one.test").location, {}).code == "malformed"
    for unknown in ("tlsserver", 7):
        reply = world.order("one.test", profile=unknown)
        assert (reply.status, reply.code) == (400, "invalidProfile")


def test_profiles():
    """Listed in the directory, shown by the order, and they choose the lifetime."""
    world = World(Policy(profiles={"shortlived": Profile(timedelta(hours=160), "six days")}, backdate=MINUTE))
    assert world.send("GET", "/directory").json["meta"]["profiles"] == {"shortlived": "six days"}
    assert world.order("one.test", profile="shortlived").json["profile"] == "shortlived"
    order = world.prove(world.order("two.test", profile="shortlived"))
    leaf = world.issue("one.test", profile="shortlived")
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (
        START - MINUTE,
        START - MINUTE + timedelta(hours=160),
    )
    world.change(profiles={}, lifetime=MINUTE)
    assert world.finalize(order).json["status"] == "valid"
    assert world.ca.issued[-1].expires == START


def test_of_others():
    """An order of another account is not there, to be read or finalized."""
    world = World()
    order = world.prove(world.order("one.test"))
    world.key, world.kid = AccountKey.generate(), None
    world.register()
    for reply in (world.post(order.location), world.finalize(order), world.post(world.url("order/99"))):
        assert (reply.status, reply.code) == (404, "malformed")


def test_one_failure_ends_the_order():
    """With that name's problem as its own; several failures become subproblems."""
    world = World()
    world.proofs.failing.add("two.test")
    order = world.prove(world.order("one.test", "two.test"))
    assert order.json["status"] == "invalid"
    assert order.json["error"] == {
        "type": "urn:ietf:params:acme:error:unauthorized",
        "detail": "two.test was not proven",
        "status": 403,
        "identifier": {"type": "dns", "value": "two.test"},
    }
    world.proofs.failing.add("127.0.0.1")
    order = world.order("two.test", "127.0.0.1")
    for url in order.json["authorizations"]:
        world.post(world.post(url).json["challenges"][0]["url"], {})
    error = world.post(order.location).json["error"]
    assert [each["identifier"]["type"] for each in error["subproblems"]] == ["dns", "ip"]
    assert world.finalize(order).code == "orderNotReady"


def test_expiry():
    """An unfinished order becomes invalid, its authorizations are gone."""
    world = World(Policy(order_expiry=MINUTE))
    pending, ready = world.order("one.test"), world.prove(world.order("two.test"))
    world.clock.advance(60)
    for order in (pending, ready):
        found = world.post(order.location).json
        assert (found["status"], found["error"]["detail"]) == ("invalid", "the order has expired")
    assert world.post(pending.json["authorizations"][0]).status == 404
    assert world.post(ready.json["authorizations"][0]).json["status"] == "expired"


def test_expired_objects_make_room():
    """A full CA answers 503 with Retry-After until something expires."""
    world = World(Policy(max_objects=2, order_expiry=MINUTE))
    for name in ("one.test", "two.test"):
        assert world.order(name).status == 201
    reply = world.order("three.test")
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "rateLimited", ["60"])
    world.clock.advance(60)
    assert world.order("three.test").status == 201


def test_no_room_for_the_certificate():
    """The order becomes invalid and says why."""
    world = World(Policy(max_objects=3))
    world.issue("one.test")
    order = world.prove(world.order("two.test"))
    world.change(max_objects=1)
    assert world.finalize(order).json["error"]["type"].endswith("rateLimited")


def test_issuance_takes_its_time():
    """``processing`` with Retry-After until it is done; dropped orders are not issued."""
    world = World(Policy(issuance_delay=5, poll_after=2))
    order = world.order("one.test")
    assert order.headers["Retry-After"] == ["2"]
    processing = world.finalize(world.prove(order))
    assert (processing.json["status"], processing.headers["Retry-After"]) == ("processing", ["2"])
    world.clock.advance(5)
    done = world.post(order.location)
    assert done.json["status"] == "valid"
    assert "Retry-After" not in done.headers
    world.finalize(world.prove(world.order("two.test")))
    world.ca._core.orders._records.clear()
    world.clock.advance(5)
    assert len(world.ca.issued) == 1


class TestCsr:
    """What must be right about a CSR."""

    def finalize(self, csr, *names):
        world = World()
        return world.finalize(world.prove(world.order(*(names or ("one.test",)))), csr)

    def test_common_name(self):
        """Counts as one of the names, and is kept if it was asked for; a long one is not."""
        for csr in (make_csr(common_name="One.test"), make_csr("one.test", common_name="one.test")):
            assert self.finalize(csr).json["status"] == "valid"
        assert self.finalize(make_csr("one.test", common_name="127.0.0.1"), "one.test", "127.0.0.1").status == 200
        world = World()
        order = world.finalize(world.prove(world.order("one.test")), make_csr("one.test", common_name="one.test"))
        leaf = x509.load_pem_x509_certificates(world.post(order.json["certificate"]).body)[0]
        assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "one.test"

    @pytest.mark.parametrize(
        "csr",
        [
            b"",
            b"nonsense",
            make_csr("one.test")[:-1],
            make_csr(),
            make_csr("one.test", "two.test"),
            make_csr("two.test"),
            make_csr("one.test", common_name="two.test"),
            make_csr("one.test", key=ec.generate_private_key(ec.SECP521R1())),
            make_csr("one.test", key=rsa.generate_private_key(65537, 1024)),
        ],
        ids=len,
    )
    def test_wrong(self, csr):
        """Unreadable, other names, keys of other kinds."""
        reply = self.finalize(csr)
        assert (reply.status, reply.code) == (400, "badCSR")

    def test_signature(self):
        """A CSR that its key did not sign."""
        csr = bytearray(make_csr("one.test"))
        csr[-2] ^= 1
        assert "signature does not verify" in self.finalize(bytes(csr)).json["detail"]

    def test_other_kinds_of_names(self):
        """Mail addresses and the like are not left out silently."""
        import cryptography.hazmat.primitives.hashes as hashes
        from cryptography.hazmat.primitives.serialization import Encoding

        names = x509.SubjectAlternativeName([x509.DNSName("one.test"), x509.RFC822Name("a@one.test")])
        builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(names, critical=False)
        csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
        assert self.finalize(csr).code == "badCSR"

    def test_the_accounts_key(self):
        """May not be the certificate's."""
        world = World()
        order = world.prove(world.order("one.test"))
        key = world.key._jwk.key._wrapped
        assert "account's key" in world.finalize(order, make_csr("one.test", key=key)).json["detail"]

    def test_missing(self):
        """No csr field, and none of the right kind."""
        world = World()
        order = world.prove(world.order("one.test"))
        for payload in ({}, {"csr": 7}, {"csr": "a b"}, []):
            assert world.post(order.json["finalize"], payload).code == "malformed"
        rsa_key = rsa.generate_private_key(65537, 2048)
        assert world.post(order.json["finalize"], {"csr": b64url(make_csr("one.test", key=rsa_key))}).status == 200


class TestBudgets:
    """Rate limits, and what is exempt from them."""

    def test_orders(self):
        """Per account and period; the next one when the oldest is that old."""
        world = World(Policy(limits=RateLimits(orders_per_account=Rate(2, MINUTE))))
        world.order("one.test")
        world.clock.advance(20)
        world.order("two.test")
        reply = world.order("three.test")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "rateLimited", ["40"])
        world.clock.advance(40)
        assert world.order("three.test").status == 201

    def test_name_sets_and_domains(self):
        """Let's Encrypt's: five certificates for one set of names in a week, fifty for a domain."""
        world = World(Policy(limits=LETS_ENCRYPT_LIMITS))
        for _ in range(5):
            world.issue("www.one.test", "one.test")
        assert "exactly this set" in world.order("one.test", "www.one.test").json["detail"]
        world.change(limits=RateLimits(certificates_per_domain=Rate(6, MINUTE)))
        world.clock.advance(60)
        for number in range(6):
            world.issue(f"n{number}.one.test")
        assert "for this domain" in world.order("x.one.test").json["detail"]
        assert world.order("x.two.test").status == 201

    def test_failures(self):
        """A name that cannot be proven is refused for a while, others are not."""
        world = World(Policy(limits=LETS_ENCRYPT_LIMITS))
        world.proofs.failing.add("one.test")
        for _ in range(5):
            world.prove(world.order("one.test"))
        assert "failed validations" in world.order("one.test", "two.test").json["detail"]
        assert world.order("two.test").status == 201
        world.clock.advance(3600)
        assert world.order("one.test").status == 201

    def test_replacements_are_exempt(self):
        """An order with a rightful ``replaces`` is neither refused nor counted."""
        world = World(Policy(limits=RateLimits(Rate(1, MINUTE), Rate(1, MINUTE), Rate(1, MINUTE), Rate(1, MINUTE))))
        world.issue("one.test")
        assert world.order("one.test").status == 429
        world.issue("one.test", replaces=world.ca.issued[-1].id)
        world.issue("one.test", replaces=world.ca.issued[-1].id)
        world.clock.advance(60)
        assert world.order("one.test").status == 201


class TestReplaces:
    """RFC 9773 section 5."""

    def test_shown_and_once(self):
        """The order shows it; a second order is a conflict unless the first came to nothing."""
        world = World()
        world.issue("one.test")
        old = world.ca.issued[0].id
        first = world.order("one.test", "two.test", replaces=old)
        assert first.json["replaces"] == old
        reply = world.order("one.test", replaces=old)
        assert (reply.status, reply.code) == (409, "alreadyReplaced")
        world.proofs.failing.add("one.test")
        world.prove(first)
        assert world.order("one.test", replaces=old).status == 201

    def test_wrong(self):
        """Unknown certificates, those of others, and those without a common name."""
        world = World()
        world.issue("one.test")
        old = world.ca.issued[0].id
        for wrong in ("AAAA.AAAA", 7):
            assert world.order("one.test", replaces=wrong).status == 404
        assert world.order("two.test", replaces=old).code == "malformed"
        world.key, world.kid = AccountKey.generate(), None
        reply = world.order("one.test", replaces=old)
        assert (reply.status, reply.code) == (403, "unauthorized")

    def test_ignored_without_renewal_information(self):
        """A CA that does not know RFC 9773 ignores the field."""
        world = World(Policy(renewal_window=None))
        assert "replaces" not in world.order("one.test", replaces="AAAA.AAAA").json
