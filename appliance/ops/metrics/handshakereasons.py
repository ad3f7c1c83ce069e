"""Why TLS handshakes fail, in a few words that can be counted."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted

from appliance.tls.context import NoCommonProtocol

_WORDS = {
    "no suitable signature algorithm": "unknown_name",  # the context for names without a certificate has none
    "no shared cipher": "no_shared_cipher",
    "unsupported protocol": "protocol_version",
    "version too low": "protocol_version",
    "wrong version number": "not_tls",
    "http request": "not_tls",
    "https proxy request": "not_tls",
    "packet length too long": "not_tls",
}
_ALERT = " alert "


def reason_of(reason: BaseException | None) -> str:
    """One of ``unknown_name``, ``no_shared_cipher``, ``protocol_version``, ``not_tls``, ``alpn``, ``timeout``,
    ``refused_by_client``, ``closed`` and ``other``, by what ``connectionLost`` was told.

    A client of TLS 1.2 that asks for an unknown name counts as ``no_shared_cipher``: that is how it ends.
    """
    if isinstance(reason, ConnectionAborted):  # by us, when its time was over
        return "timeout"
    if isinstance(reason, NoCommonProtocol):
        return "alpn"
    errors = reason.args[0] if isinstance(reason, SSL.Error) and reason.args else None
    if not errors or not isinstance(errors, list):
        return "closed"
    text = str(errors[-1][-1])
    if _ALERT in text:
        return "refused_by_client"
    return _WORDS.get(text, "other")
