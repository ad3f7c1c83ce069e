"""Real name servers for tests: Debian's BIND, unprivileged, on a loopback port, taking dynamic updates."""

from __future__ import annotations

import base64
import secrets
import socket
import socketserver
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dns.message
import dns.query
import dns.rdatatype

from tests.support.processes import Program, free_port

KEY_NAME = "appliance-key"

_OPTIONS = """\
options {{
    directory "{folder}";
    pid-file none;
    session-keyfile "{folder}/session.key";
    managed-keys-directory "{folder}";
    listen-on port {port} {{ {address}; }};
    listen-on-v6 {{ none; }};
    recursion {recursion};
    allow-recursion {{ any; }};
    dnssec-validation no;
    notify explicit;
    notify-delay 0;
    minimal-responses no;
    allow-transfer {{ any; }};
}};
controls {{}};
logging {{ category default {{ default_stderr; }}; }};
key "{key_name}" {{ algorithm hmac-sha256; secret "{secret}"; }};
"""


class Bind(Program):
    """One ``named`` for ``zones``, each with its records; its files and log are in ``folder``.

    ``{address}`` in a record is its own address. ``update_policy`` goes into every zone. ``primary`` is the port of
    another that it is the secondary of; ``secondary`` the port of one that it tells of changes.
    """

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, Sequence[str]],
        *,
        update_policy: str = f"grant {KEY_NAME} zonesub TXT;",
        primary: int | None = None,
        secondary: int | None = None,
        port: int = 0,
        follows: bool = False,
    ) -> None:
        """``follows``: as a resolver it follows CNAMEs from one of its zones into another, and knows no other zones."""
        folder.mkdir(parents=True, exist_ok=True)
        self.address = "127.0.0.1"  # named takes only those that an interface has, and lo has no other
        self.port = port or free_port()
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()
        text = _OPTIONS.format(
            folder=folder,
            port=self.port,
            address=self.address,
            key_name=KEY_NAME,
            secret=self.secret,
            recursion="yes" if follows else "no",
        )
        if follows:
            self._write_zone(folder / "root.zone", "", ["@ NS ns1", "ns1 A {address}"])
            text += f'zone "." {{ type primary; file "{folder}/root.zone"; }};\n'
        for zone, records in zones.items():
            if primary is None:
                self._write_zone(folder / f"{zone}.zone", zone, records)
                notify = f"{self.address} port {secondary}; " if secondary else ""
                rest = f"type primary; update-policy {{ {update_policy} }}; also-notify {{ {notify}}};"
            else:
                rest = f"type secondary; primaries {{ {self.address} port {primary}; }};"
            text += f'zone "{zone}" {{ file "{folder}/{zone}.zone"; {rest} }};\n'
        (folder / "named.conf").write_text(text)
        super().__init__(["named", "-g", "-n", "1", "-c", str(folder / "named.conf")], folder / "named.log")

    def _write_zone(self, file: Path, zone: str, records: Sequence[str]) -> None:
        lines = [
            "$TTL 5",
            "@ IN SOA ns1 admin 1 3600 600 86400 1",
            *(record.format(address=self.address) for record in records or ["@ NS ns1", "ns1 A {address}"]),
        ]
        file.write_text("\n".join(lines) + "\n")

    def start(self) -> Self:
        """Start it, and wait until it answers for every zone."""
        super().start()
        self.wait_for(lambda: "all zones loaded" in self.output(), 20, "named to load its zones")
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def texts(self, name: str) -> set[str]:
        """The TXT records it has under ``name``."""
        query = dns.message.make_query(name, dns.rdatatype.TXT, flags=0)
        answer, _ = dns.query.udp_with_fallback(query, self.address, 5, self.port)
        found: Any = [rdata for rrset in answer.answer for rdata in rrset if rdata.rdtype == dns.rdatatype.TXT]
        return {b"".join(each.strings).decode() for each in found}

    def updates(self) -> int:
        """How many dynamic updates have changed something."""
        return self.output().count("adding an RR") + self.output().count("deleting an RR")


class Relay:
    """A name server's second address: passes UDP from ``address`` on to another ``port`` of 127.0.0.1."""

    def __init__(self, address: str, own_port: int, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, back = self.request
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
                    onward.settimeout(5)
                    onward.connect(("127.0.0.1", port))
                    with suppress(OSError):
                        onward.send(data)
                        back.sendto(onward.recv(65535), self.client_address)

        self._server = socketserver.ThreadingUDPServer((address, own_port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
