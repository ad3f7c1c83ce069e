"""As much of PowerDNS's HTTP API as dns-lexicon uses, before one zone of a BIND."""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.tsig
import dns.update

from tests.support.dnsserver import KEY_NAME, Bind


class PowerDnsApi:
    """Serves on ``url`` to who has ``token``."""

    def __init__(self, zone: str, bind: Bind) -> None:
        self.zone = zone
        self.bind = bind
        self.token = secrets.token_hex(16)
        self.records: dict[str, set[str]] = {}
        """TXT records as they are in a zone file, by name with its dot."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """For ``pdns_server``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def replace(self, name: str, contents: set[str]) -> None:
        """All values of a name are these from now on."""
        self.records[name] = contents
        update = dns.update.UpdateMessage(self.zone)
        update.use_tsig(dns.tsig.Key(KEY_NAME, self.bind.secret, "hmac-sha256"))
        update.delete(dns.name.from_text(name), "TXT")
        for content in contents:
            update.add(dns.name.from_text(name), 5, "TXT", content)
        answer = dns.query.tcp(update, self.bind.address, 10, self.bind.port)
        assert answer.rcode() == dns.rcode.NOERROR


class _Handler(BaseHTTPRequestHandler):
    api: PowerDnsApi

    def do_GET(self) -> None:
        rrsets = [
            {
                "name": name,
                "type": "TXT",
                "ttl": 60,
                "records": [{"content": each, "disabled": False} for each in values],
            }
            for name, values in self.api.records.items()
            if values
        ]
        self._answer(200, {"name": f"{self.api.zone}.", "kind": "Native", "rrsets": rrsets})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._allowed():
            for each in body["rrsets"]:
                gone = each["changetype"] == "DELETE"
                self.api.replace(each["name"], set() if gone else {record["content"] for record in each["records"]})
        self._answer(204, None)

    def do_PUT(self) -> None:
        self._answer(200, {})

    def _allowed(self) -> bool:
        return self.headers.get("X-API-Key") == self.api.token

    def _answer(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status if self._allowed() else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Not to stderr."""
