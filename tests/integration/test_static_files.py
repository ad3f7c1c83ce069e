"""Static files, compression and error pages through the whole, as curl and Python's client see them; a Django site."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from tests.support.appliance import Appliance
from tests.support.applications import ROOT, Application, gunicorn, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import free_port

SCRIPT = b"function a(b) { return b + 1; }\n" * 5000
LARGE = os.urandom(1 << 20) * 40
PAGES = {"502.html": "<p>our page {status} {request_id}", "error.json": '{"ours": "{request_id}"}'}
HTTP = ["--http1.1", "--http2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is served."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.html").write_text("<p>docs")
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "packed.js").write_bytes(SCRIPT)
    (folder / "packed.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "packed.js.zst").write_bytes(zstandard.compress(SCRIPT))
    (folder / "large.bin").write_bytes(LARGE)
    (folder / ".env").write_text("secret")
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "spa.html").write_text("<p>spa")
    return folder


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """Behind the rest of the site."""
    with uvicorn(tmp_path_factory.mktemp("application")) as application:
        yield application


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, application: Application, files: Path) -> Iterator[Appliance]:
    """Files beside an application, both compressed; pages of its own; an access log."""
    folder = tmp_path_factory.mktemp("appliance")
    errors = folder / "errors"
    errors.mkdir()
    for name, text in PAGES.items():
        (errors / name).write_text(text)
    appliance = Appliance(folder)
    log = f'[access_log]\nfile = "{folder}/access.log"\n'
    appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory", more=log)
    routes = f"""
compress = true
[[site.route]]
path = "/static"
compress = false
root = {{ folder = "{files}", cache_control = "max-age=60" }}
[[site.route]]
path = "/squeezed"
root = "{files}"
[[site.route]]
path = "/spa"
root = {{ folder = "{files}", fallback = "spa.html" }}
[[site.route]]
path = "/nobody"
upstream = "http://127.0.0.1:{free_port()}"
try_for = 0
"""
    appliance.config.write_text(f'error_pages = "errors"\n{appliance.config.read_text()}{routes}')
    appliance.keep("one.test", make_certificate(["one.test"]))
    with appliance:
        yield appliance


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority's certificate."""
    path = tmp_path_factory.mktemp("root") / "root.pem"
    path.write_bytes(shared_authority().pem)
    return path


