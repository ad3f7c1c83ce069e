"""The whole, as a user runs it: ``twist appliance`` before real applications, with certificates from a real Pebble."""

from __future__ import annotations

import json
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.appliance import Appliance, Load, serial_of
from tests.support.applications import gunicorn, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pebble import Pebble, PebbleSettings, running_pebble
from tests.support.processes import free_port, wait_for

CERTIFIED_WITHIN = 20.0
UNREACHABLE = "https://127.0.0.1:1/directory"


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path)


def test_two_sites_are_certified_and_renewed_while_clients_ask_without_pause(
    appliance: Appliance, tmp_path: Path
) -> None:
    """Three names, 60-second certificates, every second nonce refused: no request and no handshake fails."""
    with (
        running_pebble(appliance.http_port, nonce_reject=50, validity=60) as pebble,
        uvicorn(tmp_path) as asgi,
        gunicorn(tmp_path) as wsgi,
    ):
        sites = [(["one.test", "www.one.test"], asgi.upstream), (["two.test"], wsgi.upstream)]
        with appliance.configure(sites, pebble.directory_url, pebble.ca_file):
            root = pebble.root()
            names = ("one.test", "www.one.test", "two.test")
            first = {
                name: appliance.wait_for(
                    lambda name=name: serial_of(appliance, name, root),  # type: ignore[misc]
                    CERTIFIED_WITHIN,
                    f"{name} certified",
                )
                for name in names
            }
            assert first["one.test"] == first["www.one.test"] != first["two.test"]
            with (
                Load(appliance, "www.one.test", root, "/echo", keep_alive=False) as one,
                Load(appliance, "two.test", root, "/echo", keep_alive=True) as two,
            ):
                for name in names:
                    appliance.wait_for(
                        lambda name=name: serial_of(appliance, name, root) not in (None, first[name]),  # type: ignore[misc]
                        75,
                        f"{name} renewed",
                    )
        assert not one.failures
        assert not two.failures
        assert min(one.requests, two.requests) > 100


def test_keys_and_folders_are_private(appliance: Appliance, tmp_path: Path) -> None:
    """Every file below the state folder is 0600 and every folder 0700, whatever the umask."""
    with (
        running_pebble(appliance.http_port) as pebble,
        appliance.configure([(["one.test"], "http://127.0.0.1:9")], pebble.directory_url, pebble.ca_file),
    ):
        appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), CERTIFIED_WITHIN)
        paths = list(appliance.state_dir.rglob("*"))
        assert any(path.name == "one.test.pem" for path in paths)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (appliance.state_dir, *paths)}
        assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def test_a_stored_certificate_is_served_at_once_while_the_ca_is_down(appliance: Appliance, tmp_path: Path) -> None:
    """Nothing but the store is needed to serve; the missing site says why it is not served, and is tried again."""
    kept = make_certificate(["one.test"])
    appliance.configure([(["one.test"], "http://127.0.0.1:9"), (["two.test"], "http://127.0.0.1:9")], UNREACHABLE)
    appliance.keep("one.test", kept)
    with appliance:
        assert serial_of(appliance, "one.test", shared_authority().pem) == kept.serial
        assert serial_of(appliance, "two.test", shared_authority().pem) is None
        appliance.wait_for(lambda: "two.test: no certificate" in appliance.output(), 10)


def test_a_site_that_cannot_be_validated_delays_no_other(appliance: Appliance, tmp_path: Path) -> None:
    """One site's name is refused by the CA: the other is certified in the same time, and the log has the CA's words."""
    with (
        running_pebble(appliance.http_port, nonce_reject=50, blocklist=["blocked.test"]) as pebble,
        uvicorn(tmp_path) as asgi,
    ):
        sites = [(["blocked.test", "fine.blocked.test"], asgi.upstream), (["two.test"], asgi.upstream)]
        with appliance.configure(sites, pebble.directory_url, pebble.ca_file):
            root = pebble.root()
            appliance.wait_for(lambda: serial_of(appliance, "two.test", root), CERTIFIED_WITHIN, "two.test certified")
            appliance.wait_for(lambda: "blocked.test: no certificate" in appliance.output(), CERTIFIED_WITHIN)
            assert "Traceback" not in appliance.output()
            assert serial_of(appliance, "blocked.test", root) is None


def test_killed_at_random_moments_it_starts_with_a_working_certificate(appliance: Appliance, tmp_path: Path) -> None:
    """SIGKILL in the midst of renewals without end; each next start serves, and what is stored is never half a file."""
    chance = random.Random(20261122)
    with (
        Pebble(PebbleSettings(appliance.http_port, validity=20), tmp_path / "pebble") as pebble,
        uvicorn(tmp_path) as asgi,
    ):
        root = pebble.root()
        appliance.configure([(["one.test"], asgi.upstream)], pebble.directory_url, pebble.ca_file)
        for _ in range(8):
            appliance.start()
            appliance.wait_for(lambda: serial_of(appliance, "one.test", root), CERTIFIED_WITHIN, "a certificate")
            # Renewals come about every ten seconds and take a tenth of one; aim at them by the order's first sign.
            seen = appliance.output().count("orders a certificate")
            appliance.wait_for(
                lambda seen=seen: appliance.output().count("orders a certificate") > seen,  # type: ignore[misc]
                30,
                "a renewal under way",
            )
            _let_pass(chance.uniform(0, 0.3))
            appliance.kill()
        appliance.start()
        appliance.wait_for(lambda: serial_of(appliance, "one.test", root), 5, "a certificate")
        with appliance.client("one.test", root) as client:
            assert client.get("/echo").status == 200
        appliance.stop()
        assert not list((appliance.state_dir / "certificates").glob("*.corrupt*"))


