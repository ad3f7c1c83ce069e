"""TLS-ALPN-01: the table of what is presented, and the certificate that RFC 8737 asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography import x509
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface.verify import verifyClass

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.tlsalpn import TlsAlpnChallenges, challenge_certificate

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ONE, TWO = (PresentedChallenge("tls-alpn-01", token) for token in ("token-1", "token-2"))
OFFER = (b"acme-tls/1",)


def answer(challenge: PresentedChallenge) -> ChallengeResponse:
    return ChallengeResponse(f"{challenge.token}.thumb")


@pytest.fixture
def challenges() -> TlsAlpnChallenges:
    return TlsAlpnChallenges(lambda: NOW)


def test_is_a_responder() -> None:
    """txacme's interface, for TLS-ALPN-01."""
    assert verifyClass(IResponder, TlsAlpnChallenges, tentative=True)
    assert TlsAlpnChallenges.challenge_type == "tls-alpn-01"


def test_presented_between_start_and_stop(challenges: TlsAlpnChallenges) -> None:
    """Before and after, the table is false, so that nobody looks into it."""
    assert not challenges
    challenges.start_responding("One.test", ONE, answer(ONE))
    assert challenges
    assert challenges.context("one.test", OFFER) is not None
    challenges.stop_responding("One.test", ONE, answer(ONE))
    assert not challenges
    assert challenges.context("one.test", OFFER) is None


@pytest.mark.parametrize(
    "offer", [(), (b"http/1.1",), (b"acme-tls/1", b"http/1.1"), (b"h2", b"acme-tls/1"), (b"acme",)]
)
def test_only_who_offers_exactly_that(challenges: TlsAlpnChallenges, offer: tuple[bytes, ...]) -> None:
    """RFC 8737 section 3: the CA's ClientHello has acme-tls/1 and nothing else."""
    challenges.start_responding("one.test", ONE, answer(ONE))
    assert challenges.context("one.test", offer) is None
    assert challenges.context("two.test", OFFER) is None


def test_several_challenges_for_one_name(challenges: TlsAlpnChallenges) -> None:
    """The newest counts, until it ends; the same one presented twice ends with its second end."""
    challenges.start_responding("one.test", ONE, answer(ONE))
    first = challenges.context("one.test", OFFER)
    challenges.start_responding("one.test", TWO, answer(TWO))
    assert challenges.context("one.test", OFFER) not in (None, first)
    challenges.stop_responding("one.test", TWO, answer(TWO))
    assert challenges.context("one.test", OFFER) is first
    challenges.start_responding("one.test", ONE, answer(ONE))
    challenges.stop_responding("one.test", ONE, answer(ONE))
    assert challenges.context("one.test", OFFER) is first
    challenges.stop_responding("one.test", ONE, answer(ONE))
    challenges.stop_responding("one.test", ONE, answer(ONE))
    assert not challenges


def test_the_certificate() -> None:
    """One name, self-signed, with the digest of the key authorization in a critical acmeIdentifier."""
    certificate = challenge_certificate("one.test", "token.thumb", NOW)
    certificate.check(["one.test"], NOW)
    assert certificate.leaf.issuer == certificate.leaf.subject
    certificate.leaf.verify_directly_issued_by(certificate.leaf)
    found = certificate.leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert found.critical
    assert isinstance(found.value, x509.UnrecognizedExtension)
    assert found.value.value == b"\x04\x20" + sha256(b"token.thumb").digest()
    assert certificate.not_before < NOW - timedelta(hours=12)
    assert certificate.key.private_numbers() != challenge_certificate("one.test", "t", NOW).key.private_numbers()


@pytest.mark.parametrize(
    ("address", "sni"),
    [("192.0.2.7", "7.2.0.192.in-addr.arpa"), ("2001:db8::1", f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa")],
)
def test_addresses(challenges: TlsAlpnChallenges, address: str, sni: str) -> None:
    """RFC 8738 section 6: asked for by their reverse names, proved by their own."""
    challenges.start_responding(address, ONE, answer(ONE))
    assert challenges.context(sni, OFFER) is not None
    certificate = challenge_certificate(address, "token.thumb", NOW)
    alternative = certificate.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.IPAddress(ip_address(address))]