class Answer:
    """What curl got: status, fields (names in lower case) and body."""

    def __init__(self, head: str, body: bytes) -> None:
        lines = head.strip().split("\n")
        self.status = int(lines[0].split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = body


def curl(appliance: Appliance, root: Path, path: str, *options: str) -> Answer:
    """One request; ``path`` is sent as it stands."""
    head = appliance.config.with_name("head")
    port = appliance.https_port
    command = ["curl", "-sS", "--path-as-is", "--cacert", root, "--resolve", f"one.test:{port}:127.0.0.1", "-D", head]
    ended = subprocess.run(
        [*command, *options, f"https://one.test:{port}{path}"], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return Answer(head.read_text().replace("\r\n", "\n"), ended.stdout)


@pytest.mark.parametrize("http", HTTP)
def test_whole_and_conditional(appliance: Appliance, root: Path, http: str) -> None:
    """A file, what is said of it, and that it need not be sent again."""
    answer = curl(appliance, root, "/static/app.js", http)
    assert (answer.status, answer.body) == (200, SCRIPT)
    assert answer.fields["content-type"] == "text/javascript; charset=utf-8"
    assert answer.fields["cache-control"] == "max-age=60"
    assert answer.fields["content-length"] == str(len(SCRIPT))
    for condition in (
        f"If-None-Match: {answer.fields['etag']}",
        f"If-Modified-Since: {answer.fields['last-modified']}",
    ):
        again = curl(appliance, root, "/static/app.js", http, "-H", condition)
        assert (again.status, again.body, again.fields["etag"]) == (304, b"", answer.fields["etag"])
    head = curl(appliance, root, "/static/app.js", http, "--head")
    assert (head.status, head.fields["content-length"]) == (200, str(len(SCRIPT)))


@pytest.mark.parametrize("http", HTTP)
def test_large(appliance: Appliance, root: Path, http: str) -> None:
    """A large file in whole, in parts, and to a client that takes its time: without being kept in memory."""
    before = appliance.resident()
    digest = hashlib.sha256(LARGE).digest()
    assert hashlib.sha256(curl(appliance, root, "/static/large.bin", http).body).digest() == digest
    middle = curl(appliance, root, "/static/large.bin", http, "-r", "1000000-30000000")
    assert (middle.status, middle.body == LARGE[1000000:30000001]) == (206, True)
    assert middle.fields["content-range"] == f"bytes 1000000-30000000/{len(LARGE)}"
    assert curl(appliance, root, "/static/large.bin", http, "-r", "-5").body == LARGE[-5:]
    several = curl(appliance, root, "/static/large.bin", http, "-r", "0-9,100-109")
    assert several.status == 206
    assert LARGE[:10] in several.body
    assert LARGE[100:110] in several.body
    assert len(several.body) == int(several.fields["content-length"])
    slow = curl(appliance, root, "/static/large.bin", http, "--limit-rate", "20M")
    assert hashlib.sha256(slow.body).digest() == digest
    assert appliance.resident() - before < 20_000_000


def test_resumed(appliance: Appliance, root: Path, tmp_path: Path) -> None:
    """curl goes on with a download that was broken off."""
    part = tmp_path / "part"
    part.write_bytes(LARGE[:12_345_678])
    curl(appliance, root, "/static/large.bin", "-C", "-", "-o", str(part))
    assert hashlib.sha256(part.read_bytes()).digest() == hashlib.sha256(LARGE).digest()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2fetc/passwd",
        "/static//etc/passwd",
        "/static/secret",
        "/static/.env",
        "/static/%2eenv",
        "/static/nothing",
        "/static/docs/..",
        "/static/app.js/",
        "/static/app.js%00.html",
    ],
)
def test_not_served(appliance: Appliance, root: Path, path: str) -> None:
    """Nothing outside, nothing hidden."""
    answer = curl(appliance, root, path)
    assert answer.status == 404
    assert b"root:" not in answer.body


def test_folders_methods_and_fallback(appliance: Appliance, root: Path) -> None:
    """A folder's slash and its index; 405; an application of one page."""
    answer = curl(appliance, root, "/static/docs?x")
    assert (answer.status, answer.fields["location"]) == (308, "/static/docs/?x")
    assert curl(appliance, root, "/static/docs/").body == b"<p>docs"
    answer = curl(appliance, root, "/static/app.js", "-d", "x")
    assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
    assert curl(appliance, root, "/spa/users/7", "-H", "Accept: text/html").body == b"<p>spa"
    assert curl(appliance, root, "/spa/missing.js").status == 404


@pytest.mark.parametrize(("encoding", "etag"), [("gzip", "-gzip"), ("zstd", "-zstd"), ("identity", "")])
def test_packed_before(appliance: Appliance, root: Path, encoding: str, etag: str) -> None:
    """What is beside the file is sent, as it is."""
    answer = curl(appliance, root, "/static/packed.js", "--compressed", "-H", f"Accept-Encoding: {encoding}")
    assert answer.body == SCRIPT
    assert answer.fields.get("content-encoding", "identity") == encoding
    assert answer.fields["vary"] == "Accept-Encoding"
    assert answer.fields["etag"].endswith(f'{etag}"')


@pytest.mark.parametrize("http", HTTP)
def test_compressed_on_the_way(appliance: Appliance, root: Path, http: str) -> None:
    """A file and an application's answer, by what curl itself asks for."""
    answer = curl(appliance, root, "/squeezed/app.js", http, "--compressed")
    assert (answer.body == SCRIPT, answer.fields["content-encoding"]) == (True, "zstd")
    assert answer.fields["etag"].startswith('W/"')
    plain = curl(appliance, root, "/squeezed/app.js", http)
    assert (plain.body == SCRIPT, plain.fields["vary"]) == (True, "Accept-Encoding")
    assert "content-encoding" not in plain.fields
    agent = "x" * 2000
    answer = curl(appliance, root, "/echo", http, "--compressed", "-A", agent)
    assert (json.loads(answer.body)["method"], answer.fields["content-encoding"]) == ("GET", "zstd")
    answer = curl(appliance, root, "/download?size=100000", http, "--compressed")
    assert (len(answer.body), "content-encoding" in answer.fields) == (100000, False)


