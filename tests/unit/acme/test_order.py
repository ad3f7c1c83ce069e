"""The rules of orders: what comes next, which challenge, what is said when it fails."""

from __future__ import annotations

import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.acme.messages import ORDER_STATUSES, Authorization, Challenge, Identifier, Order
from appliance.acme.order import (
    ADVICE,
    LONGEST_RETRY_AFTER,
    MOVES,
    SLOWEST_POLL,
    Move,
    Progress,
    advice,
    certificate_request,
    choose,
    ends_at,
    failed,
    failure,
    identifiers,
    next_move,
    poll_delay,
    refused,
    spoiled,
    unsuited,
)
from appliance.errors import AcmeProblemError, AcmeProtocolError, Problem
from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate

NAMES = ["a.test", "*.b.test"]


def order(status: str, error: Problem | None = None) -> Order:
    """An order in that state."""
    return Order(status, frozenset(), (), "https://ca.test/f", "https://ca.test/cert", error)


def challenge(kind: str, error: Problem | None = None) -> Challenge:
    """A challenge of that kind."""
    return Challenge(kind, f"https://ca.test/{kind}", "pending", "token", error)


def authorization(*challenges: Challenge, status: str = "pending") -> Authorization:
    """One for a.test."""
    return Authorization(Identifier("dns", "a.test"), status, challenges)


@pytest.mark.parametrize(("status", "progress"), list(itertools.product(sorted(ORDER_STATUSES), Progress)))
def test_every_state(status: str, progress: Progress) -> None:
    """Every pair is in the table, or refused with both sides named."""
    if (status, progress) in MOVES:
        assert next_move(order(status), progress) is MOVES[status, progress]
    else:
        with pytest.raises(AcmeProtocolError, match=f"is {status} although .* only {progress.name.lower()}"):
            next_move(order(status), progress)


def test_the_straight_way() -> None:
    """A fresh order, and one whose names are all proved already."""
    assert next_move(order("pending"), Progress.ORDERED) is Move.AUTHORIZE
    assert next_move(order("ready"), Progress.ORDERED) is Move.FINALIZE
    assert next_move(order("ready"), Progress.AUTHORIZED) is Move.FINALIZE
    assert next_move(order("processing"), Progress.FINALIZED) is Move.WAIT
    assert next_move(order("valid"), Progress.FINALIZED) is Move.DOWNLOAD


def test_a_certificate_for_another_key_is_not_ours() -> None:
    """An order valid before we sent a request was finalized by somebody else."""
    with pytest.raises(AcmeProtocolError):
        next_move(order("valid"), Progress.ORDERED)


