"""Parsing what CAs say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from appliance.acme.messages import (
    MAX_DETAIL,
    MAX_RETRY_AFTER,
    Account,
    Authorization,
    Challenge,
    Directory,
    Identifier,
    Order,
    parse_retry_after,
    problem_from_json,
    usable_url,
)
from appliance.errors import AcmeProtocolError, Problem

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DIRECTORY = {
    "newNonce": "https://ca.test/nonce",
    "newAccount": "https://ca.test/account",
    "newOrder": "https://ca.test/order",
}
CHALLENGE = {"type": "http-01", "url": "https://ca.test/c/1", "status": "pending", "token": "abc_-123"}
AUTHORIZATION = {
    "identifier": {"type": "dns", "value": "One.Test"},
    "status": "pending",
    "challenges": [CHALLENGE],
}
ORDER: dict[str, Any] = {
    "status": "pending",
    "identifiers": [{"type": "dns", "value": "b.test"}, {"type": "dns", "value": "A.test"}],
    "authorizations": ["https://ca.test/a/1"],
    "finalize": "https://ca.test/f/1",
}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9999999999", MAX_RETRY_AFTER),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 12:00:30", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 3026 11:00:00 GMT", MAX_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("12345678901", None),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Both forms of the header, bounded; nonsense is none."""
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("One.Test", Identifier("dns", "one.test")),
        ("*.one.test", Identifier("dns", "*.one.test")),
        ("192.0.2.1", Identifier("ip", "192.0.2.1")),
        ("2001:DB8:0::1", Identifier("ip", "2001:db8::1")),
    ],
)
def test_identifier_of_a_name(name: str, identifier: Identifier) -> None:
    """DNS names and IP addresses tell themselves apart (RFC 8738)."""
    assert Identifier.of(name) == identifier
    assert Identifier.from_json(identifier.to_json()) == identifier


def test_directory() -> None:
    """The least a CA offers, and the most we read of it."""
    assert Directory.from_json(DIRECTORY) == Directory(
        "https://ca.test/nonce", "https://ca.test/account", "https://ca.test/order"
    )
    meta = {
        "termsOfService": "https://ca.test/terms",
        "externalAccountRequired": True,
        "profiles": {"shortlived": "six days", "odd": 1},
    }
    directory = Directory.from_json(
        {**DIRECTORY, "renewalInfo": "https://ca.test/ari", "keyChange": "", "meta": meta, "somethingNew": [1]}
    )
    assert directory.renewal_info == "https://ca.test/ari"
    assert directory.key_change is None
    assert directory.terms_of_service == "https://ca.test/terms"
    assert directory.external_account_required
    assert directory.profiles == {"shortlived": "six days"}


@pytest.mark.parametrize("missing", list(DIRECTORY))
def test_directory_without_what_is_needed(missing: str) -> None:
    """The missing field is named."""
    with pytest.raises(AcmeProtocolError, match=missing):
        Directory.from_json({name: url for name, url in DIRECTORY.items() if name != missing})


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "/relative",
        "ftp://ca.test/",
        "https://",
        "https://ca.test/a b",
        "https://ca.test/\r\nX: y",
        "https://cä.test/",
        "https://[::1/",
        "https://ca.test:99999/",
        "https://ca.test:0/",
        "https://ca.test/" + "x" * 2048,
    ],
)
def test_unusable_urls(url: object) -> None:
    """A URL is fetched only if it is plainly one."""
    with pytest.raises(AcmeProtocolError, match="the CA's thing has no usable URL in 'field'"):
        usable_url(url, "thing", "field")


def test_usable_urls() -> None:
    """They are kept to the letter, for they are signed."""
    for url in ("https://ca.test", "http://127.0.0.1:4000/x?y=%20z", "https://[::1]:14000/dir"):
        assert usable_url(url, "thing", "field") == url


def test_account() -> None:
    """Contacts are optional and may be odd; the status may not."""
    assert Account.from_json({"status": "valid"}) == Account("valid")
    assert Account.from_json({"status": "revoked", "contact": ["mailto:a@b.test", 3]}).contact == ("mailto:a@b.test",)
    with pytest.raises(AcmeProtocolError, match="account has the unknown status 'splendid'"):
        Account.from_json({"status": "splendid"})


def test_challenge() -> None:
    """With and without the CA's complaint."""
    assert Challenge.from_json(CHALLENGE) == Challenge("http-01", "https://ca.test/c/1", "pending", "abc_-123")
    broken = Challenge.from_json({**CHALLENGE, "status": "invalid", "error": {"type": "t:dns", "detail": "no such"}})
    assert broken is not None
    assert broken.error == Problem("t:dns", "no such")


@pytest.mark.parametrize("token", [None, "", "a/b", "../x", "a b", "a=", "ü", "x" * 256, "a\n", 5])
def test_tokens_are_base64url(token: object) -> None:
    """For the kinds we answer, any other token is refused: it would become a path, or a DNS record."""
    with pytest.raises(AcmeProtocolError, match="http-01 challenge has a token that is not base64url"):
        Challenge.from_json({**CHALLENGE, "token": token})