def test_events_through_compression(appliance: Appliance) -> None:
    """Events that are compressed arrive one by one as well."""
    with appliance.client("one.test", shared_authority().pem) as client:
        response = client.get("/events?count=8&interval=0.25", **{"Accept-Encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        decoder = zlib.decompressobj(31)
        arrived: list[tuple[bytes, float]] = []
        while piece := response.read1():
            arrived += [(line, time.monotonic()) for line in decoder.decompress(piece).split(b"\n\n") if line]
    assert decoder.eof
    assert [event for event, _ in arrived] == [b"data: %d" % number for number in range(8)]
    gaps = [after - before for (_, before), (_, after) in pairwise(arrived)]
    assert sorted(gaps)[len(gaps) // 2] > 0.125


def test_truncated(appliance: Appliance, files: Path) -> None:
    """A file that is cut short while it is sent is not taken for the whole."""
    file = files / "cut.bin"
    file.write_bytes(LARGE)
    with appliance.client("one.test", shared_authority().pem) as client:
        response = client.get("/static/cut.bin")
        assert response.read(1000) == LARGE[:1000]
        os.truncate(file, 30_000_000)
        with pytest.raises((HTTPException, OSError)):
            response.read()


@pytest.mark.parametrize("http", HTTP)
def test_error_pages(appliance: Appliance, root: Path, http: str) -> None:
    """Pages from the folder, with the id that the access log has."""
    page = curl(appliance, root, "/nobody", http)
    assert page.status == 502
    found = re.fullmatch(rb"<p>our page 502 ([0-9a-f]+-[0-9a-f]+)", page.body)
    assert found
    api = curl(appliance, root, "/nobody", http, "-H", "Accept: application/json")
    ids = {found[1].decode(), json.loads(api.body)["ours"]}
    log = appliance.config.with_name("access.log")
    appliance.wait_for(lambda: ids <= {json.loads(line)["id"] for line in log.read_text().splitlines()})
    assert b"<h1>404 Not Found</h1>" in curl(appliance, root, "/static/nothing", http).body


def test_django(tmp_path: Path) -> None:
    """A Django site needs nothing else: what its page refers to is there, under names that change with the content."""
    assets = tmp_path / "assets"
    (assets / "css").mkdir(parents=True)
    (assets / "css" / "site.css").write_text('body { background: url("../logo.svg") }')
    (assets / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (assets / "site.js").write_text("'use strict'")
    environment = {**os.environ, "DJANGO_FOLDER": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "tests.support.django_site"], env=environment, cwd=ROOT, check=True, timeout=60
    )
    with gunicorn(
        tmp_path, "tests.support.django_site:app", arguments=["--env", f"DJANGO_FOLDER={tmp_path}"]
    ) as django:
        appliance = Appliance(tmp_path)
        appliance.configure([(["one.test"], django.upstream)], "https://127.0.0.1:1/directory")
        route = f'[[site.route]]\npath = "/static"\nroot = "{tmp_path}/collected"\n'
        appliance.config.write_text(appliance.config.read_text() + route)
        appliance.keep("one.test", make_certificate(["one.test"]))
        with appliance, appliance.client("one.test", shared_authority().pem) as client:
            page = client.get("/").read().decode()
            style, script = re.findall('(?:href|src)="([^"]+)"', page)
            assert re.fullmatch(r"/static/css/site\.[0-9a-f]{12}\.css", style)
            response = client.get(style)
            assert response.headers["content-type"] == "text/css; charset=utf-8"
            logo = re.findall(r'url\("\.\./(logo\.[0-9a-f]{12}\.svg)"\)', response.read().decode())[0]
            response = client.get(f"/static/{logo}")
            assert (response.headers["content-type"], response.read()[:4]) == ("image/svg+xml", b"<svg")
            assert client.get(script).read() == b"'use strict'"
            response = client.get("/static/staticfiles.json")
            assert "site.js" in json.load(response)["paths"]
