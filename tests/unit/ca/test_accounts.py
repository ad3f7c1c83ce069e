"""Accounts: made, found, changed, closed, bound to external ones (RFC 8555 section 7.3)."""

from datetime import timedelta

import pytest

from appliance.acme.jose import AccountKey, b64url
from appliance.ca.policy import Policy, Rate, RateLimits
from tests.support.demo_ca import World

SECRET = b"an external account's secret key"


def test_made_once():
    """201 with its URL; the same key again gives 200 and the same account."""
    world = World()
    first = world.register(contact=["mailto:admin@one.test"])
    assert (first.status, first.json["status"], first.json["contact"]) == (201, "valid", ["mailto:admin@one.test"])
    assert first.json["orders"] == first.location + "/orders"
    again = world.register()
    assert (again.status, again.location) == (200, first.location)


def test_only_return_existing():
    """Finds, never makes."""
    world = World()
    reply = world.post(world.url("new-account"), {"onlyReturnExisting": True}, world.key)
    assert (reply.status, reply.code) == (400, "accountDoesNotExist")
    world.register()
    assert world.post(world.url("new-account"), {"onlyReturnExisting": True}, world.key).location == world.kid


def test_terms():
    """Must be agreed to, unless the policy does not care; the refusal says where they are."""
    world = World()
    reply = world.post(world.url("new-account"), {}, world.key)
    assert (reply.status, reply.code) == (403, "userActionRequired")
    assert reply.headers["Link"][0] == f'<{world.url("terms")}>;rel="terms-of-service"'
    assert b"not for production names" in world.send("GET", reply.json["instance"]).body
    world.change(require_terms=False)
    assert world.post(world.url("new-account"), {}, world.key).status == 201


@pytest.mark.parametrize(
    ("contact", "code"),
    [
        ("mailto:a@one.test", "invalidContact"),
        ([7], "invalidContact"),
        (["mailto:a@one.test"] * 11, "invalidContact"),
        (["tel:+1234"], "unsupportedContact"),
        (["mailto:nobody"], "invalidContact"),
        (["mailto:@one.test"], "invalidContact"),
        (["mailto:a@one.test,b@one.test"], "invalidContact"),
        (["mailto:a@one.test?subject=x"], "invalidContact"),
    ],
)
def test_contacts(contact, code):
    """One plain mail address per URL."""
    reply = World().register(contact=contact)
    assert (reply.status, reply.code) == (400, code)


def test_read_update_deactivate():
    """By POST-as-GET and POST to the account's URL; afterwards nothing can be done with it."""
    world = World()
    world.register()
    assert world.post(world.kid).json["contact"] == []
    assert world.post(world.kid, {"contact": ["mailto:b@one.test"]}).json["contact"] == ["mailto:b@one.test"]
    assert world.post(world.kid, {"status": "revoked"}).code == "malformed"
    assert world.post(world.kid, {"status": "deactivated"}).json["status"] == "deactivated"
    for reply in (world.post(world.kid), world.register()):
        assert (reply.status, reply.code) == (403, "unauthorized")


def test_of_others():
    """Another account's page is not there."""
    world = World()
    world.register()
    mine, world.key = world.kid, AccountKey.generate()
    world.register()
    assert world.kid != mine
    for url in (mine, mine + "/orders"):
        reply = world.post(url)
        assert (reply.status, reply.code) == (404, "malformed")


def test_orders():
    """Lists those that are not invalid."""
    world = World()
    first, second = world.order("one.test"), world.order("two.test")
    world.proofs.failing.add("two.test")
    world.prove(second)
    assert world.post(world.kid + "/orders").json == {"orders": [first.location]}


