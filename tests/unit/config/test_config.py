"""The configuration's classes."""

import pytest

from appliance.config import ExternalAccount, Route, Site, UpstreamAddress
from appliance.config.site import Redirect, Respond


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (UpstreamAddress("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (UpstreamAddress("::1", 443, tls=True), "https://[::1]:443"),
        (UpstreamAddress(path="/run/app.sock"), "unix:/run/app.sock"),
    ],
)
def test_upstreams_are_written_as_in_the_file(address: UpstreamAddress, text: str) -> None:
    """Logs and messages name an upstream as the operator wrote it."""
    assert str(address) == text


def test_a_site_goes_by_its_first_name() -> None:
    """On disk, in logs and in commands."""
    assert Site(("a.example", "b.example"), (Route("/", ()),)).name == "a.example"


def test_account_keys_are_not_printed() -> None:
    """A configuration may end up in a log."""
    assert "secret" not in repr(ExternalAccount("kid", "secret"))


def test_what_a_route_answers() -> None:
    """In a few words."""
    address = UpstreamAddress("127.0.0.1", 8000)
    assert Route("/", (address, address)).answer == "http://127.0.0.1:8000 http://127.0.0.1:8000"
    assert Route("/", redirect=Redirect("/new", 302)).answer == "302 /new"
    assert Route("/", respond=Respond(204)).answer == "204"
