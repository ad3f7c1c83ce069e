"""What happens once a certificate is in service: a look at what the wire really shows, then exports and deploy hooks.

The SNI map says what ought to be served. A handshake with our own listener proves it: against the certificate that was
put into service, and against the one in the store, which a restart would serve.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import pem
from attrs import evolve, frozen
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore  # type: ignore[import-untyped]

from appliance.errors import ApplianceError
from appliance.ops.deploy import handshake
from appliance.ops.status.document import AfterSwap
from appliance.tls.certificate import Certificate
from appliance.tls.snimap import SniMap

AT_ONCE = 2
"""So many handshakes at the same time."""
MOST_LOOKS = 50
"""So many swaps are waiting for theirs at most: of thousands of sites that are put into service in one moment, at the
start, only the first ones are looked at. A renewal always is."""


class Deploy(Protocol):
    """Exports sites' new certificates and runs their hooks: `deployer.Deployer`."""

    def wants(self, site: str, /) -> bool:
        """Whether there is anything to do for a site."""

    def __call__(self, site: str, certificate: Certificate, /) -> Awaitable[str]:
        """Do it; what went wrong, or nothing."""


@frozen
class _Swap:
    """What is to be followed up."""

    names: tuple[str, ...]
    certificate: Certificate
    look: bool


_GIVEN_UP = (CancelledError, ConnectingCancelledError)

_log = Logger()


class Installer:
    """Puts certificates into service, and looks after them: stands for ``SniMap.swap`` towards the renewal service."""

    def __init__(
        self,
        reactor: Any,
        now: Callable[[], datetime],
        certificates: SniMap,
        ports: Callable[[], Sequence[IListeningPort]],
        store: ICertificateStore,
        deploy: Deploy | None = None,
        in_step: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``ports`` are the listeners that a plain TLS client can talk to; without any, the map itself is asked.

        ``in_step`` returns once all processes that such a client may come to know what this one knows.
        """
        self._in_step = in_step
        self._reactor = reactor
        self._now = now
        self._certificates = certificates
        self._ports = ports
        self._store = store
        self._deploy = deploy
        self._known: dict[str, AfterSwap] = {}
        self._waiting: dict[str, _Swap] = {}
        """By site, the one that has waited longest first."""
        self._under_way: dict[str, Deferred[None]] = {}
        self._workers: set[Deferred[None]] = set()

    def install(self, site: str, names: Sequence[str], certificate: Certificate) -> None:
        """As ``SniMap.swap``; what follows is done in turns to come and never fails it."""
        self._certificates.swap(site, names, certificate)
        self._look_after(site, names, certificate)

    def pass_on(self, site: str, names: Sequence[str]) -> None:
        """Do again what follows a swap: others get the certificate than did before."""
        served = self._certificates.served(site)
        if served is not None:
            self._look_after(site, [name for name in names if served.covers(name)], served.certificate)

    def _look_after(self, site: str, names: Sequence[str], certificate: Certificate) -> None:
        self._give_up(site)
        look = len(self._waiting) < MOST_LOOKS
        if look or (self._deploy is not None and self._deploy.wants(site)):
            self._waiting[site] = _Swap(tuple(names), certificate, look)
            self._begin_work()

    def remove(self, site: str) -> None:
        """As ``SniMap.remove``; what is known of the site is forgotten."""
        self._certificates.remove(site)
        self._known.pop(site, None)
        self._give_up(site)

    def known(self, site: str) -> AfterSwap:
        """What was seen last."""
        return self._known.get(site, AfterSwap())

    def close(self) -> None:
        """Give up what is under way."""
        self._waiting.clear()
        for following in list(self._under_way.values()):
            following.cancel()

    def _give_up(self, site: str) -> None:
        """What is to follow an older swap."""
        self._waiting.pop(site, None)
        following = self._under_way.pop(site, None)
        if following is not None:
            following.cancel()

    def _begin_work(self) -> None:
        if len(self._workers) < AT_ONCE:
            working = Deferred.fromCoroutine(self._work())
            self._workers.add(working)
            working.addCallback(lambda _: self._workers.discard(working))

    async def _work(self) -> None:
        """Follow up one swap after the other. Never raises."""
        while self._waiting:
            site = next(iter(self._waiting))
            following = Deferred.fromCoroutine(self._follow(site, self._waiting.pop(site)))
            self._under_way[site] = following
            try:
                await following
            except _GIVEN_UP:
                pass
            except Exception:
                _log.failure("{site}: unexpected error after a swap", site=site)
            if self._under_way.get(site) is following:
                del self._under_way[site]

    async def _follow(self, site: str, swap: _Swap) -> None:
        if self._in_step is not None:
            await self._in_step()
        if swap.look:
            await self._look_at(site, swap.names, swap.certificate)
        if self._deploy is not None:
            self._known[site] = evolve(self.known(site), export=await self._deploy(site, swap.certificate))

    async def _look_at(self, site: str, names: tuple[str, ...], certificate: Certificate) -> None:
        """Have what a client gets known, and logged."""
        problem, seen, way = await self._look(names, certificate)
        problem = problem or await self._compare_with_store(site, certificate)
        self._known[site] = evolve(
            self.known(site),
            checked=self._now(),
            served=f"{seen.serial_number:x}" if seen is not None else None,
            way=way,
            problem=problem,
        )
        if problem:
            _log.error(
                "{site}: certificate {serial:x} was put into service, but {problem}",
                site=site,
                serial=certificate.serial,
                problem=problem,
            )
        else:
            _log.info(
                "{site}: a handshake ({way}) shows certificate {serial:x}",
                site=site,
                serial=certificate.serial,
                way=way,
            )

    async def _look(self, names: tuple[str, ...], certificate: Certificate) -> tuple[str, x509.Certificate | None, str]:
        """What is wrong with what a client gets, what it gets, and how that was seen."""
        name = _name_to_ask(names)
        if name is None:
            return "", None, "no name to ask for: addresses only"
        way = "in memory"
        try:
            seen = None
            for port in self._ports():
                address: Any = port.getHost()
                host = handshake.loopback_for(address.host)
                way = f"{host} port {address.port}"
                seen = await handshake.over_socket(self._reactor, host, address.port, name)
                if seen != certificate.leaf:
                    break
            if seen is None:
                seen = handshake.in_memory(self._certificates, name)
        except _GIVEN_UP:
            raise
        except Exception as error:
            words = str(error) or repr(error)
            return f"a handshake for {name} ({way}) failed: {words}; restart the service", None, way
        if seen != certificate.leaf:
            return f"a handshake for {name} ({way}) shows {seen.serial_number:x}; restart the service", seen, way
        return "", seen, way

    async def _compare_with_store(self, site: str, certificate: Certificate) -> str:
        """What is wrong with the stored one, as against the one in service."""
        try:
            objects: Sequence[pem.AbstractPEMObject] = await self._store.get(site)
            stored = Certificate.from_pem(b"\n".join(each.as_bytes() for each in objects))
        except KeyError:
            return ""  # it is stored under another name, or not saved yet, which is told elsewhere
        except ApplianceError as error:
            return f"the stored one cannot be read: {error}"
        if stored.leaf != certificate.leaf:
            return f"the store has {stored.serial:x}: that is what a restart would serve; see whether it can be written"
        return ""


def _name_to_ask(names: Sequence[str]) -> str | None:
    """A host name that the certificate is for."""
    for name in names:
        if ":" not in name and not name.replace(".", "").isdigit():
            return name.replace("*", "appliance-check", 1)
    return None
