"""``twist appliance``: options to a configuration, a configuration to the service. Here is the global reactor."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NoReturn, cast

from attrs import fields
from twisted.application.service import IService, MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, LogLevel
from twisted.python import usage

from appliance import __version__, app, demo
from appliance.clock import make_monotonic
from appliance.commandline import CommandLine
from appliance.config import NO_SITE, Configuration
from appliance.config.file import COMMAND_LINE
from appliance.config.ops import Log as LogSettings
from appliance.errors import ApplianceError, ConfigurationError, Mistake
from appliance.net.dispatch import dispatch_directly
from appliance.ops.log.journal import journal_log_observer, leads_to_journal
from appliance.ops.log.jsonlines import json_log_observer
from appliance.ops.log.text import text_log_observer
from appliance.ops.service.reloading import Source
from appliance.process import descriptors, ending, garbage, systemd
from appliance.process.inheritance import Inheritance, from_environment
from appliance.process.succession import Succession
from appliance.workers.crew import Setting, environment
from appliance.workers.messages import LogTo

CANNOT_START = 1
"""The exit status where the configuration is right, but something it needs is not."""
BAD_CONFIGURATION = 2
"""The exit status for options or a configuration that cannot be used."""

_log = Logger()

_LOGS = {"text": text_log_observer, "json": json_log_observer, "journal": journal_log_observer}


class Options(usage.Options):
    """The options of ``twist appliance``; parsing them reads and checks the configuration, and exits on mistakes."""

    synopsis = (
        "[--config FILE] [options]\n"
        "       twist appliance --site NAME[,NAME...]=UPSTREAM --email ADDRESS [options]\n"
        "       twist appliance --demo [options]"
    )
    longdesc = (
        "Terminates TLS for every site, proxies to the applications behind them, and obtains and renews all"
        " certificates over ACME while it serves. Options given beside a configuration file override its keys."
    )
    optParameters = [  # noqa: RUF012 - usage.Options wants it so
        ["config", "c", None, "The configuration file. [default: /etc/appliance/appliance.toml]"],
        ["state-dir", None, None, "The folder for accounts and certificates. [default: /var/lib/appliance]"],
        ["directory", None, None, "The ACME directory's URL. [default: Let's Encrypt's]"],
        ["email", None, None, "Your address for the CA; with --site, giving it agrees to the CA's terms of service."],
        ["ca-file", None, None, "PEM certificates to trust for the directory's own TLS, beside the system's."],
    ]
    optFlags = [  # noqa: RUF012
        ["agree-tos", None, "Agree to the CA's terms of service without giving an address."],
        ["demo", None, "Show it on this machine: two small applications, a CA of its own, short-lived certificates."],
    ]

    configuration: Configuration | None = None
    """What to run; None for the demo, which makes its own."""
    source: Source | str = ""
    """See `app.build`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.update({"site": [], "http": [], "https": []})

    def opt_site(self, value: str) -> None:
        """NAME[,NAME...]=UPSTREAM, with http://HOST:PORT, https://HOST:PORT or unix:/PATH. May be repeated."""
        self["site"].append(value)

    def opt_http(self, value: str) -> None:
        """The endpoint for HTTP. May be repeated. [default: tcp:80]"""
        self["http"].append(value)

    def opt_https(self, value: str) -> None:
        """The endpoint for HTTPS. May be repeated. [default: tcp:443]"""
        self["https"].append(value)

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        print(f"appliance {__version__}")
        sys.exit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, and read the configuration. Where that fails, print every mistake and exit with status 2."""
        try:
            with garbage.nothing_collected():
                super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _exit(BAD_CONFIGURATION, f"{COMMAND_LINE}: {error}\nSee twist appliance --help.")
        except ConfigurationError as error:
            _exit(BAD_CONFIGURATION, f"{error}\nNothing was started.")
        self._choose_log()

    def postOptions(self) -> None:
        """Read the configuration. Raises ConfigurationError."""
        if self["demo"]:
            self._check_demo()
        else:
            given = {field.name: self[field.name.replace("_", "-")] for field in fields(CommandLine)}
            line = CommandLine(**given)
            self.configuration = line.configuration()
            self.source = Source(str(line.file), line.configuration) if line.file is not None else "with --site"

    def _check_demo(self) -> None:
        """The demo has its own sites and CA: refuse options that would change them."""
        others = [name for name in ("config", "site", "directory", "email", "ca-file", "agree-tos") if self[name]]
        if others:
            mistakes = tuple(Mistake(f"--{name}", "cannot be combined with --demo") for name in others)
            raise ConfigurationError(mistakes, COMMAND_LINE)

    def _choose_log(self) -> None:
        """Log as ``[log]`` says, unless ``twist`` was told otherwise; but all there is where it was asked to debug.

        ``twist`` does not keep whether an option was given, hence the look at the arguments.
        """
        if self.parent is None:
            return
        settings = self.configuration.log if self.configuration is not None else LogSettings()
        level_given = any(argument.startswith("--log-l") for argument in sys.argv)
        if not level_given:
            self.parent["logLevel"] = LogLevel.levelWithName(settings.level)
        elif self.parent["logLevel"] < LogLevel.info:
            return
        if not any(argument.startswith("--log-fo") for argument in sys.argv):
            in_journal = leads_to_journal(self.parent["logFile"], os.environ)
            observer = _LOGS[settings.format or ("journal" if in_journal else "text")]
            self.parent["fileLogObserverFactory"] = observer


class Main(MultiService):
    """All that runs. Where it cannot start, a taken port for one, it prints why and exits with status 1."""

    succession: Succession | None = None
    """Set where another process is to be replaced."""

    def startService(self) -> None:
        """Start everything; ``twist`` calls this before the reactor runs."""
        if self.succession is not None:
            self.succession.begin(self._start)
            return
        try:
            self._start()
            self._begin()
        except ApplianceError as error:
            _exit(CANNOT_START, f"{error}\nThe appliance did not start.")

    def _start(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        garbage.collect_seldom()

    def stopService(self) -> Deferred[None]:
        """Stop everything; ``twist`` calls this also where a process was told to end before its turn to start."""
        stopped: Deferred[None] = super().stopService() if self.running else succeed(None)  # type: ignore[no-untyped-call]
        return stopped

    def _begin(self) -> None:
        for service in self:
            if isinstance(service, app.Appliance):
                Deferred.fromCoroutine(_begin(service))


async def _begin(appliance: app.Appliance) -> None:
    with suppress(ApplianceError):  # a store that cannot be read is tried again, and said, by the renewal service
        await appliance.when_serving()
    appliance.begin()


def makeService(options: Options) -> Main:
    """Build what the options ask for. Where that cannot be, print why and exit with status 1 or 2."""
    from twisted.internet import reactor as installed

    reactor = cast(ReactorBase, installed)
    make_monotonic(reactor)
    descriptors.raise_limit()
    dispatch_directly(reactor)
    main = Main()  # type: ignore[no-untyped-call]
    try:
        inherited = from_environment(os.environ)
        with garbage.nothing_collected():
            service = _build(reactor, options, inherited)
        service.setServiceParent(main)
        if isinstance(service, app.Appliance):
            main.succession = _upgrades(reactor, service, inherited)
    except ConfigurationError as error:
        _exit(BAD_CONFIGURATION, f"{error}\nNothing was started.")
    except ApplianceError as error:
        _exit(CANNOT_START, f"{error}\nNothing was started.")
    return main


def _upgrades(reactor: ReactorBase, service: app.Appliance, inherited: Inheritance | None) -> Succession | None:
    """Upgrades from this process, by command and SIGUSR2; and the one that it comes from, if it does."""
    upgrading = service.upgrading
    assert upgrading is not None

    def upgrade() -> None:
        Deferred.fromCoroutine(upgrading.upgrade()).addErrback(lambda failure: failure.trap(ApplianceError) and None)

    signal.signal(signal.SIGUSR2, lambda number, frame: reactor.callFromThread(upgrade))
    if inherited is not None and inherited.link is not None:
        return Succession(reactor, inherited, service, service.begin)
    return None


def _build(reactor: ReactorBase, options: Options, inherited: Inheritance | None) -> IService:
    if options.configuration is None:
        shown = demo.make_service(reactor, options["http"], options["https"], options["state-dir"])
        _reload_on_signal(reactor, shown.reload)
        return shown
    if options["email"] is not None and options["site"]:
        _log.info(
            "--email {email}: agreed to the terms of service of the CA at {directory}",
            email=options["email"],
            directory=options.configuration.acme.directory,
        )
    if not options.configuration.sites and isinstance(options.source, Source):
        _log.warn(NO_SITE, file=options.source.name)
    manager = systemd.from_environment(os.environ, os.getpid())
    appliance = app.build(
        reactor,
        options.configuration,
        source=options.source,
        inherited=inherited,
        manager=manager,
        workers=_workers(options),
    )
    _reload_on_signal(reactor, appliance.reload)
    _reopen_logs_on_signal(reactor, appliance)
    # The sites stay, too; see garbage.
    appliance.renewal.when_loaded().addCallback(lambda _: gc.freeze())
    ending.on_signals(reactor, appliance.hurry)
    return appliance


def _workers(options: Options) -> Setting | None:
    """How workers are started: with the same log as this process."""
    if options.parent is None:
        return None
    log = LogTo(options.parent["fileLogObserverFactory"], options.parent["logLevel"].name)
    return Setting(log, options.parent["logFile"].fileno(), environment())


def _reopen_logs_on_signal(reactor: ReactorBase, appliance: app.Appliance) -> None:
    """SIGUSR1 tells that log files were moved away, as it tells nginx."""
    signal.signal(signal.SIGUSR1, lambda number, frame: reactor.callFromThread(appliance.reopen_logs))


def _reload_on_signal(reactor: ReactorBase, reload: Callable[[], Coroutine[Deferred[Any], Any, object]]) -> None:
    """SIGHUP has the configuration read anew. What comes of it is in the log."""

    def begin() -> None:
        Deferred.fromCoroutine(reload()).addErrback(lambda failure: None)

    signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(begin))


def _exit(status: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)
