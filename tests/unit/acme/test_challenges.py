"""The table of pending challenges, and what responders are handed."""

from __future__ import annotations

import pytest
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface.verify import verifyClass

from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.errors import AcmeError

CHALLENGE = PresentedChallenge("http-01", "tok-1_A")
RESPONSE = ChallengeResponse("tok-1_A.thumb")
PATH = b"/.well-known/acme-challenge/tok-1_A"


def test_is_a_responder() -> None:
    """txacme's interface, for HTTP-01."""
    assert IResponder.implementedBy(PendingChallenges)
    assert PendingChallenges().challenge_type == "http-01"
    # txacme declares its methods with neither self nor defaults, so this checks the signatures too.
    assert verifyClass(IResponder, PendingChallenges, tentative=True)


def test_answers_while_presented() -> None:
    """Before, during, after."""
    pending = PendingChallenges()
    assert pending.answer(PATH) is None
    assert pending.start_responding("one.test", CHALLENGE, RESPONSE).called
    assert pending.answer(PATH) == b"tok-1_A.thumb"
    assert len(pending) == 1
    assert pending.stop_responding("one.test", CHALLENGE, RESPONSE).called
    assert pending.answer(PATH) is None
    assert len(pending) == 0


@pytest.mark.parametrize(
    "path",
    [
        b"/.well-known/acme-challenge/",
        b"/.well-known/acme-challenge/tok-1_a",
        b"/.well-known/acme-challenge/tok-1_A?x=1",
        b"/.well-known/acme-challenge/tok-1_A/",
        b"/.well-known/acme-challenge/tok%2D1_A",
        b"/.well-known/./acme-challenge/tok-1_A",
        b"//.well-known/acme-challenge/tok-1_A",
        b"tok-1_A",
        b"",
    ],
)
def test_only_the_exact_path(path: bytes) -> None:
    """Other spellings are ordinary requests."""
    pending = PendingChallenges()
    pending.start_responding("one.test", CHALLENGE, RESPONSE)
    assert pending.answer(path) is None


def test_two_orders_share_a_token() -> None:
    """CAs hand out the same pending authorization twice: the first to finish must not take it from the other."""
    pending = PendingChallenges()
    pending.start_responding("one.test", CHALLENGE, RESPONSE)
    pending.start_responding("one.test", CHALLENGE, RESPONSE)
    pending.stop_responding("one.test", CHALLENGE, RESPONSE)
    assert pending.answer(PATH) == b"tok-1_A.thumb"
    pending.stop_responding("one.test", CHALLENGE, RESPONSE)
    assert pending.answer(PATH) is None


def test_stopping_what_never_started() -> None:
    """Harmless, and does not count against a later start."""
    pending = PendingChallenges()
    pending.stop_responding("one.test", CHALLENGE, RESPONSE)
    pending.start_responding("one.test", CHALLENGE, RESPONSE)
    assert pending.answer(PATH) == b"tok-1_A.thumb"


@pytest.mark.parametrize("token", ["", "a/b", "../../x", "a?b", "é"])
def test_bad_tokens_are_refused(token: str) -> None:
    """Whoever calls."""
    with pytest.raises(AcmeError, match="not base64url"):
        PendingChallenges().start_responding("one.test", PresentedChallenge("http-01", token), RESPONSE)


def test_what_responders_use() -> None:
    """txacme's own responders ask for these."""
    assert CHALLENGE.encode("token") == "tok-1_A"
    with pytest.raises(KeyError):
        CHALLENGE.encode("uri")
    assert CHALLENGE.validation_domain_name("one.test") == "_acme-challenge.one.test"
    assert CHALLENGE.validation_domain_name("*.one.test") == "_acme-challenge.one.test"
    assert "thumb" not in repr(RESPONSE)
