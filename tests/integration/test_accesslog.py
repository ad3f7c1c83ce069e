"""The access log of a running appliance: what is in it, rotation, a full disk."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.websocket import open_websocket

UNREACHABLE = "https://127.0.0.1:1/directory"


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    """One that has a certificate for one.test; stopped at the end."""
    made = Appliance(tmp_path)
    made.keep("one.test", make_certificate(["one.test"]))
    yield made
    made.stop()


def entries(path: Path) -> list[dict[str, Any]]:
    """What is logged so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def get(appliance: Appliance, path: str, **headers: str) -> int:
    """Ask over a connection of its own; the status."""
    with appliance.client("one.test", shared_authority().pem) as client:
        response = client.get(path, **headers)
        response.read()
        return response.status


def test_requests_and_tunnels(appliance: Appliance, tmp_path: Path) -> None:
    """A line for each, with all there is to know but what is secret; the application is told the id."""
    log = tmp_path / "access.log"
    with uvicorn(tmp_path) as application:
        appliance.configure(
            [(["one.test"], application.upstream)],
            UNREACHABLE,
            more=f'[access_log]\nfile = "{log}"\nrequest_id_header = "X-Request-Id"\n',
        )
        with appliance.start(), appliance.client("one.test", shared_authority().pem) as client:
            secret = {"Cookie": "session=hidden", "Authorization": "Basic hidden", "X-Request-Id": "mine"}
            response = client.get("/echo?token=hidden&page=2", **secret, Referer="https://a.test/?code=hidden")
            seen = dict(json.loads(response.read())["headers"])
            client.request("GET", "/nothing", headers={"Host": "other.test"})
            assert client.getresponse().read()
            with open_websocket(appliance.https_port, shared_authority().pem) as tunnel:
                tunnel.send("hello")
                assert tunnel.recv() == "hello"
            found = appliance.wait_for(lambda: (all_ := entries(log)) and len(all_) == 3 and all_, 10, "three lines")
        assert "hidden" not in log.read_text()
    first, second, third = found
    assert first["id"] == seen["x-request-id"]
    assert {key: first[key] for key in ("site", "client", "method", "host", "target", "protocol", "tls", "status")} == {
        "site": "one.test",
        "client": "127.0.0.1",
        "method": "GET",
        "host": "one.test",
        "target": "/echo?token=REDACTED&page=2",
        "protocol": "HTTP/1.1",
        "tls": "TLSv1.3",
        "status": 200,
    }
    assert first["upstream"] == application.upstream
    assert 0 < first["upstream_seconds"] <= first["seconds"] < 10
    assert first["bytes_out"] > 100
    assert (second["status"], second["host"], second["site"]) == (404, "other.test", "")
    assert (third["status"], third["target"], third.get("fault", "")) == (101, "/ws", "")
    assert third["bytes_in"] >= 5
    assert len({entry["id"] for entry in found}) == 3


def test_rotation(appliance: Appliance, tmp_path: Path) -> None:
    """Moved away by its name, with and without the signal: no line is lost, none is in two files."""
    log = tmp_path / "access.log"
    appliance.configure(
        [(["one.test"], "http://127.0.0.1:9")], UNREACHABLE, more=f'[access_log]\nfile = "{log}"\nformat = "combined"\n'
    )
    with appliance.start():
        for number, signalled in enumerate((True, False, True)):
            assert get(appliance, f"/{number}") == 502
            appliance.wait_for(lambda: log.exists() and log.read_text().count("\n") == 1, 10, "a line")
            log.rename(tmp_path / f"access.log.{number}")
            if signalled:
                appliance.send(signal.SIGUSR1)
        get(appliance, "/3")
        appliance.wait_for(log.exists, 10, "a new file")
    for number in range(3):
        text = (tmp_path / f"access.log.{number}").read_text()
        assert re.fullmatch(rf'127\.0\.0\.1 - - \[.*\] "GET /{number} HTTP/1\.1" 502 [0-9]+ "-" "-"\n', text)
    assert '"GET /3 HTTP/1.1" 502' in log.read_text()


def test_full_disk(appliance: Appliance, tmp_path: Path) -> None:
    """Every request is answered; that lines were dropped is said, and when there is room, it goes on."""
    log = tmp_path / "access.log"
    appliance.configure([(["one.test"], "http://127.0.0.1:9")], UNREACHABLE, more=f'[access_log]\nfile = "{log}"\n')
    with appliance.start():
        limits = resource.prlimit(appliance.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(appliance.pid, resource.RLIMIT_FSIZE, (32 * 1024, limits[1]))
        with appliance.client("one.test", shared_authority().pem) as client:
            for number in range(300):
                response = client.get(f"/{'long' * 50}/{number}")
                response.read()
                assert response.status == 502
        appliance.wait_for(lambda: "File too large; " in appliance.output(), 10, "the complaint")
        resource.prlimit(appliance.pid, resource.RLIMIT_FSIZE, limits)
        get(appliance, "/after")
        appliance.wait_for(lambda: '"/after"' in log.read_text(), 10, "a line after that")
        appliance.wait_for(lambda: "is written again" in appliance.output(), 10)
        torn = [line for line in log.read_text().splitlines() if not line.endswith("}")]
        assert len(torn) <= 1


def test_last_requests(appliance: Appliance, tmp_path: Path) -> None:
    """What is served while the appliance stops is logged as well; standard output will do for a file."""
    with uvicorn(tmp_path) as application:
        appliance.configure(
            [(["one.test"], application.upstream)],
            UNREACHABLE,
            more='[access_log]\nfile = "-"\n[log]\nformat = "json"\n',
        )
        with appliance.start(), appliance.client("one.test", shared_authority().pem) as client:
            client.request("GET", "/slow?seconds=1", headers={"Host": "one.test"})
            application.wait_for(lambda: _reached(application.port), 5, "the request under way")
            appliance.send(signal.SIGTERM)
            assert client.getresponse().status == 200
            appliance.wait(15)
        lines = [json.loads(line) for line in appliance.output().splitlines()]
        assert [line["status"] for line in lines if line.get("target") == "/slow?seconds=1"] == [200]
        assert all("level" in line for line in lines if "target" not in line)


def _reached(port: int) -> bool:
    """Whether anybody is connected to a loopback port, by the kernel's table."""
    with open("/proc/net/tcp") as table:
        return any(
            line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in table if ":" in line
        )


def test_who_may_read(appliance: Appliance, tmp_path: Path) -> None:
    """Logs are not for every user of the machine."""
    log = tmp_path / "access.log"
    appliance.configure([(["one.test"], "http://127.0.0.1:9")], UNREACHABLE, more=f'[access_log]\nfile = "{log}"\n')
    with appliance.start():
        get(appliance, "/")
        appliance.wait_for(log.exists, 10, "the file")
    assert not os.stat(log).st_mode & 0o007
