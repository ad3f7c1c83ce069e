"""``appliance check-app`` before real application servers, well set up and not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.applications import ROOT, Application, gunicorn, uvicorn
from tests.support.processes import free_port

ASGI = "tests.support.asgi_app:app"
UNTOLD = {"keep-alive", "client seen", "prefix", "host", "server", "answers", "https seen"}


def run(application: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output, with little patience for idle connections."""
    command = [sys.executable, "-m", "appliance", "check-app", application, "--host", "app.example", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


def findings(application: Application, *arguments: str) -> dict[str, dict[str, str]]:
    """By what was looked at."""
    status, output = run(application.upstream, "--wait", "0.5", "--json", *arguments)
    found = {each["check"]: each for each in json.loads(output)["findings"]}
    assert found.keys() <= UNTOLD
    assert status == any(each["verdict"] == "bad" for each in found.values())
    return found


def server(folder: Path, name: str, *arguments: str) -> Application:
    port = free_port()
    return Application([name, *(each.format(port=port) for each in arguments)], folder, name, port)


def test_uvicorn(tmp_path: Path) -> None:
    """As it comes it believes who connects from 127.0.0.1; a FastAPI application redirects to https."""
    with uvicorn(tmp_path) as application:
        found = findings(application)
    assert {each["verdict"] for each in found.values()} <= {"good", "unknown"}
    assert found["server"]["seen"] == "Uvicorn"
    assert found["https seen"]["verdict"] == "good"


def test_uvicorn_over_a_unix_socket(tmp_path: Path) -> None:
    """It believes nobody there unless told to; the very flag is named, and works."""
    with uvicorn(tmp_path, socket=tmp_path / "app.sock") as application:
        found = findings(application, "--strip-prefix", "/api")
    assert found["https seen"]["verdict"] == "bad"
    assert found["https seen"]["advice"] == "Uvicorn: uvicorn … --proxy-headers --forwarded-allow-ips '*'"
    assert found["prefix"]["advice"] == "Uvicorn: uvicorn … --root-path /api"
    advised = ["--proxy-headers", "--forwarded-allow-ips", "*", "--root-path", "/api"]
    with uvicorn(tmp_path, socket=tmp_path / "again.sock", arguments=advised) as application:
        found = findings(application, "--strip-prefix", "/api")
    assert (found["https seen"]["verdict"], found["prefix"]["verdict"]) == ("good", "good")


def test_addresses_of_http2() -> None:
    """It asks over HTTP/1.1, and says so."""
    command = [sys.executable, "-m", "appliance", "check-app", "h2c://127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, "over HTTP/1.1" in ended.stderr) == (2, True), ended.stderr


def test_a_short_keep_alive(tmp_path: Path) -> None:
    """Shorter than the proxy's own: found by waiting."""
    with uvicorn(tmp_path, arguments=["--timeout-keep-alive", "1"]) as application:
        found = findings(application, "--wait", "3")["keep-alive"]
    assert found["verdict"] == "bad"
    assert "--timeout-keep-alive 5" in found["advice"]


@pytest.mark.parametrize(
    ("name", "arguments", "advice"),
    [
        ("hypercorn", [ASGI, "--bind", "127.0.0.1:{port}"], "ProxyFixMiddleware"),
        ("granian", [ASGI, "--interface", "asgi", "--port", "{port}"], "wrap_asgi_with_proxy_headers"),
    ],
)
def test_servers_that_believe_nobody(tmp_path: Path, name: str, arguments: list[str], advice: str) -> None:
    """Hypercorn and Granian need a wrapper in the application's own code."""
    with server(tmp_path, name, *arguments) as application:
        found = findings(application)
    assert found["server"]["seen"].lower() == name
    assert found["https seen"]["verdict"] == "bad"
    assert advice in found["https seen"]["advice"]


def test_gunicorn(tmp_path: Path) -> None:
    """Sync workers close after each answer; threaded ones do not, for two seconds."""
    with gunicorn(tmp_path, arguments=["--worker-class", "sync", "--threads", "1"]) as application:
        found = findings(application)
    assert (found["server"]["seen"], found["keep-alive"]["verdict"]) == ("Gunicorn", "warning")
    with gunicorn(tmp_path) as application:
        found = findings(application)
    assert found["keep-alive"]["verdict"] == "good"


DJANGO = """\
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    ALLOWED_HOSTS={hosts},
    SECURE_SSL_REDIRECT=True,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware",
                "django.middleware.clickjacking.XFrameOptionsMiddleware"],
    {more}
)
urlpatterns = [path("", lambda request: HttpResponse("well"))]
application = get_wsgi_application()
"""


def django(folder: Path, hosts: list[str], more: str = "") -> Application:
    """A Django site as its deployment checklist wants it, on a Gunicorn that believes nobody."""
    (folder / "site.py").unlink(missing_ok=True)
    (folder / "checked_site.py").write_text(DJANGO.format(hosts=hosts, more=more))
    arguments = ["--pythonpath", str(folder), "--forwarded-allow-ips", "192.0.2.1"]
    return gunicorn(folder, "checked_site:application", arguments=arguments)


def test_django_that_redirects_for_ever(tmp_path: Path) -> None:
    """SECURE_SSL_REDIRECT without SECURE_PROXY_SSL_HEADER: the setting is named, and mends it."""
    with django(tmp_path, ["app.example"]) as application:
        found = findings(application)
    assert found["server"]["seen"] == "Gunicorn with Django"
    assert found["https seen"]["verdict"] == "bad"
    setting = found["https seen"]["advice"].splitlines()[-1].removeprefix("Django: ")
    assert setting == 'SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")'
    with django(tmp_path, ["app.example"], more=setting.replace(" = ", "=", 1)) as application:
        found = findings(application)
    assert found["https seen"]["verdict"] == "good"


def test_django_that_does_not_know_its_name(tmp_path: Path) -> None:
    """ALLOWED_HOSTS without the site's name."""
    with django(tmp_path, ["localhost"]) as application:
        found = findings(application)
    assert found["host"]["verdict"] == "bad"
    assert "ALLOWED_HOSTS = ['app.example']" in found["host"]["advice"]


def test_nobody_there(tmp_path: Path) -> None:
    """What cannot be reached, speaks no HTTP or is no URL is a sentence and a status."""
    status, output = run(f"http://127.0.0.1:{free_port()}")
    assert (status, "cannot be reached: Connection refused" in output) == (1, True)
    status, output = run(f"unix:{tmp_path}/none.sock")
    assert (status, "cannot be reached: No such file" in output) == (1, True)
    status, output = run("ftp://127.0.0.1")
    assert (status, "must begin with http://" in output) == (2, True)


def test_for_people(tmp_path: Path) -> None:
    """A table, and what it does not know."""
    with uvicorn(tmp_path) as application:
        status, output = run(f"{application.upstream}/echo", "--wait", "0.5")
    assert status == 0
    assert "https seen" in output
    assert "marked as unknown" in output
