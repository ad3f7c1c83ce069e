"""Real application servers with real applications, as upstreams: each listens on a free port or on a UNIX socket."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.support.processes import Program, accepts, free_port

ROOT = Path(__file__).parents[2]


class Application(Program):
    """An application server; ``upstream`` is how a configuration names it. Waits until it listens."""

    def __init__(
        self, arguments: Sequence[str | Path], folder: Path, name: str, port: int = 0, socket: Path | None = None
    ) -> None:
        """The log is ``name.log`` in ``folder``; it listens on ``port`` of 127.0.0.1, or on ``socket``."""
        super().__init__([sys.executable, "-m", *arguments], folder / f"{name}.log", folder=ROOT)
        self.port = port
        self.socket = socket
        self.upstream = f"unix:{socket}" if socket else f"http://127.0.0.1:{port}"

    def start(self) -> Self:
        """Start it, and return once it accepts connections."""
        super().start()
        self.wait_for(self._listens, 20, f"{self.upstream} accepting connections")
        return self

    def _listens(self) -> bool:
        return self.socket.is_socket() if self.socket else accepts(self.port)


def uvicorn(
    folder: Path,
    application: str = "tests.support.asgi_app:app",
    *,
    socket: Path | None = None,
    port: int = 0,
    arguments: Sequence[str] = (),
) -> Application:
    """Uvicorn, with FastAPI unless told otherwise; not started yet. ``port`` is for starting one again."""
    port = 0 if socket else port or free_port()
    place = ["--uds", str(socket)] if socket else ["--port", str(port)]
    command = ["uvicorn", application, *place, "--no-access-log", *arguments]
    return Application(command, folder, "uvicorn", port, socket)


def slow_begun(application: Application) -> int:
    """How many requests for ``/slow`` have reached `asgi_app` since it was started."""
    with urllib.request.urlopen(f"{application.upstream}/slow/begun", timeout=10) as answer:
        return int(answer.read())


def gunicorn(
    folder: Path,
    application: str = "tests.support.wsgi_app:plain",
    *,
    socket: Path | None = None,
    port: int = 0,
    arguments: Sequence[str] = (),
) -> Application:
    """Gunicorn with one threaded worker; ``flask_app`` and ``django_app`` are in the same module. Not started yet."""
    port = 0 if socket else port or free_port()
    place = f"unix:{socket}" if socket else f"127.0.0.1:{port}"
    command = ["gunicorn", application, "--bind", place, "--threads", "4", "--no-control-socket", *arguments]
    return Application(command, folder, "gunicorn", port, socket)
