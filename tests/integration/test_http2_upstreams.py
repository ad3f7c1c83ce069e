"""Application servers that speak HTTP/2: in clear, over TLS by ALPN, on a UNIX socket; and those that do not."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.appliance import ROOT, Appliance
from tests.support.applications import Application, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pattern import sha256
from tests.support.processes import free_port

ASGI = "tests.support.asgi_app:app"
NAMES = ("clear.test", "tls.test", "socket.test", "no.test", "no-tls.test")


def hypercorn(folder: Path, name: str, bind: str, *arguments: str | Path) -> Application:
    port = int(bind.rpartition(":")[2]) if not bind.startswith("unix:") else 0
    socket = Path(bind.removeprefix("unix:")) if bind.startswith("unix:") else None
    return Application(["hypercorn", ASGI, "--bind", bind, *arguments], folder, name, port, socket)


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("upstreams")
    root, pem = folder / "root.pem", folder / "localhost.pem"
    root.write_bytes(shared_authority().pem)
    pem.write_bytes(make_certificate(["localhost"]).to_pem())
    with ExitStack() as stack:
        start = stack.enter_context
        clear = start(hypercorn(folder, "clear", f"127.0.0.1:{free_port()}"))
        secure = start(hypercorn(folder, "tls", f"127.0.0.1:{free_port()}", "--certfile", pem, "--keyfile", pem))
        socket = start(hypercorn(folder, "socket", f"unix:{folder}/app.sock"))
        plain = start(uvicorn(folder))
        tls = free_port()
        arguments = ["--ssl-certfile", str(pem), "--ssl-keyfile", str(pem)]
        plain_tls = start(uvicorn(folder, port=tls, arguments=arguments))
        appliance = Appliance(folder)
        trust = f'http2 = true\nupstream_ca_file = "{root}"\n'
        tables = {
            "clear.test": f'upstream = "h2c://127.0.0.1:{clear.port}"\n',
            "tls.test": f'upstream = "https://localhost:{secure.port}"\n{trust}',
            "socket.test": f'upstream = "unix:{socket.socket}"\nhttp2 = true\n',
            "no.test": f'upstream = "h2c://127.0.0.1:{plain.port}"\n',
            "no-tls.test": f'upstream = "https://localhost:{plain_tls.port}"\n{trust}',
        }
        sites = "".join(f'[[site]]\nnames = ["{name}"]\n{table}' for name, table in tables.items())
        appliance.configure([], "https://127.0.0.1:1/directory", more=sites)
        for name in NAMES:
            appliance.keep(name, make_certificate([name]))
        start(appliance)
        yield appliance


def curl(appliance: Appliance, name: str, path: str, *arguments: str | Path, status: str = "200") -> str:
    """What curl gets over HTTP/2, the status being right."""
    port = appliance.https_port
    ended = subprocess.run(
        [
            *("curl", "-s", "--http2", "-w", "\n%{http_code}", "--max-time", "30"),
            *("--cacert", appliance.config.parent / "root.pem", "--resolve", f"{name}:{port}:127.0.0.1"),
            *(*arguments, f"https://{name}:{port}{path}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    body, _, got = ended.stdout.rpartition("\n")
    assert (ended.returncode, got) == (0, status), ended.stdout + ended.stderr
    return body


@pytest.mark.parametrize("name", NAMES[:3])
@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
def test_real_server(appliance: Appliance, name: str, version: str, tmp_path: Path) -> None:
    """A request with its fields, an upload, a large download."""
    echoed = json.loads(curl(appliance, name, "/echo?a=b", version, "-H", "X-One: 1"))
    fields = dict(echoed["headers"])
    assert fields["x-one"] == "1"
    assert fields["x-forwarded-proto"] == "https"
    upload = json.loads(curl(appliance, name, "/upload", version, "--data-binary", f"@{ROOT}/README.rst"))
    assert upload["length"] == (ROOT / "README.rst").stat().st_size
    target = tmp_path / "out"
    curl(appliance, name, "/download?size=5000000", version, "-o", target)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == sha256(5_000_000)


@pytest.mark.parametrize(
    ("name", "word"), [("no.test", "it speaks HTTP/1.1"), ("no-tls.test", "offered HTTP/2 (ALPN) it chose nothing")]
)
def test_no_http2(appliance: Appliance, name: str, word: str) -> None:
    """A server that speaks HTTP/1.1 where HTTP/2 was promised: 502, and the log says so."""
    curl(appliance, name, "/echo", status="502")
    appliance.wait_for(lambda: word in appliance.output(), 10, word)


def test_many_at_once(appliance: Appliance) -> None:
    """Hundreds of requests at once, all answered, over few connections."""
    port = appliance.https_port
    ended = subprocess.run(
        [
            *("h2load", "-n", "3000", "-c", "8", "-m", "40", f"--connect-to=127.0.0.1:{port}"),
            f"https://clear.test:{port}/echo",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3000 succeeded, 0 failed, 0 errored" in ended.stdout, ended.stdout
    assert "status codes: 3000 2xx" in ended.stdout
