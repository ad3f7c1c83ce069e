"""The operator's side of the service, put together: what follows a swap, the alarm, the control socket."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from txacme.interfaces import ICertificateStore, IResponder  # type: ignore[import-untyped]

from appliance.acme.issuers import Issuers
from appliance.config import Configuration
from appliance.errors import ApplianceError
from appliance.net.listener import Listener
from appliance.ops.alarm.notify import Notifier
from appliance.ops.alarm.service import AlarmService
from appliance.ops.control.server import Arguments, Command, ControlService
from appliance.ops.deploy.afterswap import Installer
from appliance.ops.deploy.deployer import Deployer
from appliance.ops.diagnosis.probe import Probes
from appliance.ops.metrics.traffic import Traffic
from appliance.ops.service.authorities import AuthorityOperations
from appliance.ops.service.maintenance import Maintenance
from appliance.ops.service.operations import Operations, Renewals
from appliance.ops.service.rehearsal import Rehearsal
from appliance.ops.service.reloading import Reloading
from appliance.ops.status.document import Address, Document, Extra, Report
from appliance.proxy.member import Member
from appliance.proxy.upstream import Upstream
from appliance.store import Defer
from appliance.tls.snimap import SniMap

_HELD = "the appliance is being upgraded: try again in a moment"

_log = Logger()


class Operating(MultiService):
    """Made before the renewal service, which installs through it; ``attach`` ties the two, before the start."""

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        now: Callable[[], datetime],
        certificates: SniMap,
        http_01: IResponder,
        store: ICertificateStore,
        defer: Defer,
        in_step: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """``in_step`` as for `Installer`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._configuration = configuration
        self._sites = {site.name: site for site in configuration.sites}
        self._now = now
        self._defer = defer
        self._http_01 = http_01
        self._probes = Probes(reactor, http_01)
        self._listeners: Callable[[], Sequence[Listener]] = tuple
        self._upstreams: Callable[[], Mapping[tuple[str, str], Upstream]] = dict
        self._traffic: Traffic | None = None
        self._reloading: Reloading | None = None
        self._maintenance: Maintenance | None = None
        self.commands: dict[str, Command] = {}
        """What may be asked for over the socket, by name; others may add to it."""
        self.operations: Operations | None = None
        self.alarm: AlarmService | None = None
        self.control: ControlService | None = None
        self._refusal = ""
        """Why commands that act are refused; empty while they are not."""
        self._notifier = Notifier(reactor, configuration.alarm, defer)
        deployer = Deployer(reactor, self._sites, configuration.state_dir, defer)
        self.installer = Installer(reactor, now, certificates, self._open_ports, store, deployer, in_step)
        self.install = self.installer.install
        """Stands for ``SniMap.swap``."""

    def attach(
        self,
        renewals: Renewals,
        issuers: Issuers,
        http: Callable[[], Sequence[Listener]],
        https: Callable[[], Sequence[Listener]],
        upstreams: Callable[[], Mapping[tuple[str, str], Upstream]],
        traffic: Traffic | None = None,
        maintenance: Maintenance | None = None,
        workers: Callable[[], Document | None] = lambda: None,
    ) -> None:
        """Say whom the commands are about, where clients come in, and where they are sent on to.

        ``upstreams`` go by site and path; ``traffic`` is None where nothing is counted; ``maintenance`` is the switch
        for it, if there is one; ``workers`` tells of other processes.
        """
        self._upstreams = upstreams
        self._traffic = traffic
        self._maintenance = maintenance
        state_dir = self._configuration.state_dir
        self._listeners = https
        self.operations = Operations(
            renewals,
            self._now,
            state_dir,
            self._extra,
            self._probes,
            self._load,
            self._reloads,
            workers,
            pause=lambda: deferLater(self._reactor, 0),
        )
        self.alarm = AlarmService(
            self._reactor,
            self._now,
            renewals.reports,
            self.installer.known,
            self._notifier,
            state_dir / "alarms.json",
            self._defer,
        )
        self.alarm.setServiceParent(self)  # type: ignore[no-untyped-call]
        rehearsal = Rehearsal(
            self._reactor,
            lambda: self._configuration,
            self._now,
            self._http_01,
            self._defer,
            issuers.make,
            lambda: self._open(http()),
        )
        authorities = AuthorityOperations(
            lambda: self._configuration, renewals, lambda: issuers.current, rehearsal, self._defer
        )
        self._offer(self.operations.commands())
        self._offer(authorities.commands())
        if maintenance is not None:
            self._offer(maintenance.commands())
        self.control = ControlService(self._reactor, state_dir, self.commands)
        self.control.setServiceParent(self)  # type: ignore[no-untyped-call]

    async def hold(self) -> None:
        """Refuse commands that act, and end those that change what another process is about to read."""
        self._refusal = _HELD
        if self._reloading is not None:
            await self._reloading.settle()
        if self._maintenance is not None:
            await self._maintenance.settle()

    def release(self) -> None:
        """Commands act again."""
        self._refusal = ""

    def hand_over(self) -> None:
        """Leave alarms to another process, after `hold`; this one still says how things are."""
        assert self.alarm is not None
        self.alarm.disownServiceParent()  # type: ignore[no-untyped-call]
        self.installer.close()

    def take_back(self) -> None:
        """They are this process's again."""
        assert self.alarm is not None
        assert self.control is not None
        self.alarm.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.control.take_back()

    async def leave(self, successor: int) -> None:
        """Take no commands any more: another process does."""
        self._refusal = f"process {os.getpid()} was replaced by process {successor}: ask that one"
        if self.control is not None:
            await self.control.leave()

    def reload_by(self, reloading: Reloading) -> None:
        """Have the command, and in the status how it went."""
        self._reloading = reloading
        self._offer({"reload": Command(lambda _: reloading.reload())})

    def apply(self, configuration: Configuration) -> None:
        """Go by another configuration from now on."""
        if configuration.alarm != self._configuration.alarm:
            self._notifier.apply(configuration.alarm)
        self._configuration = configuration
        self._sites.clear()
        self._sites.update({site.name: site for site in configuration.sites})

    def stopService(self) -> Deferred[None]:
        """Also gives up what follows a swap."""
        self.installer.close()
        stopped: Deferred[None] = super().stopService()  # type: ignore[no-untyped-call]
        return stopped

    def _offer(self, commands: Mapping[str, Command]) -> None:
        self.commands.update(
            {name: self._refusable(name, command) if command.acts else command for name, command in commands.items()}
        )

    def _refusable(self, name: str, command: Command) -> Command:
        def call(arguments: Arguments) -> Awaitable[Mapping[str, Any]] | Mapping[str, Any]:
            if self._refusal:
                _log.warn("{command} was not done: {refusal}", command=name, refusal=self._refusal)
                raise ApplianceError(self._refusal)
            return command.call(arguments)

        return Command(call)

    def _extra(self, report: Report) -> Extra:
        upstreams = [
            self._address(path, member)
            for path, upstream in self._upstreams_of(report.site)
            for member in upstream.members
        ]
        concern = self.alarm.concern_of(report) if self.alarm is not None else None
        traffic = self._traffic.site(report.site) if self._traffic is not None else None
        closed = self._maintenance is not None and self._maintenance.closes(report.site)
        alarm = concern.text if concern is not None else ""
        return Extra(upstreams, self.installer.known(report.site), alarm, traffic, closed)

    def _upstreams_of(self, site: str) -> Iterator[tuple[str, Upstream]]:
        """By path."""
        upstreams = self._upstreams()
        for route in self._sites[site].routes if site in self._sites else ():
            upstream = upstreams.get((site, route.path))
            if upstream is not None:
                yield route.path, upstream

    def _reloads(self) -> Document | None:
        if self._reloading is None:
            return None
        return {**self._reloading.document(), "sites": len(self._sites)}

    def _load(self) -> Document | None:
        return self._traffic.total() if self._traffic is not None else None

    def _address(self, path: str, member: Member) -> Address:
        """One address, as requests find it."""
        traffic = self._traffic.address(member.key) if self._traffic is not None else None
        if member.accepting and member.healthy:
            return Address(path, member.key, "in", "", member.pool.open, traffic)
        why = str(member.refusal) if member.refusal is not None else "fails its checks"
        return Address(path, member.key, "out", why, member.pool.open, traffic)

    def _open_ports(self) -> list[IListeningPort]:
        return self._open(self._listeners())

    def _open(self, listeners: Sequence[Listener]) -> list[IListeningPort]:
        """The TCP ports that anybody may connect to: not those behind a balancer's PROXY protocol."""
        if self._configuration.listen.proxy_protocol_from:
            return []
        ports = [listener.port for listener in listeners if listener.port is not None]
        return [port for port in ports if isinstance(port.getHost(), IPv4Address | IPv6Address)]
