"""What to do next with an order, and what to say when it fails (RFC 8555 sections 7.1.6 and 7.4). Pure: no network.

The rules are in the tables; :mod:`appliance.acme.issuer` carries them out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from ipaddress import ip_address
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.acme.messages import Authorization, Challenge, Identifier, Order
from appliance.errors import AcmeProblemError, AcmeProtocolError, OrderError, Problem
from appliance.tls.certificate import Certificate, PrivateKey

FIRST_POLL = 0.25
"""Seconds; doubled after each look, up to SLOWEST_POLL."""
SLOWEST_POLL = 10.0
LONGEST_RETRY_AFTER = 60.0
"""A CA that wants to be left alone for longer than this is asked again all the same, within the order's time."""


class Progress(Enum):
    """How far we have come with an order."""

    ORDERED = auto()
    AUTHORIZED = auto()
    """All its authorizations have been dealt with."""
    FINALIZED = auto()
    """Our certificate request has been sent."""
    RESUMED = auto()
    """The order was made earlier, with the key that we have, and may be anywhere by now."""


class Move(Enum):
    """What to do next."""

    AUTHORIZE = auto()
    FINALIZE = auto()
    WAIT = auto()
    DOWNLOAD = auto()
    FAIL = auto()


# The server's status and our progress. What is missing cannot happen: a certificate, or the making of one, before we
# have sent a request would be for a key that is not ours; and no order goes back to pending.
MOVES: Mapping[tuple[str, Progress], Move] = {
    ("pending", Progress.ORDERED): Move.AUTHORIZE,
    ("pending", Progress.AUTHORIZED): Move.WAIT,
    ("ready", Progress.ORDERED): Move.FINALIZE,
    ("ready", Progress.AUTHORIZED): Move.FINALIZE,
    ("ready", Progress.FINALIZED): Move.WAIT,
    ("processing", Progress.FINALIZED): Move.WAIT,
    ("valid", Progress.FINALIZED): Move.DOWNLOAD,
    ("invalid", Progress.ORDERED): Move.FAIL,
    ("invalid", Progress.AUTHORIZED): Move.FAIL,
    ("invalid", Progress.FINALIZED): Move.FAIL,
    ("pending", Progress.RESUMED): Move.AUTHORIZE,
    ("ready", Progress.RESUMED): Move.FINALIZE,
    ("processing", Progress.RESUMED): Move.WAIT,
    ("valid", Progress.RESUMED): Move.DOWNLOAD,
    ("invalid", Progress.RESUMED): Move.FAIL,
}


def next_move(order: Order, progress: Progress) -> Move:
    """What to do about ``order`` now. Raises AcmeProtocolError when the CA has left the path."""
    try:
        return MOVES[order.status, progress]
    except KeyError:
        raise AcmeProtocolError(
            f"the CA's order is {order.status} although on our side it is only {progress.name.lower()}"
        ) from None


