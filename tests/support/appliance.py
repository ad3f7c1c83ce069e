"""The appliance itself as a program in tests: its configuration, its ports, and clients that trust a given root."""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509

from appliance.tls.certificate import Certificate
from tests.support.processes import Program, accepts, free_ports

ROOT = Path(__file__).parents[2]


class Appliance(Program):
    """``twist appliance --config`` on free loopback ports, its files in ``folder``."""

    def __init__(self, folder: Path, *, http: int = 0, https: int = 0) -> None:
        ports = free_ports(2)
        self.http_port = http or ports[0]
        self.https_port = https or ports[1]
        self.state_dir = folder / "state"
        self.config = folder / "appliance.toml"
        program = [sys.executable, "-m", "twisted", "appliance", "--config", self.config]
        super().__init__(program, folder / "appliance.log", environment={"PYTHONPATH": str(ROOT)}, folder=folder)

    def configure(
        self, sites: Sequence[tuple[Sequence[str], str]], directory: str, ca_file: Path | None = None, more: str = ""
    ) -> Self:
        """Write the configuration: ``sites`` are names and upstream; ``more`` is put before the sites."""
        trust = f"ca_file = {json.dumps(str(ca_file))}\n" if ca_file else ""
        tables = "".join(
            f"[[site]]\nnames = {json.dumps(list(names))}\nupstream = {json.dumps(upstream)}\n"
            for names, upstream in sites
        )
        self.config.write_text(
            f'state_dir = "{self.state_dir}"\n'
            f'[listen]\nhttp = ["tcp:{self.http_port}:interface=127.0.0.1"]\n'
            f'https = ["tcp:{self.https_port}:interface=127.0.0.1"]\n'
            f'[acme]\ndirectory = "{directory}"\nemail = "admin@example.com"\nagree_tos = true\n{trust}{more}{tables}'
        )
        return self

    def keep(self, site: str, certificate: Certificate) -> None:
        """Put a certificate into the store, as if obtained earlier."""
        folder = self.state_dir / "certificates"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{site}.pem"
        path.touch(0o600)
        path.write_bytes(certificate.to_pem())

    def start(self) -> Self:
        """Start it, and return once both listeners accept connections."""
        super().start()
        self.wait_for(lambda: accepts(self.https_port) and accepts(self.http_port), 20, "listening")
        return self

    def resident(self) -> int:
        """Bytes of memory it holds."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak_resident(self) -> int:
        """The most bytes it ever held."""
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

    def client(self, name: str, root: bytes, timeout: float = 20.0) -> SiteConnection:
        """A client of one site that trusts ``root`` (PEM) and nothing else."""
        return SiteConnection(name, self.https_port, root, timeout)


class SiteConnection(HTTPSConnection):
    """HTTPS to ``name`` on a loopback port, certificate and name verified."""

    def __init__(self, name: str, port: int, root: bytes, timeout: float = 20.0) -> None:
        context = ssl.create_default_context(cadata=root.decode("ascii"))
        context.set_alpn_protocols(["http/1.1"])
        super().__init__("127.0.0.1", port, timeout=timeout)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        """Connect and verify; see HTTPConnection."""
        super(HTTPSConnection, self).connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)

    def get(self, path: str, **headers: str) -> HTTPResponse:
        """Ask for ``path``; the body is to be read."""
        self.request("GET", path, headers={"Host": self._name, **headers})
        return self.getresponse()

    def certificate(self) -> x509.Certificate:
        """What the server proved its name with."""
        if self.sock is None:
            self.connect()
        return x509.load_der_x509_certificate(self.sock.getpeercert(binary_form=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serial_of(appliance: Appliance, name: str, root: bytes) -> int | None:
    """The serial number of what is served for ``name``; None while nothing is that ``root`` vouches for."""
    try:
        with appliance.client(name, root) as client:
            return client.certificate().serial_number
    except (OSError, ssl.SSLError):
        return None


class Load(threading.Thread):
    """A client that asks without a pause until it is stopped; every failure is kept.

    With ``keep_alive`` it stays on one connection for as long as the server lets it, else each request has its own.
    """

    def __init__(self, appliance: Appliance, name: str, root: bytes, path: str, *, keep_alive: bool) -> None:
        super().__init__(daemon=True)
        self._appliance = appliance
        self._name = name
        self._root = root
        self._path = path
        self._keep_alive = keep_alive
        self._stopped = threading.Event()
        self.requests = 0
        self.failures: list[str] = []

    def run(self) -> None:
        """Ask, and ask again."""
        client = self._appliance.client(self._name, self._root)
        while not self._stopped.is_set():
            try:
                response = client.get(self._path)
                body = response.read()
                if response.status != 200 or not body:
                    self.failures.append(f"{response.status} with {len(body)} bytes")
            except (OSError, HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                client.close()
                time.sleep(0.05)  # a failing server is not to be drowned in failures
            self.requests += 1
            if not self._keep_alive:
                client.close()
        client.close()

    def stop(self) -> None:
        """End after the request under way."""
        self._stopped.set()
        self.join(30)
        assert not self.is_alive(), f"the client of {self._name} hangs"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
