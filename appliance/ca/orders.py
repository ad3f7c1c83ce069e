"""Orders from newOrder to the certificate (RFC 8555 sections 7.4 and 7.4.1; ``replaces``: RFC 9773 section 5)."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from appliance.ca.authority import PublicKey, ari_identifier
from appliance.ca.authorizations import current_authorization, new_authorization, reusable_authorization
from appliance.ca.core import Core, Posted, Response, document, not_found, timestamp
from appliance.ca.jws import check_public_key, decode_base64url, same_key
from appliance.ca.model import Account, AuthorizationStatus, Identifier, Issued, Order, OrderStatus
from appliance.ca.problems import RefusalError, as_json, problem, refusal
from appliance.errors import Problem

_MAX_COMMON_NAME = 64
_HOPEFUL = (AuthorizationStatus.PENDING, AuthorizationStatus.VALID)


def new_order(core: Core, posted: Posted) -> Response:
    """Section 7.4: 201 with the pending order, or the ready one if all its names are already authorized."""
    fields = posted.fields()
    if "notBefore" in fields or "notAfter" in fields:
        raise refusal("malformed", "this CA chooses the dates itself: leave notBefore and notAfter out")
    identifiers = _identifiers(core, fields.get("identifiers"))
    profile = _profile(core, fields.get("profile"))
    now = core.now()
    replaced = _replaced(core, posted.signer, fields.get("replaces"), identifiers)
    if replaced is None:
        _check_budgets(core, posted.signer, identifiers, now)
    core.orders.make_room(1, core.policy.max_objects, now)
    core.authorizations.make_room(len(identifiers), core.policy.max_objects, now)
    authorizations = tuple(
        reusable_authorization(core, posted.signer, each) or new_authorization(core, posted.signer, each)
        for each in identifiers
    )
    order = Order(
        core.new_id(),
        posted.signer.id,
        identifiers,
        authorizations,
        now + core.policy.order_expiry,
        profile,
        replaced.id if replaced else None,
    )
    core.orders.put(order.id, order)
    if replaced is None:
        core.budgets.orders.spend(core.policy.limits.orders_per_account, posted.signer.id, now)
    else:
        core.certificates.put(replaced.id, evolve(replaced, replaced_by=order.id))
    return _show(core, current_order(core, order.id), 201)


def order(core: Core, posted: Posted, id: int) -> Response:
    """Section 7.4, polling."""
    if not posted.is_get:
        raise refusal("malformed", "an order is read by POST-as-GET, with an empty payload")
    return _show(core, _own_order(core, posted, id), 200)


def finalize(core: Core, posted: Posted, id: int) -> Response:
    """Section 7.4: the CSR. The certificate is there at once or after the policy's delay."""
    found = _own_order(core, posted, id)
    if found.status is not OrderStatus.READY:
        raise refusal("orderNotReady", f"the order is {found.status}, not ready")
    key, common_name = _read_csr(found, posted)
    core.orders.put(id, found.to(OrderStatus.PROCESSING))
    core.later(core.policy.issuance_delay, lambda: _issue(core, id, key, common_name))
    return _show(core, current_order(core, id), 200)


def current_order(core: Core, id: int) -> Order:
    """The order, brought up to date with its authorizations and the time; it must exist."""
    found = core.orders.get(id)
    assert found is not None
    if found.status not in (OrderStatus.PENDING, OrderStatus.READY):
        return found
    updated = _settled(core, found)
    if updated is not found:
        core.orders.put(id, updated)
    return updated


def _settled(core: Core, order: Order) -> Order:
    if order.expires <= core.now():
        return order.to(OrderStatus.INVALID, error=problem("malformed", "the order has expired"))
    authorizations = [current_authorization(core, each) for each in order.authorizations]
    if any(each is None or each.status not in _HOPEFUL for each in authorizations):
        errors = [error for each in authorizations if each is not None and (error := each.failure) is not None]
        return order.to(OrderStatus.INVALID, error=_summary(errors))
    if order.status is OrderStatus.PENDING and all(
        each is not None and each.status is AuthorizationStatus.VALID for each in authorizations
    ):
        return order.to(OrderStatus.READY)
    return order


