"""Certificates and challenges that every process of a service has: changed in the main one, and told to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from txacme.interfaces import IResponder  # type: ignore[import-untyped]
from zope.interface import implementer

from appliance.acme.challenges import ChallengeResponse, PendingChallenges, PresentedChallenge
from appliance.acme.tlsalpn import TlsAlpnChallenges
from appliance.config import Site
from appliance.ops.service.maintenance import Closing
from appliance.tls.certificate import Certificate
from appliance.tls.snimap import ChallengeContexts, SniMap
from appliance.workers import messages
from appliance.workers.messages import Message, Present


class Tell(Protocol):
    """`crew.Crew.tell`."""

    def __call__(self, message: Callable[[], Message], /) -> Deferred[None]:
        """Fire when every worker has done it."""


class SharedCertificates(SniMap):
    """Tells of every swap, by ``tell``."""

    def __init__(self, tell: Tell, challenges: ChallengeContexts, protocols: tuple[bytes, ...]) -> None:
        super().__init__(challenges, protocols)
        self._tell = tell

    def swap(self, site: str, names: Iterable[str], certificate: Certificate) -> None:
        """See SniMap."""
        wanted = tuple(names)
        super().swap(site, wanted, certificate)
        self._tell(lambda: messages.Swap(site, wanted, certificate.to_pem()))

    def remove(self, site: str) -> None:
        """See SniMap."""
        super().remove(site)
        self._tell(lambda: messages.Remove(site))

    def all(self) -> Iterator[Message]:
        """What is served for each site, as it is when its turn comes."""
        for site in self.sites:
            served = self.served(site)
            if served is not None:
                yield messages.Swap(site, tuple(self.names_of(site)), served.certificate.to_pem())


class Presented:
    """The challenges being presented, for workers that are yet to come. One may be presented more than once."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._presented: list[Present] = []

    def present(self, challenge: Present) -> Deferred[None]:
        """Fires when every worker answers it."""
        self._presented.append(challenge)
        return self._tell(lambda: challenge)

    def withdraw(self, challenge: Present) -> Deferred[None]:
        """Fires when no worker does."""
        if challenge in self._presented:
            self._presented.remove(challenge)
        return self._tell(lambda: messages.Withdraw(challenge))

    def all(self) -> Iterable[Message]:
        """All of them."""
        return list(self._presented)


@implementer(IResponder)
class SharedResponder:
    """Presents by ``own`` and in the workers. A CA may ask any process, so it is told to look when all know."""

    def __init__(self, own: PendingChallenges | TlsAlpnChallenges, presented: Presented) -> None:
        self.challenge_type = own.challenge_type
        self._own = own
        self._presented = presented

    def start_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """See IResponder. Raises AcmeError as ``own`` does."""
        self._own.start_responding(server_name, challenge, response)
        return self._presented.present(self._message(server_name, challenge, response))

    def stop_responding(
        self, server_name: str, challenge: PresentedChallenge, response: ChallengeResponse
    ) -> Deferred[None]:
        """See IResponder."""
        self._own.stop_responding(server_name, challenge, response)
        return self._presented.withdraw(self._message(server_name, challenge, response))

    def _message(self, name: str, challenge: PresentedChallenge, response: ChallengeResponse) -> Present:
        return Present(self.challenge_type, name, challenge.encode("token"), response.key_authorization)


class SharedMaintenance:
    """Which sites are switched off: a `Closing`."""

    def __init__(self, own: Closing, tell: Tell) -> None:
        self._own = own
        self._tell = tell

    @property
    def sites(self) -> Sequence[Site]:
        """See Closing."""
        return self._own.sites

    def close(self, closed: frozenset[str]) -> None:
        """See Closing."""
        self._own.close(closed)
        self._tell(lambda: messages.Close(closed))
