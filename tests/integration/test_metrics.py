"""Metrics of a running appliance: what clients did is what Prometheus reads."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import Program, free_port

UNREACHABLE = "https://127.0.0.1:1/directory"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """One that has a certificate for one.test; stopped at the end."""
    made = Appliance(tmp_path)
    made.keep("one.test", make_certificate(["one.test"]))
    yield made
    made.stop()


def fetch(port: int) -> str:
    """The page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text: str = response.read().decode()
    return text


def samples(text: str) -> Samples:
    """As Prometheus reads it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """One figure; 0 if it is not there."""
    return found.get((f"appliance_{name}", frozenset(labels.items())), 0.0)


def test_what_clients_did(appliance: Appliance, tmp_path: Path) -> None:
    """Requests, times, handshakes, connections, applications and certificates, as promtool likes them too."""
    port, dead = free_port(), free_port()
    with uvicorn(tmp_path) as application:
        sites = [(["one.test"], application.upstream), (["two.test"], f"http://127.0.0.1:{dead}")]
        more = f'[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
        appliance.configure(sites, UNREACHABLE, more=more).keep("two.test", make_certificate(["two.test"]))
        with appliance.start():
            root = shared_authority().pem
            with appliance.client("one.test", root) as client:
                for _ in range(5):
                    client.get("/echo").read()
                client.request("POST", "/upload", b"x" * 1000, {"Host": "one.test"})
                client.getresponse().read()
                client.get("/nothing").read()
                with appliance.client("two.test", root) as other:
                    other.get("/").read()
                for context, name in ((ssl.create_default_context(), "one.test"), (_anything(), "unknown.test")):
                    with (
                        socket.create_connection(("127.0.0.1", appliance.https_port)) as direct,
                        contextlib.suppress(OSError),
                    ):
                        context.wrap_socket(direct, server_hostname=name)

                def refused() -> float:
                    return value(samples(fetch(port)), "tls_handshake_failures_total", reason="refused_by_client")

                appliance.wait_for(refused, 10, "the handshake that failed")
                text = fetch(port)
                found = samples(text)
    assert value(found, "requests_total", site="one.test", method="GET", code="200") == 5
    assert value(found, "requests_total", site="one.test", method="POST", code="200") == 1
    assert value(found, "requests_total", site="one.test", method="GET", code="404") == 1
    assert value(found, "requests_total", site="two.test", method="GET", code="502") == 1
    assert value(found, "request_faults_total", site="two.test", by="connect") == 1
    assert value(found, "request_duration_seconds_count", site="one.test") == 7
    assert value(found, "request_body_bytes_total", site="one.test") == 1000
    assert value(found, "upstream_response_seconds_count", address=application.upstream) == 7
    assert 0 < value(found, "upstream_response_seconds_sum", address=application.upstream) < 10
    addresses = {dict(labels)["address"] for name, labels in found if name.endswith("upstream_response_seconds_count")}
    assert addresses == {application.upstream}
    assert value(found, "upstream_up", upstream="one.test", address=application.upstream) == 1
    assert value(found, "upstream_connections", upstream="one.test", address=application.upstream, state="busy") == 0
    assert value(found, "upstream_up", upstream="two.test", address=f"http://127.0.0.1:{dead}") == 0
    assert value(found, "upstream_addresses_down") == 1
    assert value(found, "tls_handshakes_total", version="TLSv1.3") >= 2
    assert value(found, "tls_handshake_failures_total", reason="unknown_name") == 1
    assert value(found, "connections", listener="https") == 1
    assert value(found, "sites") == 2
    assert value(found, "certificate_not_after_timestamp_seconds", site="one.test") > 1e9
    program = shutil.which("promtool")
    assert program is not None, "apt-get install prometheus"
    checked = subprocess.run([program, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _anything() -> ssl.SSLContext:
    """A client that believes whatever it is told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_nobody_has_done_anything_yet(appliance: Appliance) -> None:
    """The look at its own certificate after the start is no client's failure."""
    port = free_port()
    appliance.configure(
        [(["one.test"], "http://127.0.0.1:9")],
        UNREACHABLE,
        more=f'[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n',
    )
    Program.start(appliance)  # without the connections that tell whether it listens
    appliance.wait_for(lambda: "one.test: a handshake (127.0.0.1 port" in appliance.output(), 20, "the look")
    found = samples(fetch(port))
    assert value(found, "tls_handshakes_total", version="TLSv1.3") == 1
    assert {key: n for key, n in found.items() if key[0].endswith("tls_handshake_failures_total")} == {}
    assert value(found, "connections", listener="https") == 0


def test_only_where_it_belongs(appliance: Appliance, tmp_path: Path) -> None:
    """Not on the sites' listeners; not under a name that leads here; on a UNIX socket for those who may."""
    port, path = free_port(), tmp_path / "metrics.sock"
    with uvicorn(tmp_path) as application:
        more = f'[metrics]\nlisten = ["tcp:{port}:interface=127.0.0.1", "unix:{path}:mode=600"]\n'
        appliance.configure([(["one.test"], application.upstream)], UNREACHABLE, more=more)
        with appliance.start():
            with appliance.client("one.test", shared_authority().pem) as client:
                response = client.get("/metrics")
                assert b"appliance_" not in response.read()
                assert response.status == 404
            request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Host": "rebound.example"})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            refused.value.close()
            assert refused.value.code == 421
            command = ["curl", "-s", "--unix-socket", str(path), "http://appliance/metrics"]
            fetched = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            assert value(samples(fetched.stdout), "requests_total", site="one.test", method="GET", code="404") == 1


def test_a_taken_port(appliance: Appliance) -> None:
    """Said at the start, with the endpoint: nobody watches in the dark without knowing."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        appliance.configure(
            [(["one.test"], "http://127.0.0.1:9")], UNREACHABLE, more=f'[metrics]\nlisten = "{endpoint}"\n'
        )
        ended = subprocess.run(appliance.arguments, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert f"metrics: cannot listen on {endpoint}" in ended.stderr
