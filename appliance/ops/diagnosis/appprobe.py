"""Asks an application a few harmless questions, as the proxy would ask them, and keeps what it answered.

Only GET requests are made, from this process, without a running appliance. What the answers mean is `appadvice`'s.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from appliance.errors import UpstreamError
from appliance.http.headers import origin_fields
from appliance.ops.diagnosis.appadvice import CLIENT, Answer, Observed, Question

_BODY_BYTES = 256 * 1024
_GUESSES = ("/docs/", "/admin", "/static", "/health/")
"""Paths at which frameworks like to redirect, which shows what they take the request's URL to be."""


def observe(question: Question, clock: Callable[[], float] = time.monotonic) -> Observed:
    """Ask all there is to ask. Raises UpstreamError if the application cannot be reached or speaks no HTTP."""
    paths = dict.fromkeys([question.path, _with_other_slash(question.path), *_GUESSES])
    pairs = tuple((_ask(question, path, "https"), _ask(question, path, "http")) for path in paths)
    return Observed(
        question,
        _own_address(question),
        pairs,
        _ask(question, question.path, "https", host="localhost"),
        _ask(question, "/openapi.json", "https"),
        _kept(question, clock),
    )


def _with_other_slash(path: str) -> str:
    bare = path.partition("?")[0]
    return bare[:-1] or "/x/" if bare.endswith("/") else f"{bare}/"


class _Connection(http.client.HTTPConnection):
    """To an upstream's address, of whatever kind."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.address.host or "localhost", question.address.port or None, question.timeout)
        self._address = question.address

    def connect(self) -> None:
        if self._address.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._address.path)
        else:
            super().connect()
        if self._address.tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self._address.host)

    def ask(self, path: str, fields: Iterable[tuple[str, str]]) -> Answer:
        self.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            self.putheader(name, value)
        self.endheaders()
        response = self.getresponse()
        body = response.read(_BODY_BYTES)
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(path, response.status, headers, body)


def _fields(question: Question, scheme: str, host: str) -> list[tuple[str, str]]:
    """The very lines that the proxy adds."""
    authority = host.encode("ascii")
    lines = origin_fields(CLIENT, scheme.encode("ascii"), authority, 443 if scheme == "https" else 80)
    told = [(name, value) for name, _, value in (line.partition(": ") for line in lines.decode().splitlines())]
    prefix = [("X-Forwarded-Prefix", question.prefix)] if question.prefix else []
    return [("Host", host), ("Accept", "text/html, */*"), ("User-Agent", "appliance check-app"), *told, *prefix]


def _ask(question: Question, path: str, scheme: str, host: str = "") -> Answer:
    with closing(_Connection(question)) as connection:
        return _mapped(question, lambda: connection.ask(path, _fields(question, scheme, host or question.host)))


def _mapped(question: Question, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except TimeoutError as error:
        raise UpstreamError("head", f"{question.address} did not answer within {question.timeout:g} s") from error
    except OSError as error:
        raise UpstreamError("connect", f"{question.address} cannot be reached: {error.strerror or error}") from error
    except http.client.HTTPException as error:
        raise UpstreamError("head", f"{question.address} does not speak HTTP: {error!r}") from error


def _own_address(question: Question) -> str:
    if question.address.path:
        return ""
    with closing(_Connection(question)) as connection:
        connection.connect()
        return str(connection.sock.getsockname()[0])


def _kept(question: Question, clock: Callable[[], float]) -> float:
    """Ask, then wait and see."""
    with closing(_Connection(question)) as connection:
        answer = _mapped(question, lambda: connection.ask(question.path, _fields(question, "https", question.host)))
        idle = connection.sock
        if idle is None or "close" in answer.get("connection").lower():
            return 0.0
        began = clock()
        idle.settimeout(question.patience)
        try:
            idle.recv(1)
        except TimeoutError:
            return math.inf
        except OSError:
            pass
        return clock() - began
