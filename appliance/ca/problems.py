"""Refusals of the demo CA: problem documents of RFC 7807 with the types and statuses of RFC 8555 section 6.7."""

from __future__ import annotations

from typing import Any

from appliance.errors import ApplianceError, Problem

URN = "urn:ietf:params:acme:error:"

STATUS = {
    "accountDoesNotExist": 400,
    "alreadyReplaced": 409,
    "alreadyRevoked": 400,
    "badCSR": 400,
    "badNonce": 400,
    "badPublicKey": 400,
    "badRevocationReason": 400,
    "badSignatureAlgorithm": 400,
    "connection": 400,
    "dns": 400,
    "externalAccountRequired": 403,
    "incorrectResponse": 403,
    "invalidContact": 400,
    "invalidProfile": 400,
    "malformed": 400,
    "orderNotReady": 403,
    "rateLimited": 429,
    "rejectedIdentifier": 400,
    "serverInternal": 500,
    "tls": 400,
    "unauthorized": 403,
    "unsupportedContact": 400,
    "unsupportedIdentifier": 400,
    "userActionRequired": 403,
}
"""What each type is answered with unless the refusal says otherwise."""


class RefusalError(ApplianceError):
    """A request that the CA refuses; ``problem`` is the answer's body, ``headers`` go with it, ``members`` into it."""

    def __init__(
        self, problem: Problem, headers: tuple[tuple[str, str], ...] = (), members: dict[str, Any] | None = None
    ) -> None:
        self.problem = problem
        self.headers = headers
        self.members = members or {}
        super().__init__(f"{problem.code}: {problem.detail}")


def problem(code: str, detail: str, *, status: int | None = None, identifier: str | None = None) -> Problem:
    """A problem of the type ``urn:ietf:params:acme:error:CODE`` with that type's usual HTTP status."""
    return Problem(type=URN + code, detail=detail, status=status or STATUS[code], identifier=identifier)


def refusal(code: str, detail: str, *, status: int | None = None) -> RefusalError:
    """The refusal with nothing but its problem document."""
    return RefusalError(problem(code, detail, status=status))


def limited(detail: str, retry_after: float, *, status: int | None = None) -> RefusalError:
    """A ``rateLimited`` refusal that says after how many seconds to come back (RFC 8555 section 6.6)."""
    seconds = max(1, int(-(-retry_after // 1)))
    return RefusalError(problem("rateLimited", detail, status=status), (("Retry-After", str(seconds)),))


def as_json(problem: Problem) -> dict[str, Any]:
    """The problem document. A subproblem's identifier is always a DNS name or an IP address, as its looks tell."""
    found: dict[str, Any] = {"type": problem.type, "detail": problem.detail, "status": problem.status}
    if problem.subproblems:
        found["subproblems"] = [as_json(each) for each in problem.subproblems]
    if problem.identifier is not None:
        kind = "ip" if ":" in problem.identifier or problem.identifier.replace(".", "").isdigit() else "dns"
        found["identifier"] = {"type": kind, "value": problem.identifier}
    return found
