"""The only builder of ``SSL.Context``: what the appliance offers to TLS clients, Mozilla's "intermediate" throughout.

A context is finished when it leaves this module: pyOpenSSL refuses to change one that has been used, and a change
would not reach the connections that have it anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from OpenSSL._util import lib
from OpenSSL.crypto import Error as OpenSSLError

from appliance.errors import CertificateError
from appliance.tls.certificate import Certificate

HTTP_1_1 = b"http/1.1"
HTTP_2 = b"h2"
ACME_TLS_1 = b"acme-tls/1"
"""What a CA offers, alone, when it validates TLS-ALPN-01 (RFC 8737 section 4)."""

# https://wiki.mozilla.org/Security/Server_Side_TLS, "intermediate". OpenSSL takes the DHE ones only with DH parameters.
_TLS_1_2_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
_TLS_1_3_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_OP_PRIORITIZE_CHACHA = 1 << 21
"""``SSL_OP_PRIORITIZE_CHACHA``, which pyOpenSSL does not name: our order of ciphers counts, but a client that puts
ChaCha20 first does so because it has no AES in hardware."""

_GROUPS = b"X25519:P-256:P-384"
_POST_QUANTUM_GROUPS = b"X25519MLKEM768:" + _GROUPS


class NoCommonProtocol(SSL.Error):
    """The client's ALPN offer has nothing that we speak; it gets a no_application_protocol alert (RFC 7301)."""


def site_context(certificate: Certificate, protocols: tuple[bytes, ...] = (HTTP_1_1,)) -> SSL.Context:
    """A context that proves ``certificate``'s names and resumes sessions by tickets under keys of its own.

    ``protocols`` are what ALPN may choose, in order of preference. Raises `CertificateError` if OpenSSL will not
    have the certificate or the key.
    """
    context = _new_context(protocols)
    _load(context, certificate)
    # The ticket keys are the context's own already. Should they ever be shared, a session still belongs to one site.
    context.set_session_id(certificate.leaf.fingerprint(SHA256()))
    return context


def challenge_context(certificate: Certificate) -> SSL.Context:
    """A context that proves a name to a CA (RFC 8737 section 3): one protocol, nothing to resume. Raises as above."""
    context = _new_context((ACME_TLS_1,))
    context.set_options(SSL.OP_NO_TICKET)
    _load(context, certificate)
    return context


def fallback_context(
    choose: Callable[[SSL.Connection], None], protocols: tuple[bytes, ...] = (HTTP_1_1,)
) -> SSL.Context:
    """A context without a certificate, for handshakes that begin before the server name is known.

    ``choose`` is called with the connection once the name is known, and may call its ``set_context``; if it does not,
    the client gets a handshake alert. It must not raise. Options and ticket keys stay this context's after
    ``set_context``, and OpenSSL resumes before it calls ``choose``: hence no tickets here, every handshake is full.
    """
    context = _new_context(protocols)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_tlsext_servername_callback(choose)
    return context


def check_loads(certificate: Certificate) -> None:
    """Raise `CertificateError` where `site_context` would, at a fraction of its cost and with nothing to keep."""
    with _refusals(certificate):
        _load_leaf(_scratch_context(certificate.intermediates), certificate)


@lru_cache(64)
def _scratch_context(intermediates: tuple[x509.Certificate, ...]) -> SSL.Context:
    """A context for certificates that are loaded one in place of the other, and never shown to anybody."""
    context = _new_context((HTTP_1_1,))
    for intermediate in intermediates:
        context.add_extra_chain_cert(intermediate)
    return context


def _load(context: SSL.Context, certificate: Certificate) -> None:
    with _refusals(certificate):
        for intermediate in certificate.intermediates:
            context.add_extra_chain_cert(intermediate)
        _load_leaf(context, certificate)


def _load_leaf(context: SSL.Context, certificate: Certificate) -> None:
    context.use_certificate(certificate.leaf)
    context.use_privatekey(certificate.key)
    context.check_privatekey()


@contextmanager
def _refusals(certificate: Certificate) -> Iterator[None]:
    try:
        yield
    except (SSL.Error, OpenSSLError) as error:
        raise CertificateError(f"OpenSSL refuses the certificate {certificate.serial:x}: {_reason(error)}") from error


def _new_context(protocols: tuple[bytes, ...]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS_1_2_CIPHERS)
    context.set_tls13_ciphersuites(_TLS_1_3_CIPHERS)
    # pyOpenSSL wraps no setter for several groups; the binding has OpenSSL's, under its older name.
    lib.SSL_CTX_set1_curves_list(context._context, _supported_groups())
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA)
    # Partial writes and a moving buffer are pyOpenSSL's defaults. Idle connections give their 34 KiB of buffers back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets only: nothing to keep, nothing to fill
    context.set_alpn_select_callback(_alpn_chooser(protocols))
    return context


def _alpn_chooser(protocols: tuple[bytes, ...]) -> Callable[[SSL.Connection, list[bytes]], bytes]:
    def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        # In the shape of OpenSSL's own errors: Twisted's TLS looks into them.
        raise NoCommonProtocol([("SSL routines", "", f"the client speaks only {b', '.join(offered)!r}")])

    return choose


@cache
def _supported_groups() -> bytes:
    """The key exchange groups, with the post-quantum hybrid first where this OpenSSL has it (3.5 and newer)."""
    scratch = SSL.Context(SSL.TLS_SERVER_METHOD)
    if lib.SSL_CTX_set1_curves_list(scratch._context, _POST_QUANTUM_GROUPS) == 1:
        return _POST_QUANTUM_GROUPS
    lib.ERR_clear_error()
    return _GROUPS


def _reason(error: Exception) -> str:
    errors = error.args[0] if error.args else ()
    return "; ".join(text for _library, _function, text in errors) or "no reason given"
