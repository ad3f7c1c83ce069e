"""The CAs of a configuration, each with its account, kept for as long as what is said about them stays the same.

Changing them is done in two steps, so that what can fail does so before anything has changed: ``prepare`` makes what
is new, ``apply`` puts it in the place of the old. Orders under way go on with the CA and the responders that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from txacme.interfaces import IResponder  # type: ignore[import-untyped]

from appliance.acme.agent import CaAgent
from appliance.acme.dns.providers import dns_responder, responders_for
from appliance.acme.issuer import Issuer
from appliance.acme.responders import Responders
from appliance.config import CertificateAuthority, Configuration
from appliance.config.dns import Dns
from appliance.errors import AcmeError
from appliance.store import Defer

_Trust: TypeAlias = tuple[Path | None, bytes]
"""A file of trusted certificates, and what is in it: that may change as well."""


@frozen(eq=False)
class Authorities:
    """Those of a configuration."""

    issuers: tuple[Issuer, ...]
    """In order of preference."""
    rehearsal: Issuer | None
    """Where a site's first certificate is tried."""
    made: tuple[tuple[CertificateAuthority, _Trust, Issuer], ...]
    published: tuple[tuple[Dns, IResponder], ...]
    responders: Responders


class Issuers(Service):
    """The one owner of issuers, of the HTTPS connections to CAs, and of what proves names to them."""

    def __init__(
        self,
        reactor: Any,
        state_dir: Path,
        own: Sequence[IResponder],
        now: Callable[[], datetime],
        defer: Defer,
    ) -> None:
        """``own`` responders go before DNS-01."""
        self._reactor = reactor
        self._state_dir = state_dir
        self._own = tuple(own)
        self._now = now
        self._defer = defer
        self._agents: dict[_Trust, CaAgent] = {}
        self._responders = Responders(own)
        self._current = Authorities((), None, (), (), self._responders)

    @property
    def current(self) -> tuple[Issuer, ...]:
        """In the order of ``Acme.authorities``."""
        return self._current.issuers

    def prepare(self, configuration: Configuration) -> Authorities:
        """What a configuration asks for. Nothing is changed yet. Raises AcmeError, ResponderError."""
        acme = configuration.acme
        wanted = list(acme.authorities)
        if acme.rehearsal is not None:
            wanted.append(CertificateAuthority(acme.rehearsal, acme.email, acme.agree_tos, acme.ca_file))
        made = [self._issuer(authority) for authority in wanted]
        published: list[tuple[Dns, IResponder]] = []
        responders = responders_for(configuration, self._own, lambda dns: self._responder(dns, published))
        count = len(acme.authorities)
        issuers = tuple(issuer for _, _, issuer in made)
        return Authorities(
            issuers[:count], issuers[count] if len(issuers) > count else None, tuple(made), tuple(published), responders
        )

    def apply(self, prepared: Authorities) -> None:
        """Have these from now on."""
        self._current = prepared
        self._responders.replace(prepared.responders)

    def make(self, authority: CertificateAuthority) -> Issuer:
        """An issuer that is nobody else's: for rehearsals. Raises AcmeError."""
        return self._make(authority, self._trust(authority.ca_file))

    def stopService(self) -> Deferred[None]:
        """Close idle connections."""
        super().stopService()  # type: ignore[no-untyped-call]
        closing = DeferredList([agent.close() for agent in self._agents.values()])
        return closing.addCallback(lambda _: None)

    def _issuer(self, authority: CertificateAuthority) -> tuple[CertificateAuthority, _Trust, Issuer]:
        trust = self._trust(authority.ca_file)
        for before in self._current.made:
            if before[:2] == (authority, trust):
                return before
        return authority, trust, self._make(authority, trust)

    def _make(self, authority: CertificateAuthority, trust: _Trust) -> Issuer:
        if trust not in self._agents:
            self._agents[trust] = CaAgent(self._reactor, authority.ca_file)
        return Issuer(
            self._reactor,
            self._agents[trust],
            authority,
            self._state_dir,
            self._responders,
            now=self._now,
            defer=self._defer,
        )

    def _trust(self, ca_file: Path | None) -> _Trust:
        try:
            return ca_file, ca_file.read_bytes() if ca_file is not None else b""
        except OSError as error:
            raise AcmeError(f"acme.ca_file {ca_file} cannot be read: {error.strerror}") from error

    def _responder(self, dns: Dns, published: list[tuple[Dns, IResponder]]) -> IResponder:
        """The one there is for these settings, or a new one."""
        found = next((each for known, each in published if known == dns), None)
        if found is None:
            before = (each for known, each in self._current.published if known == dns)
            found = next(before, None) or dns_responder(dns, self._reactor, self._defer)
            published.append((dns, found))
        return found
