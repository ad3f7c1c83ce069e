"""What is concluded from an application's answers, and what is not."""

from __future__ import annotations

import json
import math

import pytest
from attrs import evolve

from appliance.config import UpstreamAddress
from appliance.ops.diagnosis.appadvice import CLIENT, Answer, Observed, Question, examine
from appliance.ops.diagnosis.findings import BAD, GOOD, UNKNOWN, WARNING, Finding

QUESTION = Question(UpstreamAddress("127.0.0.1", 8000), "/", "app.example")
PLAIN = Answer("/", 200)


def observed(secure: Answer = PLAIN, plain: Answer = PLAIN, **others: object) -> Observed:
    """An application that says nothing but what is given."""
    nothing = Observed(QUESTION, "127.0.0.1", ((secure, plain),), PLAIN, Answer("/openapi.json", 404), 5.0)
    return evolve(nothing, **others)


def finding(check: str, seen: Observed, upstream_idle: float = 1.5) -> Finding:
    """The one about this."""
    [found] = [each for each in examine(seen, upstream_idle) if each.check == check]
    return found


def answer(server: str = "", status: int = 200, body: bytes = b"", path: str = "/", **fields: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in fields.items()} | ({"server": server} if server else {})
    return Answer(path, status, tuple(named.items()), body)


class TestIdentity:
    @pytest.mark.parametrize(
        ("said", "server"),
        [
            ("uvicorn", "Uvicorn"),
            ("gunicorn", "Gunicorn"),
            ("gunicorn/19.9", "Gunicorn"),
            ("hypercorn-h11", "Hypercorn"),
            ("granian", "Granian"),
        ],
    )
    def test_servers(self, said: str, server: str) -> None:
        """By the header they send."""
        found = finding("server", observed(answer(said)))
        assert (found.verdict, found.seen) == (GOOD, server)

    def test_others(self) -> None:
        """What is not known is said as it is, or that nothing is."""
        assert finding("server", observed(answer("waitress"))).seen == "Server: waitress"
        assert "does not say" in finding("server", observed()).seen

    @pytest.mark.parametrize("said", ["WSGIServer/0.2 CPython/3.11", "Werkzeug/3.1 Python/3.12"])
    def test_development(self, said: str) -> None:
        """A server for development is no server."""
        found = finding("server", observed(answer(said)))
        assert found.verdict == BAD
        assert "for development" in found.seen

    def test_django(self) -> None:
        """By its cookie, or by the headers of its security middleware, on any of the paths."""
        assert finding("server", observed(answer("gunicorn", set_cookie="csrftoken=x"))).seen == "Gunicorn with Django"
        headers = {"referrer_policy": "same-origin", "cross_origin_opener_policy": "same-origin"}
        other = answer(path="/admin", x_content_type_options="nosniff", **headers)
        seen = finding("server", observed(pairs=((PLAIN, PLAIN), (other, other)))).seen
        assert seen.endswith("; probably Django")
        assert "Django" not in finding("server", observed(answer("gunicorn", **headers))).seen

    def test_answers(self) -> None:
        """A server error is worth a look, whatever else."""
        assert finding("answers", observed()).verdict == GOOD
        assert finding("answers", observed(answer(status=500))).verdict == WARNING


class TestScheme:
    def test_redirected_for_ever(self) -> None:
        """To https, from https: Django's SECURE_SSL_REDIRECT without SECURE_PROXY_SSL_HEADER."""
        loop = answer("gunicorn", 301, location="https://app.example/", set_cookie="csrftoken=x")
        found = finding("https seen", observed(loop, loop))
        assert found.verdict == BAD
        assert "browsers give up" in found.seen
        assert found.advice == (
            "Gunicorn: gunicorn … --forwarded-allow-ips '127.0.0.1'\n"
            'Django: SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")'
        )

    def test_redirected_to_http(self) -> None:
        """It takes the request for http; without a name of its own, advice for all."""
        found = finding("https seen", observed(answer(status=307, location="http://app.example:80/docs")))
        assert found.verdict == BAD
        assert [line.partition(":")[0] for line in found.advice.splitlines()] == [
            *("Uvicorn", "Gunicorn", "Hypercorn", "Granian", "Django")
        ]

    def test_another_host_is_another_matter(self) -> None:
        """A redirect to a longer name says nothing."""
        assert finding("https seen", observed(answer(status=307, location="http://app.example.org/"))).verdict != BAD

    def test_redirected_by_the_scheme_it_came_by(self) -> None:
        """To https from http only, or to whatever it came by: it knows."""
        away = answer(status=301, location="https://app.example/")
        assert finding("https seen", observed(PLAIN, away)).verdict == GOOD
        slash = answer(status=307, path="/docs/", location="https://app.example/docs")
        plain = answer(status=307, path="/docs/", location="http://app.example/docs")
        assert finding("https seen", observed(slash, plain)).verdict == GOOD
        # Both to https: its address may be written down somewhere.
        assert finding("https seen", observed(slash, slash)).verdict == WARNING

    def test_strict_transport_security(self) -> None:
        """Sent over https only: it knows; always: it may be a fixed header."""
        strict = answer(strict_transport_security="max-age=60")
        assert finding("https seen", observed(strict)).verdict == GOOD
        assert finding("https seen", observed(strict, strict)).verdict == WARNING

    def test_links(self) -> None:
        """What it calls itself in a page."""
        secure, plain = (
            answer(body=b'<a href="https://app.example/x">'),
            answer(body=b'<a href="http://app.example/x">'),
        )
        assert finding("https seen", observed(secure, plain)).verdict == GOOD
        assert finding("https seen", observed(plain, plain)).verdict == BAD
        assert finding("https seen", observed(evolve(plain, status=404), plain)).verdict == WARNING

    @pytest.mark.parametrize(
        ("server", "own", "verdict"),
        [
            ("uvicorn", "127.0.0.1", UNKNOWN),
            ("uvicorn", "::1", UNKNOWN),
            ("uvicorn", "10.0.0.2", WARNING),
            ("uvicorn", "", WARNING),
            ("gunicorn", "127.0.0.1", UNKNOWN),
            ("gunicorn", "", UNKNOWN),
            ("gunicorn", "10.0.0.2", WARNING),
            ("hypercorn-h11", "127.0.0.1", WARNING),
            ("granian", "127.0.0.1", WARNING),
            ("", "127.0.0.1", WARNING),
        ],
    )
    def test_nothing_to_see(self, server: str, own: str, verdict: str) -> None:
        """Where nothing tells, a server's default does; where that would not believe us, what to give it."""
        found = finding("https seen", observed(answer(server), from_address=own))
        assert found.verdict == verdict
        assert bool(found.advice) == (verdict == WARNING)
        if server == "uvicorn" and verdict == WARNING:
            assert found.advice.endswith(f"--forwarded-allow-ips '{own or '*'}'")


