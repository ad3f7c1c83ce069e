"""Why a name may fail to get a certificate, looked at from here: DNS, ports, the challenge, the CA, the clock.

It advises and never blocks: seen from this machine things may look otherwise than from a CA, behind a router that does
not lead its own clients back in, or with a DNS of its own. Every check has its own time-out, they run side by side, and
none of them needs the service to run, though it tells more when it does.
"""

from __future__ import annotations

import json
import socket
import ssl
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from dns import exception as dns_error
from dns.resolver import NoNameservers, Resolver

from appliance.ops.diagnosis.dnslookup import DnsError, caa, is_address, is_ours, make_resolver, resolve
from appliance.ops.diagnosis.findings import BAD, GOOD, UNKNOWN, WARNING, Finding

TIMEOUT = 5.0
"""Seconds for one connection, one answer."""
LONGEST = 30.0
"""Seconds for everything."""
LARGEST_SKEW = 60.0
"""Seconds the clocks of CA and machine may differ before it is worth a word."""
_MAX_ANSWER = 256 * 1024
_WORKERS = 16


@frozen
class Probe:
    """A challenge that the running service presents for us: ``answer`` is what ``path`` must give."""

    path: str
    answer: str


@frozen
class Patient:
    """What is known before anything is looked at."""

    names: tuple[str, ...]
    directory: str
    ca_file: Path | None = None
    probe: Probe | None = None
    """None: no service runs, or it cannot present one."""
    certificate_serial: str | None = None
    """What the service says that it serves, in hexadecimal."""
    http_port: int = 80
    """Where the CA comes in."""
    https_port: int = 443
    resolver: Resolver = field(factory=lambda: make_resolver(None))
    dns_only: bool = False
    """The site proves its names by DNS: port 80 does not matter to the CA."""


