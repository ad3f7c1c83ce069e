"""``appliance check-app``: its options."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from appliance.ops.commands.cli import main


class Application(BaseHTTPRequestHandler):
    """Keeps which hosts it was asked for."""

    hosts: set[str]

    def do_GET(self) -> None:
        self.hosts.add(self.headers["Host"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def application() -> Iterator[ThreadingHTTPServer]:
    """One that listens."""
    Application.hosts = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("option", ["--timeout", "--wait"])
@pytest.mark.parametrize("number", ["-1", "0", "nan", "inf", "1e30", "soon"])
def test_times(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What no clock can wait for is refused with the option's name."""
    with pytest.raises(SystemExit) as exit:
        main(["check-app", "http://127.0.0.1:1", f"{option}={number}"])
    assert exit.value.code == 2
    assert f"argument {option}: must be a number of seconds, above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "host"),
    [("127.0.0.1", "127.0.0.1"), ("2001:DB8::1", "[2001:db8::1]"), ("Z\u00fcri.example", "xn--zri-hoa.example")],
)
def test_names(name: str, host: str, application: ThreadingHTTPServer) -> None:
    """All that a site can be called, also an IP address, as a browser writes it into Host."""
    address = f"http://127.0.0.1:{application.server_address[1]}"
    main(["check-app", address, "--host", name, "--wait", "0.1"])
    assert Application.hosts == {host, "localhost"}