class TestClient:
    def test_shown(self) -> None:
        """The address in a page is known to the application, unless it merely repeats the headers."""
        assert finding("client seen", observed(answer(body=f"you are {CLIENT}".encode()))).verdict == GOOD
        repeated = f"X-Forwarded-For: {CLIENT}".encode()
        assert finding("client seen", observed(answer(body=repeated))).verdict == UNKNOWN

    def test_gunicorn(self) -> None:
        """Gunicorn alone never tells the application by itself."""
        assert "REMOTE_ADDR" in finding("client seen", observed(answer("gunicorn"))).seen
        assert "REMOTE_ADDR" not in finding("client seen", observed()).seen


class TestHost:
    def test_refused(self) -> None:
        """A 400 that goes away for localhost, or that says so itself."""
        refused = answer(status=400)
        found = finding("host", observed(refused))
        assert found.verdict == BAD
        assert "ALLOWED_HOSTS = ['app.example']" in found.advice
        starlette = answer(status=400, body=b"Invalid host header")
        assert finding("host", observed(starlette, as_localhost=starlette)).verdict == BAD
        assert finding("host", observed(refused, as_localhost=refused)).verdict == UNKNOWN
        assert finding("host", observed()).verdict == GOOD


class TestKeepAlive:
    @pytest.mark.parametrize(("kept", "verdict"), [(math.inf, GOOD), (5.0, GOOD), (2.0, GOOD), (1.6, BAD), (0.3, BAD)])
    def test_long_enough(self, kept: float, verdict: str) -> None:
        """Longer than the proxy keeps its own end, by a margin."""
        found = finding("keep-alive", observed(answer("uvicorn"), kept=kept))
        assert found.verdict == verdict
        if verdict == BAD:
            assert found.advice.startswith("Uvicorn: uvicorn … --timeout-keep-alive 5\nor upstream_idle = ")

    def test_none(self) -> None:
        """Correct, but costly; Gunicorn's sync workers are known for it."""
        assert "gthread" in finding("keep-alive", observed(answer("gunicorn"), kept=0)).advice
        assert finding("keep-alive", observed(answer("uvicorn"), kept=0)).advice == ""


class TestPrefix:
    def ask(self, body: object, server: str = "uvicorn", status: int = 200) -> Finding:
        question = evolve(QUESTION, prefix="/api")
        document = Answer("/openapi.json", status, (), body if isinstance(body, bytes) else json.dumps(body).encode())
        return finding("prefix", observed(answer(server), question=question, openapi=document))

    def test_known(self) -> None:
        """FastAPI names its prefix among its servers."""
        assert self.ask({"openapi": "3.1.0", "servers": [{"url": "/api"}]}).verdict == GOOD

    @pytest.mark.parametrize("servers", [None, [], [{"url": "/v1"}], ["/api"], [{}], "/api"])
    def test_missing(self, servers: object) -> None:
        """If it does not, its own links are wrong."""
        found = self.ask({"openapi": "3.1.0", "servers": servers})
        assert (found.verdict, found.advice) == (BAD, "Uvicorn: uvicorn … --root-path /api")

    @pytest.mark.parametrize("body", [b"<html>", [1], {"other": 1}])
    def test_another_document(self, body: object) -> None:
        """What is no OpenAPI document tells nothing."""
        assert self.ask(body).verdict == UNKNOWN

    def test_no_document(self) -> None:
        """Nor does its absence; but what to set is said."""
        found = self.ask(b"", "", 404)
        assert found.verdict == UNKNOWN
        assert "FORCE_SCRIPT_NAME = '/api'" in found.advice
