"""``workers = 2`` and more, with real processes: what clients see of it, which is one service."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from appliance.ops.control.client import CommandFailedError, NotRunningError, act, ask
from tests.support.appliance import Appliance, Load, serial_of
from tests.support.applications import Application, slow_begun, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pebble import running_pebble
from tests.support.processes import free_port, wait_for
from tests.support.websocket import WebSocket, open_websocket

UNREACHABLE = "https://127.0.0.1:1/directory"


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


class Crew:
    """An appliance of several processes."""

    def __init__(self, folder: Path, application: Application, size: int = 2, more: str = "") -> None:
        self.appliance = Appliance(folder).configure([(["one.test"], application.upstream)], UNREACHABLE, more=more)
        self.appliance.config.write_text(f"workers = {size}\n{self.appliance.config.read_text()}")
        self.appliance.keep("one.test", make_certificate(["one.test"]))
        self.size = size

    def listen_at(self, path: Path) -> None:
        """Take clients at a UNIX socket as well; before the start."""
        text, tcp = self.appliance.config.read_text(), f'"tcp:{self.appliance.https_port}:interface=127.0.0.1"'
        self.appliance.config.write_text(text.replace(tcp, f'{tcp}, "unix:{path}"'))

    def __enter__(self) -> Crew:
        self.appliance.start()
        self.wait_until_complete()
        return self

    def __exit__(self, *_: object) -> None:
        self.appliance.stop()

    def status(self) -> dict[str, Any]:
        """What the command is told; nothing while nobody answers."""
        with suppress(NotRunningError, CommandFailedError):
            return ask(self.appliance.state_dir, "status")
        return {}

    def workers(self) -> list[int]:
        """The processes beside the main one."""
        return [each["pid"] for each in self.status().get("workers", {}).get("processes", ())]

    def wait_until_complete(self) -> None:
        """Return once all serve."""
        self.appliance.wait_for(
            lambda: self.status().get("workers", {}).get("serving") == self.size, 20, "all workers serving"
        )

    def websockets(self, opened: ExitStack, count: int) -> list[WebSocket]:
        """So many, to whichever process takes them."""
        root, port = shared_authority().pem, self.appliance.https_port
        return [opened.enter_context(open_websocket(port, root)) for _ in range(count)]

    def serials(self, name: str = "one.test", root: bytes = b"") -> set[int | None]:
        """What each of many handshakes shows."""
        return {serial_of(self.appliance, name, root or shared_authority().pem) for _ in range(24)}

    def each_process_was_asked(self) -> bool:
        """Whether each has accepted a client by now: connections of both are held open."""
        return all(self.connections())

    def connections(self) -> list[int]:
        """How many clients each worker has."""
        return [each["connections"] for each in self.status()["workers"]["processes"]]


def alive(pid: int) -> bool:
    """Whether this process runs."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def echoes(each: WebSocket) -> bool:
    """Whether a WebSocket still answers."""
    try:
        each.send("there?")
        return each.recv(5) == "there?"
    except ConnectionClosed:
        return False


def test_one_process_is_one_process(tmp_path: Path, application: Application) -> None:
    """Without the key there is nobody else, and nothing is said of workers."""
    crew = Crew(tmp_path, application, 1)
    crew.appliance.start()
    with crew.appliance:
        crew.appliance.wait_for(crew.status, 10, "status")
        assert "workers" not in crew.status()
        children = Path(f"/proc/{crew.appliance.pid}/task/{crew.appliance.pid}/children").read_text()
        assert children == ""


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_clients_are_spread(tmp_path: Path, application: Application, kind: str) -> None:
    """Three processes take clients in turns: none has all the long-lived connections."""
    crew, path = Crew(tmp_path, application, 3), tmp_path / "https.sock"
    crew.listen_at(path)
    context = ssl.create_default_context(cadata=shared_authority().pem.decode())
    with crew, ExitStack() as opened:
        for _ in range(30):
            if kind == "tcp":
                client = socket.create_connection(("127.0.0.1", crew.appliance.https_port), 10)
            else:
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(path))
            opened.enter_context(context.wrap_socket(client, server_hostname="one.test"))
        wait_for(lambda: all(6 <= count <= 14 for count in crew.connections()), 10, "ten for each, or so")


