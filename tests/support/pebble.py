"""A real CA for tests: Debian's ``pebble`` and its ``pebble-challtestsrv``, on free ports, with chosen settings."""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import define, field, frozen
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.certificates import Authority, make_certificate
from tests.support.processes import Program, free_ports


@frozen
class PebbleSettings:
    """How this CA behaves."""

    http_port: int
    """Where it validates HTTP-01."""
    tls_port: int = 1
    """Where it validates TLS-ALPN-01."""
    dns_server: str | None = None
    """``ADDRESS:PORT`` of the resolver it asks; None is its own challtestsrv."""
    nonce_reject: int = 5
    """Percent of good nonces that it refuses."""
    validity: int | None = None
    """Seconds a certificate lives; None is five years."""
    blocklist: Sequence[str] = ()
    """Names it refuses."""
    external_accounts: Mapping[str, str] = field(factory=dict)
    """kid to base64url HMAC key; if there are any, an account needs one."""
    alternate_roots: int = 0
    """How many chains it offers beside the default one."""
    authorization_reuse: int = 50
    """Percent of valid authorizations that new orders use again."""
    no_sleep: bool = True
    """Validate at once rather than after 0-15 s."""
    retry_after: Mapping[str, int] = field(factory=dict)
    """``authz`` and ``order`` to the seconds of Retry-After it sends with them."""


@define
class Pebble:
    """One CA and its DNS, on the same ports whenever they are started; all it knows is forgotten in between.

    A context manager. Its files and logs are in ``folder``.
    """

    settings: PebbleSettings
    folder: Path
    port: int = field(init=False)
    management_port: int = field(init=False)
    dns_port: int = field(init=False)
    dns_management_port: int = field(init=False)
    _pebble: Program = field(init=False)
    _dns: Program = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Write its configuration; nothing is started yet."""
        self.port, self.management_port, self.dns_port, self.dns_management_port = free_ports(4)
        self.folder.mkdir(parents=True, exist_ok=True)
        authority = Authority.make("Pebble's own TLS")
        certificate = make_certificate(["localhost", "127.0.0.1"], authority=authority)
        self.ca_file.write_bytes(authority.pem)
        (self.folder / "cert.pem").write_bytes(certificate.leaf.public_bytes(Encoding.PEM))
        key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "key.pem").write_bytes(key)
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": self._configuration()}))
        self._dns = Program(self._dns_arguments(), self.folder / "dns.log")
        self._pebble = Program(
            [
                "pebble",
                "-config",
                "pebble.json",
                "-dnsserver",
                self.settings.dns_server or f"127.0.0.1:{self.dns_port}",
            ],
            self.folder / "pebble.log",
            environment=self._environment(),
            folder=self.folder,
        )

    def _configuration(self) -> dict[str, Any]:
        settings = self.settings
        configuration: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": "cert.pem",
            "privateKey": "key.pem",
            "httpPort": settings.http_port,
            "tlsPort": settings.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(settings.external_accounts),
            "externalAccountMACKeys": dict(settings.external_accounts),
            "domainBlocklist": list(settings.blocklist),
        }
        if settings.validity is not None:
            configuration["certificateValidityPeriod"] = settings.validity
        if settings.retry_after:
            configuration["retryAfter"] = dict(settings.retry_after)
        return configuration

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        return {
            "PEBBLE_WFE_NONCEREJECT": str(settings.nonce_reject),
            "PEBBLE_VA_NOSLEEP": "1" if settings.no_sleep else "0",
            "PEBBLE_ALTERNATE_ROOTS": str(settings.alternate_roots),
            "PEBBLE_AUTHZREUSE": str(settings.authorization_reuse),
        }

    def _dns_arguments(self) -> list[str]:
        # Every name resolves to 127.0.0.1 and to nothing else: ::1 breaks validation.
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
        dns = ["-dns01", f"127.0.0.1:{self.dns_port}", "-management", f"127.0.0.1:{self.dns_management_port}"]
        return ["pebble-challtestsrv", *off, *dns]

    @property
    def directory_url(self) -> str:
        """What goes into ``acme.directory``."""
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def ca_file(self) -> Path:
        """What goes into ``acme.ca_file``: trust for the directory's own TLS."""
        return self.folder / "ca.pem"

    def start(self) -> Self:
        """Start both programs and wait until they accept connections."""
        self._dns.start().wait_for_port(self.dns_management_port)
        self.start_ca()
        return self

    def stop(self) -> None:
        """Stop both programs."""
        self._pebble.stop()
        self._dns.stop()

    def start_ca(self) -> None:
        """Start only the CA: with a new root, and knowing nobody."""
        self._pebble.start().wait_for_port(self.port).wait_for_port(self.management_port)

    def kill_ca(self) -> None:
        """End only the CA, without goodbye."""
        self._pebble.kill()

    def output(self) -> str:
        """What the CA has logged since it was first started."""
        return self._pebble.output()

    def root(self, chain: int = 0) -> bytes:
        """The root of what it issues, as PEM; new at every start. ``chain`` over 0 is an alternate one."""
        return self._manage(f"roots/{chain}")

    def intermediate(self, chain: int = 0) -> bytes:
        """The intermediate below that root, as PEM."""
        return self._manage(f"intermediates/{chain}")

    @property
    def dns_management_url(self) -> str:
        """Where challtestsrv takes orders."""
        return f"http://127.0.0.1:{self.dns_management_port}"

    def dns(self, action: str, **data: object) -> None:
        """One request to challtestsrv's management: ``dns("add-a", host="one.test", addresses=["127.0.0.2"])``."""
        url = f"{self.dns_management_url}/{action}"
        with urllib.request.urlopen(url, json.dumps(data).encode(), timeout=10):
            pass

    def _manage(self, path: str) -> bytes:
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        url = f"https://127.0.0.1:{self.management_port}/{path}"
        with urllib.request.urlopen(url, timeout=10, context=trust) as answer:
            content: bytes = answer.read()
        return content

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def running_pebble(http_port: int, **settings: Any) -> Iterator[Pebble]:
    """A started Pebble that validates HTTP-01 on ``http_port``, in a folder that goes away with it."""
    with (
        tempfile.TemporaryDirectory(prefix="pebble-") as folder,
        Pebble(PebbleSettings(http_port, **settings), Path(folder)) as pebble,
    ):
        yield pebble
