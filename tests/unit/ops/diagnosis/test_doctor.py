"""What the doctor sees, with DNS made up and everything else on loopback."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import pytest
from rich.console import Console

from appliance.ops.diagnosis import doctor
from appliance.ops.diagnosis.doctor import Patient, Probe, examine
from appliance.ops.diagnosis.findings import BAD, GOOD, UNKNOWN, WARNING, Finding, show, worst_is_bad
from tests.support.processes import free_port


class MadeResolver:
    """Answers from a table of ``(name, type)``; an exception there is raised; a name that is not there has nothing."""

    def __init__(self, table: Mapping[tuple[str, str], Any]) -> None:
        self._table = table

    def resolve(self, name: str, kind: Any, raise_on_no_answer: bool = True) -> list[Any]:
        kind = kind if isinstance(kind, str) else kind.name
        found = self._table.get((name, kind), [])
        if isinstance(found, Exception):
            raise found
        return [dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), text) for text in found]


class Web:
    """A web server that answers everything with what it is told."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.date = datetime.now(UTC)
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = web.answers.get(self.path)
                self.send_response_only(200 if body is not None else 404)
                self.send_header("Date", format_datetime(web.date, usegmt=True))
                self.end_headers()
                self.wfile.write(body or b"not here")

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    made.answers["/directory"] = b'{"meta": {"caaIdentities": ["ca.test"]}}'
    made.answers["/probe"] = b"answer\n"
    yield made
    made.stop()


def patient(web: Web, table: Mapping[tuple[str, str], Any], **more: Any) -> Patient:
    """One named one.test, whose CA and port 80 are ``web``."""
    settings: dict[str, Any] = {
        "names": ("one.test",),
        "directory": f"http://127.0.0.1:{web.port}/directory",
        "probe": Probe("/probe", "answer"),
        "http_port": web.port,
        "https_port": free_port(),
        "resolver": MadeResolver(table),
    }
    return Patient(**{**settings, **more})


def by_check(findings: list[Finding], check: str) -> Finding:
    """The first of that check."""
    return next(finding for finding in findings if finding.check == check)


HERE = {("one.test", "A"): ["127.0.0.1"]}


def test_a_name_in_good_health(web: Web) -> None:
    """DNS leads here, our challenge is answered, the CA is there and its clock agrees, every CA may."""
    findings = examine(patient(web, HERE))
    for check in ("CA", "clock", "DNS", "CAA", f"port {web.port}"):
        assert by_check(findings, check).verdict == GOOD, by_check(findings, check)
    assert not worst_is_bad(findings)


def test_a_clock_that_is_wrong(web: Web) -> None:
    """How far, which way, what to do."""
    web.date -= timedelta(minutes=10)
    finding = by_check(examine(patient(web, HERE)), "clock")
    assert finding.verdict == BAD
    assert "ahead of the CA's" in finding.seen
    assert "NTP" in finding.advice


def test_a_ca_that_cannot_be_reached(web: Web) -> None:
    """Says so, and goes on."""
    findings = examine(patient(web, HERE, directory=f"http://127.0.0.1:{free_port()}/directory"))
    assert by_check(findings, "CA").verdict == BAD
    assert "Connection refused" in by_check(findings, "CA").seen
    assert by_check(findings, "DNS").verdict == GOOD


@pytest.mark.parametrize(
    ("table", "verdict", "words"),
    [
        ({}, BAD, "neither an A nor an AAAA"),
        ({("one.test", "AAAA"): dns.resolver.NXDOMAIN()}, BAD, "does not exist"),
        ({("one.test", "AAAA"): dns.resolver.NoNameservers()}, BAD, "asking for AAAA failed"),
        ({("one.test", "A"): dns.exception.Timeout()}, BAD, "asking for A failed"),
        ({("one.test", "A"): ["192.0.2.1"]}, WARNING, "which this machine does not have"),
    ],
)
def test_dns(web: Web, table: Mapping[tuple[str, str], Any], verdict: str, words: str) -> None:
    """What keeps a CA from finding us; an address that is not ours may be right."""
    finding = doctor.look_at_addresses(patient(web, table), "one.test")[0]
    assert (finding.verdict, words in finding.seen) == (verdict, True)
    assert finding.advice


