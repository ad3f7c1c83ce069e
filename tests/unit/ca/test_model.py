"""The state tables of RFC 8555 section 7.1.6, every pair of them, and the one spelling of names."""

from datetime import timedelta
from itertools import product

import pytest

from appliance.ca.model import (
    ACCOUNT,
    AUTHORIZATION,
    CHALLENGE,
    ORDER,
    Account,
    AccountStatus,
    Authorization,
    AuthorizationStatus,
    Challenge,
    ChallengeStatus,
    Identifier,
    IllegalTransitionError,
    Order,
    OrderStatus,
)
from appliance.ca.problems import RefusalError
from tests.support.demo_ca import START, World

NAME = Identifier("dns", "one.test")
EXPIRES = START + timedelta(days=7)

MAKERS = {
    AccountStatus: (ACCOUNT, lambda status: Account(1, World().key._jwk, b"", status=status)),
    OrderStatus: (ORDER, lambda status: Order(1, 1, (NAME,), (2,), EXPIRES, status=status)),
    AuthorizationStatus: (AUTHORIZATION, lambda status: Authorization(1, 1, NAME, False, (), EXPIRES, status)),
    ChallengeStatus: (CHALLENGE, lambda status: Challenge("http-01", "token", status)),
}
PAIRS = [(kind, old, new) for kind in MAKERS for old, new in product(kind, kind)]


@pytest.mark.parametrize(("kind", "old", "new"), PAIRS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_every_pair_of_states(kind, old, new):
    """A pair in the table is a step, any other one raises."""
    table, make = MAKERS[kind]
    if new in table[old]:
        assert make(old).to(new).status is new
    else:
        with pytest.raises(IllegalTransitionError, match=f"{kind.__name__}: {old} -> {new}"):
            make(old).to(new)


@pytest.mark.parametrize(
    ("type", "given", "value"),
    [
        ("dns", "One.TEST", "one.test"),
        ("dns", "*.one.test", "*.one.test"),
        ("dns", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("dns", "localhost", "localhost"),
        ("ip", "127.0.0.1", "127.0.0.1"),
        ("ip", "0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_names_in_one_spelling(type, given, value):
    """Lower-case, compressed, the wildcard kept."""
    assert Identifier.parse(type, given) == Identifier(type, value)


@pytest.mark.parametrize(
    ("type", "given", "code"),
    [
        ("dns", "", "malformed"),
        ("dns", "one.test.", "malformed"),
        ("dns", "one..test", "malformed"),
        ("dns", "-one.test", "malformed"),
        ("dns", "o_e.test", "malformed"),
        ("dns", "a.*.test", "malformed"),
        ("dns", "*.*.test", "malformed"),
        ("dns", "bücher.example", "malformed"),
        ("dns", "one.test\n", "malformed"),
        ("dns", "127.0.0.1", "malformed"),
        ("dns", "a" * 64 + ".test", "malformed"),
        ("dns", ".".join(["a" * 60] * 5), "malformed"),
        ("dns", 7, "malformed"),
        (None, "one.test", "malformed"),
        ("ip", "127.0.0.1.", "malformed"),
        ("email", "a@one.test", "unsupportedIdentifier"),
    ],
)
def test_what_is_no_name(type, given, code):
    """Refused by what it is."""
    with pytest.raises(RefusalError) as caught:
        Identifier.parse(type, given)
    assert caught.value.problem.code == code


def test_wildcards_are_authorized_by_their_base():
    """An authorization is for the name without the star."""
    name = Identifier.parse("dns", "*.one.test")
    assert name.wildcard
    assert name.base == NAME
    assert not NAME.wildcard
