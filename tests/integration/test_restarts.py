"""Applications that are restarted, or that close idle connections, while clients ask: none of them is to notice."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.appliance import Appliance
from tests.support.applications import Application, gunicorn, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.crowd import Crowd, repeated
from tests.support.processes import free_port

UNREACHABLE = "https://127.0.0.1:1/directory"
NAMES = ["asgi.test", "wsgi.test"]


def serving(folder: Path, asgi: Application, wsgi: Application, more: str = "") -> Appliance:
    """An appliance with stored certificates before both applications; not started yet."""
    appliance = Appliance(folder)
    sites = [(["asgi.test"], asgi.upstream), (["wsgi.test"], wsgi.upstream)]
    appliance.configure(sites, UNREACHABLE, more=more)
    for name in NAMES:
        appliance.keep(name, make_certificate([name]))
    return appliance


def crowd(appliance: Appliance, name: str) -> Crowd:
    """Clients of one of the sites."""
    return Crowd(appliance.https_port, name, shared_authority().pem)


@pytest.mark.parametrize("place", ["tcp", "unix"])
@pytest.mark.parametrize(("name", "server"), [("asgi.test", uvicorn), ("wsgi.test", gunicorn)])
def test_ten_restarts_under_load(tmp_path: Path, name: str, server: Callable[..., Application], place: str) -> None:
    """50 requests a second from 16 keep-alive clients, the application stopped and started ten times: all are 200.

    Each time it has answered before it is stopped: a Gunicorn that is told to end while it forks its worker hangs.
    """
    application = server(tmp_path, socket=tmp_path / "app.sock" if place == "unix" else None)
    with application, serving(tmp_path, application, application) as appliance:
        with crowd(appliance, name).asking(clients=16, per_second=50) as clients:
            for _ in range(10):
                expected = clients.answers["200"] + 20
                appliance.wait_for(lambda expected=expected: clients.answers["200"] > expected, 20)  # type: ignore[misc]
                application.stop()
                application.start()
            before = clients.answers["200"]
            appliance.wait_for(lambda: clients.answers["200"] > before + 50, 20)
        assert set(clients.answers) == {"200"}, appliance.output()
        assert clients.connections == 16
        assert "accepts connections again" in appliance.output()
        assert "Traceback" not in appliance.output()


def test_an_application_that_waits_for_a_connection(tmp_path: Path) -> None:
    """It forgot to close one when it was to end, and that is used on: let go, so that the application ends."""
    port = free_port()
    application = Application(["tests.support.forgetful", str(port)], tmp_path, "forgetful", port)
    with application, serving(tmp_path, application, application) as appliance:
        with crowd(appliance, "asgi.test").asking(clients=16, per_second=200) as clients:
            appliance.wait_for(lambda: clients.answers["200"] > 200, 20)
            assert application.stop() != -signal.SIGKILL
            application.start()
            before = clients.answers["200"]
            appliance.wait_for(lambda: clients.answers["200"] > before + 200, 20)
        assert set(clients.answers) == {"200"}, appliance.output()


@pytest.mark.parametrize("upstream_idle", [1.5, 60])
def test_the_keep_alive_boundary(tmp_path: Path, upstream_idle: float) -> None:
    """Requests spaced at the servers' keep-alive ± 50 ms, a thousand to each of both: no 502.

    With the default the appliance gives connections up before the servers do. With a longer time they race, and what
    is lost is sent once more.
    """
    chance = random.Random(20261122)
    with (
        uvicorn(tmp_path, arguments=["--timeout-keep-alive", "5"]) as asgi,
        gunicorn(tmp_path, arguments=["--keep-alive", "2"]) as wsgi,
        serving(tmp_path, asgi, wsgi, f"[timeouts]\nupstream_idle = {upstream_idle}\n") as appliance,
    ):
        slow, fast = crowd(appliance, "asgi.test"), crowd(appliance, "wsgi.test")
        together = ThreadPoolExecutor(2)
        for run in (
            together.submit(slow.run, [repeated(4, lambda: chance.uniform(4.95, 5.05)) for _ in range(200)]),
            together.submit(fast.run, [repeated(9, lambda: chance.uniform(1.95, 2.05)) for _ in range(100)]),
        ):
            run.result(120)
        assert (fast.answers, slow.answers) == ({"200": 1000}, {"200": 1000}), appliance.output()
        assert "Traceback" not in appliance.output()
