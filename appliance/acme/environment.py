"""What all sites' renewals share, and what they ask of the parts around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from txacme.interfaces import ICertificateStore  # type: ignore[import-untyped]

from appliance.acme.ari import RenewalInfo
from appliance.acme.budget import Limits
from appliance.acme.issuance import Remember
from appliance.acme.pace import Pace
from appliance.acme.progress import Tell
from appliance.acme.request import CertificateRequest, Unfinished
from appliance.acme.spending import Spending
from appliance.acme.state import StateFolder
from appliance.acme.turns import Turns
from appliance.store import Defer
from appliance.tls.certificate import Certificate


class Issuing(Protocol):
    """What certificates come from: ``issuer.Issuer``, or anything shaped like it."""

    @property
    def name(self) -> str:
        """What the CA is called."""

    @property
    def host(self) -> str:
        """The host of its directory, which stays when it is called something else."""

    @property
    def limits(self) -> Limits:
        """What may be used of it."""

    async def obtain(
        self, request: CertificateRequest, unfinished: Unfinished | None, remember: Remember, tell: Tell, /
    ) -> Certificate:
        """Order one certificate, or go on with ``unfinished``; tell ``remember`` of a new order, ``tell`` of steps."""

    async def renewal_info(self, certificate: Certificate, /) -> tuple[RenewalInfo, float | None] | None:
        """What the CA suggests, and after how many seconds to ask again; None if it suggests nothing."""


class Install(Protocol):
    """Puts a certificate into service for some names of a site: ``SniMap.swap``."""

    def __call__(self, site: str, names: Sequence[str], certificate: Certificate, /) -> None:
        """Serve it from the next handshake on; raise if it cannot be."""


Look = Callable[[str], Deferred[frozenset[str]]]
"""The addresses that a name has now, as text; fails, or fires with none, if it has none."""


@define
class Environment:
    """What all sites' renewals share. A new configuration replaces what it says of CAs; nothing else ever changes."""

    clock: IReactorTime
    """For timers; monotonic."""
    now: Callable[[], datetime]
    """For dates; aware, UTC."""
    store: ICertificateStore
    states: StateFolder
    issuers: Mapping[str, Issuing]
    """By name, in order of preference."""
    rehearsal: Issuing | None
    """Where a site's first certificate is tried."""
    install: Install
    withdraw: Callable[[str], None]
    """Undoes ``install`` for a site: ``SniMap.remove``."""
    verify: Callable[[Certificate], object]
    """Raises if OpenSSL would not load the certificate: to be known before it is written."""
    defer: Defer
    random: Callable[[], float]
    turns: Turns
    asking: Pace
    """When sites ask for renewal information first."""
    spending: Spending
    key_type: str
    """Of sites that have none of their own."""
    look: Look | None
    """None if nobody watches the DNS."""
    own_addresses: Callable[[], frozenset[str]]
    """This machine's, as far as it knows them."""
    order_timeout: float
    """Seconds after which an order is given up."""
    longest_sleep: float
    """Seconds after which the wall clock is looked at again: it may have jumped, or the machine slept."""
    many_sites: bool
    """So many that they are not told of one by one when they start."""
    is_running: Callable[[], bool]
