"""Authorizations and their challenges (RFC 8555 sections 7.5 and 8): how an account proves that it holds a name."""

from __future__ import annotations

import secrets
from typing import Any

from attrs import evolve

from appliance.ca.core import Core, Posted, Response, document, link, not_found, timestamp
from appliance.ca.jws import key_authorization
from appliance.ca.model import (
    Account,
    Authorization,
    AuthorizationStatus,
    Challenge,
    ChallengeStatus,
    Identifier,
)
from appliance.ca.problems import as_json, refusal
from appliance.errors import Problem

UNKNOWN_CHALLENGE = "demo-unknown-01"
"""A challenge type that has no token, like dns-persist-01."""
_NO_CHALLENGE = 9


def new_authorization(core: Core, account: Account, name: Identifier) -> int:
    """A pending authorization for one name of an order; its id. Wildcards are proven by dns-01 alone."""
    types = ("dns-01",) if name.wildcard else _types(core, name)
    challenges = tuple(Challenge(each, secrets.token_urlsafe(16)) for each in types)
    expires = core.now() + core.policy.order_expiry
    made = Authorization(core.new_id(), account.id, name.base, name.wildcard, challenges, expires)
    core.authorizations.put(made.id, made)
    return made.id


def reusable_authorization(core: Core, account: Account, name: Identifier) -> int | None:
    """A valid one of the same account and name, young enough by the policy; its id."""
    if not core.policy.authorization_reuse:
        return None
    oldest = core.now() - core.policy.authorization_reuse
    for each in core.authorizations:
        if (
            (each.account, each.identifier, each.wildcard) == (account.id, name.base, name.wildcard)
            and each.status is AuthorizationStatus.VALID
            and any(one.validated is not None and one.validated > oldest for one in each.challenges)
        ):
            return each.id
    return None


def authorization(core: Core, posted: Posted, id: int) -> Response:
    """Section 7.5, and 7.5.2: deactivation."""
    found = _own(core, posted, id)
    if not posted.is_get:
        if posted.fields().get("status") != AuthorizationStatus.DEACTIVATED:
            raise refusal("malformed", "the only status that can be asked for is deactivated")
        if found.status not in (AuthorizationStatus.PENDING, AuthorizationStatus.VALID):
            raise refusal("malformed", f"the authorization is {found.status}: it cannot be deactivated")
        found = found.to(AuthorizationStatus.DEACTIVATED)
        core.authorizations.put(id, found)
    pending = found.status is AuthorizationStatus.PENDING
    return document(200, _as_json(core, found), *(core.poll_headers() if pending else ()))


def challenge(core: Core, posted: Posted, id: int, index: int) -> Response:
    """Section 7.5.1: any object as payload says that the client is ready; an empty one only asks."""
    found = _own(core, posted, id)
    if index >= len(found.challenges):
        raise not_found("challenge")
    chosen = found.challenges[index]
    ready = not posted.is_get and posted.fields() is not None
    if (
        ready
        and found.status is AuthorizationStatus.PENDING
        and all(each.status is ChallengeStatus.PENDING for each in found.challenges)
    ):
        _start(core, found, index, key_authorization(chosen.token, posted.signer.thumbprint))
        found = core.authorizations.get(id) or found
        chosen = found.challenges[index]
    waiting = chosen.status in (ChallengeStatus.PENDING, ChallengeStatus.PROCESSING)
    headers = (link(core.url("authorization", id), "up"), *(core.poll_headers() if waiting else ()))
    return document(200, _challenge_as_json(core, found, index), *headers)


def current_authorization(core: Core, id: int) -> Authorization | None:
    """The authorization, expired if its time is over; None if it was dropped. A pending one just lapses."""
    found = core.authorizations.get(id)
    if found is not None and found.expires <= core.now():
        if found.status is AuthorizationStatus.VALID:
            found = found.to(AuthorizationStatus.EXPIRED)
            core.authorizations.put(id, found)
        elif found.status is AuthorizationStatus.PENDING:
            return None
    return found


def _own(core: Core, posted: Posted, id: int) -> Authorization:
    found = current_authorization(core, id)
    if found is None or found.account != posted.signer.id:
        raise not_found("authorization")
    return found


def _types(core: Core, name: Identifier) -> tuple[str, ...]:
    """RFC 8738 section 7: an address cannot be proven by DNS."""
    return tuple(each for each in core.challenge_types if name.type == "dns" or each != "dns-01")


def _start(core: Core, authorization: Authorization, index: int, expected: str) -> None:
    chosen = authorization.challenges[index]
    processing = authorization.with_challenge(index, chosen.to(ChallengeStatus.PROCESSING))
    core.authorizations.put(authorization.id, processing)

    def settled(error: Problem | None) -> None:
        _settle(core, authorization.id, index, error)

    def begin() -> None:
        core.validate(chosen.type, authorization.identifier, chosen.token, expected, settled)

    core.later(core.policy.validation_delay, begin)


def _settle(core: Core, id: int, index: int, error: Problem | None) -> None:
    found = core.authorizations.get(id)
    if found is None:
        return
    now = core.now()
    chosen = found.challenges[index]
    if error is None:
        done = chosen.to(ChallengeStatus.VALID, at=now)
    else:
        error = evolve(error, identifier=found.identifier.value)
        done = chosen.to(ChallengeStatus.INVALID, error=error)
        failed = (found.account, found.identifier)
        core.budgets.failures.spend(core.policy.limits.failures_per_name, failed, now)
    found = found.with_challenge(index, done)
    if found.status is AuthorizationStatus.PENDING:
        status = AuthorizationStatus.VALID if error is None else AuthorizationStatus.INVALID
        found = found.to(status, expires=now + core.policy.order_expiry)
    core.authorizations.put(id, found)


def _as_json(core: Core, authorization: Authorization) -> dict[str, Any]:
    """Once settled, only the challenge that settled it is shown (section 7.1.4)."""
    shown = [
        _challenge_as_json(core, authorization, index)
        for index, each in enumerate(authorization.challenges)
        if authorization.status is AuthorizationStatus.PENDING or each.status is not ChallengeStatus.PENDING
    ]
    if core.policy.unknown_challenge and authorization.status is AuthorizationStatus.PENDING:
        url = core.url("challenge", authorization.id, _NO_CHALLENGE)
        shown.insert(0, {"type": UNKNOWN_CHALLENGE, "status": "pending", "url": url})
    content: dict[str, Any] = {
        "status": authorization.status,
        "expires": timestamp(authorization.expires),
        "identifier": authorization.identifier.as_json(),
        "challenges": shown,
    }
    return content | ({"wildcard": True} if authorization.wildcard else {})


def _challenge_as_json(core: Core, authorization: Authorization, index: int) -> dict[str, Any]:
    found = authorization.challenges[index]
    content: dict[str, Any] = {
        "type": found.type,
        "url": core.url("challenge", authorization.id, index),
        "status": found.status,
        "token": found.token,
    }
    if found.validated is not None:
        content["validated"] = timestamp(found.validated)
    if found.error is not None:
        content["error"] = as_json(found.error)
    return content
