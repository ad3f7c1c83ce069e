"""Reloading the configuration of the real program: who must not notice, what changes, and what does not."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from appliance.ops.control.client import CommandFailedError, act, ask
from tests.support.appliance import ROOT, Appliance, Load, serial_of
from tests.support.applications import Application, uvicorn
from tests.support.backend import Backend
from tests.support.certificates import make_certificate, shared_authority
from tests.support.crowd import Crowd
from tests.support.pebble import running_pebble
from tests.support.processes import accepts, free_port, free_ports, wait_for
from tests.support.talks import Talks

UNREACHABLE = "https://127.0.0.1:1/directory"
RELOADS = 20
WEBSOCKETS = 200
GONE = "http://127.0.0.1:9"

Sites = Sequence[tuple[Sequence[str], str]]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    """With certificates for four sites in its store."""
    made = Appliance(tmp_path)
    for name in ("one.test", "two.test", "three.test", "four.test"):
        made.keep(name, make_certificate([name]))
    return made


def root() -> bytes:
    """What stored certificates are verified by."""
    return shared_authority().pem


def status(appliance: Appliance) -> dict[str, Any]:
    """What the service says; its socket is there a moment after its listeners."""
    appliance.wait_for(lambda: (appliance.state_dir / "control.sock").exists())
    return ask(appliance.state_dir, "status")


def reload(appliance: Appliance) -> dict[str, Any]:
    """As ``appliance reload --json``, without another interpreter."""
    appliance.wait_for(lambda: (appliance.state_dir / "control.sock").exists())
    return act(appliance.state_dir, "reload", 60.0)


def reload_by_command(appliance: Appliance) -> subprocess.CompletedProcess[str]:
    """``appliance reload`` itself."""
    appliance.wait_for(lambda: (appliance.state_dir / "control.sock").exists())
    return command("reload", "--config", str(appliance.config))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """An appliance command."""
    program = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def body_of(appliance: Appliance, name: str, path: str = "/") -> tuple[int, bytes]:
    """What a new client of a site gets."""
    with appliance.client(name, root()) as client:
        response = client.get(path)
        return response.status, response.read()


def refused(appliance: Appliance, name: str) -> bool:
    """Whether a handshake for the name ends in the alert."""
    try:
        with appliance.client(name, root()) as client:
            client.certificate()
    except ssl.SSLError as error:
        return "handshake failure" in str(error).lower().replace("_", " ")
    return False


def test_the_first_site(appliance: Appliance) -> None:
    """An empty configuration runs and says what is missing; a reload brings its first site, and none takes it away."""
    appliance.configure([], UNREACHABLE)
    with Backend() as backend, appliance:
        appliance.wait_for(lambda: "no site is configured yet: add a [[site]] to" in appliance.output())
        assert status(appliance)["configuration"]["sites"] == 0
        assert f"add a [[site]] to {appliance.config}" in command("status", "--config", str(appliance.config)).stdout
        assert refused(appliance, "one.test")
        appliance.configure([(["one.test"], f"http://127.0.0.1:{backend.port}")], UNREACHABLE)
        assert reload(appliance)["added"] == ["one.test"]
        assert body_of(appliance, "one.test") == (200, b"ok")
        appliance.config.write_text("")
        with pytest.raises(CommandFailedError, match="there is none left"):
            reload(appliance)
        assert body_of(appliance, "one.test") == (200, b"ok")


def test_nobody_notices(appliance: Appliance, application: Application) -> None:
    """200 WebSockets, keep-alive clients and new ones, over 20 reloads that add, change and remove other sites."""
    with Backend() as other:
        one = (["one.test"], application.upstream)
        upstreams = [f"http://127.0.0.1:{other.port}", application.upstream]
        appliance.configure([one, (["two.test"], upstreams[0])], UNREACHABLE)
        with appliance:
            talks = Talks(appliance.https_port, "one.test", root(), WEBSOCKETS)
            clients = Crowd(appliance.https_port, "one.test", root())
            with (
                talks.going_on(),
                clients.asking(clients=8, per_second=80),
                Load(appliance, "one.test", root(), "/echo", keep_alive=False) as newcomers,
            ):
                appliance.wait_for(lambda: talks.open == WEBSOCKETS, 60, "all WebSockets open")
                for number in range(RELOADS):
                    coming = (["three.test" if number % 2 else "four.test"], upstreams[0])
                    more = f"[limits]\nheaders = {60 + number}\n" if number % 5 == 0 else ""
                    sites: Sites = [coming, (["two.test"], upstreams[number % 2]), one]
                    appliance.configure(sites, UNREACHABLE, more=more)
                    answered, heard = clients.answers["200"], talks.messages
                    assert reload(appliance)["added"] == coming[0]
                    assert body_of(appliance, coming[0][0]) == (200, b"ok")
                    appliance.wait_for(
                        lambda answered=answered, heard=heard: (  # type: ignore[misc]
                            clients.answers["200"] > answered + 20 and talks.messages > heard + WEBSOCKETS
                        ),
                        20,
                    )
            assert talks.failures == []
            assert talks.open == WEBSOCKETS
            assert set(clients.answers) == {"200"}
            assert clients.connections == 8
            assert newcomers.failures == []
            print(f"{clients.answers['200']} requests, {newcomers.requests} connections, {talks.messages} messages")
        assert "Traceback" not in appliance.output()
        assert "cut off" not in appliance.output()


def test_a_site_that_is_removed_drains(appliance: Appliance, application: Application) -> None:
    """Requests and WebSockets under way go to their end; new handshakes get the alert, further requests 404."""
    sites: Sites = [(["one.test"], application.upstream), (["two.test"], application.upstream)]
    talks = Talks(appliance.https_port, "two.test", root(), 1, pause=0.05)
    with appliance.configure(sites, UNREACHABLE), appliance.client("two.test", root()) as slow, talks.going_on():
        appliance.wait_for(lambda: talks.open)
        slow.request("GET", "/slow?seconds=2", headers={"Host": "two.test"})
        appliance.configure(sites[:1], UNREACHABLE)
        assert reload(appliance)["removed"] == ["two.test"]
        assert refused(appliance, "two.test")
        assert slow.getresponse().read() == b'{"seconds":2.0}'
        assert slow.get("/echo").status == 404
        heard = talks.messages
        appliance.wait_for(lambda: talks.messages > heard + 10, 10, "the WebSocket going on")
        assert [site["site"] for site in status(appliance)["sites"]] == ["one.test"]
        appliance.configure(sites, UNREACHABLE)
        reload(appliance)
        assert body_of(appliance, "two.test", "/echo")[0] == 200
    assert talks.failures == []


def test_mistakes_change_nothing(appliance: Appliance, application: Application) -> None:
    """They are printed as check prints them, with status 2, and are in the log and in the status."""
    with appliance.configure([(["one.test"], application.upstream)], UNREACHABLE):
        good = appliance.config.read_text()
        began = status(appliance)["configuration"]
        assert (began["file"], began["failed"]) == (str(appliance.config), None)
        appliance.config.write_text(good.replace("names =", "nmaes =").replace("agree_tos", "agree"))
        checked, told = command("check", str(appliance.config)), reload_by_command(appliance)
        assert (told.returncode, told.stderr) == (2, checked.stderr)
        assert told.stderr.count(str(appliance.config)) == 2
        for line in told.stderr.splitlines():
            assert f"not reloaded: {line}" in appliance.output()
        later = status(appliance)["configuration"]
        assert later["loaded"] == began["loaded"]
        assert later["error"] == told.stderr.rstrip("\n")
        for asked in ("status", "sites", "certs"):
            shown = command(asked, "--config", str(appliance.config))
            assert (shown.returncode, shown.stderr) == (0, "")
            assert "one.test" in shown.stdout
            assert ("the last reload failed" in shown.stdout) == (asked == "status")
        switched = command("maintenance", "off", "one.test", "--config", str(appliance.config))
        assert switched.stdout == "one.test: served again\n", switched.stderr
        assert body_of(appliance, "one.test", "/echo")[0] == 200
        appliance.config.write_text(good)
        done = reload_by_command(appliance)
        assert (done.returncode, done.stdout) == (0, f"{appliance.config}: reloaded: nothing has changed\n")
        assert status(appliance)["configuration"]["failed"] is None


def test_what_takes_a_restart(appliance: Appliance, application: Application) -> None:
    """The key is named, and what to do, with status 1; the rest of the new file does not count either."""
    with appliance.configure([(["one.test"], application.upstream)], UNREACHABLE):
        text = appliance.config.read_text()
        appliance.config.write_text(text.replace("/state", "/elsewhere").replace("one.test", "two.test"))
        told = command("reload", "--state-dir", str(appliance.state_dir))
        assert told.returncode == 1
        assert "state_dir: cannot be changed while the appliance runs: put it back and reload, or" in told.stderr
        assert body_of(appliance, "one.test", "/echo")[0] == 200


def test_another_listener(appliance: Appliance, application: Application) -> None:
    """It is opened before the old one closes, whose connections go on; one that is taken changes nothing."""
    sites: Sites = [(["one.test"], application.upstream)]
    taken = socket.create_server(("127.0.0.1", 0))
    with (
        taken,
        appliance.configure(sites, UNREACHABLE),
        Backend() as other,
        appliance.client("one.test", root()) as client,
    ):
        before = appliance.https_port
        assert client.get("/echo").read()
        appliance.http_port, appliance.https_port = free_port(), taken.getsockname()[1]
        appliance.configure([(["one.test"], f"http://127.0.0.1:{other.port}")], UNREACHABLE)
        told = reload_by_command(appliance)
        assert told.returncode == 1
        assert f"cannot listen on tcp:{appliance.https_port}" in told.stderr
        assert "the port is taken by another program" in told.stderr
        assert not accepts(appliance.http_port)
        assert client.get("/echo").read() != b"ok"
        appliance.https_port = free_port()
        appliance.configure(sites, UNREACHABLE)
        assert reload(appliance)["settings"] == ["listen"]
        assert accepts(appliance.http_port)
        assert body_of(appliance, "one.test", "/echo")[0] == 200
        wait_for(lambda: not accepts(before))
        assert client.get("/echo").read()


def test_sighup_and_settings(appliance: Appliance, application: Application, tmp_path: Path) -> None:
    """A signal does the same; an access log comes and goes, metrics move, HTTP/2 is turned off, trust is given."""
    old_port, new_port = free_ports(2)
    sites: Sites = [(["one.test"], application.upstream)]
    log = tmp_path / "access.log"
    metrics = '[metrics]\nlisten = "tcp:{}:interface=127.0.0.1"\n'
    with appliance.configure(sites, UNREACHABLE, more=metrics.format(old_port)):
        more = metrics.format(new_port) + f'[access_log]\nfile = "{log}"\n[timeouts]\nidle = 50\n'
        appliance.configure(sites, UNREACHABLE, more=more)
        first = 'trusted_proxies = ["127.0.0.1"]\n[listen]\nhttp2 = false'
        appliance.config.write_text(appliance.config.read_text().replace("[listen]", first))
        appliance.send(signal.SIGHUP)
        appliance.wait_for(lambda: "reloaded: set listen" in appliance.output(), 10)
        assert not accepts(old_port)
        page = command_of_metrics(new_port)
        assert 'appliance_reloads_total{outcome="success"} 1.0' in page
        with appliance.client("one.test", root()) as client:
            told = json.loads(client.get("/echo", **{"X-Forwarded-For": "192.0.2.7"}).read())
        assert any("192.0.2.7" in value for _, value in told["headers"])
        appliance.wait_for(lambda: log.exists() and "/echo" in log.read_text(), 10, "the access log's line")
        assert negotiated(appliance) == "http/1.1"
        appliance.configure(sites, UNREACHABLE, more=metrics.format(new_port))
        reload(appliance)
        lines = log.read_text()
        assert negotiated(appliance) == "h2"
        assert body_of(appliance, "one.test", "/echo")[0] == 200
        assert log.read_text() == lines


def command_of_metrics(port: int) -> str:
    """The metrics page."""
    url = f"http://127.0.0.1:{port}/metrics"
    return subprocess.run(["curl", "-sS", url], capture_output=True, text=True, timeout=20, check=True).stdout


def negotiated(appliance: Appliance) -> str | None:
    """What a client that speaks both versions of HTTP gets."""
    context = ssl.create_default_context(cadata=root().decode("ascii"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", appliance.https_port)) as plain,
        context.wrap_socket(plain, server_hostname="one.test") as secure,
    ):
        return secure.selected_alpn_protocol()


def test_started_by_options(tmp_path: Path) -> None:
    """Then there is no file to read, and it is said."""
    appliance = Appliance(tmp_path)
    appliance.arguments = [
        *(sys.executable, "-m", "twisted", "appliance", "--site", f"one.test={GONE}", "--email", "a@example.com"),
        *("--http", f"tcp:{appliance.http_port}", "--https", f"tcp:{appliance.https_port}"),
        *("--state-dir", str(appliance.state_dir), "--directory", UNREACHABLE),
    ]
    with appliance, pytest.raises(CommandFailedError, match="no file to read: the appliance was started with --site"):
        reload(appliance)


def test_certificates_for_what_is_new(appliance: Appliance, application: Application) -> None:
    """A site that is added is certified; one whose names change is served with the old certificate until then."""
    with running_pebble(appliance.http_port) as pebble:

        def configured(*sites: str) -> Appliance:
            names = [(site.split(","), application.upstream) for site in sites]
            return appliance.configure(names, pebble.directory_url, pebble.ca_file)

        def serial(name: str) -> int | None:
            return serial_of(appliance, name, pebble.root())

        with configured("a.test"):
            first = appliance.wait_for(lambda: serial("a.test"), 20, "a.test certified")
            with Load(appliance, "a.test", pebble.root(), "/echo", keep_alive=False) as clients:
                configured("a.test,www.a.test", "b.test")
                assert reload(appliance)["changed"] == ["a.test"]
                assert serial("a.test") is not None
                appliance.wait_for(lambda: serial("b.test"), 20, "b.test certified")
                appliance.wait_for(lambda: serial("www.a.test"), 20, "www.a.test certified")
                second = serial("a.test")
                assert second != first
                configured("b.test", "a.test")
                reload(appliance)
                assert serial("www.a.test") is None
                assert serial("a.test") == second
            assert clients.failures == []