def test_a_killed_worker_is_replaced(tmp_path: Path, application: Application) -> None:
    """SIGKILL breaks its connections, and no others; new ones are accepted all the while."""
    root = shared_authority().pem
    with Crew(tmp_path, application) as crew, ExitStack() as opened:
        sockets = crew.websockets(opened, 24)
        wait_for(crew.each_process_was_asked, 10, "both processes with connections")
        (victim,) = crew.workers()
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        while crew.workers() in ([], [victim]):
            assert serial_of(crew.appliance, "one.test", root) is not None
        crew.wait_until_complete()
        assert time.monotonic() - began < 15
        assert 0 < sum(map(echoes, sockets)) < len(sockets)
        with Load(crew.appliance, "one.test", root, "/echo", keep_alive=False) as load:
            wait_for(lambda: load.requests > 50, 20, "requests")
        assert load.failures == []
        assert crew.status()["workers"]["replaced"] == 1
        assert f"worker {victim} has ended (signal 9)" in crew.appliance.output()
        assert "Traceback" not in crew.appliance.output()


def test_workers_end_with_the_main_process(tmp_path: Path, application: Application) -> None:
    """Killed, it leaves nobody behind: who restarts it finds the ports free."""
    with Crew(tmp_path, application, 3) as crew:
        workers = crew.workers()
        assert len(workers) == 2
        os.kill(crew.appliance.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(alive, workers)), 10, "the end of the workers")


def test_everybody_is_let_go_in_good_order(tmp_path: Path, application: Application) -> None:
    """SIGTERM to all processes, as systemd sends it: slow answers arrive whole, WebSockets are told; status 0."""
    with Crew(tmp_path, application) as crew, ExitStack() as opened:
        sockets = crew.websockets(opened, 16)
        wait_for(crew.each_process_was_asked, 10, "both processes with connections")
        answers: list[int] = []

        def ask_slowly() -> None:
            with crew.appliance.client("one.test", shared_authority().pem) as client:
                answers.append(len(client.get("/slow?seconds=2").read()))

        before = slow_begun(application)
        asking = [threading.Thread(target=ask_slowly) for _ in range(8)]
        for thread in asking:
            thread.start()
        workers = crew.workers()
        wait_for(lambda: slow_begun(application) == before + 8, 10, "all requests under way")
        for pid in (crew.appliance.pid, *workers):
            os.kill(pid, signal.SIGTERM)
        for each in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                each.recv(10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        for thread in asking:
            thread.join(20)
        assert len(answers) == 8
        assert all(answers)
        assert crew.appliance.wait(20) == 0
        assert not any(map(alive, workers))
        assert "Traceback" not in crew.appliance.output()


def test_a_worker_that_hangs_is_not_waited_for(tmp_path: Path, application: Application) -> None:
    """The service ends in the time that it has, and leaves nobody behind."""
    crew = Crew(tmp_path, application)
    crew.appliance.config.write_text(f"drain_timeout = 1\n{crew.appliance.config.read_text()}")
    with crew:
        (worker,) = crew.workers()
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        crew.appliance.send(signal.SIGTERM)
        assert crew.appliance.wait(30) == 0
        assert time.monotonic() - began < 15
        wait_for(lambda: not alive(worker), 10, "the end of the worker")
        assert "Traceback" not in crew.appliance.output()


def test_unix_sockets(tmp_path: Path, application: Application) -> None:
    """A listener of that kind is shared as well, and keeps its name for as long as the service runs."""
    crew, path = Crew(tmp_path, application), tmp_path / "https.sock"
    crew.listen_at(path)
    root = tmp_path / "root.pem"
    root.write_bytes(shared_authority().pem)
    asked = ["curl", "-sS", "--fail", "--cacert", root, "--unix-socket", path, "https://one.test/echo"]
    with crew:
        for _ in range(2):
            for _ in range(6):
                subprocess.run(asked, capture_output=True, timeout=20, check=True)
            (victim,) = crew.workers()
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: crew.workers() not in ([], [victim]), 10, "the next worker")  # type: ignore[misc]
            crew.wait_until_complete()
        assert path.is_socket()
        crew.appliance.send(signal.SIGTERM)
        assert crew.appliance.wait(20) == 0
        assert not path.exists()