def examine(patient: Patient, longest: float = LONGEST) -> list[Finding]:
    """Look at everything, within ``longest`` seconds. Raises nothing."""
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        checks: list[tuple[str, str, Future[list[Finding]]]] = []
        authority = pool.submit(look_at_authority, patient)
        checks.append(("", "CA", authority))
        for name in patient.names:
            for what, check in _CHECKS:
                checks.append((name, what, pool.submit(check, patient, name)))
        wait([future for _, _, future in checks], longest)
        return [finding for name, what, future in checks for finding in _outcome(name, what, future, longest)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(name: str, what: str, future: Future[list[Finding]], longest: float) -> list[Finding]:
    if not future.done():
        return [Finding(name, what, UNKNOWN, f"not known within {longest:g} s", "See whether DNS and network work.")]
    error = future.exception()
    if error is not None:
        return [Finding(name, what, UNKNOWN, f"could not be looked at: {type(error).__name__}: {error}")]
    return future.result()


# The CA and the clock.


def look_at_authority(patient: Patient) -> list[Finding]:
    """Its directory, and what its Date says of our clock."""
    try:
        status, date, _ = _directory(patient)
    except (OSError, HTTPException, ValueError) as error:
        advice = "See whether this machine reaches the internet; for a private CA, acme.ca_file must hold its root."
        return [Finding("", "CA", BAD, f"{patient.directory} cannot be fetched: {_reason(error)}", advice)]
    found = [Finding("", "CA", GOOD if status == 200 else BAD, f"{patient.directory} answers {status}")]
    if date is not None:
        skew = (datetime.now(UTC) - date).total_seconds()
        off = abs(skew) > LARGEST_SKEW
        words = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the CA's" if off else "agrees with the CA's"
        advice = "Set the clock, best by NTP (timedatectl set-ntp true): certificates have dates." if off else ""
        found.append(Finding("", "clock", BAD if off else GOOD, words, advice))
    return found


def _directory(patient: Patient) -> tuple[int, datetime | None, dict[str, Any]]:
    context = ssl.create_default_context()
    if patient.ca_file is not None:
        context.load_verify_locations(cafile=str(patient.ca_file))
    request = urllib.request.Request(patient.directory, headers={"User-Agent": "appliance doctor"})
    with urllib.request.urlopen(request, timeout=2 * TIMEOUT, context=context) as answer:
        content = json.loads(answer.read(_MAX_ANSWER))
        date = answer.headers.get("Date")
        return (
            answer.status,
            parsedate_to_datetime(date) if date else None,
            content if isinstance(content, dict) else {},
        )


# DNS.


def look_at_addresses(patient: Patient, name: str) -> list[Finding]:
    """Its A and AAAA records, against the machine's own addresses."""
    try:
        addresses = resolve(patient.resolver, name)
    except DnsError as trouble:
        return [Finding(name, "DNS", BAD, str(trouble), trouble.advice)]
    ours = [address for address in addresses if is_ours(address)]
    others = [address for address in addresses if address not in ours]
    found = []
    if ours:
        found.append(Finding(name, "DNS", GOOD, f"leads to {', '.join(ours)}, this machine"))
    if others:
        found.append(
            Finding(
                name,
                "DNS",
                WARNING,
                f"leads to {', '.join(others)}, which this machine does not have",
                "Right if a router, a cloud's NAT or a balancer passes it on to this machine; else correct the record.",
            )
        )
    return found


def look_at_caa(patient: Patient, name: str) -> list[Finding]:
    """Whether its CAA records (RFC 8659) let this CA certify it."""
    if is_address(name):
        return []
    try:
        records, owner = caa(patient.resolver, name.removeprefix("*."))
    except (NoNameservers, dns_error.Timeout) as error:
        advice = "A CA refuses a name whose CAA cannot be looked up: see to the name servers and DNSSEC."
        return [Finding(name, "CAA", BAD, f"asking failed: {error}", advice)]
    wanted = "issuewild" if name.startswith("*.") else "issue"
    issuers = [value for tag, value in records if tag == wanted] or [value for tag, value in records if tag == "issue"]
    if not issuers:
        return [Finding(name, "CAA", GOOD, "no record: every CA may")]
    try:
        identities = _directory(patient)[2].get("meta", {}).get("caaIdentities") or []
    except (OSError, HTTPException, ValueError):
        identities = []
    allowed = {issuer.partition(";")[0].strip().lower() for issuer in issuers}
    told = f"{owner} allows {', '.join(sorted(allowed - {''})) or 'nobody'}"
    if not identities:
        return [Finding(name, "CAA", UNKNOWN, f"{told}; this CA does not say by which name it goes")]
    if allowed & {str(identity).lower() for identity in identities}:
        return [Finding(name, "CAA", GOOD, told)]
    advice = f'Add to {owner}: CAA 0 {wanted} "{identities[0]}"'
    return [Finding(name, "CAA", BAD, told, advice)]


# Ports and what answers there.


def look_at_http(patient: Patient, name: str) -> list[Finding]:
    """Port 80 by every address, and our challenge by it, as a CA would fetch it."""
    if patient.dns_only or name.startswith("*."):
        return []
    try:
        addresses = resolve(patient.resolver, name)
    except DnsError:
        return []  # told already
    found = [_fetch(patient, name, address) for address in addresses]
    bad = [finding for finding in found if finding.verdict == BAD]
    if bad and len(bad) < len(found) and ":" in addresses[0] and found[0].verdict == BAD:
        found.append(
            Finding(
                name,
                "IPv6",
                BAD,
                "the IPv6 address does not work while the IPv4 one does, and CAs try IPv6 first",
                f"Make the appliance reachable there, or delete the AAAA record of {name}.",
            )
        )
    return found


def _fetch(patient: Patient, name: str, address: str) -> Finding:
    what = f"port {patient.http_port}"
    try:
        status, body = _get(name, address, patient.http_port, patient.probe.path if patient.probe else "/")
    except (OSError, HTTPException) as error:
        advice = (
            f"The CA comes in there: let the appliance listen on it and no firewall, router or security group block it"
            f"{'' if patient.probe else ' (no appliance is running now)'}."
        )
        return Finding(name, what, BAD if patient.probe else WARNING, f"{address}: {_reason(error)}", advice)
    if patient.probe is None:
        return Finding(
            name, what, UNKNOWN, f"{address}: answers {status}; no appliance is running that could be recognized"
        )
    if status == 200 and body.decode("utf-8", "replace").strip() == patient.probe.answer:
        return Finding(name, what, GOOD, f"{address}: our challenge is answered")
    return Finding(
        name,
        what,
        BAD,
        f"{address}: something else answers ({status}, {body[:40]!r}), not this appliance",
        "Another server or a CDN stands in front, or the record leads elsewhere: let requests below"
        " /.well-known/acme-challenge/ reach this appliance.",
    )


def _get(name: str, address: str, port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address, port, timeout=TIMEOUT)
    try:
        host = f"[{name}]" if ":" in name else name
        connection.request("GET", path, headers={"Host": host, "User-Agent": "appliance doctor"})
        response: HTTPResponse = connection.getresponse()
        return response.status, response.read(4096)
    finally:
        connection.close()


def look_at_https(patient: Patient, name: str) -> list[Finding]:
    """Port 443 by every address, and whose certificate it shows."""
    try:
        addresses = resolve(patient.resolver, name)
    except DnsError:
        return []
    return [_handshake(patient, name, address) for address in addresses]


def _handshake(patient: Patient, name: str, address: str) -> Finding:
    what = f"port {patient.https_port}"
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server_name = None if is_address(name) else name.replace("*", "appliance-check", 1)
    try:
        with (
            socket.create_connection((address, patient.https_port), timeout=TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=server_name) as tls,
        ):
            leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    except ssl.SSLError as error:
        words = f"{address}: no certificate for it yet ({error.reason or error})"
        return Finding(name, what, WARNING, words, "Right before the first certificate; see the other findings.")
    except (OSError, ValueError) as error:
        advice = "Clients come in there: let the appliance listen on it and nothing block it."
        return Finding(name, what, WARNING, f"{address}: {_reason(error)}", advice)
    return _judge_leaf(patient, name, address, leaf)


def _judge_leaf(patient: Patient, name: str, address: str, leaf: x509.Certificate) -> Finding:
    what, serial = f"port {patient.https_port}", f"{leaf.serial_number:x}"
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    told = f"{address}: certificate {serial}, valid until {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if patient.certificate_serial is not None and serial != patient.certificate_serial:
        advice = "Another server or a CDN ends TLS in front of this appliance, or the record leads elsewhere."
        return Finding(name, what, WARNING, f"{told}, is not this appliance's ({patient.certificate_serial})", advice)
    if left.total_seconds() <= 0:
        return Finding(name, what, BAD, f"{told}, has expired", "See appliance status for why it was not renewed.")
    return Finding(name, what, GOOD, told)


_CHECKS: Sequence[tuple[str, Callable[[Patient, str], list[Finding]]]] = (
    ("DNS", look_at_addresses),
    ("CAA", look_at_caa),
    ("HTTP", look_at_http),
    ("HTTPS", look_at_https),
)


def _reason(error: BaseException) -> str:
    """In words that do not need the source."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _reason(reason)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
