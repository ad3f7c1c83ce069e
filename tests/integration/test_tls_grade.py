"""What the two usual examiners of TLS servers say: sslyze with Mozilla's intermediate profile, and testssl.

``tests/run`` puts sslyze into a virtual environment of its own, as it wants an older cryptography than we do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate

PRIVATE_CA = {"cert_chain_of_trust", "cert_revocation"}
"""What testssl has to say about any certificate of a private CA without revocation."""


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    with uvicorn(tmp_path) as application:
        appliance = Appliance(tmp_path)
        appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory")
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance:
            yield appliance


def run(arguments: list[str | Path], seconds: float) -> str:
    """What a program prints; its exit status says what its report says better."""
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, check=False)
    return ended.stdout + ended.stderr


def test_mozilla_intermediate(appliance: Appliance) -> None:
    """sslyze finds the profile kept, but for the private CA's path."""
    place = f"127.0.0.1:{appliance.https_port}"
    said = run(["sslyze", "--mozilla_config=intermediate", "--sni=one.test", place], 60)
    verdict = said.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    complaints = [line.strip() for line in verdict.splitlines() if line.strip().startswith("* ")]
    assert len(complaints) == 1, said
    assert complaints[0].startswith("* certificate_path_validation: "), said


def test_testssl(appliance: Appliance, tmp_path: Path) -> None:
    """testssl finds nothing of high or critical severity beyond the private CA's chain and revocation."""
    report = tmp_path / "report.json"
    tests = ["--protocols", "--std", "--server-preference", "--server-defaults", "--fs", "--vulnerable"]
    options = ["--warnings=off", "--color=0", "--quiet", "--ip=127.0.0.1", f"--jsonfile={report}"]
    said = run(["testssl", *tests, *options, f"one.test:{appliance.https_port}"], 170)
    findings = json.loads(report.read_text())
    severe = {each["id"] for each in findings if each["severity"] in ("HIGH", "CRITICAL", "FATAL")}
    assert severe <= PRIVATE_CA, said
    offered = {each["id"]: each["finding"] for each in findings}
    assert offered["TLS1_3"].startswith("offered"), said
    assert offered["heartbleed"].startswith("not vulnerable"), said