def poll_delay(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next look, after ``attempt`` others (from 0); the CA's own wish goes first, within bounds."""
    if retry_after is not None:
        return min(max(retry_after, FIRST_POLL), LONGEST_RETRY_AFTER)
    return min(FIRST_POLL * 2.0 ** min(attempt, 16), SLOWEST_POLL)


def identifiers(names: Sequence[str]) -> list[Identifier]:
    """The identifiers for a site's names, each once, in their order."""
    return list(dict.fromkeys(Identifier.of(name) for name in names))


def certificate_request(names: Sequence[str], key: PrivateKey) -> bytes:
    """A CSR for ``names``, DER (section 7.4). No common name: CAs no longer want one."""
    alternatives = x509.SubjectAlternativeName([_general_name(identifier) for identifier in identifiers(names)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.add_extension(alternatives, critical=False).sign(key, SHA256()).public_bytes(Encoding.DER)


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type == "ip":
        return x509.IPAddress(ip_address(identifier.value))
    return x509.DNSName(identifier.value)


def ends_at(certificate: Certificate, root: str) -> bool:
    """Whether the chain's topmost certificate was issued by ``root``, a common name: what ``preferred_chain`` asks."""
    topmost = certificate.intermediates[-1] if certificate.intermediates else certificate.leaf
    return any(str(name.value) == root for name in topmost.issuer.get_attributes_for_oid(NameOID.COMMON_NAME))


def choose(authorization: Authorization, types: Collection[str]) -> Challenge | None:
    """The challenge to answer, by our order of preference; None when the CA offers none that we can."""
    offered = {challenge.type: challenge for challenge in authorization.challenges}
    return next((offered[kind] for kind in types if kind in offered), None)


def unsuited(authorization: Authorization, types: Collection[str]) -> Problem:
    """Why no challenge could be chosen."""
    offered = ", ".join(challenge.type for challenge in authorization.challenges) or "nothing known here"
    ours = ", ".join(types) or "nothing"
    return Problem("unsupportedChallenge", f"the CA offers {offered}; set up here is {ours}")


def failure(authorization: Authorization) -> Problem:
    """Why an authorization that is no longer pending did not become valid."""
    return authorization.error or Problem("unauthorized", f"the authorization is {authorization.status}")


def refused(error: AcmeProblemError, names: Sequence[str]) -> OrderError | None:
    """For a refusal that is about names: which ones, and why; None when it is about something else.

    CAs that refuse several names say so in subproblems (section 6.7.1); others mention the name in the detail.
    """
    problem = error.problem
    found = {sub.identifier: sub for sub in problem.subproblems if sub.identifier in names}
    if not found and problem.code in ("rejectedIdentifier", "unsupportedIdentifier"):
        mentioned = [name for name in names if f'"{name}"' in problem.detail] or list(names)
        found = dict.fromkeys(mentioned, problem)
    return failed({name: sub for name, sub in found.items() if name is not None}) if found else None


def failed(failures: Mapping[str, Problem], kinds: Mapping[str, str] = MappingProxyType({})) -> OrderError:
    """The error for an order that some names spoiled: each of them, the CA's words, what to do.

    ``kinds``: the challenge that was tried, by name.
    """
    told = [
        f"{name}: {problem.code}: {problem.detail.rstrip('. ')}. {advice(problem, name, kinds.get(name, ''))}"
        for name, problem in failures.items()
    ]
    return OrderError(" ".join(told), dict(failures))


def spoiled(order: Order, names: Sequence[str]) -> OrderError:
    """The error for an order that became invalid as a whole."""
    if order.error is None:
        return OrderError(f"{', '.join(names)}: the CA calls the order invalid and does not say why")
    problem = order.error
    found = {sub.identifier: sub for sub in problem.subproblems if sub.identifier is not None}
    if found:
        return failed(found)
    detail = problem.detail.rstrip(". ")
    return OrderError(f"{', '.join(names)}: {problem.code}: {detail}. {advice(problem, names[0])}")


ADVICE: Mapping[str, str] = {
    "connection": "The CA could not connect: let the A and AAAA records of {name} lead to this machine, and no firewall"
    " or router block port 80.",
    "dns": "The CA could not look {name} up: see to its A, AAAA and CAA records, its name servers and its DNSSEC.",
    "unauthorized": "Something else answered for {name}: its A or AAAA record leads to another machine, or another"
    " server or CDN answers in front of this one.",
    "incorrectResponse": "Something else answered for {name}: its A or AAAA record leads to another machine, or another"
    " server or CDN answers in front of this one.",
    "tls": "The CA could not speak TLS with {name}: see that port 443 leads to this machine without another TLS proxy.",
    "caa": "The CAA records of {name} (or of a domain above it) do not allow this CA: add it there.",
    "rateLimited": "Wait for the time the CA names; more attempts only make it longer.",
    "rejectedIdentifier": "This CA does not certify {name}: take it out of the site's names, or use another CA.",
    "unsupportedIdentifier": "This CA does not certify {name}: take it out of the site's names, or use another CA.",
    "unsupportedChallenge": "Let the site use a challenge that the CA offers (wildcards need DNS-01, set up in"
    " [acme.dns]), or take {name} out of its names.",
    "responder": "The challenge for {name} could not be published: see to that responder's settings.",
    "timeout": "The CA is slow or has trouble of its own: this is tried again.",
    "serverInternal": "The CA has trouble of its own: this is tried again.",
    "userActionRequired": "The CA wants something agreed to first: open the page that it names.",
    "externalAccountRequired": "Get a key id and an HMAC key from this CA and put them into acme.external_account.",
    "invalidContact": "Correct acme.email.",
    "unsupportedContact": "Correct acme.email.",
}


_NO_RECORD = (
    "The CA did not find the TXT record _acme-challenge.{base}: see that the zone's public name servers are the ones"
    " that get it, and that a CNAME at that name, if there is one, leads where it should."
)
_NO_TLS_ALPN = (
    "Something else answered for {name} on port 443: its A or AAAA record leads to another machine, or another TLS"
    " proxy or CDN is in front of this one."
)

ADVICE_BY_KIND: Mapping[tuple[str, str], str] = {
    ("dns-01", "unauthorized"): _NO_RECORD,
    ("dns-01", "incorrectResponse"): _NO_RECORD,
    (
        "dns-01",
        "dns",
    ): "The CA could not look up _acme-challenge.{base}: see to the zone's name servers and its DNSSEC.",
    (
        "tls-alpn-01",
        "connection",
    ): "The CA could not connect: let the A and AAAA records of {name} lead to this machine,"
    " and no firewall or router block port 443.",
    ("tls-alpn-01", "unauthorized"): _NO_TLS_ALPN,
    ("tls-alpn-01", "tls"): _NO_TLS_ALPN,
}
"""What a code means after a challenge other than HTTP-01."""


def advice(problem: Problem, name: str, kind: str = "") -> str:
    """What the operator of ``name`` can do about ``problem``, which a challenge of ``kind`` met: a sentence."""
    words = ADVICE_BY_KIND.get((kind, problem.code)) or ADVICE.get(problem.code)
    return (words or "The CA's words above are all that is known.").format(name=name, base=name.removeprefix("*."))
