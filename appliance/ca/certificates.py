"""Certificates handed out, revoked and asked about (RFC 8555 sections 7.4.2 and 7.6; renewal information: RFC 9773)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve
from cryptography import x509

from appliance.ca.authority import ari_identifier
from appliance.ca.authorizations import current_authorization
from appliance.ca.core import Core, Posted, Response, document, link, not_found, timestamp
from appliance.ca.jws import decode_base64url, same_key
from appliance.ca.model import Account, AuthorizationStatus, Issued
from appliance.ca.policy import Window
from appliance.ca.problems import refusal

_REASONS = frozenset({0, 1, 3, 4, 5, 9})
"""Of RFC 5280 section 5.3.1, those that make sense for a leaf (as the Baseline Requirements have it)."""
_HOUR = timedelta(hours=1)


def certificate(core: Core, posted: Posted, id: str, alternate: bool = False) -> Response:
    """Section 7.4.2: leaf and intermediate; a Link names the chain to the other root."""
    if not posted.is_get:
        raise refusal("malformed", "a certificate is read by POST-as-GET, with an empty payload")
    found = core.certificates.get(id)
    if found is None or found.account != posted.signer.id:
        raise not_found("certificate")
    url = core.url("certificate", id)
    other = link(url if alternate else f"{url}/alternate", "alternate")
    headers = (("Content-Type", "application/pem-certificate-chain"), other)
    return Response(200, headers, core.authority.chains(found.leaf)[alternate])


def alternate_certificate(core: Core, posted: Posted, id: str) -> Response:
    """The same leaf with the chain that ends at the other root."""
    return certificate(core, posted, id, alternate=True)


def revoke(core: Core, posted: Posted) -> Response:
    """Section 7.6: by the account that has it or that is authorized for all its names, or by its own key."""
    fields = posted.fields()
    der = decode_base64url(fields.get("certificate"), "certificate")
    reason = fields.get("reason", 0)
    try:
        leaf = x509.load_der_x509_certificate(der)
        found = core.certificates.get(ari_identifier(leaf))
    except (ValueError, x509.ExtensionNotFound):
        raise refusal("malformed", "certificate is not a certificate in DER") from None
    if found is None or found.leaf != leaf:
        raise refusal("malformed", "this CA did not issue that certificate, or it has expired", status=404)
    if not _may_revoke(core, posted, found):
        raise refusal("unauthorized", "neither the account nor the key may revoke that certificate")
    if not isinstance(reason, int) or isinstance(reason, bool) or reason not in _REASONS:
        raise refusal("badRevocationReason", f"reason is one of {sorted(_REASONS)}")
    if found.revoked is not None:
        raise refusal("alreadyRevoked", f"it was revoked at {timestamp(found.revoked)}")
    core.certificates.put(found.id, evolve(found, revoked=core.now()))
    return Response(200)


def renewal_info(core: Core, id: str) -> Response:
    """RFC 9773 section 4.2: by plain GET. A revoked certificate's window lies in the past: renew at once."""
    found = core.certificates.get(id)
    if found is None or core.policy.renewal_window is None:
        raise refusal("malformed", "there is no such certificate", status=404)
    if found.revoked is not None:
        window = Window(found.revoked - 2 * _HOUR, found.revoked - _HOUR)
    else:
        window = core.policy.renewal_window(found, core.now())
    content: dict[str, Any] = {
        "suggestedWindow": {"start": timestamp(window.start), "end": timestamp(window.end)},
    }
    if window.explanation is not None:
        content["explanationURL"] = window.explanation
    return document(200, content, ("Retry-After", str(core.policy.renewal_info_poll)))


def _may_revoke(core: Core, posted: Posted, issued: Issued) -> bool:
    if posted.account is None:
        return same_key(posted.key, issued.leaf.public_key())
    return posted.account.id == issued.account or _holds_all_names(core, posted.account, issued)


def _holds_all_names(core: Core, account: Account, issued: Issued) -> bool:
    ids = [each.id for each in core.authorizations if each.account == account.id]
    current = [current_authorization(core, id) for id in ids]
    valid = {
        (each.identifier, each.wildcard)
        for each in current
        if each is not None and each.status is AuthorizationStatus.VALID
    }
    return all((name.base, name.wildcard) in valid for name in issued.identifiers)
