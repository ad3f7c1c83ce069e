"""What an attempt's error means: whose fault it is, what is left of the order, and the words for it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto

from attrs import field, frozen

from appliance.acme.order import advice
from appliance.errors import (
    AcmeConnectionError,
    AcmeError,
    AcmeProblemError,
    AcmeProtocolError,
    ApplianceError,
    CertificateError,
    OrderError,
    Problem,
    StoreError,
)


class OrderTimeoutError(AcmeError):
    """An order that was not finished in its time."""


class Blame(Enum):
    """Who another attempt would have to wait for."""

    NAMES = auto()
    """The names could not be validated, and would not be by another CA."""
    CA = auto()
    """Another CA might do better."""
    LIMIT = auto()
    """The CA wants us to wait."""
    OURS = auto()
    """This machine."""


@frozen
class Trouble:
    """An attempt's end, when it is not a certificate."""

    words: str
    """For the operator: the step, the CA's words, what to do."""
    blame: Blame
    document: Problem | None = None
    names: Mapping[str, Problem] = field(factory=dict)
    """The names that failed, if it was about names."""
    retry_after: float | None = None
    """Seconds, if the CA named a time."""
    unreachable: bool = False
    """The CA has not counted anything: it may be asked again soon."""
    keeps_order: bool = False
    """The order may be gone on with."""
    whole_account: bool = False
    """The CA is not to be asked for any site."""


_BY_THE_CA = frozenset(
    {"caa", "rejectedIdentifier", "unsupportedIdentifier", "unsupportedChallenge", "serverInternal", "timeout"}
)
"""Problems of names that another CA might not have."""

VALIDATIONS = frozenset({"caa", "connection", "dns", "incorrectResponse", "tls", "unauthorized"})
"""Problems of names that CAs count as failed validations."""

_WHOLE_ACCOUNT = (
    "this account",
    "your account",
    "per account",
    "new accounts",
    "new orders",
    "registrations",
    "this ip address",
    "your ip address",
)
"""What a rate limit says when it is not about names."""

_NOT_SAID = re.compile(r'"[^"]*"|: see http.*')
"""Of a CA's words: what is quoted, as names are, and the address of a page on all its limits."""

_REQUEST_ADVICE: Mapping[str, str] = {
    "unauthorized": "The CA does not let this account do that: was the account deactivated, or its external account?",
    "accountDoesNotExist": "The CA does not know the account any longer: it will be registered again.",
    "malformed": "The CA did not understand the request: is the directory that of an ACME (RFC 8555) CA?",
    "badCSR": "The CA does not like the certificate request: choose another key_type.",
    "badPublicKey": "The CA does not like the key: choose another key_type.",
    "invalidProfile": "Choose one of the profiles that the CA offers.",
    "alreadyReplaced": "Another order replaces the same certificate; this one will be ordered without saying so.",
}


def classify(error: BaseException, names: Sequence[str]) -> Trouble:
    """Make sense of what ended an attempt for ``names``."""
    if isinstance(error, AcmeProblemError):
        return _refusal(error, names)
    if isinstance(error, OrderError):
        return _spoiled(error)
    if isinstance(error, AcmeConnectionError):
        words = f"{_ended(error)} Orders go on by themselves once the CA can be reached from this machine."
        return Trouble(words, Blame.CA, unreachable=True, keeps_order=True)
    if isinstance(error, OrderTimeoutError):
        words = f"{_ended(error)} The CA, or a responder, is slow: what it does is gone on with at the next attempt."
        return Trouble(words, Blame.CA, keeps_order=True)
    if isinstance(error, AcmeProtocolError):
        words = f"{_ended(error)} Is the directory that of an ACME (RFC 8555) CA? If so, tell the CA."
        return Trouble(words, Blame.CA)
    if isinstance(error, CertificateError):
        return Trouble(f"{_ended(error)} What the CA sent was thrown away; tell the CA if it goes on.", Blame.CA)
    if isinstance(error, StoreError):
        return Trouble(str(error), Blame.OURS, unreachable=True, keeps_order=True)
    if isinstance(error, ApplianceError):
        return Trouble(str(error), Blame.CA)
    words = f"unexpected error in the order: {type(error).__name__}: {error}. Please report it, with the log."
    return Trouble(words, Blame.OURS)


def _refusal(error: AcmeProblemError, names: Sequence[str]) -> Trouble:
    problem = error.problem
    limited = is_limit(problem)
    told = _REQUEST_ADVICE.get(problem.code) or advice(problem, names[0])
    return Trouble(
        f"{_ended(error)} {told}",
        Blame.LIMIT if limited else Blame.CA,
        problem,
        retry_after=problem.retry_after,
        keeps_order=limited or problem.status >= 500,
        whole_account=limited and problem.retry_after is not None and _is_about_all(problem, names),
    )


def _is_about_all(problem: Problem, names: Sequence[str]) -> bool:
    """Whether a limit holds for whatever this account may order, and not only for these names."""
    if problem.status == 503:
        return True
    detail = problem.detail.lower()
    if any(name.removeprefix("*.") in detail for name in names):
        return False
    said = _NOT_SAID.sub("", detail)
    return any(phrase in said for phrase in _WHOLE_ACCOUNT)


def _spoiled(error: OrderError) -> Trouble:
    problems = list(error.failures.values())
    waits = [problem.retry_after for problem in problems if problem.retry_after is not None]
    if problems and all(is_limit(problem) for problem in problems):
        blame = Blame.LIMIT
    elif all(problem.code in _BY_THE_CA for problem in problems):
        blame = Blame.CA
    else:
        blame = Blame.NAMES
    return Trouble(
        str(error), blame, next(iter(problems), None), names=error.failures, retry_after=max(waits, default=None)
    )


def is_limit(problem: Problem) -> bool:
    """Whether the CA wants us to slow down."""
    return (
        problem.code == "rateLimited" or problem.status == 429 or (problem.status == 503 and bool(problem.retry_after))
    )


def _ended(error: BaseException) -> str:
    return f"{str(error).rstrip('. ')}."
