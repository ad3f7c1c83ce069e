"""A txacme responder as somebody else would write one, for DNS-01, by challtestsrv's management interface."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.dns.record import challenge_value


@implementer(IResponder)
@frozen
class TestServerResponder:
    """``management`` is challtestsrv's URL; what was asked for is appended to the file ``log``."""

    reactor: Any
    management: str
    log: str
    challenge_type: str = "dns-01"

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """Add the record; txacme's own way of asking the challenge for everything."""
        name = f"{challenge.validation_domain_name(server_name)}."
        return self._post("set-txt", "start", server_name, host=name, value=challenge_value(response.key_authorization))

    def stop_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """Remove it."""
        return self._post("clear-txt", "stop", server_name, host=f"{challenge.validation_domain_name(server_name)}.")

    def _post(self, action: str, word: str, server_name: str, **data: str) -> Deferred[None]:
        def post() -> None:
            with open(self.log, "a") as log:
                log.write(f"{word} {server_name} {data['host']}\n")
            with urllib.request.urlopen(f"{self.management}/{action}", json.dumps(data).encode(), timeout=10):
                pass

        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), post)