def test_reload(tmp_path: Path, application: Application) -> None:
    """A new site, a new listener, one that goes: in all processes when the command returns; nothing is dropped."""
    root = shared_authority().pem
    with Crew(tmp_path, application, 3) as crew, ExitStack() as opened:
        sockets = crew.websockets(opened, 24)
        load = opened.enter_context(Load(crew.appliance, "one.test", root, "/echo", keep_alive=True))
        workers = crew.workers()
        crew.appliance.keep("two.test", make_certificate(["two.test"]))
        text, port = crew.appliance.config.read_text(), free_port()
        old = f'"tcp:{crew.appliance.https_port}:interface=127.0.0.1"'
        new = f'"tcp:{port}:interface=127.0.0.1"'
        changed = text.replace(old, f"{old}, {new}")
        changed += f'[[site]]\nnames = ["two.test"]\nupstream = "{application.upstream}"\n'
        crew.appliance.config.write_text(changed)
        assert act(crew.appliance.state_dir, "reload", 30)["added"] == ["two.test"]
        assert None not in crew.serials("two.test")
        first_port, crew.appliance.https_port = crew.appliance.https_port, port
        assert None not in crew.serials("two.test")
        crew.appliance.config.write_text(changed.replace(f"{old}, ", ""))
        load.stop()
        act(crew.appliance.state_dir, "reload", 30)
        for _ in range(12):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", first_port)).close()
        assert None not in crew.serials("one.test")
        assert load.failures == []
        assert all(map(echoes, sockets))
        assert crew.workers() == workers
        crew.appliance.config.write_text(changed.replace("workers = 3", "workers = 2"))
        with pytest.raises(CommandFailedError, match="workers: cannot be changed"):
            act(crew.appliance.state_dir, "reload", 30)
        assert "Traceback" not in crew.appliance.output()


def test_maintenance(tmp_path: Path, application: Application) -> None:
    """The switch is one switch, for workers that come later, too."""
    with Crew(tmp_path, application) as crew:
        act(crew.appliance.state_dir, "maintenance", 30, site="one.test", on=True)
        assert statuses(crew) == {503}
        (victim,) = crew.workers()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: crew.workers() not in ([], [victim]), 10, "the next worker")
        crew.wait_until_complete()
        assert statuses(crew) == {503}
        act(crew.appliance.state_dir, "maintenance", 30, site="one.test", on=False)
        assert statuses(crew) == {200}


def statuses(crew: Crew) -> set[int]:
    """What many connections get."""
    found = set()
    for _ in range(24):
        with crew.appliance.client("one.test", shared_authority().pem) as client:
            found.add(client.get("/echo").status)
    return found


