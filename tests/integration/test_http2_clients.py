"""HTTP/2 as real clients speak it: curl, nghttp, h2load, Chromium, httpx's h2 and clients of any ALPN order."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.appliance import Appliance
from tests.support.applications import Application, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pattern import sha256

MIB = 1 << 20


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, application: Application) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("appliance")
    names = ["one.test", "www.one.test"]
    appliance = Appliance(folder)
    appliance.configure(
        [(names, application.upstream), (["two.test"], application.upstream)], "https://127.0.0.1:1/directory"
    )
    appliance.keep("one.test", make_certificate(names))
    appliance.keep("two.test", make_certificate(["two.test"]))
    with appliance:
        yield appliance


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(shared_authority().pem)
    return path


def run(*command: str | Path, seconds: float = 60) -> str:
    """A client's standard output; it must end well."""
    assert shutil.which(str(command[0])), f"{command[0]} is not installed"
    ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def curl(appliance: Appliance, root: Path, path: str, *options: str | Path, name: str = "one.test") -> str:
    """curl's output, which begins with the HTTP version that was spoken."""
    port = appliance.https_port
    resolve = [part for each in ("one.test", "two.test") for part in ("--resolve", f"{each}:{port}:127.0.0.1")]
    shown = ("-w", "%{stderr}%{http_version} %{http_code} %{num_connects}\\n")
    command = ["curl", "-sS", "--cacert", root, *resolve, *shown, *options, f"https://{name}:{port}{path}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr + ended.stdout


def test_refused_at_once(appliance: Appliance, root: Path) -> None:
    """A small form is answered before it has come: curl shows the answer, each time."""
    with ThreadPoolExecutor(8) as clients:
        asked = clients.map(lambda _: curl(appliance, root, "/echo", "-d", "x", "-H", "Host: other.test"), range(80))
        assert {each.split()[1] for each in asked} == {"404"}


def connect(appliance: Appliance, protocols: list[str], name: str = "one.test") -> ssl.SSLSocket:
    context = ssl.create_default_context(cadata=shared_authority().pem.decode())
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", appliance.https_port), 10), server_hostname=name)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["h2", "http/1.1"], "h2"),
        (["http/1.1", "h2"], "h2"),
        (["h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["h3", "h2", "http/1.1"], "h2"),
        (["http/1.0", "http/1.1"], "http/1.1"),
        ([], None),
    ],
)
def test_alpn(appliance: Appliance, offered: list[str], chosen: str | None) -> None:
    """HTTP/2 for all who can, however they order what they offer; HTTP/1.1 for the rest, and it is what they get."""
    with connect(appliance, offered) as connection:
        assert connection.selected_alpn_protocol() == chosen
        if chosen == "h2":
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert connection.recv(9)[3] == 4
        else:
            connection.sendall(b"GET /echo HTTP/1.1\r\nHost: one.test\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_curl(appliance: Appliance, root: Path) -> None:
    """A request, an upload, a large download, and HTTP/1.1 beside it."""
    answer = curl(appliance, root, "/echo?a=b", "-H", "Cookie: a=1; b=2")
    assert answer.startswith("2 200")
    echoed = json.loads(answer.partition("\n")[2])
    assert echoed["url"] == f"https://one.test:{appliance.https_port}/echo?a=b"
    assert dict(echoed["headers"])["cookie"] == "a=1; b=2"
    uploaded = curl(appliance, root, "/upload", "--data-binary", f"@{root}")
    assert json.loads(uploaded.partition("\n")[2])["length"] == root.stat().st_size
    assert curl(appliance, root, "/echo", "--http1.1").startswith("1.1 200")
    assert curl(appliance, root, "/echo", "-X", "HEAD", "-I").startswith("2 200")


def test_curl_many_at_once(appliance: Appliance, root: Path) -> None:
    """Downloads side by side over one connection, each whole."""
    output = curl(
        appliance, root, "/download?size=3000000&n=[1-12]", "-Z", "--parallel-immediate", "-o", root.parent / "#1.out"
    )
    assert output.count("2 200") == 12
    for number in range(1, 13):
        digest = hashlib.sha256((root.parent / f"{number}.out").read_bytes()).hexdigest()
        assert digest == sha256(3_000_000)


def test_another_site_on_the_connection_of_the_first(appliance: Appliance, root: Path) -> None:
    """A certificate's other names are served on it; a site of another certificate is misdirected there (421)."""
    with connect(appliance, ["h2"]) as plain:
        client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        client.initiate_connection()
        for stream, name in ((1, "one.test"), (3, "www.one.test"), (5, "two.test"), (7, "three.test")):
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", name), (":path", "/echo")]
            client.send_headers(stream, fields, end_stream=True)
        plain.sendall(client.data_to_send())
        statuses: dict[int, str] = {}
        while len(statuses) < 4:
            for event in client.receive_data(plain.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers)[":status"]  # type: ignore[index,arg-type,assignment]
    assert statuses == {1: "200", 3: "200", 5: "421", 7: "404"}


def test_nghttp(appliance: Appliance) -> None:
    """nghttp, which shows every frame: priorities, padding, CONTINUATION, an upload with trailers."""
    output = run(
        *("nghttp", "-v", "--continuation", "--padding=100", "--trailer", "sum: 1", "-d", __file__),
        *("-H", ":authority: one.test", f"https://localhost:{appliance.https_port}/upload"),
    )
    assert ":status: 200" in output
    assert f'"length":{Path(__file__).stat().st_size}' in output
    assert "SETTINGS_MAX_CONCURRENT_STREAMS(0x03):128" in output


def test_h2load(appliance: Appliance) -> None:
    """Thousands of requests, many at once: all succeed."""
    port = appliance.https_port
    output = run(
        *("h2load", "-n", "3000", "-c", "8", "-m", "32", f"--connect-to=127.0.0.1:{port}"),
        f"https://one.test:{port}/echo",
    )
    assert "3000 succeeded, 0 failed, 0 errored" in output
    assert "status codes: 3000 2xx" in output


def test_chromium(appliance: Appliance, tmp_path: Path) -> None:
    """A browser: the page says by which protocol it came."""
    log = tmp_path / "net.json"
    port = appliance.https_port
    output = run(
        *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"),
        *(f"--user-data-dir={tmp_path}/profile", f"--log-net-log={log}", "--dump-dom", "--timeout=20000"),
        *(f"--host-resolver-rules=MAP one.test 127.0.0.1:{port}", f"https://one.test:{port}/echo?from=chromium"),
        seconds=90,
    )
    assert "from=chromium" in output
    recorded = json.loads(log.read_text())
    sent = recorded["constants"]["logEventTypes"]["HTTP2_SESSION_SEND_HEADERS"]
    assert [event for event in recorded["events"] if event["type"] == sent], "the browser did not speak HTTP/2"


def test_websocket_in_chromium(appliance: Appliance, tmp_path: Path) -> None:
    """A browser that has an HTTP/2 connection opens its WebSocket on it (RFC 8441)."""
    log = tmp_path / "net.json"
    port = appliance.https_port
    page = tmp_path / "page.html"
    page.write_text(
        f"""<body><img src="https://one.test:{port}/slow?seconds=4"><script>
        const say = text => document.body.append(text);
        fetch("https://one.test:{port}/echo", {{mode: "no-cors"}}).then(() => {{
            const socket = new WebSocket("wss://one.test:{port}/ws");
            socket.onopen = () => socket.send("over HTTP/2");
            socket.onmessage = message => {{ say("echo: " + message.data); socket.close(); }};
            socket.onerror = () => say("error");
        }});
        </script>"""  # the page is shown when it is complete: the slow picture gives the rest its time
    )
    output = run(
        *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"),
        *(f"--user-data-dir={tmp_path}/profile", f"--log-net-log={log}", "--net-log-capture-mode=IncludeSensitive"),
        *(f"--host-resolver-rules=MAP one.test 127.0.0.1:{port}", "--timeout=30000", "--dump-dom", f"file://{page}"),
        seconds=90,
    )
    assert "echo: over HTTP/2" in output
    recorded = json.loads(log.read_text())
    sent = recorded["constants"]["logEventTypes"]["HTTP2_SESSION_SEND_HEADERS"]
    heads = [event["params"]["headers"] for event in recorded["events"] if event["type"] == sent]
    assert any(":protocol: websocket" in head for head in heads), heads
