"""The demo's own parts; tests/integration/test_demo.py runs it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from twisted.logger import globalLogPublisher
from twisted.web.test.requesthelper import DummyRequest

from appliance.config import Listen, UpstreamAddress
from appliance.demo import NAMES, Page, configuration


def certificate() -> x509.Certificate:
    """Some certificate."""
    issued = trustme.CA().issue_cert("one.localhost", not_after=datetime.now(UTC) + timedelta(seconds=100.5))
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


def lines(page: Page) -> list[str]:
    """What the page shows to a client that came through the appliance."""
    request = DummyRequest([b""])
    request.uri = b"/somewhere"
    request.requestHeaders.setRawHeaders("X-Forwarded-Proto", ["https"])
    return page.render(request).decode().splitlines()


def test_what_the_demo_runs() -> None:
    """A site for each name, each with its own application, certified by the CA that is handed in."""
    upstreams = [UpstreamAddress("127.0.0.1", 1), UpstreamAddress("127.0.0.1", 2)]
    made = configuration(Listen(("tcp:3",), ("tcp:4",)), Path("/state"), "https://ca/", Path("/root.pem"), upstreams)
    assert tuple(site.name for site in made.sites) == NAMES
    assert [site.routes[0].upstreams[0].port for site in made.sites] == [1, 2]
    assert made.acme.directory == "https://ca/"
    assert made.acme.ca_file == Path("/root.pem")
    assert made.state_dir == Path("/state")


def test_the_page_before_there_is_a_certificate() -> None:
    """It says whose it is and how it was asked."""
    assert lines(Page("one.localhost")) == [
        "This is one.localhost, a demo application behind the appliance.",
        "You asked GET /somewhere by https",
    ]


def test_the_page_shows_the_certificate() -> None:
    """Its serial number, its time left, and how often it was renewed."""
    page, first = Page("one.localhost"), certificate()
    page.show(first)
    assert lines(page)[2].startswith(f"Certificate {first.serial_number:x}, for another ")
    assert lines(page)[3] == "Renewed 0 times since the start."
    page.show(certificate())
    assert lines(page)[3] == "Renewed 1 times since the start."


def test_renewals_are_told_once(request: pytest.FixtureRequest) -> None:
    """A line when a certificate appears, and one when it is another; none while it stays."""
    told: list[str] = []
    observer = lambda event: told.append(event["what"]) if "what" in event else None  # noqa: E731
    globalLogPublisher.addObserver(observer)
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observer))
    page, first, second = Page("one.localhost"), certificate(), certificate()
    for each in (first, first, second, second):
        page.show(each)
    assert told == ["certified", "renewed"]
