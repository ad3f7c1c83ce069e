"""Moving in from other ACME clients, with trees that those clients themselves made against Pebble."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cryptography import x509

from tests.support.appliance import Appliance, serial_of
from tests.support.operator import run, site
from tests.support.pebble import Pebble, running_pebble
from tests.support.processes import Program, free_ports

NOBODY = "http://127.0.0.1:9"


def certbot(folder: Path, pebble: Pebble, port: int, *names: str) -> Path:
    """Have Debian's certbot obtain a certificate; its configuration folder."""
    tree = folder / "letsencrypt"
    domains = [argument for name in names for argument in ("-d", name)]
    folders = ["--config-dir", tree, "--work-dir", folder / "work", "--logs-dir", folder / "logs"]
    standalone = ["--standalone", "--http-01-port", str(port), "--http-01-address", "127.0.0.1"]
    done = subprocess.run(
        [
            *("certbot", "certonly", *standalone, "--server", pebble.directory_url, *domains, *folders),
            *("-n", "--agree-tos", "-m", "admin@example.com", "--deploy-hook", "/bin/true"),
        ],
        env={**os.environ, "REQUESTS_CA_BUNDLE": str(pebble.ca_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tree


def asked(pebble: Pebble, path: str) -> int:
    """How often the CA was asked for ``path``."""
    return pebble.output().count(f"POST {path} ->")


def test_certbots_certificate_is_served_at_once_and_renewed_when_due(tmp_path: Path) -> None:
    """No order and no registration before that; then under certbot's account."""
    appliance = Appliance(tmp_path)
    with running_pebble(appliance.http_port, nonce_reject=0, validity=40) as pebble:
        tree = certbot(tmp_path, pebble, appliance.http_port, "one.test", "www.one.test")
        appliance.configure([(["one.test", "www.one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        live = x509.load_pem_x509_certificate((tree / "live" / "one.test" / "fullchain.pem").read_bytes())
        orders, registrations = asked(pebble, "/order-plz"), asked(pebble, "/sign-me-up")
        assert (orders, registrations) == (1, 1)

        done = run("import-certbot", tree, "--config", appliance.config)
        assert done.returncode == 0, done.stderr
        assert "taken: certificate" in done.stdout
        assert "taken: account" in done.stdout
        assert "/bin/true" in done.stdout
        with appliance:
            assert serial_of(appliance, "www.one.test", pebble.root()) == live.serial_number
            assert site(appliance, "one.test")["last_attempt"] is None
            assert "orders a certificate" not in appliance.output()
            assert asked(pebble, "/order-plz") == orders
            appliance.wait_for(
                lambda: serial_of(appliance, "one.test", pebble.root()) not in (None, live.serial_number),
                40,
                "the renewal",
            )
            assert asked(pebble, "/sign-me-up") == registrations


def test_what_is_imported_twice_is_left_alone(tmp_path: Path) -> None:
    """And a dry run writes nothing at all."""
    appliance = Appliance(tmp_path)
    with running_pebble(appliance.http_port, nonce_reject=0) as pebble:
        tree = certbot(tmp_path, pebble, appliance.http_port, "one.test")
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        done = run("import-certbot", tree, "--config", appliance.config, "--dry-run")
        assert done.returncode == 0
        assert "certificate for one.test" in done.stdout
        assert not appliance.state_dir.exists()
        assert run("import-certbot", tree, "--config", appliance.config).returncode == 0
        again = run("import-certbot", tree, "--config", appliance.config)
        assert again.stdout.count("left: ") == 2


def test_caddys_certificate_is_taken_over(tmp_path: Path) -> None:
    """From the storage folder of a real Caddy."""
    appliance = Appliance(tmp_path)
    http, https = appliance.http_port, free_ports(1)[0]
    with running_pebble(http, nonce_reject=0) as pebble:
        storage = tmp_path / "caddy"
        (tmp_path / "Caddyfile").write_text(
            f"{{\n admin off\n storage file_system {storage}\n http_port {http}\n https_port {https}\n"
            f" acme_ca {pebble.directory_url}\n acme_ca_root {pebble.ca_file}\n email admin@example.com\n}}\n"
            "one.test {\n respond hello\n}\n"
        )
        caddy = Program(["caddy", "run", "--config", tmp_path / "Caddyfile"], tmp_path / "caddy.log", folder=tmp_path)
        with caddy:
            caddy.wait_for(
                lambda: list(storage.glob("certificates/*/one.test/one.test.json")), 30, "Caddy's certificate"
            )
        appliance.configure([(["one.test"], NOBODY)], pebble.directory_url, pebble.ca_file)
        done = run("import-caddy", storage, "--config", appliance.config)
        assert done.returncode == 0, done.stderr
        assert "taken: account" in done.stdout
        (file,) = storage.glob("certificates/*/one.test/one.test.crt")
        with appliance:
            served = serial_of(appliance, "one.test", pebble.root())
            assert served == x509.load_pem_x509_certificate(file.read_bytes()).serial_number
            assert "orders a certificate" not in appliance.output()
