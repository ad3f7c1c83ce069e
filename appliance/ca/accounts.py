"""Accounts: who may ask for certificates (RFC 8555 section 7.3), and the signatures that prove it (section 6.2)."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from appliance.ca.core import Core, Posted, Response, document, link, not_found
from appliance.ca.jws import SignedMessage, check_algorithm, read_json, read_key, thumbprint
from appliance.ca.model import Account, AccountStatus, OrderStatus
from appliance.ca.orders import current_order
from appliance.ca.problems import RefusalError, problem, refusal

_MAX_CONTACTS = 10
_MAX_LISTED_ORDERS = 100


def authenticate(core: Core, url: str, body: bytes) -> Posted:
    """The request, if its algorithm, nonce, URL, key and signature are right; the nonce is used up then."""
    message = SignedMessage.parse(body)
    check_algorithm(message)
    if message.header.get("url") != url:
        raise refusal("unauthorized", f"the url in the protected header is not {url}")
    if ("jwk" in message.header) == ("kid" in message.header):
        raise refusal("malformed", "the protected header holds either jwk or kid")
    account = _account_by_url(core, message.header["kid"]) if "kid" in message.header else None
    key = account.key if account is not None else read_key(message.header["jwk"])
    message.verify(key)
    core.nonces.use(message.header.get("nonce"), core.policy.reject_nonces)
    if account is not None and account.status is not AccountStatus.VALID:
        raise refusal("unauthorized", f"the account is {account.status}")
    return Posted(url, message.payload, key, account)


def new_account(core: Core, posted: Posted) -> Response:
    """Sections 7.3 and 7.3.1: 201 for a new account, 200 for the one that has the key."""
    fields = posted.fields()
    mark = thumbprint(posted.key)
    found = core.accounts.get(core.account_ids.get(mark, 0))
    if found is not None:
        if found.status is not AccountStatus.VALID:
            raise refusal("unauthorized", f"the account with this key is {found.status}")
        return _show(core, found, 200)
    if fields.get("onlyReturnExisting") is True:
        raise refusal("accountDoesNotExist", "no account has this key")
    agreed = fields.get("termsOfServiceAgreed") is True
    if core.policy.require_terms and not agreed:
        terms = core.url("terms")
        found_problem = problem("userActionRequired", f"termsOfServiceAgreed must be true; the terms: {terms}")
        raise RefusalError(found_problem, (link(terms, "terms-of-service"),), {"instance": terms})
    contact = _contact(fields.get("contact", []))
    external = _external_account(core, posted, fields.get("externalAccountBinding"))
    now = core.now()
    core.budgets.accounts.check(core.policy.limits.new_accounts, None, now)
    core.accounts.make_room(1, core.policy.max_objects, now)
    account = Account(core.new_id(), posted.key, mark, contact, terms_agreed=agreed, external_account=external)
    core.accounts.put(account.id, account)
    core.account_ids[mark] = account.id
    core.budgets.accounts.spend(core.policy.limits.new_accounts, None, now)
    return _show(core, account, 201)


def account(core: Core, posted: Posted, id: int) -> Response:
    """Section 7.3.2, contact update, and 7.3.6, deactivation."""
    found = posted.signer
    _demand_own(posted, id)
    if not posted.is_get:
        fields = posted.fields()
        if "contact" in fields:
            found = evolve(found, contact=_contact(fields["contact"]))
        if "status" in fields:
            if fields["status"] != AccountStatus.DEACTIVATED:
                raise refusal("malformed", "the only status that can be asked for is deactivated")
            found = found.to(AccountStatus.DEACTIVATED)
        core.accounts.put(found.id, found)
    return _show(core, found, 200)


def account_orders(core: Core, posted: Posted, id: int) -> Response:
    """Section 7.1.2.1: the newest orders that are not invalid."""
    _demand_own(posted, id)
    own = [each.id for each in core.orders if each.account == id]
    urls = [core.url("order", each) for each in own if current_order(core, each).status is not OrderStatus.INVALID]
    return document(200, {"orders": urls[-_MAX_LISTED_ORDERS:]})


def key_change(core: Core, posted: Posted) -> Response:
    """Section 7.3.5: the account's key gives way to the one that signed the inner request."""
    inner = SignedMessage.parse(posted.payload)
    check_algorithm(inner)
    if inner.header.get("url") != posted.url or "kid" in inner.header or "nonce" in inner.header:
        raise refusal("malformed", "the inner header holds the new key as jwk, the same url, and no nonce")
    key = read_key(inner.header.get("jwk"))
    inner.verify(key)
    fields = read_json(inner.payload)
    old = posted.signer
    if not isinstance(fields, dict) or fields.get("account") != core.url("account", old.id):
        raise refusal("malformed", "the inner payload must name the account that signed the outer request")
    if _read_thumbprint(fields.get("oldKey")) != old.thumbprint:
        raise refusal("malformed", "oldKey is not the account's present key")
    mark = thumbprint(key)
    if mark in core.account_ids:
        taken = problem("malformed", "another account has the new key", status=409)
        raise RefusalError(taken, (("Location", core.url("account", core.account_ids[mark])),))
    changed = evolve(old, key=key, thumbprint=mark)
    del core.account_ids[old.thumbprint]
    core.account_ids[mark] = old.id
    core.accounts.put(old.id, changed)
    return _show(core, changed, 200)