@pytest.mark.parametrize(
    ("records", "name", "verdict", "words"),
    [
        (['0 issue "ca.test"'], "one.test", GOOD, "ca.test"),
        (['0 issue "CA.test; x=y"'], "one.test", GOOD, "ca.test"),
        (['0 issue "other.test"'], "one.test", BAD, "other.test"),
        (['0 issue ";"'], "one.test", BAD, "nobody"),
        (['0 issue "ca.test"', '0 issuewild "other.test"'], "*.one.test", BAD, "other.test"),
        (['0 issue "ca.test"'], "*.one.test", GOOD, "ca.test"),
        (['0 iodef "mailto:x@one.test"'], "one.test", GOOD, "no record"),
        (dns.resolver.NoNameservers(), "one.test", BAD, "asking failed"),
        (dns.resolver.NXDOMAIN(), "one.test", GOOD, "no record"),
    ],
)
def test_caa(web: Web, records: Any, name: str, verdict: str, words: str) -> None:
    """The nearest name upwards counts; a wildcard has its own tag."""
    found = doctor.look_at_caa(patient(web, {("one.test", "CAA"): records}), name)[0]
    assert (found.verdict, words in found.seen) == (verdict, True)
    if verdict == BAD and "allows" in found.seen:
        assert "Add to one.test: CAA 0" in found.advice


def test_caa_of_a_ca_that_does_not_say_its_name(web: Web) -> None:
    """Cannot be judged, and is not called bad."""
    web.answers["/directory"] = b"{}"
    found = doctor.look_at_caa(patient(web, {("one.test", "CAA"): ['0 issue "x.test"']}), "one.test")[0]
    assert found.verdict == UNKNOWN


def test_port_80_that_nobody_answers(web: Web) -> None:
    """Bad while the service runs, a warning while it does not."""
    nobody = free_port()
    assert doctor.look_at_http(patient(web, HERE, http_port=nobody), "one.test")[0].verdict == BAD
    stopped = doctor.look_at_http(patient(web, HERE, http_port=nobody, probe=None), "one.test")[0]
    assert stopped.verdict == WARNING
    assert "no appliance is running" in stopped.advice


def test_port_80_where_somebody_else_answers(web: Web) -> None:
    """As a CDN would; without a running service that cannot be told."""
    web.answers["/probe"] = b"another"
    found = doctor.look_at_http(patient(web, HERE), "one.test")[0]
    assert found.verdict == BAD
    assert "something else answers (200, b'another')" in found.seen
    assert doctor.look_at_http(patient(web, HERE, probe=None), "one.test")[0].verdict == UNKNOWN


def test_an_ipv6_address_that_does_not_work(web: Web) -> None:
    """Is called out, since CAs try it first."""
    table = {**HERE, ("one.test", "AAAA"): ["::1"]}
    findings = doctor.look_at_http(patient(web, table), "one.test")
    assert [finding.verdict for finding in findings] == [BAD, GOOD, BAD]
    assert "delete the AAAA record" in findings[-1].advice


def test_names_that_are_proved_otherwise(web: Web) -> None:
    """Port 80 does not matter for wildcards and DNS-01; an address needs no DNS and has no CAA."""
    assert doctor.look_at_http(patient(web, HERE), "*.one.test") == []
    assert doctor.look_at_http(patient(web, HERE, dns_only=True), "one.test") == []
    assert doctor.look_at_caa(patient(web, {}), "127.0.0.1") == []
    assert doctor.look_at_addresses(patient(web, {}), "127.0.0.1")[0].verdict == GOOD


def test_what_hangs_is_given_up(web: Web) -> None:
    """Within the time for everything; the rest is told."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        findings = examine(patient(web, HERE, http_port=silent.getsockname()[1]), longest=0.5)
        assert time.monotonic() - began < 5
    late = by_check(findings, "HTTP")
    assert (late.verdict, late.seen) == (UNKNOWN, "not known within 0.5 s")
    assert by_check(findings, "DNS").verdict == GOOD


def test_a_check_that_breaks_is_told(web: Web) -> None:
    """And breaks no other."""
    findings = examine(patient(web, {**HERE, ("one.test", "CAA"): RuntimeError("a fault")}))
    assert "RuntimeError: a fault" in by_check(findings, "CAA").seen
    assert by_check(findings, "DNS").verdict == GOOD


def test_findings_on_a_terminal() -> None:
    """Advice below what was seen."""
    out = io.StringIO()
    found = [Finding("one.test", "DNS", BAD, "nothing", "Do something."), Finding("", "CA", GOOD, "fine")]
    show(found, Console(file=out, width=100))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0].split() == ["one.test", "DNS", "bad", "nothing"]
    assert lines[1].strip() == "-> Do something."
    assert lines[2].split() == ["CA", "good", "fine"]
    assert worst_is_bad(found)
