"""``appliance sites`` and ``appliance certs``."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from appliance.ops.commands import listing
from appliance.ops.commands.cli import main
from appliance.ops.status import table
from appliance.ops.status.document import Address, Document, Extra, document
from tests.support.certificates import make_certificate
from tests.support.reports import NOW, MadeReport

Said = pytest.CaptureFixture[str]

CERTIFICATE = make_certificate(["one.test"], not_before=NOW - timedelta(days=30), not_after=NOW + timedelta(days=60))
BUSY = {"requests": 9, "rate": 1.5, "p50": 0.0351, "p95": 1.2}


def told(*addresses: Address, traffic: Document | None = None, **report: object) -> Document:
    """Two names, one of which the certificate lacks."""
    made = MadeReport(**report)  # type: ignore[arg-type]
    found: Document = json.loads(
        json.dumps(document([made], NOW, running=True, extras={"one.test": Extra(addresses)}, traffic=traffic))
    )
    return found


def lines(show: object, status: Document) -> list[str]:
    """What is printed, its columns one space apart."""
    out = io.StringIO()
    show(status, Console(file=out, width=160))  # type: ignore[operator]
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_sites() -> None:
    """Every address on a line of its own, with what is known of it."""
    status = told(
        Address("/v1", "http://a:1", "in", "", 2, BUSY), Address("/", "http://b:1", "out", "refused", 0), traffic={}
    )
    assert lines(listing.show_sites, status) == [
        "SITE NAMES PATH APPLICATION STATE REQ/S P50 P95",
        "one.test one.test /v1 http://a:1 in 1.5 35 ms 1.20 s",
        "www.one.test",
        "/ http://b:1 out: refused",
    ]


def test_sites_without_figures() -> None:
    """Says why there are none."""
    assert "has no [metrics]" in lines(listing.show_sites, told(Address("/", "http://a:1")))[-1]
    assert "No request has been passed on yet" in lines(listing.show_sites, told(traffic={}))[-1]
    nothing = document([], NOW, running=False)
    assert lines(listing.show_sites, nothing) == ["No site is known."]


def test_certificates() -> None:
    """With names that are missing; sites without one; those that have ended."""
    serial = f"{CERTIFICATE.serial:x}"
    shown = lines(listing.show_certs, told(serving=CERTIFICATE))
    assert shown[0] == "SITE NAMES SERIAL ISSUER FROM UNTIL NEXT"
    assert serial in shown[1]
    assert "2026-10-23 12:00 2027-01-21 12:00 order 2027-01-21 12:00 UTC" in shown[1]
    assert shown[2] == "without www.one.test"
    assert lines(listing.show_certs, told())[1].startswith("one.test one.test, www.one.test none")


def test_as_json_and_without_a_service(tmp_path: Path, capsys: Said) -> None:
    """Names, nulls and exit statuses that programs can rely on."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "one.test.pem").write_bytes(make_certificate(["one.test"]).to_pem())
    where = ["--state-dir", str(tmp_path)]
    assert main(["certs", "--json", *where]) == 3
    answer = json.loads(capsys.readouterr().out)
    (certificate,) = answer["certificates"]
    assert (certificate["site"], certificate["missing"], answer["running"]) == ("one.test", [], False)
    assert set(certificate) == {"site", "serial", "issuer", "names", "not_before", "not_after", "missing", "next"}
    assert main(["certs", "one.test", *where]) == 3
    capsys.readouterr()
    assert main(["sites", "one.test", "--json", *where]) == 3
    assert json.loads(capsys.readouterr().out)["sites"] == [
        {"site": "one.test", "names": ["one.test"], "upstreams": [], "traffic": None}
    ]
    assert main(["sites", "two.test", *where]) == 1
    assert "two.test is no site here; the sites are one.test" in capsys.readouterr().err


def test_a_configuration_with_mistakes(tmp_path: Path, capsys: Said) -> None:
    """Has the exit status that it has everywhere."""
    file = tmp_path / "appliance.toml"
    file.write_text("[[[")
    for command in ("sites", "certs"):
        assert main([command, "--config", str(file)]) == 2
        assert "is not TOML" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(None, ""), (0.0004, "0 ms"), (0.25, "250 ms"), (2.5, "2.50 s")])
def test_durations(seconds: float | None, words: str) -> None:
    """As people read them."""
    assert table.duration(seconds) == words