def _account_by_url(core: Core, kid: object) -> Account:
    prefix = core.url("account", "")
    number = kid.removeprefix(prefix) if isinstance(kid, str) and kid.startswith(prefix) else ""
    found = core.accounts.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 19 else None
    if found is None:
        raise refusal("accountDoesNotExist", "kid names no account of this CA")
    return found


def _demand_own(posted: Posted, id: int) -> None:
    if posted.signer.id != id:
        raise not_found("account")


def _read_thumbprint(jwk: object) -> bytes:
    return thumbprint(read_key(jwk))


def _contact(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) > _MAX_CONTACTS or not all(isinstance(each, str) for each in given):
        raise refusal("invalidContact", f"contact is a list of at most {_MAX_CONTACTS} URLs")
    for each in given:
        scheme, _, address = each.partition(":")
        if scheme != "mailto":
            raise refusal("unsupportedContact", f"contacts are mailto: URLs, not {scheme[:20]}:")
        local, _, domain = address.rpartition("@")
        if not local or not domain or any(mark in address for mark in ",? \t\r\n") or len(address) > 254:
            raise refusal("invalidContact", f"{address[:60]!r} is not one mail address")
    return tuple(given)


def _external_account(core: Core, posted: Posted, binding: object) -> str | None:
    """The external account's key identifier, if one is demanded (section 7.3.4)."""
    if not core.policy.external_accounts:
        return None
    if binding is None:
        raise refusal("externalAccountRequired", "this CA takes only accounts with an externalAccountBinding")
    inner = SignedMessage.parse(binding)
    kid = inner.header.get("kid")
    if inner.header.get("url") != posted.url or "nonce" in inner.header or not isinstance(kid, str):
        raise refusal("malformed", "the binding's header holds kid and the same url, and no nonce")
    if kid not in core.policy.external_accounts:
        raise refusal("unauthorized", "the binding's kid is unknown here")
    inner.verify_hmac(core.policy.external_accounts[kid])
    if _read_thumbprint(read_json(inner.payload)) != thumbprint(posted.key):
        raise refusal("malformed", "the binding's payload must be the account's key")
    return kid


def _show(core: Core, account: Account, status: int) -> Response:
    content: dict[str, Any] = {
        "status": account.status,
        "contact": list(account.contact),
        "termsOfServiceAgreed": account.terms_agreed,
        "orders": core.url("account", account.id, "orders"),
    }
    return document(status, content, ("Location", core.url("account", account.id)))