@pytest.mark.parametrize(
    "challenge",
    [
        {"type": "dns-persist-01", "url": "https://ca.test/c/2", "status": "pending", "issuer-domain-names": ["ca"]},
        {"type": "future-02", "url": "https://ca.test/c/2", "status": "resting", "token": "abc"},
    ],
)
def test_unknown_challenges_are_ignored(challenge: dict[str, object]) -> None:
    """They neither stop an authorization from being read nor show up in it."""
    authorization = Authorization.from_json({**AUTHORIZATION, "challenges": [challenge, CHALLENGE]})
    assert [known.type for known in authorization.challenges] == ["http-01"]


def test_an_unknown_challenge_with_a_token_is_kept() -> None:
    """A responder of somebody else's may know it."""
    assert Challenge.from_json({**CHALLENGE, "type": "future-02"}) == Challenge(
        "future-02", "https://ca.test/c/1", "pending", "abc_-123"
    )


def test_authorization() -> None:
    """Its name is the one that was ordered, in lower case."""
    authorization = Authorization.from_json(AUTHORIZATION)
    assert (authorization.name, authorization.status, authorization.error) == ("one.test", "pending", None)
    assert Authorization.from_json({**AUTHORIZATION, "wildcard": True}).name == "*.one.test"
    failed = {**CHALLENGE, "status": "invalid", "error": {"detail": "no"}}
    problem = Authorization.from_json({**AUTHORIZATION, "challenges": [CHALLENGE, failed]}).error
    assert problem == Problem("about:blank", "no")


def test_order() -> None:
    """Identifiers are a set, in lower case."""
    order = Order.from_json(ORDER)
    assert order.identifiers == {Identifier("dns", "a.test"), Identifier("dns", "b.test")}
    order.check_identifiers([Identifier.of("a.test"), Identifier.of("b.test"), Identifier.of("a.test")])
    with pytest.raises(AcmeProtocolError, match=r"for other names than were asked for: a\.test, b\.test"):
        order.check_identifiers([Identifier.of("a.test")])
    ended = Order.from_json({**ORDER, "status": "invalid", "error": {"type": "x:caa", "detail": "no"}})
    assert ended.error == Problem("x:caa", "no")


def test_valid_order_has_a_certificate() -> None:
    """Or else there is nothing to download."""
    with pytest.raises(AcmeProtocolError, match="names no certificate"):
        Order.from_json({**ORDER, "status": "valid"})
    order = Order.from_json({**ORDER, "status": "valid", "certificate": "https://ca.test/cert"})
    assert order.certificate == "https://ca.test/cert"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "odd\x1b[2J"}, "unknown status 'odd \\[2J'"),
        ({"status": 3}, "no text in 'status'"),
        ({"status": ""}, "no text in 'status'"),
        ({"identifiers": None}, "no usable list in 'identifiers'"),
        ({"identifiers": ["x"]}, "identifier is not a JSON object"),
        ({"identifiers": [{"type": "dns"}]}, "no text in 'value'"),
        ({"authorizations": ["x"]}, "no usable URL in 'authorizations'"),
        ({"authorizations": ["https://ca.test/"] * 1001}, "no usable list"),
        ({"finalize": None}, "no usable URL in 'finalize'"),
        ({"certificate": 5}, "no usable URL in 'certificate'"),
    ],
)
def test_broken_orders(change: dict[str, object], words: str) -> None:
    """The object and the field are named."""
    with pytest.raises(AcmeProtocolError, match=words):
        Order.from_json({**ORDER, **change})


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_not_an_object(data: object) -> None:
    """JSON, but not what it should be."""
    for kind in (Directory, Account, Challenge, Authorization, Order, Identifier):
        with pytest.raises(AcmeProtocolError, match="is not a JSON object"):
            kind.from_json(data)
    with pytest.raises(AcmeProtocolError, match="is not a JSON object"):
        problem_from_json(data)


def test_problem_with_subproblems() -> None:
    """Each name keeps its own complaint (RFC 8555 section 6.7.1)."""
    problem = problem_from_json(
        {
            "type": "urn:ietf:params:acme:error:compound",
            "detail": "several",
            "subproblems": [
                {"type": "urn:ietf:params:acme:error:caa", "detail": "no", "identifier": {"value": "A.test"}},
                {"detail": "odd", "identifier": 5},
                {"identifier": {"value": 5}},
                "rubbish",
            ],
        },
        403,
        60.0,
    )
    assert (problem.code, problem.status, problem.retry_after) == ("compound", 403, 60.0)
    assert problem.subproblems == (
        Problem("urn:ietf:params:acme:error:caa", "no", identifier="a.test"),
        Problem("about:blank", "odd"),
        Problem("about:blank", "(the CA gave no detail)"),
    )


def test_problems_are_bounded() -> None:
    """Length, depth and odd characters: a detail becomes one short printable line."""
    deep: dict[str, object] = {}
    for _ in range(10):
        deep = {"detail": "x\r\n\x1b[31m" + "y" * 5000, "subproblems": [deep]}
    problem, depth = problem_from_json(deep), 0
    assert problem.detail.startswith("x   [31my")
    assert len(problem.detail) == MAX_DETAIL
    while problem.subproblems:
        problem, depth = problem.subproblems[0], depth + 1
    assert depth == 2
