"""The whole around Pebble: a bad site beside good ones, external accounts, other chains, a CA that dies in an order."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from appliance.acme.state import RenewalState
from appliance.tls.certificate import Certificate
from tests.support.appliance import Appliance, serial_of
from tests.support.pebble import Pebble, PebbleSettings, running_pebble

NOBODY = "http://127.0.0.1:9"
HMAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    return Appliance(tmp_path)


def stored(appliance: Appliance, site: str) -> Certificate:
    """What is in the store."""
    return Certificate.from_pem((appliance.state_dir / "certificates" / f"{site}.pem").read_bytes())


def record(appliance: Appliance, site: str) -> RenewalState:
    """What is remembered of a site."""
    path = appliance.state_dir / "renewal" / f"{site}.json"
    return RenewalState.from_json(path.read_bytes()) if path.exists() else RenewalState()


def common_name(pem: bytes) -> str:
    """Of a certificate's subject."""
    (name,) = x509.load_pem_x509_certificate(pem).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def test_twenty_good_sites_beside_a_bad_one(appliance: Appliance) -> None:
    """Half of all nonces refused, one site blocked, one with a blocked name among good ones: the rest in a minute."""
    good = [f"good{number}.test" for number in range(20)]
    sites = [["bad.test"], ["half.test", "half.bad.test"], *([name, f"www.{name}"] for name in good)]
    with running_pebble(appliance.http_port, nonce_reject=50, blocklist=["bad.test"]) as pebble:
        appliance.configure([(names, NOBODY) for names in sites], pebble.directory_url, pebble.ca_file)
        with appliance:
            root = pebble.root()
            appliance.wait_for(lambda: all(serial_of(appliance, name, root) for name in good), 60, "all good ones")
            appliance.wait_for(lambda: serial_of(appliance, "half.test", root), 20, "the good half")
            assert serial_of(appliance, "bad.test", root) is None
            assert [loss.name for loss in record(appliance, "half.test").losses] == ["half.bad.test"]
            line = next(each for each in appliance.output().splitlines() if "bad.test: no certificate for bad" in each)
            for words in ("rejectedIdentifier", "use another CA", "tried again at"):
                assert words in line
            assert "Traceback" not in appliance.output()


def test_external_account(appliance: Appliance) -> None:
    """A CA that wants one, second in a list whose first cannot be reached: asked after three failures."""
    with running_pebble(appliance.http_port, external_accounts={"kid-1": HMAC_KEY}) as pebble:
        more = (
            f'[[acme.issuer]]\nname = "away"\ndirectory = "https://127.0.0.1:1/dir"\n'
            f'[[acme.issuer]]\nname = "pebble"\ndirectory = "{pebble.directory_url}"\nca_file = "{pebble.ca_file}"\n'
            f'external_account = {{kid = "kid-1", hmac_key = "{HMAC_KEY}"}}\n'
        )
        text = appliance.configure([(["one.test"], NOBODY)], "x", None, more).config.read_text()
        appliance.config.write_text(text.replace('directory = "x"\n', "", 1))
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 150, "by the second CA")
        assert record(appliance, "one.test").authority == "pebble"
        assert appliance.output().count("from away:") >= 3


@pytest.mark.parametrize("chain", [0, 1, 2])
def test_preferred_chain(appliance: Appliance, chain: int) -> None:
    """Of three chains the one that ends at the root of that name; keys as configured."""
    with running_pebble(appliance.http_port, alternate_roots=2) as pebble:
        root = pebble.root(chain)
        more = f'preferred_chain = "{common_name(root)}"\nkey_type = "p384"\n'
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file, more)
        with appliance:
            appliance.wait_for(lambda: serial_of(appliance, "one.test", root), 30, "a chain to that root")
        certificate = stored(appliance, "one.test")
        topmost = certificate.intermediates[-1]
        assert topmost.issuer == x509.load_pem_x509_certificate(root).subject
        assert certificate.key.key_size == 384


def test_ca_killed_in_the_middle_of_an_order(appliance: Appliance, tmp_path: Path) -> None:
    """It comes back with another root, and knows neither account nor order: both are made again, by themselves."""
    settings = PebbleSettings(appliance.http_port, retry_after={"authz": 2, "order": 2}, no_sleep=False)
    with Pebble(settings, tmp_path / "pebble") as pebble:
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        with appliance:
            appliance.wait_for(
                lambda: (order := record(appliance, "one.test").unfinished) and order.url, 20, "an order"
            )
            pebble.kill_ca()
            appliance.wait_for(lambda: "one.test: no certificate for one.test" in appliance.output(), 60, "a failure")
            pebble.start_ca()
            appliance.wait_for(lambda: serial_of(appliance, "one.test", pebble.root()), 90, "certified all the same")
            appliance.wait_for(lambda: record(appliance, "one.test").unfinished is None, 10, "the order forgotten")
        assert "Traceback" not in appliance.output()


def test_address(appliance: Appliance) -> None:
    """A certificate for 127.0.0.1, beside a name's: for clients that cannot say where they want to."""
    with running_pebble(appliance.http_port) as pebble:
        sites = [(["127.0.0.1"], NOBODY), (["one.test"], NOBODY)]
        appliance.configure(sites, pebble.directory_url, pebble.ca_file)
        with appliance:
            root = pebble.root()
            appliance.wait_for(lambda: serial_of(appliance, "127.0.0.1", root), 30, "the address certified")
            appliance.wait_for(lambda: serial_of(appliance, "one.test", root), 30, "the name certified")
            with appliance.client("127.0.0.1", root) as client:
                assert client.get("/").status in (502, 503, 504)
        assert stored(appliance, "127.0.0.1").names == {"127.0.0.1"}
