"""Redirects, answers, header edits, addresses, rates, passwords, maintenance: as curl and WebSockets meet them."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from websockets.exceptions import InvalidStatus

from tests.support import operator
from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.websocket import open_websocket

HTTP = ["--http1.1", "--http2"]

RULES = """\
redirect_to = "one.test"
hsts = true
response_headers = {set = {X-Frame-Options = "DENY"}, remove = ["Server"]}
request_headers = {set = {X-Environment = "test"}, remove = ["Accept"]}

[[site.route]]
path = "/old"
strip_prefix = true
redirect = "https://new.test/new{path}"

[[site.route]]
path = "/fixed"
respond = {status = 418, body = "short and stout\\n", content_type = "text/plain"}

[[site.route]]
path = "/office"
upstream = "UPSTREAM"
allow = ["192.0.2.0/24"]

[[site.route]]
path = "/echo/limited"
upstream = "UPSTREAM"
rate_limit = {requests = 3, per = "1h"}

[[site.route]]
path = "/echo/private"
upstream = "UPSTREAM"
basic_auth = {users = {anna = "HASH"}, realm = "Staff"}

[[site.route]]
path = "/ws"
upstream = "UPSTREAM"
basic_auth = {users = {anna = "HASH"}}
"""


@frozen
class Answer:
    """What curl got."""

    status: int
    fields: dict[str, str]
    body: str


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("rules")
    appliance = Appliance(folder)
    names = ["one.test", "www.one.test"]
    hashed = operator.run("hash-password", said="geheim\n").stdout.strip()
    with uvicorn(folder) as application:
        sites = [(["two.test"], application.upstream), (names, application.upstream)]
        appliance.configure(sites, "https://127.0.0.1:1/directory")
        with appliance.config.open("a") as config:
            config.write(RULES.replace("UPSTREAM", application.upstream).replace("HASH", hashed))
        appliance.keep("one.test", make_certificate(names))
        appliance.keep("two.test", make_certificate(["two.test"]))
        with appliance:
            yield appliance


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root") / "root.pem"
    path.write_bytes(shared_authority().pem)
    return path


def curl(appliance: Appliance, root: Path, path: str, *options: str, name: str = "one.test") -> Answer:
    """One request."""
    port = appliance.https_port
    names = ("one.test", "www.one.test", "two.test")
    resolve = [part for each in names for part in ("--resolve", f"{each}:{port}:127.0.0.1")]
    command = ["curl", "-sS", "-i", "--cacert", str(root), *resolve, *options, f"https://{name}:{port}{path}"]
    ended = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    head, _, body = ended.stdout.decode().partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(start.split()[1]), fields, body)


@pytest.mark.parametrize("version", HTTP)
def test_redirects_and_fixed_answers(appliance: Appliance, root: Path, version: str) -> None:
    """To the one name, to another place, and no place at all."""
    to_name = curl(appliance, root, "/a?b=c", version, name="www.one.test")
    assert (to_name.status, to_name.fields["location"]) == (308, f"https://one.test:{appliance.https_port}/a?b=c")
    moved = curl(appliance, root, "/old/a?b=c", version, "-d", "body")
    assert (moved.status, moved.fields["location"]) == (308, "https://new.test/new/a?b=c")
    fixed = curl(appliance, root, "/fixed", version)
    assert (fixed.status, fixed.fields["content-type"], fixed.body) == (418, "text/plain", "short and stout\n")
    for answer in (to_name, moved, fixed):
        assert answer.fields["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("version", HTTP)
def test_header_edits(appliance: Appliance, root: Path, version: str) -> None:
    """Both ways; what the appliance tells the application is as ever."""
    answer = curl(appliance, root, "/echo", version)
    assert answer.fields["x-frame-options"] == "DENY"
    assert "server" not in answer.fields
    told = dict(json.loads(answer.body)["headers"])
    assert told["x-environment"] == "test"
    assert "accept" not in told
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert curl(appliance, root, "/nowhere", version).fields["x-frame-options"] == "DENY"
    assert "x-frame-options" not in curl(appliance, root, "/echo", version, name="two.test").fields


@pytest.mark.parametrize("version", HTTP)
def test_addresses(appliance: Appliance, root: Path, version: str) -> None:
    """Not from here, whatever is claimed."""
    assert curl(appliance, root, "/office", version, "-H", "X-Forwarded-For: 192.0.2.1").status == 403


def test_rates(appliance: Appliance, root: Path) -> None:
    """The fourth of three comes too early, over whichever version; other paths are not concerned."""
    answers = [curl(appliance, root, "/echo/limited", version) for version in (*HTTP, *HTTP)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].fields["retry-after"]) <= 1200
    assert curl(appliance, root, "/echo").status == 200


@pytest.mark.parametrize("version", HTTP)
def test_passwords(appliance: Appliance, root: Path, version: str) -> None:
    """Asked for, refused, let in; the application does not see them."""
    asked = curl(appliance, root, "/echo/private", version)
    assert (asked.status, asked.fields["www-authenticate"]) == (401, 'Basic realm="Staff", charset="UTF-8"')
    assert curl(appliance, root, "/echo/private", version, "-u", "anna:falsch").status == 401
    assert curl(appliance, root, "/echo/private", version, "-u", "bob:geheim").status == 401
    answer = curl(appliance, root, "/echo/private", version, "-u", "anna:geheim", "-d", "some body")
    assert answer.status == 200
    told = json.loads(answer.body)
    assert told["body"] == "some body"
    assert "authorization" not in dict(told["headers"])


def test_passwords_do_not_hold_up_others(appliance: Appliance, root: Path) -> None:
    """While guesses are worked out, other requests are served as quickly as ever."""
    guessing = [
        subprocess.Popen(
            [
                *("curl", "-sk", "-o", "/dev/null", "--resolve", f"one.test:{appliance.https_port}:127.0.0.1"),
                *("-u", f"anna:guess-{each}-#", f"https://one.test:{appliance.https_port}/echo/private"),
            ]
        )
        for each in range(8)
    ]
    began = time.monotonic()
    assert curl(appliance, root, "/fixed").status == 418
    took = time.monotonic() - began
    assert took < 5
    assert [process.wait(30) for process in guessing] == [0] * 8


def test_websockets(appliance: Appliance) -> None:
    """Those who are let in get their tunnel."""
    root = shared_authority().pem
    with pytest.raises(InvalidStatus) as refused, open_websocket(appliance.https_port, root):
        pass
    assert refused.value.response.status_code == 401
    fields = {"Authorization": "Basic " + base64.b64encode(b"anna:geheim").decode()}
    with open_websocket(appliance.https_port, root, additional_headers=fields) as connection:
        connection.send("hello")
        assert connection.recv(10) == "hello"


def test_maintenance(appliance: Appliance, root: Path) -> None:
    """Thrown and thrown back while it runs; kept over a restart; the other sites go on."""
    done = operator.run("maintenance", "on", "www.one.test", "--config", appliance.config)
    assert (done.returncode, done.stdout) == (0, "one.test: in maintenance, its requests are answered with 503\n")
    for version in HTTP:
        answer = curl(appliance, root, "/echo", version)
        assert (answer.status, answer.fields["retry-after"]) == (503, "300")
        assert curl(appliance, root, "/echo", version, name="two.test").status == 200
    assert operator.site(appliance, "one.test")["maintenance"]
    appliance.stop()
    appliance.start()
    assert curl(appliance, root, "/echo").status == 503
    assert operator.run("maintenance", "off", "one.test", "--config", appliance.config).returncode == 0
    assert curl(appliance, root, "/echo").status == 200
    assert not operator.site(appliance, "one.test")["maintenance"]


def test_reloaded(appliance: Appliance, root: Path) -> None:
    """New rules hold at once; what was counted, and the switch, stay as they are."""
    spent = [curl(appliance, root, "/echo/limited").status for _ in range(4)]
    assert spent[-1] == 429
    assert operator.run("maintenance", "on", "two.test", "--config", appliance.config).returncode == 0
    with appliance.config.open("a") as config:
        config.write('\n[[site.route]]\npath = "/new"\nrespond = {body = "new"}\n')
    done = operator.run("reload", "--config", appliance.config)
    assert done.returncode == 0, done.stderr
    assert curl(appliance, root, "/new").body == "new"
    assert curl(appliance, root, "/echo/limited").status == 429
    assert curl(appliance, root, "/echo", name="two.test").status == 503
    assert operator.run("maintenance", "off", "two.test", "--config", appliance.config).returncode == 0
    assert curl(appliance, root, "/echo", name="two.test").status == 200
