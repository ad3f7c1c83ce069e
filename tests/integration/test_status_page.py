"""The status page of a running appliance in a real browser: its figures, its pictures, and pages that mean it harm."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from attrs import frozen

from tests.support.appliance import Appliance
from tests.support.applications import uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.chromium import dom, picture
from tests.support.operator import ask
from tests.support.processes import free_port
from tests.support.statusfigures import figures, look_up

UNREACHABLE = "https://127.0.0.1:1/directory"


@frozen
class Running:
    """An appliance that has served a few requests, and where its status page is."""

    appliance: Appliance
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def status(self) -> Any:
        """What ``status --json`` says, without the moment it was said."""
        found = ask(self.appliance, "status")
        del found["now"]
        return found

    def presses(self) -> int:
        """How many buttons were pressed and obeyed, as the log tells."""
        return self.appliance.output().count(", by the status page")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With a site that is well, one without a certificate, one whose application is down."""
    folder = tmp_path_factory.mktemp("page")
    made = Appliance(folder)
    port = free_port()
    with uvicorn(folder) as application:
        sites = [
            (["one.test", "www.one.test"], application.upstream),
            (["two.test"], application.upstream),
            (["down.test"], f"http://127.0.0.1:{free_port()}"),
        ]
        for names in (["one.test", "www.one.test"], ["down.test"]):
            made.keep(names[0], make_certificate(names))
        made.configure(sites, UNREACHABLE, more=f'[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n')
        with made:
            root = shared_authority().pem
            for name, status in (("one.test", 200), ("down.test", 502)):
                with made.client(name, root) as client:
                    for _ in range(20):
                        response = client.get("/echo")
                        response.read()
                        assert response.status == status
            found = Running(made, port)
            made.wait_for(lambda: found.status()["traffic"]["requests"] >= 40, 20, "the look at the traffic")
            made.wait_for(lambda: look_up(found.status(), "sites/two.test/failures"), 20, "the order that fails")
            yield found


def settled(running: Running, look: Callable[[], str]) -> tuple[str, Any]:
    """What ``look`` saw, and a status that was the same before and after it."""
    for _ in range(20):
        before = running.status()
        seen = look()
        after = running.status()
        if before == after:
            return seen, after
    raise AssertionError("the status never stood still")


def test_every_figure_agrees_with_the_command(running: Running, tmp_path: Path) -> None:
    """Whatever Chromium shows as a figure stands in ``status --json``, at the place that the page names."""
    seen, status = settled(running, lambda: dom(tmp_path, running.url))
    found = figures(seen)
    assert found.pop("now")
    for place, value in found.items():
        assert look_up(status, place) == value, place
    assert found["sites/one.test/traffic/requests"] == 20
    assert found["sites/down.test/traffic/errors"] == 20
    for site in status["sites"]:
        for place in ("next/at", "certificate/not_after"):
            if site["certificate"] is not None:
                assert f"sites/{site['site']}/{place}" in found
    assert "no certificate" in seen
    assert "application down" in seen
    assert "nothing listens there" in seen, "the last error is told"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pictures(running: Running, tmp_path: Path, width: int, theme: str) -> None:
    """Of the width that was asked for; light is light and dark is dark."""
    png = picture(tmp_path, running.url, width=width, height=1600, theme=theme)
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20]) == width
    brightness = sum(_first_pixel(png)) / 3
    assert (brightness > 200) if theme == "light" else (brightness < 50)


def _first_pixel(png: bytes) -> bytes:
    """Red, green and blue of the upper left corner, which no filter of PNG changes."""
    data, position = b"", 8
    while position < len(png):
        length = int.from_bytes(png[position : position + 4])
        if png[position + 4 : position + 8] == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += length + 12
    return zlib.decompress(data)[1:4]


def test_its_own_button_works(running: Running) -> None:
    """As the browser sends it: the order is tried again, and the page says what came of it."""
    page = urllib.request.urlopen(running.url, timeout=10).read().decode()
    (token,) = re.findall(r'value="renew two.test "[^>]*><input[^>]*name="token" value="([0-9a-f]+)"', page)
    before = running.presses()
    form = urllib.parse.urlencode({"button": "renew two.test ", "token": token}).encode()
    origin = running.url.rstrip("/")
    request = urllib.request.Request(f"{running.url}press", form, {"Origin": origin, "Sec-Fetch-Site": "same-origin"})
    urllib.request.urlopen(request, timeout=10).close()
    running.appliance.wait_for(lambda: running.presses() > before, 20, "the press")
    running.appliance.wait_for(
        lambda: "Try again now, two.test: <" in urllib.request.urlopen(running.url, timeout=10).read().decode(), 20
    )


