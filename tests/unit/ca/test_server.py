"""The CA as a whole: what it says of itself, its routes, and its ways to fail."""

import pytest

from appliance.acme.jose import AccountKey
from appliance.ca.policy import Policy
from appliance.ca.server import MAX_BODY, NoAnswerError, Outage
from tests.support.demo_ca import World


def test_directory():
    """Says plainly what it is; has neither nonce nor index link."""
    reply = World().send("GET", "/directory")
    assert "not for production names" in reply.json["meta"]["notice"]
    assert not {"Replay-Nonce", "Link"} & set(reply.headers)
    assert reply.headers["Cache-Control"] == ["no-store"]
    assert reply.json["meta"]["externalAccountRequired"] is False


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204)])
def test_new_nonce(method, status):
    """Section 7.2."""
    reply = World().send(method, "/new-nonce")
    assert (reply.status, reply.body) == (status, b"")
    assert reply.headers["Cache-Control"] == ["no-store"]
    assert len(reply.headers["Replay-Nonce"][0]) == 22
    assert reply.headers["Link"] == ['<http://demo-ca.internal/directory>;rel="index"']


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing", 404),
        ("POST", "/directory/x", 404),
        ("POST", "/order/0", 404),
        ("POST", "/order/1x", 404),
        ("POST", "/order/" + "1" * 40, 404),
        ("POST", "/order/1?x", 404),
        ("POST", "/challenge/1", 404),
        ("GET", "http://elsewhere.test/directory", 404),
        ("GET", "/new-order", 405),
        ("PUT", "/order/1", 405),
        ("POST", "/directory", 405),
        ("DELETE", "/new-nonce", 405),
    ],
)
def test_wrong_places(method, path, status):
    """Problem documents for what is not there and for wrong methods."""
    reply = World().send(method, path)
    assert (reply.status, reply.code) == (status, "malformed")
    assert ("Allow" in reply.headers) == (status == 405)
    assert ("Replay-Nonce" in reply.headers) == (method == "POST" or path == "/new-nonce")


def test_wrong_bodies():
    """Other content types are 415, large ones 413."""
    world = World()
    for headers in ({}, {"content-type": "application/json"}):
        assert world.send("POST", "/new-order", b"{}", headers).status == 415
    assert (
        world.send("POST", "/new-order", b"{}", {"content-type": "application/jose+json; charset=utf-8"}).status == 400
    )
    assert world.send("POST", "/new-order", b"x" * (MAX_BODY + 1)).status == 413


def test_wrong_signers():
    """newAccount wants the key itself, everything else but revocation an account."""
    world = World()
    world.register()
    assert world.post(world.url("new-account"), {}).code == "malformed"
    assert world.post(world.url("new-order"), {}, AccountKey.generate()).code == "malformed"


def test_nonces_rejected_for_practice():
    """Half of the good ones; everything works for a client that tries again."""
    world = World(Policy(reject_nonces=0.5))
    replies = [world.post(world.url("new-account"), {"termsOfServiceAgreed": True}, world.key) for _ in range(100)]
    rejected = [each for each in replies if each.status == 400]
    assert 30 < len(rejected) < 70
    assert {each.code for each in rejected} == {"badNonce"}
    assert world.ca.counts["badNonce"] == len(rejected)
    assert world.ca.counts["new_account"] == 100 - len(rejected)


class TestOutages:
    """A CA that is down, in several ways, and up again."""

    def test_error(self):
        """503 to everything."""
        world = World()
        world.ca.outage = Outage.ERROR
        for method, path in (("GET", "/directory"), ("HEAD", "/new-nonce"), ("POST", "/new-order")):
            assert world.send(method, path).status == 503
        world.ca.outage = Outage.NONE
        assert world.send("GET", "/directory").status == 200

    @pytest.mark.parametrize("outage", [Outage.DROP, Outage.HANG])
    def test_no_answer(self, outage):
        """Whoever carries the answers learns whether to close or to wait."""
        world = World()
        world.ca.outage = outage
        with pytest.raises(NoAnswerError) as caught:
            world.send("GET", "/directory")
        assert caught.value.hang is (outage is Outage.HANG)


def test_a_mistake_of_its_own():
    """Is logged and answered with 500; the next request is served."""
    world = World()
    world.register()
    world.ca._core.accounts._records[1] = None
    world.ca._core.orders.make_room = lambda *arguments: 1 / 0
    world.kid = None
    world.key = AccountKey.generate()
    reply = world.order("one.test")
    assert (reply.status, reply.code) == (500, "serverInternal")
    assert world.post(world.kid).status == 200


def test_secrets_stay_out_of_representations():
    """Neither HMAC keys nor account keys show."""
    assert "secret" not in repr(Policy(external_accounts={"kid": b"secret"}))
    world = World()
    world.register()
    assert "JWK" not in repr(world.ca._core.accounts.get(1))
