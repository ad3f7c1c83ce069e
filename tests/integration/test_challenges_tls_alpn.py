"""TLS-ALPN-01 alone, by a real Pebble, on the listener that serves clients at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.appliance import Appliance, Load, serial_of
from tests.support.applications import uvicorn
from tests.support.pebble import running_pebble
from tests.support.processes import free_port

CERTIFIED_WITHIN = 20.0


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path)


def test_certified_and_renewed_by_tls_alpn_alone(appliance: Appliance, tmp_path: Path) -> None:
    """Nobody listens where Pebble would try HTTP-01. Clients ask all the while, and none meets a challenge."""
    with (
        running_pebble(free_port(), tls_port=appliance.https_port, validity=20, authorization_reuse=0) as pebble,
        uvicorn(tmp_path) as asgi,
    ):
        appliance.configure([(["one.test", "www.one.test"], asgi.upstream)], pebble.directory_url, pebble.ca_file)
        with appliance.config.open("a") as config:
            config.write('challenge = "tls-alpn-01"\n')
        with appliance:
            root = pebble.root()
            first = appliance.wait_for(lambda: serial_of(appliance, "one.test", root), CERTIFIED_WITHIN, "certified")
            with (
                Load(appliance, "one.test", root, "/echo", keep_alive=False) as one,
                Load(appliance, "www.one.test", root, "/echo", keep_alive=True) as two,
            ):
                appliance.wait_for(
                    lambda: serial_of(appliance, "www.one.test", root) not in (None, first), 30, "renewed"
                )
        assert not one.failures
        assert not two.failures
        assert "Traceback" not in appliance.output()
        assert '"tls-alpn-01"' not in pebble.output() or "http-01" not in pebble.output()
