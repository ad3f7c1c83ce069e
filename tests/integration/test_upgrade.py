"""One process takes another's place: what clients see of it, which is nothing, and what becomes of both."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.ops.control.client import CommandFailedError, act
from tests.support.appliance import ROOT, Appliance, Load
from tests.support.applications import Application, uvicorn
from tests.support.certificates import shared_authority
from tests.support.generations import UNREACHABLE, Generations, alive
from tests.support.processes import free_port, wait_for
from tests.support.websocket import WebSocket, open_websocket


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


@pytest.fixture
def generations(tmp_path: Path, application: Application) -> Iterator[Generations]:
    made = Generations(tmp_path, application)
    yield made
    made.stop()


def websocket(opened: ExitStack, appliance: Appliance) -> WebSocket:
    """An open WebSocket through the appliance."""
    return opened.enter_context(open_websocket(appliance.https_port, shared_authority().pem))


def test_nobody_notices_three_upgrades(generations: Generations) -> None:
    """Eight request loops and twenty WebSockets, opened before and between: none fails, none is closed."""
    root = shared_authority().pem
    generations.start()
    appliance = generations.appliance
    with ExitStack() as opened:
        loops = [
            opened.enter_context(Load(appliance, "one.test", root, "/echo", keep_alive=bool(number % 2)))
            for number in range(8)
        ]
        sockets: list[WebSocket] = []
        for generation in range(3):
            sockets += [websocket(opened, appliance) for _ in range(7)]
            before = [loop.requests for loop in loops]
            generations.upgrade()
            wait_for(
                lambda before=before: all(  # type: ignore[misc]
                    loop.requests > count + 3 for loop, count in zip(loops, before, strict=True)
                ),
                20,
                "requests after the upgrade",
            )
            for number, each in enumerate(sockets):
                each.send(f"{generation} {number}")
                assert each.recv(5) == f"{generation} {number}"
        assert all(alive(pid) for pid in generations.pids)
        for loop in loops:
            loop.stop()
        assert [failure for loop in loops for failure in loop.failures] == []
    for pid in generations.pids[:-1]:
        wait_for(lambda pid=pid: not alive(pid), 15, f"the end of {pid}, whose WebSockets have ended")  # type: ignore[misc]
    assert alive(generations.pids[-1])
    assert "Traceback" not in appliance.output()


def refusal(generations: Generations) -> str:
    """Why an upgrade came to nothing."""
    with pytest.raises(CommandFailedError) as refused:
        act(generations.appliance.state_dir, "upgrade", 60)
    assert refused.value.status == 409
    return str(refused.value)


def test_a_new_process_that_cannot_start(generations: Generations) -> None:
    """A broken configuration, a taken port: the old process goes on as before, and says why."""
    generations.start()
    appliance = generations.appliance
    good = appliance.config.read_text()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Load(appliance, "one.test", shared_authority().pem, "/echo", keep_alive=True) as load,
    ):
        appliance.config.write_text("nonsense = 1\n" + good)
        assert "nonsense: " in refusal(generations)
        port = taken.getsockname()[1]
        appliance.config.write_text(good.replace('http = ["', f'http = ["tcp:{port}:interface=127.0.0.1", "'))
        told = refusal(generations)
        assert f"cannot listen on tcp:{port}:interface=127.0.0.1: the port is taken by another program" in told
        assert "goes on" in told
        assert generations.serving() == generations.pids[0]
        appliance.config.write_text(good)
        generations.upgrade()
        load.stop()
        assert load.failures == []
    assert "Traceback" not in appliance.output()


def test_one_at_a_time(generations: Generations) -> None:
    """While one upgrade is under way another is refused; a process that was replaced is not replaced again."""
    generations.start()
    appliance = generations.appliance
    answers: list[dict[str, object]] = []
    first = threading.Thread(target=lambda: answers.append(act(appliance.state_dir, "upgrade", 60)))
    first.start()
    appliance.wait_for(lambda: "upgrade: starting" in appliance.output(), 10, "the first upgrade")
    assert "is being replaced already" in refusal(generations)
    first.join(60)
    generations.pids.append(int(str(answers[0]["pid"])))
    assert generations.serving() == generations.pids[-1]


def test_by_signal_and_by_command(generations: Generations) -> None:
    """SIGUSR2 does the same; the command says who serves now."""
    generations.start()
    appliance = generations.appliance
    appliance.send(signal.SIGUSR2)
    wait_for(lambda: generations.serving() not in (0, generations.pids[0]), 30, "the new process")
    generations.pids.append(generations.serving())
    assert appliance.wait(10) == 0
    command = [sys.executable, "-m", "appliance", "upgrade", "--config", str(appliance.config), "--json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    generations.pids.append(json.loads(told)["pid"])
    assert json.loads(told) == {"replaced": generations.pids[1], "pid": generations.pids[2]}
    lock = appliance.state_dir / "lock"
    assert int(lock.read_text()) == generations.pids[2]


def test_metrics_and_the_order_of_things(tmp_path: Path, application: Application) -> None:
    """The metrics' listener goes with the rest, over TCP and UNIX sockets; a second process without this is refused."""
    port = free_port()
    path = tmp_path / "metrics.sock"
    listen = f'["tcp:{port}:interface=127.0.0.1", "unix:{path}:mode=660"]'
    generations = Generations(tmp_path, application, f"[metrics]\nlisten = {listen}\n")
    try:
        generations.start()
        for _ in range(2):
            for arguments in (
                [f"http://127.0.0.1:{port}/metrics"],
                ["--unix-socket", path, "http://localhost/metrics"],
            ):
                asked = ["curl", "-sS", "--fail", *map(str, arguments)]
                told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
                assert "appliance_build_info" in told
            assert path.stat().st_mode & 0o777 == 0o660
            generations.upgrade()
        second = Appliance(tmp_path / "second")
        (tmp_path / "second").mkdir()
        second.configure([(["one.test"], application.upstream)], UNREACHABLE)
        second.config.write_text(
            second.config.read_text().replace(str(second.state_dir), str(generations.appliance.state_dir))
        )
        refused = subprocess.run(second.arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert f"another appliance, process {generations.pids[-1]}, runs with state_dir" in refused.stderr
    finally:
        generations.stop()


def test_a_unix_listener_after_an_upgrade(generations: Generations, tmp_path: Path) -> None:
    """It can be taken away and put back while the first process has a client; at the end nothing is left of it."""
    appliance, path = generations.appliance, tmp_path / "https.sock"
    without, tcp = appliance.config.read_text(), f'"tcp:{appliance.https_port}:interface=127.0.0.1"'
    listening = without.replace(tcp, f'{tcp}, "unix:{path}"')
    appliance.config.write_text(listening)
    generations.start()
    with ExitStack() as opened:
        websocket(opened, appliance)
        generations.upgrade()
        for configuration in (without, listening):
            appliance.config.write_text(configuration)
            act(appliance.state_dir, "reload", 60)
        (tmp_path / "root.pem").write_bytes(shared_authority().pem)
        asked = ["curl", "-sS", "--fail", "--cacert", str(tmp_path / "root.pem"), "--unix-socket", str(path)]
        subprocess.run([*asked, "https://one.test/echo"], capture_output=True, timeout=60, check=True)
        assert alive(generations.pids[0])
    generations.stop()
    assert list(tmp_path.glob("https.sock*")) == []


def test_a_unix_listener_after_a_crash(generations: Generations, tmp_path: Path) -> None:
    """What was left of it keeps nobody from starting; a second process at the same name is refused."""
    appliance, path = generations.appliance, tmp_path / "https.sock"
    tcp = f'"tcp:{appliance.https_port}:interface=127.0.0.1"'
    appliance.config.write_text(appliance.config.read_text().replace(tcp, f'{tcp}, "unix:{path}"'))
    appliance.start()
    appliance.kill()
    assert path.is_socket()
    path.with_name("https.sock.lock").symlink_to(str(os.getpid()))  # of a process whose number is somebody's again
    appliance.start()
    (tmp_path / "second").mkdir()
    second = Appliance(tmp_path / "second").configure([(["one.test"], "http://127.0.0.1:9")], UNREACHABLE)
    tcp = f'"tcp:{second.https_port}:interface=127.0.0.1"'
    second.config.write_text(second.config.read_text().replace(tcp, f'"unix:{path}"'))
    refused = subprocess.run(second.arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"cannot listen on unix:{path}: another program listens there (find it with: ss -lxp)" in refused.stderr
