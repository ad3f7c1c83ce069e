"""Signed requests: every way they may be wrong, and what the CA says then."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from appliance.acme.jose import AccountKey, b64url
from appliance.ca.jws import SignedMessage, check_public_key, decode_base64url, key_authorization, read_json, read_key
from appliance.ca.problems import RefusalError
from tests.support.demo_ca import World

URL = "http://demo-ca.internal/new-account"
KEYS = {name: AccountKey.generate(name) for name in ("ES256", "ES384", "RS256")}


def refused(call, *arguments):
    """The refusal's code and detail."""
    with pytest.raises(RefusalError) as caught:
        call(*arguments)
    return caught.value.problem.code


@pytest.mark.parametrize("name", KEYS)
def test_each_algorithm(name):
    """A request by the client's own signer verifies with the key in it and with no other."""
    message = SignedMessage.parse(KEYS[name].sign({"a": 1}, url=URL, nonce="n"))
    key = read_key(message.header["jwk"])
    message.verify(key)
    assert json.loads(message.payload) == {"a": 1}
    for other in KEYS.values():
        if other is not KEYS[name]:
            assert refused(message.verify, read_key(other.public_jwk)) == "malformed"
    another = read_key(AccountKey.generate(name).public_jwk)
    assert refused(message.verify, another) == "malformed"


def test_altered():
    """Payload, header or signature of another request do not verify."""
    first, second = (json.loads(KEYS["ES256"].sign({"a": each}, url=URL, nonce=f"n{each}")) for each in (1, 2))
    key = read_key(KEYS["ES256"].public_jwk)
    for part in ("protected", "payload", "signature"):
        assert refused(SignedMessage.parse(first | {part: second[part]}).verify, key) == "malformed"
    assert refused(SignedMessage.parse(first | {"signature": ""}).verify, key) == "malformed"


def body(header=None, **parts):
    header = {"alg": "ES256"} if header is None else header
    protected = b64url(json.dumps(header).encode())
    return json.dumps({"protected": protected, "payload": "", "signature": "AA"} | parts).encode()


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 20_000,
        body(header={"alg": 7}),
        body(header={}),
        body(header=[]),
        body(header={"alg": "ES256", "crit": ["b64"]}),
        body(signature="A"),
        body(signature="A=="),
        body(signature="A+/="),
        body(signature=7),
        body(payload=None),
        body(payload="a b"),
        body(protected="e30\n"),
        body(header_="x"),
        json.dumps({"protected": "", "payload": ""}).encode(),
        json.dumps(json.loads(body()) | {"header": {"kid": "x"}}).encode(),
        json.dumps({"payload": "", "signatures": [{"protected": "", "signature": ""}]}).encode(),
    ],
    ids=lambda source: source[:50].decode("latin-1"),
)
def test_what_is_no_request(source):
    """Refused as malformed: other serializations, unprotected headers, crit, other alphabets than base64url."""
    assert refused(SignedMessage.parse, source) == "malformed"


GOOD = KEYS["ES256"].public_jwk


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        "x",
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        GOOD | {"x": GOOD["y"]},
        GOOD | {"crv": "P-521"},
        GOOD | {"crv": 7},
        GOOD | {"d": "AAAA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": 7, "e": "AQAB"},
        KEYS["RS256"].public_jwk | {"e": "Aw"},
        KEYS["RS256"].public_jwk | {"n": b64url(b"\xff" * 600)},
    ],
    ids=str,
)
def test_what_is_no_key(jwk):
    """Refused as badPublicKey: symmetric, private, off the curve, too small, too large, odd exponents."""
    assert refused(read_key, jwk) == "badPublicKey"


def test_key_kinds():
    """What accounts and certificates may have."""
    check_public_key(ec.generate_private_key(ec.SECP384R1()).public_key())
    for key in (ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 1024)):
        assert refused(check_public_key, key.public_key()) == "badPublicKey"


def test_key_authorization_agrees_with_the_client():
    """Both sides compute the same one."""
    key = KEYS["RS256"]
    assert key_authorization("token", read_key(key.public_jwk).thumbprint()) == key.key_authorization("token")


def test_small_readers():
    """Values of wrong kinds are malformed."""
    assert decode_base64url("AAE", "it") == b"\x00\x01"
    assert refused(decode_base64url, "A", "it") == "malformed"
    assert refused(read_json, b"{") == "malformed"


class TestRequests:
    """What ``authenticate`` refuses (RFC 8555 sections 6.2 to 6.5)."""

    def code(self, reply):
        return reply.status, reply.code

    def test_algorithms(self):
        """An unknown one is answered with those that are known."""
        world = World()
        for name in ("none", "HS256", "ES512"):
            reply = world.send("POST", "/new-account", body({"alg": name, "url": world.url("new-account")}))
            assert self.code(reply) == (400, "badSignatureAlgorithm")
            assert reply.json["algorithms"] == ["ES256", "ES384", "RS256"]

    def test_url(self):
        """The signed URL must be the request's."""
        world = World()
        reply = world.post(world.url("new-account"), {}, world.key, url=world.url("new-order"))
        assert self.code(reply) == (403, "unauthorized")

    def test_kid_and_jwk(self):
        """Exactly one of them."""
        world = World()
        header = {"alg": "ES256", "url": world.url("new-account"), "nonce": world.nonce()}
        for extra in ({}, {"kid": "x", "jwk": GOOD}):
            reply = world.send("POST", "/new-account", body(header | extra))
            assert self.code(reply) == (400, "malformed")

    def test_nonces(self):
        """Missing, made up, used: badNonce, with a fresh one beside it."""
        world = World()
        world.register()
        url, nonce = world.kid, world.nonce()
        assert world.send("POST", url, world.key.sign(None, url=url, nonce=nonce, kid=world.kid)).status == 200
        for bad in (nonce, "", "made-up"):
            reply = world.send("POST", url, world.key.sign(None, url=url, nonce=bad, kid=world.kid))
            assert self.code(reply) == (400, "badNonce")
            fresh = reply.headers["Replay-Nonce"][0]
            assert world.send("POST", url, world.key.sign(None, url=url, nonce=fresh, kid=world.kid)).status == 200

    def test_a_forged_request_uses_no_nonce_up(self):
        """Whoever cannot sign cannot take nonces away either."""
        world = World()
        world.register()
        nonce = world.nonce()
        forged = AccountKey.generate().sign(None, url=world.kid, nonce=nonce, kid=world.kid)
        assert self.code(world.send("POST", world.kid, forged)) == (400, "malformed")
        assert (
            world.send("POST", world.kid, world.key.sign(None, url=world.kid, nonce=nonce, kid=world.kid)).status == 200
        )

    @pytest.mark.parametrize("kid", ["", "x", "http://demo-ca.internal/account/99", 7, None, "account/1"])
    def test_unknown_accounts(self, kid):
        """Not an account of this CA."""
        world = World()
        header = {"alg": "ES256", "url": world.url("new-order"), "nonce": world.nonce(), "kid": kid}
        assert self.code(world.send("POST", "/new-order", body(header))) == (400, "accountDoesNotExist")