def _let_pass(seconds: float) -> None:
    """Come to a moment that nothing marks."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end)


def test_a_broken_configuration_names_every_mistake_and_ends_with_2(appliance: Appliance, tmp_path: Path) -> None:
    """Nothing is started, and one run tells all that is to be mended."""
    appliance.config.write_text(
        'state_dir = 7\n[acme]\nemail = "a@example.com"\nagree_tos = true\n'
        '[[site]]\nnames = ["one.test"]\nupstream = "ftp://127.0.0.1"\n'
        '[[site]]\nnames = ["one.test"]\nupstraem = "http://127.0.0.1:8000"\n'
    )
    ended = subprocess.run(appliance.arguments, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    said = ended.stdout + ended.stderr
    for expected in ("line 1: state_dir", "line 7: site[0].upstream", "site[1].names", "line 10: site[1].upstraem"):
        assert expected in said
    assert "Traceback" not in said


def test_bad_requests_and_dead_upstreams_end_nothing(appliance: Appliance, tmp_path: Path) -> None:
    """A malformed request gets 400 and a closed connection, a dead upstream 502 and a line in the log."""
    kept = make_certificate(["one.test"])
    root = shared_authority().pem
    dead = free_port()
    appliance.configure([(["one.test"], f"http://127.0.0.1:{dead}")], UNREACHABLE)
    appliance.keep("one.test", kept)
    with appliance:
        with appliance.client("one.test", root) as client:
            client.connect()
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
            answer = b"".join(iter(lambda: client.sock.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"Connection: close\r\n" in answer
        with appliance.client("one.test", root) as client:
            assert client.get("/").status == 502
        appliance.wait_for(lambda: f"127.0.0.1:{dead}: Connection was refused" in appliance.output(), 5)
        with socket.create_connection(("127.0.0.1", appliance.http_port)) as plain:
            plain.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            assert plain.recv(100).startswith(b"HTTP/1.1 400 ")
        assert appliance.running()
        assert "Traceback" not in appliance.output()


def test_everything_on_http_but_challenges_goes_to_https(appliance: Appliance) -> None:
    """308 with path and query kept, to the port that HTTPS is on."""
    appliance.configure([(["one.test"], "http://127.0.0.1:9")], UNREACHABLE)
    with appliance, socket.create_connection(("127.0.0.1", appliance.http_port)) as plain:
        plain.sendall(b"GET /a%2Fb?c=d&e HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 308 ")
        assert b"Location: https://one.test:%d/a%%2Fb?c=d&e\r\n" % appliance.https_port in answer


def test_sigterm_lets_a_request_in_flight_end(appliance: Appliance, tmp_path: Path) -> None:
    """The slow answer arrives whole, then the process is gone."""
    kept = make_certificate(["one.test"])
    root = shared_authority().pem
    with uvicorn(tmp_path) as asgi:
        appliance.configure([(["one.test"], asgi.upstream)], UNREACHABLE)
        appliance.keep("one.test", kept)
        with appliance.start(), appliance.client("one.test", root) as client:
            client.request("GET", "/slow?seconds=1", headers={"Host": "one.test"})
            asgi.wait_for(lambda: _established(asgi.port), 5, "the request reaching the application")
            appliance.send(signal.SIGTERM)
            response = client.getresponse()
            assert response.status == 200
            assert response.read() == b'{"seconds":1.0}'
            assert response.getheader("Connection") == "close"
            appliance.wait(10)


def _established(port: int) -> bool:
    """Whether anybody is connected to a loopback port, by the kernel's table."""
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
    )


def test_the_command_line_alone_is_enough(appliance: Appliance, tmp_path: Path) -> None:
    """``--site NAME=UPSTREAM --email ADDRESS``, against a CA with a private root."""
    with (
        running_pebble(appliance.http_port) as pebble,
        uvicorn(tmp_path) as asgi,
    ):
        appliance.arguments = [
            *(sys.executable, "-m", "twisted", "appliance"),
            *("--site", f"one.test,www.one.test={asgi.upstream}", "--email", "admin@example.com"),
            *("--http", f"tcp:{appliance.http_port}:interface=127.0.0.1"),
            *("--https", f"tcp:{appliance.https_port}:interface=127.0.0.1"),
            *("--state-dir", str(appliance.state_dir)),
            *("--directory", pebble.directory_url, "--ca-file", str(pebble.ca_file)),
        ]
        with appliance:
            root = pebble.root()
            appliance.wait_for(lambda: serial_of(appliance, "www.one.test", root), CERTIFIED_WITHIN)
            with appliance.client("www.one.test", root) as client:
                assert client.get("/echo").status == 200


def test_django_knows_that_the_client_came_over_https(appliance: Appliance, tmp_path: Path) -> None:
    """With ``SECURE_PROXY_SSL_HEADER``; and a client that claims plain HTTP is not believed."""
    root = shared_authority().pem
    with gunicorn(tmp_path, "tests.support.wsgi_app:django_app") as django:
        appliance.configure([(["one.test"], django.upstream)], UNREACHABLE)
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance, appliance.client("one.test", root) as client:
            response = client.get("/echo", **{"X-Forwarded-Proto": "http"})
            seen = json.loads(response.read())
    assert (response.status, seen["scheme"], seen["url"]) == (200, "https", "https://one.test/echo")