def _summary(errors: list[Problem]) -> Problem:
    """One problem for the order from those of its authorizations (section 6.7.1)."""
    if not errors:
        return problem("unauthorized", "an authorization was deactivated or has expired")
    if len(errors) == 1:
        return errors[0]
    whole = problem("unauthorized", f"{len(errors)} names could not be validated")
    return evolve(whole, subproblems=tuple(errors))


def _own_order(core: Core, posted: Posted, id: int) -> Order:
    found = core.orders.get(id)
    if found is None or found.account != posted.signer.id:
        raise not_found("order")
    return current_order(core, id)


def _identifiers(core: Core, given: object) -> tuple[Identifier, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
        raise refusal("malformed", "identifiers is a list of at least one identifier object")
    if len(given) > core.policy.max_identifiers:
        raise refusal("malformed", f"{len(given)} identifiers are more than the {core.policy.max_identifiers} allowed")
    found = sorted({Identifier.parse(each.get("type"), each.get("value")) for each in given})
    refused = [each for each in (_refuse_name(core, name) for name in found) if each is not None]
    if len(refused) == 1:
        raise RefusalError(refused[0])
    if refused:
        whole = problem("rejectedIdentifier", f"{len(refused)} names are refused")
        raise RefusalError(evolve(whole, subproblems=tuple(refused)))
    return tuple(found)


def _refuse_name(core: Core, name: Identifier) -> Problem | None:
    if core.policy.blocks(name):
        return problem("rejectedIdentifier", f"{name.value} is on this CA's block list", identifier=name.value)
    if not core.policy.permits(name):
        suffixes = ", ".join(core.policy.suffixes or ())
        detail = f"{name.value}: this demo CA certifies only loopback addresses and names under {suffixes}"
        return problem("rejectedIdentifier", detail, identifier=name.value)
    if name.wildcard and "dns-01" not in core.challenge_types:
        detail = f"{name.value}: wildcards need dns-01, which this CA does not offer"
        return problem("rejectedIdentifier", detail, identifier=name.value)
    return None


def _profile(core: Core, given: object) -> str | None:
    if given is None or (isinstance(given, str) and given in core.policy.profiles):
        return given
    known = ", ".join(core.policy.profiles) or "none"
    raise refusal("invalidProfile", f"the profiles of this CA: {known}")


def _replaced(core: Core, account: Account, given: object, names: tuple[Identifier, ...]) -> Issued | None:
    if given is None or core.policy.renewal_window is None:
        return None
    found = core.certificates.get(given) if isinstance(given, str) else None
    if found is None:
        raise refusal("malformed", "replaces names no certificate of this CA", status=404)
    if found.account != account.id:
        raise refusal("unauthorized", "replaces names a certificate that this account did not request")
    if not set(found.identifiers) & set(names):
        raise refusal("malformed", "the order shares no name with the certificate it replaces")
    earlier = core.orders.get(found.replaced_by or 0)
    if earlier is not None and current_order(core, earlier.id).status is not OrderStatus.INVALID:
        raise refusal("alreadyReplaced", f"order {core.url('order', earlier.id)} replaces that certificate already")
    return found


def _check_budgets(core: Core, account: Account, names: tuple[Identifier, ...], now: datetime) -> None:
    limits = core.policy.limits
    core.budgets.orders.check(limits.orders_per_account, account.id, now)
    core.budgets.name_sets.check(limits.certificates_per_name_set, names, now)
    for domain in _domains(names):
        core.budgets.domains.check(limits.certificates_per_domain, domain, now)
    for name in names:
        core.budgets.failures.check(limits.failures_per_name, (account.id, name.base), now)


def _domains(names: tuple[Identifier, ...]) -> set[str]:
    return {each.value if each.type == "ip" else ".".join(each.base.value.split(".")[-2:]) for each in names}


def _read_csr(order: Order, posted: Posted) -> tuple[PublicKey, str | None]:
    """The public key, and the common name if the CSR asks for one."""
    der = decode_base64url(posted.fields().get("csr"), "csr")
    try:
        csr = x509.load_der_x509_csr(der)
        signed = csr.is_signature_valid
        common_names = [str(each.value).lower() for each in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        asked = _requested(csr) | set(map(_guess, common_names))
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise refusal("badCSR", f"the CSR cannot be read: {error}") from error
    if not signed:
        raise refusal("badCSR", "the CSR's signature does not verify")
    if asked != set(order.identifiers):
        wanted = ", ".join(each.value for each in order.identifiers)
        raise refusal("badCSR", f"the CSR's names are not exactly those of the order: {wanted}")
    if same_key(posted.key, key):
        raise refusal("badCSR", "the certificate must not have the account's key")
    fitting = [each for each in common_names if len(each) <= _MAX_COMMON_NAME]
    return _certificate_key(key), fitting[0] if fitting else None


def _requested(csr: x509.CertificateSigningRequest) -> set[Identifier]:
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    found = {Identifier("dns", each.lower()) for each in names.get_values_for_type(x509.DNSName)}
    found |= {Identifier("ip", str(each)) for each in names.get_values_for_type(x509.IPAddress)}
    if not all(isinstance(each, x509.DNSName | x509.IPAddress) for each in names):
        raise ValueError("it asks for names that are neither DNS names nor IP addresses")
    return found


def _guess(name: str) -> Identifier:
    try:
        return Identifier("ip", str(ipaddress.ip_address(name)))
    except ValueError:
        return Identifier("dns", name)


def _certificate_key(key: object) -> PublicKey:
    try:
        return check_public_key(key)
    except RefusalError as refused:
        raise refusal("badCSR", refused.problem.detail) from None


def _issue(core: Core, id: int, key: PublicKey, common_name: str | None) -> None:
    """Sign, and make the order valid; if it was dropped in the meantime, or cannot be signed, nothing is issued."""
    order = core.orders.get(id)
    if order is None:
        return
    now = core.now()
    try:
        core.certificates.make_room(1, core.policy.max_objects, now)
    except RefusalError as refused:
        core.orders.put(id, order.to(OrderStatus.INVALID, error=refused.problem))
        return
    lifetime = core.policy.lifetime_of(order.profile)
    leaf = core.authority.sign(key, order.identifiers, now - core.policy.backdate, lifetime, common_name)
    issued = Issued(
        ari_identifier(leaf),
        order.account,
        id,
        order.identifiers,
        leaf,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )
    core.certificates.put(issued.id, issued)
    core.orders.put(id, order.to(OrderStatus.VALID, certificate=issued.id))
    if order.replaces is None:
        core.budgets.name_sets.spend(core.policy.limits.certificates_per_name_set, order.identifiers, now)
        for domain in _domains(order.identifiers):
            core.budgets.domains.spend(core.policy.limits.certificates_per_domain, domain, now)


def _show(core: Core, order: Order, status: int) -> Response:
    content: dict[str, Any] = {
        "status": order.status,
        "expires": timestamp(order.expires),
        "identifiers": [each.as_json() for each in order.identifiers],
        "authorizations": [core.url("authorization", each) for each in order.authorizations],
        "finalize": core.url("order", order.id, "finalize"),
    }
    if order.profile is not None:
        content["profile"] = order.profile
    if order.replaces is not None:
        content["replaces"] = order.replaces
    if order.certificate is not None:
        content["certificate"] = core.url("certificate", order.certificate)
    if order.error is not None:
        content["error"] = as_json(order.error)
    unfinished = order.status in (OrderStatus.PENDING, OrderStatus.PROCESSING)
    polling = core.poll_headers() if unfinished else ()
    return document(status, content, ("Location", core.url("order", order.id)), *polling)
