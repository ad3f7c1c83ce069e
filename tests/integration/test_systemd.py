"""With systemd, as far as it can be had without it: its notifications, its sockets, its opinion of the unit."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.ops.control.client import CommandFailedError, act, ask
from tests.support.appliance import ROOT, Appliance, serial_of
from tests.support.applications import Application, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import free_port, wait_for

UNREACHABLE = "https://127.0.0.1:1/directory"
ACTIVATE = ["systemd-socket-activate", f"--setenv=PYTHONPATH={ROOT}", "--setenv=PATH", "--setenv=HOME"]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


class Manager:
    """systemd's end of the notifications, read as they come: the kernel keeps ten of them."""

    def __init__(self, path: Path, watchdog: float = 0.5) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._lines: list[str] = []
        self._seen = 0
        self._reading = threading.Thread(target=self._read)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(watchdog * 1e6))}

    def __enter__(self) -> Manager:
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._reading.join(10)
        self._socket.close()

    def _read(self) -> None:
        while told := self._socket.recv(4096):
            self._lines += told.decode().splitlines()

    def wait_for(self, *wanted: str) -> None:
        """Return once lines that begin with each of these have come, in this order, since the last one waited for."""
        for each in wanted:
            wait_for(lambda each=each: self._next(each), 20, each)  # type: ignore[misc]

    def _next(self, wanted: str) -> bool:
        for number in range(self._seen, len(self._lines)):
            if self._lines[number].startswith(wanted):
                self._seen = number + 1
                return True
        return False


def configured(folder: Path, application: Application) -> Appliance:
    """An appliance with one site, not started."""
    appliance = Appliance(folder).configure([(["one.test"], application.upstream)], UNREACHABLE)
    appliance.keep("one.test", make_certificate(["one.test"]))
    return appliance


def replace(appliance: Appliance, manager: Manager) -> int:
    """Have another process take its place, and stop that one once it is the main one; its pid."""
    successor = int(act(appliance.state_dir, "upgrade", 60)["pid"])
    try:
        manager.wait_for(f"MAINPID={successor}", "READY=1", "WATCHDOG=1")
        assert appliance.wait(15) == 0
    finally:
        os.kill(successor, signal.SIGTERM)
    return successor


def test_notifications(tmp_path: Path, application: Application) -> None:
    """Ready when it serves, alive, reloading, replaced by another process, and stopping."""
    appliance = configured(tmp_path, application)
    with Manager(tmp_path / "notify") as manager:
        appliance._environment.update(manager.environment)
        appliance.start()
        manager.wait_for("READY=1", "STATUS=1 of 1 sites certified", "WATCHDOG=1")
        appliance.send(signal.SIGHUP)
        manager.wait_for("RELOADING=1", "MONOTONIC_USEC=", "READY=1")
        successor = replace(appliance, manager)
        manager.wait_for("STOPPING=1", "STATUS=finishing requests in flight")
        wait_for(lambda: not Path(f"/proc/{successor}").exists(), 15, "the end")


def test_a_new_main_process_is_alive_at_once(tmp_path: Path, application: Application) -> None:
    """What it said before it was the main one was not heard, and its next turn to say so is minutes away."""
    appliance = configured(tmp_path, application)
    with Manager(tmp_path / "notify", watchdog=600) as manager:
        appliance._environment.update(manager.environment)
        appliance.start()
        manager.wait_for("READY=1", "WATCHDOG=1")
        successor = replace(appliance, manager)
        wait_for(lambda: not Path(f"/proc/{successor}").exists(), 15, "the end")


def activated(appliance: Appliance) -> str:
    """Have it get its ports from systemd, by their numbers; its configuration."""
    text = appliance.config.read_text()
    for number, port in enumerate((appliance.http_port, appliance.https_port)):
        text = text.replace(f"tcp:{port}:interface=127.0.0.1", f"systemd:domain=INET6:index={number}")
    appliance.config.write_text(text)
    ports = [f"--listen=[::]:{port}" for port in (appliance.http_port, appliance.https_port)]
    appliance.arguments = [*ACTIVATE, "--fdname=plain:secure", *ports, *appliance.arguments]
    return text


def test_socket_activation(tmp_path: Path, application: Application) -> None:
    """On sockets that systemd opened, dual-stack ones among them; an upgrade hands them on."""
    appliance = configured(tmp_path, application)
    activated(appliance)
    pids: list[int] = []
    appliance.start()
    try:
        for _ in range(2):
            with appliance.client("one.test", shared_authority().pem) as client:
                assert client.get("/echo").status == 200
            pids.append(int(wait_for(lambda: act(appliance.state_dir, "upgrade", 60), 20, "an upgrade")["pid"]))
        with appliance.client("one.test", shared_authority().pem) as client:
            assert client.get("/echo").status == 200
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        appliance.stop()


def reload(appliance: Appliance, configuration: str) -> str:
    """Have it use this; why it does not, if so."""
    appliance.config.write_text(configuration)
    try:
        act(appliance.state_dir, "reload", 60)
    except CommandFailedError as refused:
        return str(refused)
    return ""


