"""Restarts and outages around a real CA: what a record on disk is for."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from appliance.acme.state import RenewalState
from appliance.tls.certificate import Certificate
from tests.support.appliance import Appliance, serial_of
from tests.support.pebble import Pebble, PebbleSettings, running_pebble
from tests.support.processes import accepts, wait_for

NOBODY = "http://127.0.0.1:9"
KILLS = 50


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path)


def has_begun(appliance: Appliance, site: str) -> bool:
    """Whether an attempt is under way."""
    return record(appliance, site).running


def has_order(appliance: Appliance, site: str) -> bool:
    """Whether the CA has one of the site's that is not finished."""
    unfinished = record(appliance, site).unfinished
    return unfinished is not None and unfinished.url is not None


def record(appliance: Appliance, site: str) -> RenewalState:
    """What the appliance has written down of a site."""
    path = appliance.state_dir / "renewal" / f"{site}.json"
    return RenewalState.from_json(path.read_bytes()) if path.exists() else RenewalState()


@pytest.mark.timeout(400)  # fifty starts of Python take a while
def test_restarts_in_a_row_make_one_order(appliance: Appliance) -> None:
    """Killed fifty times, before, in and after the first order: at most one per site in all, and no bad file."""
    chance = random.Random(20271)
    with running_pebble(appliance.http_port, nonce_reject=50) as pebble:
        appliance.configure(
            [(["one.test", "www.one.test"], NOBODY), (["two.test"], NOBODY)], pebble.directory_url, pebble.ca_file
        )
        for _ in range(KILLS):
            appliance.start()
            time.sleep(chance.uniform(0, 0.4))  # the moment of the kill: any will do
            appliance.kill()
        orders = pebble.output().count('Added order "')
        assert orders <= 2, "of two sites"
        assert not list(appliance.state_dir.rglob("*.corrupt*"))
        for file in (appliance.state_dir / "certificates").glob("*.pem"):
            Certificate.from_pem(file.read_bytes())
        assert "Traceback" not in appliance.output()


@pytest.mark.parametrize("moment", ["begun", "ordered"])
def test_an_orderly_restart_goes_on_at_once(appliance: Appliance, moment: str) -> None:
    """Stopped while the CA keeps it waiting: no failure, no order left "under way"; started again, it is certified."""
    with running_pebble(appliance.http_port, retry_after={"authz": 3, "order": 3}, no_sleep=False) as pebble:
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        appliance.start()
        come = has_begun if moment == "begun" else has_order
        appliance.wait_for(lambda: come(appliance, "one.test"), 10, "an order under way")
        appliance.stop()
        stopped = record(appliance, "one.test")
        assert (stopped.running, stopped.failures, stopped.next_attempt) == (False, 0, None)
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 60, "certified")
            assert moment == "begun" or "goes on with its order for one.test" in appliance.output()


def test_checked_while_it_was_stopped(appliance: Appliance) -> None:
    """The CA finds nobody: the order is lost, and started again, the service says so and makes another at once."""
    with running_pebble(appliance.http_port, no_sleep=False) as pebble:
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        appliance.start()
        appliance.wait_for(lambda: "before validating" in pebble.output(), 10, "the CA is about to look")
        appliance.stop()
        wait_for(lambda: "set INVALID" in pebble.output(), 30, "the CA has looked")
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 40, "certified")
            assert "nobody answered the CA meanwhile.; tried again at once" in appliance.output()
        assert pebble.output().count('Added order "') == 2


def test_a_ca_that_comes_up_late(appliance: Appliance, tmp_path: Path) -> None:
    """No CA at the start: said so, with the time of the next attempt; it comes, and is seen within seconds."""
    pebble = Pebble(PebbleSettings(appliance.http_port), tmp_path / "pebble")
    appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
    with appliance:
        appliance.wait_for(lambda: "one.test: no certificate for one.test" in appliance.output(), 10)
        line = next(line for line in appliance.output().splitlines() if "one.test: no certificate" in line)
        assert "tried again at" in line
        assert accepts(appliance.https_port)
        with pebble:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 20, "certified")
        assert record(appliance, "one.test").failures == 0
