"""Whatever a CA sends, parsing it ends in a value or in an AcmeProtocolError."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from appliance.acme.messages import (
    MAX_RETRY_AFTER,
    Account,
    Authorization,
    Challenge,
    Directory,
    Order,
    parse_retry_after,
    problem_from_json,
)
from appliance.errors import AcmeProtocolError

KEYS = [
    *("type", "url", "status", "token", "error", "detail", "identifier", "identifiers", "value", "challenges"),
    *("wildcard", "authorizations", "finalize", "certificate", "newNonce", "newAccount", "newOrder", "meta"),
    *("profiles", "contact", "subproblems"),
]
TEXTS = st.sampled_from(["https://ca.test/x", "http-01", "dns", "pending", "valid", "invalid", "a.test"]) | st.text()
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=20,
)


@given(JSON)
def test_parsing_never_fails_otherwise(data: object) -> None:
    """No KeyError, no TypeError, no surprise."""
    for parse in (
        Directory.from_json,
        Account.from_json,
        Challenge.from_json,
        Authorization.from_json,
        Order.from_json,
        problem_from_json,
    ):
        with contextlib.suppress(AcmeProtocolError):
            parse(data)


@given(st.text())
def test_details_are_one_printable_line(text: str) -> None:
    """Whatever the CA's words are."""
    detail = problem_from_json({"detail": text}).detail
    assert detail.isprintable()
    assert detail


@given(st.text())
def test_only_base64url_tokens(token: str) -> None:
    """Exactly those are taken."""
    challenge = {"type": "http-01", "url": "https://ca.test/c", "status": "pending", "token": token}
    try:
        taken = Challenge.from_json(challenge) is not None
    except AcmeProtocolError:
        taken = False
    assert taken == bool(re.fullmatch(r"[A-Za-z0-9_-]{1,255}", token))


@given(st.text() | st.integers().map(str) | st.datetimes().map(lambda it: it.strftime("%a, %d %b %Y %H:%M:%S GMT")))
def test_retry_after_is_bounded(value: str) -> None:
    """Never negative, never for ever."""
    seconds = parse_retry_after(value, datetime(2026, 11, 22, tzinfo=UTC))
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER
