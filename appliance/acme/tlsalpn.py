"""TLS-ALPN-01 (RFC 8737): a CA that validates gets a certificate made for that, on the listeners for everybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.tls.certificate import Certificate
from appliance.tls.context import ACME_TLS_1, challenge_context

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING_OF_32 = b"\x04\x20"
_LIFE = timedelta(days=1)
"""Nobody looks at the dates of this certificate; they are what they are for a clock that is wrong by hours."""


@define
class _Presented:
    token: str
    context: SSL.Context
    holders: int


@implementer(IResponder)
class TlsAlpnChallenges:
    """The TLS-ALPN-01 challenges being presented now; one object, filled by issuance and read by the SNI map.

    Only a ClientHello that names such a host and offers ``acme-tls/1`` alone is answered by them: nothing changes for
    other clients, and while nothing is presented the object is false, so that nobody even looks.
    """

    challenge_type = "tls-alpn-01"

    def __init__(self, now: Callable[[], datetime]) -> None:
        """``now`` is the wall clock: aware, UTC."""
        self._now = now
        self._by_name: dict[str, list[_Presented]] = {}

    def start_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Prove ``server_name``, a DNS name or an IP address, from now on; the newest of several challenges counts."""
        token, presented = challenge.encode("token"), self._by_name.setdefault(_sni(server_name), [])
        for each in presented:
            if each.token == token:
                each.holders += 1
                break
        else:
            certificate = challenge_certificate(server_name, response.key_authorization, self._now())
            presented.append(_Presented(token, challenge_context(certificate), 1))
        return succeed(None)

    def stop_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """Forget this challenge, unless another order still presents it. Harmless for one never started."""
        name, token = _sni(server_name), challenge.encode("token")
        presented = self._by_name.pop(name, [])
        for each in presented:
            each.holders -= each.token == token
        if left := [each for each in presented if each.holders]:
            self._by_name[name] = left
        return succeed(None)

    def context(self, name: str, protocols: tuple[bytes, ...]) -> SSL.Context | None:
        """What proves ``name`` (the SNI, lower-case) to who offers ``acme-tls/1`` and nothing else; or None."""
        presented = self._by_name.get(name)
        return presented[-1].context if presented and protocols == (ACME_TLS_1,) else None

    def __len__(self) -> int:
        """For how many names."""
        return len(self._by_name)


def challenge_certificate(name: str, key_authorization: str, now: datetime) -> Certificate:
    """The self-signed certificate that RFC 8737 section 3 asks for, under a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    digest = _OCTET_STRING_OF_32 + sha256(key_authorization.encode("ascii")).digest()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, digest), critical=True)
    )
    return Certificate(key, builder.sign(key, SHA256()))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sni(name: str) -> str:
    """What a CA puts into SNI: for an address its name in the reverse zones (RFC 8738 section 6)."""
    try:
        return ip_address(name).reverse_pointer
    except ValueError:
        return name.lower()