class _Evil(BaseHTTPRequestHandler):
    """A page that tries all there is to have the status page do something."""

    target = ""
    form = ""
    asked: list[str]

    def do_GET(self) -> None:
        """The page, and a log of what came back to it."""
        self.asked.append(self.path)
        content = _ATTACK.replace("TARGET", self.target).replace("FORM", self.form).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


_ATTACK = """<!DOCTYPE html>
<title>evil</title><pre id="out">nothing</pre>
<iframe name="frame"></iframe>
<iframe src="TARGET"></iframe>
<form id="form" method="post" action="TARGETpress" target="frame">
<input name="button" value="renew two.test "><input name="token" value="FORM"></form>
<script>
const out = [];
const note = (what) => { out.push(what); document.getElementById("out").textContent = out.join(" ") + " END"; };
document.getElementById("form").submit();
const body = new URLSearchParams({button: "renew two.test ", token: "FORM"});
(async () => {
  for (const mode of ["no-cors", "cors"]) {
    try {
      const answer = await fetch("TARGETpress", {method: "POST", mode, body, credentials: "include"});
      note(mode + ":" + answer.type + ":" + answer.status);
    } catch (error) { note(mode + ":failed"); }
    try {
      const answer = await fetch("TARGET", {mode});
      note("read:" + answer.type + ":" + (await answer.text()).length);
    } catch (error) { note("read:failed"); }
  }
  navigator.sendBeacon("TARGETpress", body);
  note("done");
})();
</script>
"""


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "rebound.test"])
def test_a_page_of_another_origin_can_do_nothing(running: Running, tmp_path: Path, name: str) -> None:
    """Forms, fetches, beacons and frames from elsewhere, even with a token that is good: not one order, nothing read.

    From another port of this machine, from another name of it, and from a name that was made to lead here.
    """
    page = urllib.request.urlopen(running.url, timeout=10).read().decode()
    (token,) = re.findall(r'value="renew two.test "[^>]*><input[^>]*name="token" value="([0-9a-f]+)"', page)
    rebound = f"http://{name}:{running.port}/" if name == "rebound.test" else running.url
    handler = type("Evil", (_Evil,), {"target": rebound, "form": token, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        before = running.presses()
        refusals = running.appliance.output().count("was refused")
        seen = dom_as(tmp_path, f"http://{name}:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()
    (out,) = re.findall(r'<pre id="out">([^<]*)</pre>', seen)
    assert "done END" in out, seen
    told = dict(part.split(":", 1) for part in out.split() if ":" in part)
    assert told["cors"] == "failed"
    assert told["read"] == "failed"
    assert running.presses() == before
    if name != "rebound.test":  # whose requests are refused by their host already
        running.appliance.wait_for(lambda: running.appliance.output().count("was refused") > refusals, 10)


def dom_as(folder: Path, url: str) -> str:
    """With a DNS in which rebound.test leads to this machine."""
    return dom(folder, url, 5000, "--host-resolver-rules=MAP rebound.test 127.0.0.1")


def test_rebinding_by_hand(running: Running) -> None:
    """A name that leads here is refused whatever else is right, and says nothing of what it is."""
    for path, method in (("", "GET"), ("press", "POST"), ("metrics", "GET")):
        headers = {"Host": f"rebound.test:{running.port}", "Origin": f"http://rebound.test:{running.port}"}
        request = urllib.request.Request(running.url + path, headers=headers, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        body = refused.value.read()
        refused.value.close()
        assert (refused.value.code, b"one.test" in body) == (421, False)


def test_not_where_it_is_public(tmp_path: Path) -> None:
    """Where everybody may read the metrics, there is no such page."""
    made, port = Appliance(tmp_path), free_port()
    more = f'[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\npublic = true\n'
    with made.configure([(["one.test"], "http://127.0.0.1:9")], UNREACHABLE, more=more):
        for path in ("", "press"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10)
            refused.value.close()
            assert refused.value.code == 404
        assert json.loads(json.dumps(ask(made, "status")))["traffic"] is not None
