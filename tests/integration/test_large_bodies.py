"""Bodies of a gigabyte, both ways: whole, and through flat memory however slow the client."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.support.appliance import Appliance, SiteConnection
from tests.support.applications import Application, uvicorn
from tests.support.certificates import make_certificate, shared_authority
from tests.support.pattern import pieces, sha256

GIB = 1 << 30
MIB = 1 << 20
ALLOWED_GROWTH = 32 * MIB


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    with uvicorn(tmp_path) as application:
        yield application


@pytest.fixture
def appliance(tmp_path: Path, application: Application) -> Iterator[Appliance]:
    appliance = Appliance(tmp_path)
    appliance.configure([(["one.test"], application.upstream)], "https://127.0.0.1:1/directory")
    appliance.keep("one.test", make_certificate(["one.test"]))
    with appliance:
        with client(appliance) as warm:
            warm.get("/download?size=100000").read()
        yield appliance


def client(appliance: Appliance) -> SiteConnection:
    return appliance.client("one.test", shared_authority().pem, timeout=60)


def digest_of(response: HTTPResponse, slowly: float = 0.0) -> str:
    """The SHA-256 of a body; for the first ``slowly`` seconds it is read at 1 MiB a second."""
    digest = hashlib.sha256()
    buffer = bytearray(256 * 1024)
    started = time.monotonic()
    received = 0
    while count := response.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
        received += count
        ahead = received / MIB - (time.monotonic() - started)
        if ahead > 0 and time.monotonic() - started < slowly:
            time.sleep(min(ahead, 0.25))
    return digest.hexdigest()


@pytest.mark.parametrize(("query", "slowly"), [("", 0.0), ("&chunked=true", 0.0), ("", 12.0)])
def test_a_gibibyte_comes_down_whole(appliance: Appliance, query: str, slowly: float) -> None:
    """By length and in chunks, to a fast client and to one that reads at 1 MiB/s for a while."""
    before = appliance.resident()
    with client(appliance) as connection:
        response = connection.get(f"/download?size={GIB}{query}")
        assert digest_of(response, slowly) == sha256(GIB)
    assert appliance.peak_resident() - before < ALLOWED_GROWTH


@pytest.mark.parametrize("chunked", [False, True])
def test_a_gibibyte_goes_up_whole(appliance: Appliance, chunked: bool) -> None:
    """By length and in chunks."""
    before = appliance.resident()
    with client(appliance) as connection:
        headers = {"Host": "one.test"} | ({} if chunked else {"Content-Length": str(GIB)})
        connection.request("POST", "/upload", pieces(GIB), headers, encode_chunked=chunked)
        answer = json.loads(connection.getresponse().read())
    assert answer == {"length": GIB, "sha256": sha256(GIB)}
    assert appliance.peak_resident() - before < ALLOWED_GROWTH
