"""What is remembered of credentials."""

from __future__ import annotations

from base64 import b64encode

import pytest

from appliance.config.site import BasicAuth
from appliance.proxy.credentials import Credentials, is_basic
from tests.support.passwords import cheap_hash

AUTH = BasicAuth((("anna", cheap_hash(b"pass:word")), ("bär", cheap_hash("gehäuse".encode()))))


def basic(user: str, password: str) -> bytes:
    """The value of an Authorization field."""
    return b"Basic " + b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    ("authorization", "right"),
    [
        (basic("anna", "pass:word"), True),
        (basic("anna", "pass:word").replace(b"Basic ", b"bASIC   "), True),
        (basic("bär", "gehäuse"), True),
        (basic("anna", "gehäuse"), False),
        (basic("nobody", "pass:word"), False),
        (basic("", ""), False),
        (b"Basic " + b64encode(b"anna"), False),
        (b"Basic", False),
        (b"Basic !!!!", False),
        (b"Basic YW5uYTpwYXNzOndvcmQ", False),
    ],
)
def test_judging(authorization: bytes, right: bool) -> None:
    """A name and its password, in UTF-8; anything else is wrong."""
    assert Credentials(AUTH).judge(authorization) is right


def test_memory() -> None:
    """Verdicts are kept, right and wrong ones apart, those asked for last the longest."""
    credentials = Credentials(AUTH, most=2)
    first, second, third = map(credentials.digest, (b"Basic 1", b"Basic 2", b"Basic 3"))
    assert credentials.known(first) is None
    credentials.learn(first, True)
    credentials.learn(second, True)
    assert credentials.known(first) is True
    credentials.learn(third, True)
    assert [credentials.known(digest) for digest in (first, second, third)] == [True, None, True]
    for number in range(5):
        credentials.learn(credentials.digest(b"Basic guess%d" % number), False)
    assert [credentials.known(digest) for digest in (first, second, third)] == [True, None, True]
    assert credentials.known(credentials.digest(b"Basic guess4")) is False
    assert credentials.known(credentials.digest(b"Basic guess2")) is None


def test_digests_are_this_ones_own() -> None:
    """What one process knows tells nothing to another, nor one site's to another's."""
    assert Credentials(AUTH).digest(b"Basic x") != Credentials(AUTH).digest(b"Basic x")


def test_schemes() -> None:
    """Case does not matter."""
    assert is_basic(b"bAsIc eA==")
    assert not is_basic(b"Bearer x")
    assert not is_basic(b"Basic")