def test_figures_are_of_all_processes(tmp_path: Path, application: Application) -> None:
    """Requests, connections, lines of the access log: none is missing, none is there twice, nor after a crash."""
    port, lines = free_port(), tmp_path / "access.log"
    more = f'[metrics]\nlisten = ["tcp:{port}:interface=127.0.0.1"]\n[access_log]\nfile = "{lines}"\n'
    with Crew(tmp_path, application, 2, more) as crew:

        def metric(name: str) -> float:
            asked = ["curl", "-sS", "--fail", f"http://127.0.0.1:{port}/metrics"]
            told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
            return sum(float(line.split()[-1]) for line in told.splitlines() if line.startswith(f"appliance_{name}"))

        assert statuses(crew) == {200}
        wait_for(lambda: metric('requests_total{code="200"') == 24, 10, "all requests counted")
        wait_for(lambda: lines.read_text().count("\n") == 24, 10, "all lines")
        (victim,) = crew.workers()
        wait_for(lambda: crew.status()["workers"]["processes"][0]["connections"] == 0, 10, "a report")
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: crew.workers() not in ([], [victim]), 10, "the next worker")
        crew.wait_until_complete()
        assert statuses(crew) == {200}
        wait_for(lambda: metric('requests_total{code="200"') == 48, 10, "all requests counted")
        wait_for(lambda: lines.read_text().count("\n") == 48, 10, "all lines")
        assert all(json.loads(line)["status"] == 200 for line in lines.read_text().splitlines())
        assert metric("workers ") == 2
        assert metric("worker_crashes_total") == 1
        assert metric('connections_accepted_total{listener="https"}') >= 48
        lines.rename(tmp_path / "access.log.1")
        crew.appliance.send(signal.SIGUSR1)
        assert statuses(crew) == {200}
        wait_for(lambda: lines.exists() and lines.read_text().count("\n") == 24, 10, "lines in the new file")


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_renewed_by_pebble_under_load(tmp_path: Path, application: Application, challenge: str) -> None:
    """Whichever process the CA's connections reach answers; when it is renewed, all have the new certificate."""
    crew = Crew(tmp_path, application, 3)
    http_port = crew.appliance.http_port if challenge == "http-01" else free_port()
    tls_port = crew.appliance.https_port if challenge == "tls-alpn-01" else free_port()
    with running_pebble(http_port, tls_port=tls_port, validity=20, authorization_reuse=0) as pebble:
        names = [f"{letter}.test" for letter in "abcdef"]
        crew.appliance.configure([(names, application.upstream)], pebble.directory_url, pebble.ca_file)
        text = f'workers = 3\n{crew.appliance.config.read_text()}challenge = "{challenge}"\n'
        crew.appliance.config.write_text(text)
        with crew:
            root = pebble.root()
            first = crew.appliance.wait_for(lambda: serial_of(crew.appliance, "a.test", root), 30, "certified")
            assert crew.serials("a.test", root) == {first}
            with Load(crew.appliance, "a.test", root, "/echo", keep_alive=False) as load:
                crew.appliance.wait_for(
                    lambda: serial_of(crew.appliance, "b.test", root) not in (None, first), 30, "renewed"
                )
                assert first not in crew.serials("a.test", root)
            assert load.failures == []
            output = crew.appliance.output()
            assert "Traceback" not in output
            assert "but a handshake" not in output
            assert "no certificate for" not in output


def test_upgrade(tmp_path: Path, application: Application) -> None:
    """The new main process brings workers, whose errors are seen; the old ones end with their last WebSocket."""
    root = shared_authority().pem
    with Crew(tmp_path, application) as crew:
        pid = 0
        try:
            with ExitStack() as opened:
                sockets = crew.websockets(opened, 16)
                (before,) = crew.workers()
                with Load(crew.appliance, "one.test", root, "/echo", keep_alive=False) as load:
                    pid = int(act(crew.appliance.state_dir, "upgrade", 60)["pid"])
                    wait_for(lambda: crew.status().get("pid") == pid, 10, "the new process")
                    crew.wait_until_complete()
                    requests = load.requests
                    wait_for(lambda: load.requests > requests + 20, 20, "requests after the upgrade")
                assert load.failures == []
                assert all(map(echoes, sockets))
                assert alive(before)
                (after,) = crew.workers()
                assert after != before
                assert os.readlink(f"/proc/{after}/fd/2") == str(crew.appliance.log)
            wait_for(lambda: not alive(before), 20, "the end of the old worker")
            assert crew.appliance.wait(20) == 0
        finally:
            if pid:
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not alive(pid), 20, "the end")
        assert "Traceback" not in crew.appliance.output()
