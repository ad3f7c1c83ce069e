"""Everything that is written down and counted about requests, put together from the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from prometheus_client.core import Metric
from twisted.application.service import MultiService, Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from appliance.config import Configuration
from appliance.config.ops import AccessLog as AccessLogSettings
from appliance.config.ops import Metrics as MetricsSettings
from appliance.http.errorpages import RequestIds
from appliance.ops.accesslog.line import CombinedLine, JsonLine, Line
from appliance.ops.accesslog.logfile import LogFile
from appliance.ops.accesslog.redact import Redactor
from appliance.ops.accesslog.writer import AccessLog
from appliance.ops.control.server import Command
from appliance.ops.metrics import collector
from appliance.ops.metrics.collector import Clients, Sources, Upstream
from appliance.ops.metrics.counts import Counts
from appliance.ops.metrics.server import InnerListener, MetricsPage
from appliance.ops.metrics.survey import Renewals, Survey
from appliance.ops.metrics.traffic import TICK, Traffic
from appliance.ops.observer import Count, Log, RequestObserver
from appliance.ops.statuspage.buttons import Panel
from appliance.ops.statuspage.server import Press, StatusPage
from appliance.process.inheritance import Inheritance
from appliance.proxy.handler import RequestId
from appliance.store import Defer

FLUSH_SECONDS = 1.0
"""No request waits longer than this for its batch to be full."""


class _Flushing(Service):
    """Has an observer pass on what it has, once a second; when it stops, and from then on, at once."""

    def __init__(self, clock: IReactorTime, observer: RequestObserver) -> None:
        self._observer = observer
        self._loop = LoopingCall(observer.flush)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(FLUSH_SECONDS, now=False)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        self._observer.batch = 1
        self._observer.flush()


class _Looking(Service):
    """Has the traffic looked at while it runs."""

    def __init__(self, clock: IReactorTime, traffic: Traffic) -> None:
        self._loop = LoopingCall(lambda: traffic.look(clock.seconds()))
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(TICK)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()


class Processes(Protocol):
    """`workers.crew.Crew`."""

    replaced: int
    """So many have crashed."""

    @property
    def in_flight(self) -> int:
        """Requests and tunnels under way in them."""

    @property
    def lost_lines(self) -> int:
        """Of the access log."""

    def __len__(self) -> int:
        """How many there are."""


class Watch(MultiService):
    """``observer`` is for every client's connection; None when nothing wants to know of requests."""

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        defer: Defer,
        now: Callable[[], datetime],
        inherited: Inheritance | None = None,
    ) -> None:
        """``reactor``'s clock is monotonic, ``now`` the wall's; ``inherited`` as for `InnerListener`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._inherited = inherited
        self._now = now
        self._defer = defer
        self._access_log_settings = configuration.access_log
        self.identify = RequestIds()
        """A request's id, as it is in the access log and on error pages."""
        self.access_log = self._make_access_log(configuration.access_log)
        """None if there is none, as for the others."""
        self.request_id = self._make_request_id(configuration.access_log)
        """What tells applications the id, if they are to be told."""
        self.counts: Counts | None = None
        self.listener: InnerListener | None = None
        self.sources: Sources | None = None
        self.traffic: Traffic | None = None
        if configuration.metrics is not None:
            self._make_metrics(configuration.metrics)
        self.observer = self._make_observer(configuration.access_log)
        self._settings = configuration.metrics

    def attach(
        self, renewals: Renewals, upstreams: Callable[[], Collection[Upstream]], refused: Callable[[], int]
    ) -> None:
        """Say whom to ask: before the start, and whenever that changes."""
        if self.sources is not None:
            self.sources.survey.attach(renewals)
            self.sources.upstreams = upstreams
            self.sources.refused = refused

    def add_processes(self, others: Processes) -> None:
        """Say who knows what goes on in other processes; before the start."""
        sources = self.sources
        if sources is not None:
            own_in_flight, own_lost_lines = sources.in_flight, sources.lost_lines
            sources.in_flight = lambda: own_in_flight() + others.in_flight
            sources.lost_lines = lambda: own_lost_lines() + others.lost_lines
            sources.workers = lambda: (len(others), others.replaced)

    def add_status_page(self, commands: Mapping[str, Command]) -> None:
        """Have the status page beside the metrics: ``status`` among the commands makes its document."""
        settings = self._settings
        if self.listener is not None and settings is not None and not settings.public:
            panel = Panel(self._reactor, self._now, commands, settings.buttons)
            self.listener.add(b"", StatusPage(commands, panel))
            self.listener.add(b"press", Press(commands, panel))

    def add_clients(self, name: str, clients: Clients) -> None:
        """Say who knows the connections of one kind of listener, ``http`` or ``https``."""
        if self.sources is not None:
            self.sources.clients[name] = clients

    def reopen_logs(self) -> None:
        """Log files were moved away: go on in new ones."""
        if self.access_log is not None:
            self.access_log.reopen()
        self._flush()

    def reloaded(self, good: bool) -> None:
        """The configuration was read anew, and applied if it was ``good``."""
        if self.counts is not None:
            self.counts.reloaded(self._now().timestamp(), good)

    def prepare(self, configuration: Configuration) -> None:
        """Open what another configuration wants open for metrics. Raises ListenError; then nothing is changed."""
        if configuration.metrics is not None and self.listener is not None:
            self.listener.prepare(configuration.metrics.listen)

    def apply(self, configuration: Configuration) -> None:
        """Go by another configuration, which was prepared; of ``[metrics]``, only listeners and numbers can change.

        Where there was no observer and there is one now, it is for connections to come.
        """
        metrics = configuration.metrics
        if metrics is not None and self.listener is not None and self.sources is not None:
            self.listener.apply(metrics.listen)
            self.sources.counts.most = self.sources.most = metrics.max_sites
        if configuration.access_log != self._access_log_settings:
            self._access_log_settings = configuration.access_log
            self._change_access_log(configuration.access_log)

    def _change_access_log(self, settings: AccessLogSettings | None) -> None:
        self._flush()
        before, self.access_log = self.access_log, self._make_access_log(settings)
        self.request_id = self._make_request_id(settings)
        if self.observer is None:
            self.observer = self._make_observer(settings)
        else:
            self.observer.report_to(*self._readers(settings))
        if before is not None:
            before.disownServiceParent()  # type: ignore[no-untyped-call]

    def _make_access_log(self, settings: AccessLogSettings | None) -> AccessLog | None:
        if settings is None:
            return None
        made = AccessLog(self._reactor, LogFile(settings.file), self._defer)
        made.setServiceParent(self)  # type: ignore[no-untyped-call]
        return made

    def _line(self, settings: AccessLogSettings) -> Line:
        redact = Redactor(settings.redact)
        if settings.format == "combined":
            return CombinedLine(redact, self._wall).write
        return JsonLine(redact, self.identify.prefix, self._wall).write

    def _wall(self, moment: float) -> float:
        """A time of the monotonic clock as seconds since the epoch."""
        seconds: float = time.time() - self._reactor.seconds() + moment
        return seconds

    def _make_observer(self, settings: AccessLogSettings | None) -> RequestObserver | None:
        count, log = self._readers(settings)
        if count is None and log is None:
            return None
        observer = RequestObserver(count, log, self.counts)
        flushing = _Flushing(self._reactor, observer)
        flushing.setServiceParent(self)  # type: ignore[no-untyped-call]
        return observer

    def _readers(self, settings: AccessLogSettings | None) -> tuple[Count | None, Log | None]:
        """Whom the observer passes requests on to: who counts them, who writes their lines."""
        count = self.counts.requests if self.counts is not None else None
        log = (self._line(settings), self.access_log.write) if settings and self.access_log is not None else None
        return count, log

    def _flush(self) -> None:
        if self.observer is not None:
            self.observer.flush()

    def _families(self, sources: Sources) -> Iterator[Metric]:
        self._flush()
        return collector.families(sources)

    def _make_request_id(self, settings: AccessLogSettings | None) -> RequestId | None:
        if settings is None or settings.request_id_header is None:
            return None
        return RequestId(settings.request_id_header, self.identify)

    def _make_metrics(self, settings: MetricsSettings) -> None:
        self.counts = Counts(settings.max_sites)
        survey = Survey(self._reactor, self._now)
        self.sources = sources = Sources(
            self.counts,
            survey,
            settings.max_sites,
            in_flight=lambda: self.observer.in_flight if self.observer is not None else 0,
            lost_lines=lambda: self.access_log.lost if self.access_log is not None else 0,
        )
        self.traffic = Traffic(
            self.counts,
            lambda: sources.in_flight(),
            lambda: {name: len(clients.open) for name, clients in sources.clients.items()},
        )
        pages = {b"metrics": MetricsPage(self._reactor, lambda: self._families(sources))}
        self.listener = InnerListener(self._reactor, settings.listen, pages, settings.public, self._inherited)
        for part in (survey, _Looking(self._reactor, self.traffic), self.listener):
            part.setServiceParent(self)  # type: ignore[no-untyped-call]