def test_budget_and_bound():
    """New accounts are limited in number per time and altogether; old ones are still found."""
    world = World(Policy(limits=RateLimits(new_accounts=Rate(2, timedelta(hours=3))), max_objects=3))
    keys = [AccountKey.generate() for _ in range(4)]
    replies = [world.post(world.url("new-account"), {"termsOfServiceAgreed": True}, key) for key in keys[:3]]
    assert [each.status for each in replies] == [201, 201, 429]
    assert replies[2].code == "rateLimited"
    assert replies[2].headers["Retry-After"] == ["10800"]
    world.change(limits=RateLimits())
    assert [world.post(world.url("new-account"), {"termsOfServiceAgreed": True}, key).status for key in keys] == [
        200,
        200,
        201,
        503,
    ]


class TestExternalAccounts:
    """Section 7.3.4."""

    def world(self):
        return World(Policy(external_accounts={"kid-1": SECRET}))

    def bind(self, world, kid="kid-1", secret=SECRET, url=None, key=None):
        binding = (key or world.key).bind(kid, b64url(secret), url=url or world.url("new-account"))
        return world.register(externalAccountBinding=binding)

    def test_bound(self):
        """The right binding makes the account; the directory says that one is needed."""
        world = self.world()
        assert world.send("GET", "/directory").json["meta"]["externalAccountRequired"] is True
        assert self.bind(world).status == 201

    def test_missing(self):
        """Refused by its own type."""
        reply = self.world().register()
        assert (reply.status, reply.code) == (403, "externalAccountRequired")

    def test_wrong(self):
        """Unknown account, wrong secret, other URL, other key, no binding at all."""
        world = self.world()
        assert self.bind(world, kid="kid-2").code == "unauthorized"
        assert self.bind(world, secret=b"wrong").code == "unauthorized"
        assert self.bind(world, url=world.url("new-order")).code == "malformed"
        assert self.bind(world, key=AccountKey.generate()).code == "malformed"
        assert world.register(externalAccountBinding="x").code == "malformed"


class TestKeyChange:
    """Section 7.3.5."""

    def change(self, world, new, old=None, account=None, **header):
        url = world.url("key-change")
        payload = {"account": account or world.kid, "oldKey": (old or world.key).public_jwk}
        inner = _without_nonce(new, payload, header.pop("inner_url", url), header.pop("nonce", None))
        return world.post(url, inner)

    def test_changed(self):
        """The new key signs for the account, the old one no longer does."""
        world, new = World(), AccountKey.generate("ES384")
        world.register()
        old, reply = world.key, self.change(world, new)
        assert (reply.status, reply.location) == (200, world.kid)
        assert world.post(world.kid).code == "malformed"
        world.key = new
        assert world.post(world.kid).status == 200
        assert world.post(world.url("new-account"), {"onlyReturnExisting": True}, old).code == "accountDoesNotExist"

    def test_taken(self):
        """A key that has an account already is a conflict that names it."""
        world, new = World(), AccountKey.generate()
        taken = world.post(world.url("new-account"), {"termsOfServiceAgreed": True}, new).location
        world.register()
        reply = self.change(world, new)
        assert (reply.status, reply.location) == (409, taken)

    def test_wrong(self):
        """Another account, another old key, another URL, a nonce inside, no inner request."""
        world, new = World(), AccountKey.generate()
        world.register()
        assert self.change(world, new, account=world.kid + "1").code == "malformed"
        assert self.change(world, new, old=new).code == "malformed"
        assert self.change(world, new, inner_url=world.kid).code == "malformed"
        assert self.change(world, new, nonce="x").code == "malformed"
        assert world.post(world.url("key-change"), {}).code == "malformed"
        assert world.post(world.kid).status == 200


def _without_nonce(key, payload, url, nonce):
    """An inner JWS; the client's signer always writes a nonce into its own."""
    import json

    header = {"alg": key._algorithm.name, "jwk": key.public_jwk, "url": url} | ({"nonce": nonce} if nonce else {})
    protected, text = (b64url(json.dumps(each).encode()) for each in (header, payload))
    signature = key._algorithm.sign(key._jwk.key, f"{protected}.{text}".encode())
    return {"protected": protected, "payload": text, "signature": b64url(signature)}
