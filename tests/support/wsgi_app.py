"""WSGI applications that show what reached them: a plain one, Flask's and Django's. Gunicorn runs them in tests."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs
from wsgiref.util import request_uri

import django
import flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import re_path

from tests.support.pattern import pieces


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """``/echo``, ``/download?size=``, ``/upload`` and ``/slow?seconds=``, without a framework."""
    query = {name: values[-1] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    match environ["PATH_INFO"].split("/")[1]:
        case "echo":
            return _json(start_response, _seen(environ))
        case "download":
            size = int(query["size"])
            start_response("200 OK", [("Content-Length", str(size)), ("Content-Type", "application/octet-stream")])
            return pieces(size)
        case "upload":
            return _json(start_response, _digest(environ["wsgi.input"]))
        case "slow":
            time.sleep(float(query["seconds"]))
            return _json(start_response, query)
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


def _json(start_response: Any, content: object) -> Iterable[bytes]:
    body = json.dumps(content).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _seen(environ: dict[str, Any]) -> dict[str, object]:
    return {
        "method": environ["REQUEST_METHOD"],
        "url": request_uri(environ),
        "scheme": environ["wsgi.url_scheme"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "client": environ.get("REMOTE_ADDR"),
        "headers": [[name, value] for name, value in environ.items() if name.startswith(("HTTP_", "CONTENT_"))],
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }


def _digest(source: Any) -> dict[str, object]:
    digest, length = hashlib.sha256(), 0
    for piece in _read(source):
        digest.update(piece)
        length += len(piece)
    return {"length": length, "sha256": digest.hexdigest()}


def _read(source: Any) -> Iterator[bytes]:
    while piece := source.read(65536):
        yield piece


flask_app = flask.Flask(__name__)


@flask_app.route("/echo", methods=["GET", "POST"])
def flask_echo() -> dict[str, object]:
    """What Flask makes of the request."""
    request = flask.request
    return {
        "url": request.url,
        "scheme": request.scheme,
        "client": request.remote_addr,
        "headers": [list(header) for header in request.headers],
        "body": request.get_data().decode("latin-1"),
    }


def django_echo(request: HttpRequest) -> JsonResponse:
    """What Django makes of the request."""
    return JsonResponse(
        {
            "url": request.build_absolute_uri(),
            "scheme": request.scheme,
            "client": request.META.get("REMOTE_ADDR"),
            "headers": [list(header) for header in request.headers.items()],
            "body": request.body.decode("latin-1"),
        }
    )


urlpatterns = [re_path("^echo$", django_echo)]


def django_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django's handler, set up at the first request."""
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests",
            SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
        )
        django.setup()
    return WSGIHandler()(environ, start_response)