def test_polls_slow_down_within_bounds() -> None:
    """Doubling, then steady; the CA's own wish first, but neither at once nor for hours."""
    assert [poll_delay(attempt, None) for attempt in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert poll_delay(10_000, None) == SLOWEST_POLL
    assert poll_delay(0, 3.0) == 3.0
    assert poll_delay(7, 0.0) == 0.25
    assert poll_delay(0, 86400.0) == LONGEST_RETRY_AFTER


def test_identifiers_once_each() -> None:
    """In the order of the configuration."""
    assert [it.value for it in identifiers(["b.test", "a.test", "B.test", "192.0.2.1"])] == [
        "b.test",
        "a.test",
        "192.0.2.1",
    ]


def test_certificate_request() -> None:
    """All names as alternatives, addresses as addresses, no subject, signed by the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.load_der_x509_csr(certificate_request(["a.test", "*.b.test", "2001:db8::1"], key))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test", "*.b.test"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["2001:db8::1"]
    assert not list(request.subject)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


def test_choosing_a_challenge() -> None:
    """By our preference among those offered."""
    offered = authorization(challenge("dns-01"), challenge("http-01"))
    assert choose(offered, ["http-01", "dns-01"]) == challenge("http-01")
    assert choose(offered, ["tls-alpn-01", "dns-01"]) == challenge("dns-01")
    assert choose(offered, ["tls-alpn-01"]) is None
    assert choose(authorization(), ["http-01"]) is None


def test_no_suitable_challenge() -> None:
    """Both sides are told."""
    assert unsuited(authorization(challenge("dns-01")), ["http-01"]).detail == (
        "the CA offers dns-01; set up here is http-01"
    )
    assert unsuited(authorization(), []).detail == "the CA offers nothing known here; set up here is nothing"


def test_why_an_authorization_failed() -> None:
    """The CA's problem, or else at least the state."""
    problem = Problem("urn:ietf:params:acme:error:dns", "no such")
    assert failure(authorization(challenge("dns-01"), challenge("http-01", problem))) == problem
    assert failure(authorization(status="expired")).detail == "the authorization is expired"


def test_failure_message() -> None:
    """Every name, the CA's own words, what to do; and the problems themselves for the machine."""
    connection = Problem("urn:ietf:params:acme:error:connection", "connection refused.")
    caa = Problem("urn:ietf:params:acme:error:caa", "CAA forbids")
    error = failed({"a.test": connection, "*.b.test": caa})
    assert str(error) == (
        "a.test: connection: connection refused. The CA could not connect: let the A and AAAA records of a.test lead"
        " to this machine, and no firewall or router block port 80."
        " *.b.test: caa: CAA forbids. The CAA records of *.b.test (or of a domain above it) do not allow this CA:"
        " add it there."
    )
    assert error.failures == {"a.test": connection, "*.b.test": caa}


@pytest.mark.parametrize("code", [*ADVICE, "somethingNew"])
def test_advice_is_a_sentence(code: str) -> None:
    """Also with a name that looks like a format."""
    text = advice(Problem(f"urn:ietf:params:acme:error:{code}", "x"), "{0}.test")
    assert text[0].isupper()
    assert text.endswith(".")


def refusal(code: str, detail: str, *subproblems: Problem) -> AcmeProblemError:
    """What ``newOrder`` may answer."""
    return AcmeProblemError(
        Problem(f"urn:ietf:params:acme:error:{code}", detail, 400, subproblems=subproblems), "new order"
    )


def test_refused_names_in_subproblems() -> None:
    """Only the names that the CA complains about, and only ours."""
    sub = Problem("urn:ietf:params:acme:error:rejectedIdentifier", "policy", identifier="a.test")
    foreign = Problem("urn:ietf:params:acme:error:rejectedIdentifier", "policy", identifier="other.test")
    error = refused(refusal("malformed", "several", sub, foreign), NAMES)
    assert error is not None
    assert error.failures == {"a.test": sub}


def test_refused_name_in_the_detail() -> None:
    """As Pebble and Boulder quote it; when nothing is quoted, any of them may be meant."""
    error = refused(refusal("rejectedIdentifier", 'forbidden by policy: "*.b.test"'), NAMES)
    assert error is not None
    assert list(error.failures) == ["*.b.test"]
    error = refused(refusal("unsupportedIdentifier", "we do no such thing"), NAMES)
    assert error is not None
    assert list(error.failures) == NAMES


def test_refusals_that_are_not_about_names() -> None:
    """They stay what they are: a rate limit's Retry-After must not get lost."""
    assert refused(refusal("rateLimited", "too many"), NAMES) is None


def test_order_that_became_invalid() -> None:
    """With the CA's reason, with reasons for names, with none."""
    caa = Problem("urn:ietf:params:acme:error:caa", "CAA forbids.", identifier="a.test")
    assert "a.test, *.b.test: caa: CAA forbids. The CAA records" in str(spoiled(order("invalid", caa), NAMES))
    compound = Problem("urn:ietf:params:acme:error:compound", "several", subproblems=(caa,))
    assert spoiled(order("invalid", compound), NAMES).failures == {"a.test": caa}
    assert str(spoiled(order("invalid"), NAMES)).endswith("the CA calls the order invalid and does not say why")


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("dns-01", "unauthorized", "did not find the TXT record _acme-challenge.a.test:"),
        ("dns-01", "dns", "could not look up _acme-challenge.a.test:"),
        ("dns-01", "caa", "The CAA records of *.a.test"),
        ("tls-alpn-01", "connection", "block port 443"),
        ("http-01", "connection", "block port 80"),
        ("", "connection", "block port 80"),
    ],
)
def test_advice_depends_on_the_challenge(kind: str, code: str, words: str) -> None:
    """Whoever uses DNS-01 is not sent to look at ports."""
    error = failed({"*.a.test": Problem(f"urn:ietf:params:acme:error:{code}", "x")}, {"*.a.test": kind})
    assert words in str(error)


def test_chains_by_their_top() -> None:
    """A chain ends at the issuer of its topmost certificate, by that one's common name."""
    certificate = make_certificate(["a.test"])
    assert ends_at(certificate, "Test Root")
    assert not ends_at(certificate, "Other Root")
    below = Certificate(certificate.key, certificate.leaf, (make_certificate(["b.test"], self_signed=True).leaf,))
    assert ends_at(below, "b.test")
