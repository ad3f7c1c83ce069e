"""What errors mean, and the words for them."""

from __future__ import annotations

import pytest

from appliance.acme.failure import Blame, OrderTimeoutError, Trouble, classify, is_limit
from appliance.errors import (
    AcmeConnectionError,
    AcmeError,
    AcmeProblemError,
    AcmeProtocolError,
    CertificateError,
    OrderError,
    Problem,
    StoreError,
)

NAMES = ("a.test", "b.test")


def problem(code: str, detail: str = "because", status: int = 400, retry_after: float | None = None) -> Problem:
    return Problem(f"urn:ietf:params:acme:error:{code}", detail, status, retry_after)


def refusal(code: str, detail: str = "because", status: int = 400, retry_after: float | None = None) -> Trouble:
    return classify(AcmeProblemError(problem(code, detail, status, retry_after), "new order for a.test"), NAMES)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("rateLimited", "Wait for the time the CA names"),
        ("unauthorized", "was the account deactivated"),
        ("badCSR", "choose another key_type"),
        ("userActionRequired", "Wants something agreed to".lower()),
        ("malformed", "is the directory that of an ACME"),
        ("compound", "all that is known"),
    ],
)
def test_refusals_say_what_to_do(code: str, words: str) -> None:
    """The step, the CA's code and detail, and advice."""
    trouble = refusal(code)
    assert trouble.words.startswith(f"new order for a.test: the CA answered {code}: because. ")
    assert words.lower() in trouble.words.lower()
    assert trouble.document is not None
    assert trouble.document.detail == "because"


def test_limits() -> None:
    """Of one name, of the account, or the CA as a whole: the order, if there is one, is kept."""
    limit = refusal("rateLimited", "too many certificates for a.test", 429, 60.0)
    assert (limit.blame, limit.keeps_order, limit.retry_after, limit.whole_account) == (Blame.LIMIT, True, 60.0, False)
    assert refusal("rateLimited", "too many new orders (300) from this account", 429, 60.0).whole_account
    assert not refusal("rateLimited", "too many new orders (300) from this account", 429).whole_account
    busy = refusal("http:503", "Service Unavailable", 503, 30.0)
    assert (busy.blame, busy.whole_account) == (Blame.LIMIT, True)
    assert not is_limit(problem("serverInternal", status=503))


_SINCE = "in the last 3h0m0s, retry after 2027-01-01 03:00:00 UTC"
_PAGE = "see https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-identifier-per-account"


@pytest.mark.parametrize(
    "detail",
    [
        f"too many new orders (300) from this account {_SINCE}: {_PAGE}",
        f"too many new registrations (10) from this IP address {_SINCE}: {_PAGE}",
        f"too many new registrations (500) from this /48 subnet of IPv6 addresses {_SINCE}: {_PAGE}",
        "too many new accounts: 10 in the last 3:00:00, 10 are allowed",
        "Your account has reached its limit",
    ],
)
def test_limits_of_the_account(detail: str) -> None:
    """The words in which CAs say that it is not about names."""
    assert refusal("rateLimited", detail, 429, 60.0).whole_account


@pytest.mark.parametrize(
    "detail",
    [
        f'too many failed authorizations (5) for "a.test" {_SINCE}: {_PAGE}',
        f'too many certificates (50) already issued for "this account.test" {_SINCE}: {_PAGE}',
        f"too many certificates (5) already issued for this exact set of identifiers {_SINCE}: {_PAGE}",
        "Your account is temporarily prevented from requesting certificates for b.test. Please visit: https://ca.test",
        "too many certificates for my-account.test",
    ],
)
def test_limits_of_names(detail: str) -> None:
    """An account that is part of a name, or of the address of a page, is not meant; nor is one's limit for a name."""
    assert not refusal("rateLimited", detail, 429, 60.0).whole_account


def test_limits_of_wildcards() -> None:
    """CAs leave the asterisk out."""
    error = AcmeProblemError(problem("rateLimited", "c.test: too many new orders", 429, 60.0), "new order for *.c.test")
    assert not classify(error, ("*.c.test",)).whole_account


def test_refusals_by_the_ca() -> None:
    """Its own troubles leave the order as it is; others spoil it."""
    assert (refusal("serverInternal", status=500).blame, refusal("serverInternal", status=500).keeps_order) == (
        Blame.CA,
        True,
    )
    assert not refusal("badCSR").keeps_order


@pytest.mark.parametrize(
    ("codes", "blame"),
    [
        (["dns", "connection"], Blame.NAMES),
        (["caa", "dns"], Blame.NAMES),
        (["caa"], Blame.CA),
        (["rejectedIdentifier", "timeout"], Blame.CA),
        (["rateLimited"], Blame.LIMIT),
        ([], Blame.CA),
    ],
)
def test_spoiled_orders(codes: list[str], blame: Blame) -> None:
    """Validation fails with every CA alike; what one CA does not like, another may."""
    failures = {f"{code}.test": problem(code, retry_after=5.0 * (number + 1)) for number, code in enumerate(codes)}
    trouble = classify(OrderError("no certificate for a.test", failures), NAMES)
    assert (trouble.blame, trouble.names, trouble.keeps_order) == (blame, failures, False)
    assert trouble.retry_after == (5.0 * len(codes) or None)


@pytest.mark.parametrize(
    ("error", "blame", "words", "unreachable", "keeps"),
    [
        (AcmeConnectionError("new order: refused"), Blame.CA, "new order: refused. Orders go on", True, True),
        (OrderTimeoutError("too slow"), Blame.CA, "gone on with", False, True),
        (AcmeProtocolError("order: nonsense"), Blame.CA, "order: nonsense. Is the directory", False, False),
        (CertificateError("wrong names"), Blame.CA, "thrown away", False, False),
        (StoreError("disk full"), Blame.OURS, "disk full", True, True),
        (AcmeError("terms of service: agree"), Blame.CA, "terms of service: agree", False, False),
        (ZeroDivisionError("oh"), Blame.OURS, "unexpected error in the order: ZeroDivisionError: oh", False, False),
    ],
)
def test_others(error: Exception, blame: Blame, words: str, unreachable: bool, keeps: bool) -> None:
    """Everything that can end an attempt has a meaning."""
    trouble = classify(error, NAMES)
    assert words in trouble.words
    assert (trouble.blame, trouble.unreachable, trouble.keeps_order) == (blame, unreachable, keeps)
