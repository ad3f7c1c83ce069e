"""Which responder is tried for a name."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from appliance.acme.responders import Responders


@frozen
class Named:
    """As much of a responder as matters here."""

    challenge_type: str
    label: str = ""


HTTP, ALPN, DNS = (Named(kind) for kind in ("http-01", "tls-alpn-01", "dns-01"))


def kinds(responders: Responders, name: str) -> list[str]:
    return list(responders.for_name(name))


def test_in_the_order_given() -> None:
    """For names of their own, theirs; for all others, the default; of two for one type, the first."""
    mine: Any = Named("http-01", "mine")
    responders = Responders([mine, HTTP, ALPN], {"*.a.test": [DNS]})
    assert kinds(responders, "a.test") == ["http-01", "tls-alpn-01"]
    assert responders.for_name("a.test")["http-01"] is mine
    assert kinds(responders, "*.a.test") == ["dns-01"]


def test_what_failed_goes_last() -> None:
    """For this name; the others are not concerned."""
    responders = Responders([HTTP, ALPN])
    responders.failed("a.test", "http-01")
    assert kinds(responders, "a.test") == ["tls-alpn-01", "http-01"]
    assert kinds(responders, "b.test") == ["http-01", "tls-alpn-01"]


def test_each_has_its_turn() -> None:
    """With all of them failing, in turn."""
    responders = Responders([HTTP, ALPN, DNS])
    seen = []
    for _ in range(5):
        first = kinds(responders, "a.test")[0]
        seen.append(first)
        responders.failed("a.test", first)
    assert seen == ["http-01", "tls-alpn-01", "dns-01", "http-01", "tls-alpn-01"]


def test_what_worked_stays_first() -> None:
    """The next renewal begins with it."""
    responders = Responders([HTTP, ALPN])
    responders.failed("a.test", "http-01")
    responders.proved("a.test", "tls-alpn-01")
    assert kinds(responders, "a.test") == ["tls-alpn-01", "http-01"]
    responders.failed("a.test", "tls-alpn-01")
    assert kinds(responders, "a.test") == ["http-01", "tls-alpn-01"]
    responders.proved("a.test", "http-01")
    assert kinds(responders, "a.test") == ["http-01", "tls-alpn-01"]


def test_a_kind_that_is_not_ours() -> None:
    """Nothing comes of its failing."""
    responders = Responders([HTTP], {"a.test": []})
    responders.failed("b.test", "dns-01")
    assert kinds(responders, "b.test") == ["http-01"]
    assert kinds(responders, "a.test") == []
