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
from appliance.dnsconfig import CustomResponder
from appliance.errors import ResponderError


@frozen
class DelegatedChallenge(PresentedChallenge):
    """A challenge whose record belongs elsewhere, as a CNAME says."""

    record: str

    def validation_domain_name(self, name: str) -> str:
        """Where the record belongs, whatever it proves."""
        return self.record


class ThirdParty:
    """A `Publisher` that hands the record to a responder, which computes the value itself."""

    def __init__(self, responder: IResponder, words: str) -> None:
        """``words``: what it is called in messages."""
        self._responder = responder
        self._words = words

    async def present(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._call("start_responding", record)

    async def withdraw(self, record: TxtRecord) -> None:
        """See Publisher. Raises ResponderError."""
        await self._call("stop_responding", record)

    async def _call(self, method: str, record: TxtRecord) -> None:
        challenge = DelegatedChallenge("dns-01", record.token, record.name)
        call = getattr(self._responder, method)
        try:
            await maybeDeferred(call, record.domain, challenge, ChallengeResponse(record.key_authorization))
        except Exception as error:
            what = f"{self._words}: {method} for {record.name} failed"
            raise ResponderError(f"{what}: {type(error).__name__}: {error}") from error


def third_party(settings: CustomResponder, reactor: Any) -> ThirdParty:
    """Import and make the responder; its factory gets the options, and ``reactor`` if it has a parameter of that name.

    Raises ResponderError if that fails, or if what it returns is no responder for DNS-01.
    """
    words = f"responder {settings.factory}"
    module, _, path = settings.factory.partition(":")
    options: dict[str, Any] = dict(settings.options)
    try:
        factory: Any = import_module(module)
        for attribute in path.split("."):
            factory = getattr(factory, attribute)
        if "reactor" in inspect.signature(factory).parameters:
            options.setdefault("reactor", reactor)
        responder = factory(**options)
    except Exception as error:
        raise ResponderError(f"{words} cannot be made: {type(error).__name__}: {error}") from error
    if not IResponder.providedBy(responder):
        raise ResponderError(f"{words} made {type(responder).__name__}, which does not provide txacme's IResponder")
    if responder.challenge_type != "dns-01":
        raise ResponderError(
            f"{words} is for {responder.challenge_type}, which the appliance answers itself; here dns-01 is wanted"
        )
    return ThirdParty(responder, words)
