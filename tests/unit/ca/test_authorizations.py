"""Authorizations and challenges (RFC 8555 sections 7.5 and 8)."""

from datetime import timedelta

from appliance.acme.jose import AccountKey
from appliance.ca.policy import Policy
from tests.support.demo_ca import World

HOUR = timedelta(hours=1)


def authorization(world, order, index=0):
    return world.post(order.json["authorizations"][index])


def test_pending():
    """The name, one challenge with a token of 128 bits, and no wildcard field."""
    world = World()
    reply = authorization(world, world.order("one.test"))
    (challenge,) = reply.json["challenges"]
    assert reply.json["status"] == challenge["status"] == "pending"
    assert reply.json["identifier"] == {"type": "dns", "value": "one.test"}
    assert challenge["type"] == "http-01"
    assert len(challenge["token"]) == 22
    assert "wildcard" not in reply.json


def test_wildcards():
    """By dns-01 alone, for the base name, and marked; apex and wildcard are two authorizations. Addresses never."""
    world = World(wildcards=True)
    order = world.order("*.one.test", "one.test", "127.0.0.1")
    wild, apex, address = (authorization(world, order, index).json for index in range(3))
    assert wild["identifier"] == apex["identifier"]
    assert wild["wildcard"] is True
    assert [each["type"] for each in wild["challenges"]] == ["dns-01"]
    assert [each["type"] for each in apex["challenges"]] == ["http-01", "dns-01"]
    assert [each["type"] for each in address["challenges"]] == ["http-01"]
    assert world.prove(order).json["status"] == "ready"


def test_asking_is_not_answering():
    """A POST-as-GET of the challenge starts nothing; any object does; a list is refused."""
    world = World()
    challenge = authorization(world, world.order("one.test")).json["challenges"][0]
    reply = world.post(challenge["url"])
    assert (reply.json["status"], world.proofs.asked) == ("pending", [])
    assert '>;rel="up"' in reply.headers["Link"][0]
    assert world.post(challenge["url"], []).code == "malformed"
    done = world.post(challenge["url"], {})
    assert done.json["status"] == "valid"
    assert done.json["validated"] == "2027-01-01T00:00:00Z"


def test_only_the_challenge_that_settled_it_is_shown():
    """After success and after failure; a second answer changes nothing."""
    world = World(wildcards=True)
    world.proofs.failing.add("bad.test")
    for name, status in (("good.test", "valid"), ("bad.test", "invalid")):
        order = world.order(name)
        first, second = authorization(world, order).json["challenges"]
        assert world.post(second["url"], {}).json["status"] == status
        found = authorization(world, order).json
        assert found["status"] == status
        assert [each["type"] for each in found["challenges"]] == [second["type"]]
        assert world.post(first["url"], {}).json["status"] == "pending"
        assert world.post(second["url"], {}).json["status"] == status
    assert found["challenges"][0]["error"]["detail"] == "bad.test was not proven"
    assert len(world.proofs.asked) == 2


def test_validation_takes_its_time():
    """Delayed by the policy, then by the validator; ``processing`` and Retry-After meanwhile, one validation only."""
    world = World(Policy(validation_delay=3, poll_after=1), wildcards=True)
    world.proofs.pending = []
    order = world.order("one.test")
    first, second = authorization(world, order).json["challenges"]
    for _ in range(2):
        reply = world.post(first["url"], {})
        assert (reply.json["status"], reply.headers["Retry-After"]) == ("processing", ["1"])
    assert world.post(second["url"], {}).json["status"] == "pending"
    assert world.proofs.asked == []
    world.clock.advance(3)
    assert authorization(world, order).headers["Retry-After"] == ["1"]
    (proof,) = world.proofs.pending
    proof.callback(None)
    assert authorization(world, order).json["status"] == "valid"
    assert "Retry-After" not in authorization(world, order).headers


def test_deactivation():
    """Ends a pending and a valid authorization, and their orders; a late validation does not bring it back."""
    world = World()
    order = world.prove(world.order("one.test"))
    url = order.json["authorizations"][0]
    assert world.post(url, {"status": "valid"}).code == "malformed"
    assert world.post(url, {"status": "deactivated"}).json["status"] == "deactivated"
    assert world.post(url, {"status": "deactivated"}).code == "malformed"
    found = world.post(order.location).json
    assert (found["status"], found["error"]["type"].rpartition(":")[2]) == ("invalid", "unauthorized")

    world.proofs.pending = []
    order = world.order("two.test")
    world.prove(order)
    url = order.json["authorizations"][0]
    assert world.post(url, {"status": "deactivated"}).status == 200
    world.proofs.pending[0].callback(None)
    assert world.post(url).json["status"] == "deactivated"


def test_dropped_in_the_middle():
    """A validation that ends after its authorization is gone does no harm."""
    world = World()
    world.proofs.pending = []
    order = world.order("one.test")
    world.prove(order)
    world.ca._core.authorizations._records.clear()
    world.proofs.pending[0].callback(None)
    assert world.post(order.location).json["status"] == "invalid"


def test_a_validator_that_breaks():
    """Its mistake is the CA's: serverInternal, and the order ends."""
    world = World()
    world.ca._validators["http-01"] = lambda *arguments: 1 / 0
    order = world.prove(world.order("one.test"))
    assert order.json["error"]["type"].endswith("serverInternal")


def test_past_its_time():
    """A valid one expires; a failed one stays failed."""
    world = World(Policy(order_expiry=HOUR))
    world.proofs.failing.add("bad.test")
    orders = [world.prove(world.order(name)) for name in ("good.test", "bad.test")]
    world.clock.advance(3600)
    assert [authorization(world, each).json["status"] for each in orders] == ["expired", "invalid"]


def test_reuse():
    """Off by default; for as long as the policy says, for the same name and account."""
    world = World()
    world.issue("one.test")
    assert world.order("one.test").json["status"] == "pending"
    world.change(authorization_reuse=HOUR)
    assert world.order("one.test").json["status"] == "ready"
    assert world.order("one.test", "two.test").json["status"] == "pending"
    world.key, kid, world.kid = AccountKey.generate(), world.kid, None
    assert world.order("one.test").json["status"] == "pending"
    assert world.kid != kid
    world.clock.advance(3600)
    assert world.order("one.test").json["status"] == "pending"


def test_unknown_challenges():
    """Offered beside the known ones if the policy says so, without token; answering them is a 404."""
    world = World(Policy(unknown_challenge=True))
    order = world.order("one.test")
    unknown, known = authorization(world, order).json["challenges"]
    assert "token" not in unknown
    assert world.post(unknown["url"], {}).status == 404
    assert known["type"] == "http-01"
    assert world.prove(order).json["status"] == "ready"


def test_of_others():
    """Another account's authorization and challenge are not there."""
    world = World()
    found = authorization(world, world.order("one.test"))
    url = found.json["challenges"][0]["url"]
    world.key, world.kid = AccountKey.generate(), None
    world.register()
    for to in (url, url.replace("challenge", "authorization").removesuffix("/0")):
        assert world.post(to, {}).status == 404
    assert world.proofs.asked == []
