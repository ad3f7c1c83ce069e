"""Responders of others, by txacme's interface, for DNS-01."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from attrs import frozen
from twisted.internet.defer import maybeDeferred
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme.challenges import ChallengeResponse, PresentedChallenge
from appliance.acme.dns.record import TxtRecord
from appliance.config.dns import CustomResponder
from appliance.errors import ResponderError


@frozen
class DelegatedChallenge(PresentedChallenge):
    """A challenge whose record belongs elsewhere, as a CNAME says."""

    record: str

    def validation_domain_name(self, name: str) -> str:
        """Where the record belongs, whatever it proves."""
        return self.record


class ThirdParty:
    """A `Publisher` that hands the record to a responder, which computes the value itself.

    The responder is made when it is first needed: when it cannot be made, other sites are served all the same.
    """

    def __init__(self, settings: CustomResponder, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._words = f"responder {settings.factory}"
        self._responder: IResponder | None = None

    async def present(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._call("start_responding", record)

    async def withdraw(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._call("stop_responding", record)

    async def _call(self, method: str, record: TxtRecord) -> None:
        challenge = DelegatedChallenge("dns-01", record.token, record.name)
        if self._responder is None:
            self._responder = self._make()
        call = getattr(self._responder, method)
        try:
            await maybeDeferred(call, record.domain, challenge, ChallengeResponse(record.key_authorization))
        except Exception as error:
            what = f"{self._words}: {method} for {record.name} failed"
            raise ResponderError(f"{what}: {type(error).__name__}: {error}") from error

    def _make(self) -> IResponder:
        try:
            responder = make_responder(self._settings, self._reactor)
        except Exception as error:
            raise ResponderError(f"{self._words} cannot be made: {type(error).__name__}: {error}") from error
        if not IResponder.providedBy(responder):
            made = type(responder).__name__
            raise ResponderError(f"{self._words} made {made}, which does not provide txacme's IResponder")
        if responder.challenge_type != "dns-01":
            kind = responder.challenge_type
            raise ResponderError(f"{self._words} is for {kind}, which the appliance answers itself; dns-01 is wanted")
        return responder


def make_responder(settings: CustomResponder, reactor: Any) -> Any:
    """Call the factory with the options, and with ``reactor`` if it has a parameter of that name. Raises anything."""
    module, _, path = settings.factory.partition(":")
    factory: Any = import_module(module)
    for attribute in path.split("."):
        factory = getattr(factory, attribute)
    options: dict[str, Any] = dict(settings.options)
    if "reactor" in inspect.signature(factory).parameters:
        options.setdefault("reactor", reactor)
    return factory(**options)
