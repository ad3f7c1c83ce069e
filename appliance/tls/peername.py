"""Whether a server that we connect to is who we meant: its certificate's names, by service-identity (RFC 9525).

Twisted verifies them too, but in a callback whose errors OpenSSL does not see: a certificate without any name makes
service-identity raise there, the error is logged, and the connection goes on (Twisted 26.10). So this refuses within
the handshake, where a refusal is one.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address


def require_name(connection: SSL.Connection, host: str) -> list[X509]:
    """Have ``connection``'s handshake fail unless the server proves to be ``host`` (a name or an IP address).

    The chain is still OpenSSL's to judge. A certificate refused for its names is put into the list returned.
    """
    expected = [IPAddress_ID(host) if isIPAddress(host) or isIPv6Address(host) else DNS_ID(host)]
    refused: list[X509] = []

    def verify(_connection: SSL.Connection, certificate: X509, _error: int, depth: int, good: int) -> bool:
        if depth or not good:
            return bool(good)
        try:
            verify_service_identity(extract_patterns(certificate), expected, [])
        except (VerificationError, CertificateError):
            refused.append(certificate)
            return False
        return True

    connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
    return refused