def speaks_http(port: int) -> bool:
    """Whether plain HTTP is answered there."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
        return client.recv(8) == b"HTTP/1.1"


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_with_sockets_of_systemd(tmp_path: Path, application: Application, workers: int) -> None:
    """A listener may be taken away and put back; spelled anew it is refused. HTTPS stays HTTPS, in all processes."""
    appliance = configured(tmp_path, application)
    appliance.config.write_text(f"workers = {workers}\n{appliance.config.read_text()}")
    before = activated(appliance)
    endpoint = "systemd:domain=INET6:index=0"
    taken_away = before.replace(endpoint, f"tcp:{free_port()}:interface=127.0.0.1")

    def look() -> None:
        for _ in range(8):  # for all processes, which take turns
            assert serial_of(appliance, "one.test", shared_authority().pem) is not None
            assert speaks_http(appliance.http_port)
            assert not speaks_http(appliance.https_port)

    appliance.start()
    try:
        with appliance.client("one.test", shared_authority().pem) as client:
            assert client.get("/echo").status == 200
        appliance.wait_for(lambda: (appliance.state_dir / "control.sock").exists())
        wait_for(lambda: ask(appliance.state_dir, "status").get("workers", {}).get("serving", 1) == workers)
        look()
        assert reload(appliance, taken_away) == ""
        assert reload(appliance, before) == ""
        look()
        refused = reload(appliance, before.replace(endpoint, "systemd:domain=INET6:name=plain"))
        assert "another endpoint has this socket of systemd's" in refused
        assert refused.endswith(f"for {endpoint}, this change takes a restart")
        look()
        assert "Traceback" not in appliance.output()
    finally:
        appliance.stop()


def test_a_socket_that_was_given_up_before_an_upgrade(tmp_path: Path, application: Application) -> None:
    """The new process has only those that were in use: it says so, and HTTPS stays HTTPS."""
    appliance = configured(tmp_path, application)
    before = activated(appliance)
    other = before.replace("systemd:domain=INET6:index=0", f"tcp:{free_port()}:interface=127.0.0.1")
    successor = 0
    appliance.start()
    try:
        appliance.wait_for(lambda: (appliance.state_dir / "control.sock").exists())
        assert reload(appliance, other) == ""
        successor = int(act(appliance.state_dir, "upgrade", 60)["pid"])
        assert "after an upgrade, one that was not in use takes a restart" in reload(appliance, before)
        assert serial_of(appliance, "one.test", shared_authority().pem) is not None
        assert not speaks_http(appliance.https_port)
    finally:
        if successor:
            os.kill(successor, signal.SIGTERM)
            wait_for(lambda: not Path(f"/proc/{successor}").exists(), 15, "the end")
        appliance.stop()


def test_a_unix_socket_of_systemd(tmp_path: Path, application: Application) -> None:
    """Its file, which is systemd's, is as it was, from the first client to the end."""
    appliance, path = configured(tmp_path, application), tmp_path / "https.sock"
    text = appliance.config.read_text()
    tcp = f"tcp:{appliance.https_port}:interface=127.0.0.1"
    appliance.config.write_text(text.replace(tcp, "systemd:domain=UNIX:index=0"))
    appliance.arguments = [*ACTIVATE, "--fdname=secure", f"--listen={path}", *appliance.arguments]
    (tmp_path / "root.pem").write_bytes(shared_authority().pem)
    asked = ["curl", "-sS", "--fail", "--cacert", str(tmp_path / "root.pem"), "--unix-socket", str(path)]
    super(Appliance, appliance).start()
    try:
        appliance.wait_for(path.is_socket, 10, "the socket")
        before = path.stat()
        subprocess.run([*asked, "https://one.test/echo"], capture_output=True, timeout=60, check=True)
        assert appliance.stop() == 0
        assert path.stat().st_ctime_ns == before.st_ctime_ns
    finally:
        appliance.stop()


def test_sockets_that_systemd_did_not_pass(tmp_path: Path, application: Application) -> None:
    """That is said, and how to mend it."""
    appliance = configured(tmp_path, application)
    text = appliance.config.read_text()
    plain = f"tcp:{appliance.http_port}:interface=127.0.0.1"
    appliance.config.write_text(text.replace(plain, "systemd:domain=INET:index=0"))
    told = subprocess.run(appliance.arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert "cannot listen on systemd:domain=INET:index=0: systemd has passed no such socket" in told.stderr
    assert "Traceback" not in told.stderr


def test_exposure_of_the_unit() -> None:
    """systemd-analyze finds the service well shut in."""
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(ROOT / "etc/appliance.service")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.search(r"Overall exposure level for appliance.service: ([0-9.]+)", told)
    assert found is not None, told
    assert float(found[1]) <= 2.0


def test_units_are_good(tmp_path: Path) -> None:
    """systemd-analyze finds no key that it does not know."""
    for name in ("appliance.service", "appliance.socket"):
        text = (ROOT / "etc" / name).read_text()
        text = re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.MULTILINE)
        (tmp_path / name).write_text(text.replace("Documentation=man:appliance(1)\n", ""))
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.glob("appliance.*")))]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "appliance." not in told.stderr, told.stderr


def test_the_time_is_waited_for_where_somebody_sees_to_it() -> None:
    """The service starts after the clock was set, but has nobody set it: that would need the network."""
    unit = (ROOT / "etc" / "appliance.service").read_text()
    naming = [line.partition("=")[0] for line in unit.splitlines() if "time-sync.target" in line]
    assert naming == ["After"]
