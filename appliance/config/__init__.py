"""What the operator asked for: frozen values, checked before anything starts. ``file`` reads them from TOML."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from appliance.config.alarm import Alarm, Export
from appliance.config.dns import Dns
from appliance.config.files import Root
from appliance.config.ops import AccessLog, Log, Metrics
from appliance.config.site import Hsts, Redirect, Respond, Rules

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

NO_SITE = "no site is configured yet: add a [[site]] to {file}, then: appliance reload"
"""What is said of a configuration without any, which is good, but does nothing."""


@frozen
class UpstreamAddress:
    """One place where an application listens: ``http``, ``https`` or ``h2c://host:port``, or ``unix:/path``."""

    host: str = ""
    """Host name or IP address literal without brackets; empty for a UNIX socket."""
    port: int = 0
    path: str = ""
    """The UNIX socket's path; empty for TCP."""
    tls: bool = False
    http2: bool = False
    """Whether it said so itself (``h2c``); see ``Backend.http2``."""
    weight: int = field(default=1, eq=False)
    """Its share of the requests beside the other addresses' of its route."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.tls else "h2c" if self.http2 else "http"
        return f"{scheme}://{host}:{self.port}"


@frozen
class HealthCheck:
    """A request that every address of a route is asked again and again, to know whether it can serve."""

    path: str
    interval: float = 5.0
    timeout: float = 2.0
    status: tuple[int, ...] = ()
    """What is a good answer; none named: any 2xx."""


@frozen
class PassiveCheck:
    """When the answers to ordinary requests, or their absence, take an address out for a while. Times in seconds."""

    failures: int = 3
    """So many within the window; 0: never."""
    window: float = 10.0
    cool_down: float = 10.0


@frozen
class Backend:
    """How the addresses of a route are used."""

    balance: str = "round_robin"
    try_for: float = 5.0
    """Seconds that a request waits for addresses that refuse connections; 0: not at all."""
    max_waiting: int = 1000
    """How many requests may wait at once, be it for that or for a free connection."""
    max_connections: int | None = None
    """To each address."""
    http2: bool = False
    """Whether all addresses speak HTTP/2: over TLS by ALPN, else from the first byte on."""
    ca_file: Path | None = None
    """PEM certificates that ``https`` addresses are verified by, in place of the system's."""
    send_proxy: str | None = None
    """The PROXY protocol's version to tell the addresses about clients: ``v1`` or ``v2``."""
    health_check: HealthCheck | None = None
    passive_check: PassiveCheck = PassiveCheck()


@frozen
class Route:
    """A path prefix of a site and what answers below it: exactly one of upstreams, redirect, respond and root."""

    path: str
    """Begins with ``/``; matches on path-segment boundaries; ``/`` matches all."""
    upstreams: tuple[UpstreamAddress, ...] = ()
    strip_prefix: bool = False
    backend: Backend = Backend()
    redirect: Redirect | None = None
    respond: Respond | None = None
    root: Root | None = None
    rules: Rules = field(factory=Rules)
    """Beside the site's."""

    @property
    def answer(self) -> str:
        """What answers below the path, in a few words."""
        if self.redirect is not None:
            return f"{self.redirect.status} {self.redirect.to}"
        if self.root is not None:
            return str(self.root.folder)
        return " ".join(map(str, self.upstreams)) if self.respond is None else str(self.respond.status)


@frozen
class Site:
    """Names that share one certificate, and the routes they share."""

    names: tuple[str, ...]
    """Lower-case, A-labels; the first one names the site in logs, on disk and in commands."""
    routes: tuple[Route, ...]
    issuer: tuple[str, ...] = ()
    """The CAs for it, by name, in order of preference; all of them, in the order of ``Acme.authorities``, if empty."""
    profile: str | None = None
    """In place of the CA's."""
    key_type: str | None = None
    """In place of ``Acme.key_type``."""

    challenge: str | None = None
    """The one kind of challenge to use; None is whatever can be used, one after the other."""
    dns: Dns | None = None
    """How this site's records are published; None is as ``Acme.dns`` says."""
    export: Export | None = None
    """Copies of the certificate for other programs."""
    deploy_hook: tuple[str, ...] = ()
    """A program and its arguments, run once for each new certificate in service."""
    redirect_to: str | None = None
    """The one of the names that requests for all others are sent to; None: all are served alike."""
    hsts: Hsts | None = None
    maintenance: bool = False
    """Whether requests are answered with 503 in place of what the routes say."""
    rules: Rules = field(factory=Rules)

    @property
    def name(self) -> str:
        """The first name: the site's own."""
        return self.names[0]


@frozen
class Listen:
    """Twisted server endpoint strings."""

    http: tuple[str, ...] = ("tcp:80",)
    https: tuple[str, ...] = ("tcp:443",)
    proxy_protocol_from: tuple[str, ...] = ()
    """CIDR networks that must begin TCP connections with the PROXY protocol; then nobody else may connect."""
    http2: bool = True
    """Whether ``https`` offers HTTP/2 beside HTTP/1.1."""


@frozen
class ExternalAccount:
    """External account binding credentials, as the CA hands them out (RFC 8555 section 7.3.4)."""

    kid: str
    hmac_key: str = field(repr=False)
    """base64url, as CAs print it."""


@frozen
class CertificateAuthority:
    """A CA, our account there, and what is asked of it."""

    directory: str = LETS_ENCRYPT
    email: str | None = None
    agree_tos: bool = False
    ca_file: Path | None = None
    """PEM certificates trusted for the directory's own TLS, beside the system's."""
    external_account: ExternalAccount | None = None
    profile: str | None = None
    """What the CA calls the kind of certificate that is wanted; None leaves it to the CA."""
    preferred_chain: str | None = None
    """The common name of the root that chains should end at."""
    name: str = ""
    """For the site's ``issuer`` key, logs and commands."""

    @property
    def label(self) -> str:
        """Its name, or its directory's host."""
        return self.name or urlsplit(self.directory).netloc


@frozen
class Acme(CertificateAuthority):
    """Where certificates come from: one CA, or several in order of preference."""

    issuer: tuple[CertificateAuthority, ...] = ()
    """If there are any, these are the CAs, and the keys of this table only defaults for theirs."""
    key_type: str = "p256"
    """One of ``acme.keys.TYPES``."""
    max_orders: int = 8
    """How many orders are begun at once."""
    rehearsal: str | None = None
    """The directory of a CA where a site's first certificate is tried before, and thrown away."""
    dns: Dns | None = None
    """How records are published for DNS-01; None is not at all."""

    @property
    def authorities(self) -> tuple[CertificateAuthority, ...]:
        """The CAs, the preferred one first."""
        return self.issuer or (self,)


@frozen
class Limits:
    """What one client may cost. Sizes in bytes; None means no bound."""

    header_bytes: int = 32 * 1024
    target_bytes: int = 8 * 1024
    headers: int = 100
    body_bytes: int | None = None
    body_rate: int = 100
    """Bytes a second that a request's body must come at, on the average of the body timeout; 0: any progress does."""
    requests_per_connection: int = 10_000
    concurrent_streams: int = 128
    """Requests at once on an HTTP/2 connection."""
    connections: int | None = None
    """From all clients together; None: by the file descriptors there are, see `net.admission`."""
    connections_per_client: int | None = None
    """From one client's IPv4 address or IPv6 /64; None: three quarters of all. Trusted proxies are not held to it."""


@frozen
class Timeouts:
    """How long to wait, in seconds of a monotonic clock."""

    handshake: float = 10.0
    header: float = 10.0
    idle: float = 75.0
    body: float = 60.0
    connect: float = 5.0
    first_byte: float = 60.0
    websocket_idle: float | None = None
    """For a byte either way on a WebSocket, or whatever else was upgraded to; None: they may be silent for ever."""
    upstream_idle: float = 1.5
    """Idle upstream connections are dropped sooner than Gunicorn's 2 s keep-alive."""


@frozen
class Configuration:
    """Everything the service is built from."""

    sites: tuple[Site, ...]
    state_dir: Path = Path("/var/lib/appliance")
    drain_timeout: float = 30.0
    """Seconds that requests in flight, and WebSockets that were told to go, may take to end when the service stops."""
    upgrade_timeout: float = 3600.0
    """Seconds that clients of this process may stay after another has taken its place."""
    workers: int = 1
    """Processes that serve clients, the one that renews among them."""
    listen: Listen = Listen()
    acme: Acme = Acme()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    trusted_proxies: tuple[str, ...] = ()
    """CIDR networks whose forwarding headers are believed."""
    alarm: Alarm = field(factory=Alarm)
    log: Log = field(factory=Log)
    access_log: AccessLog | None = None
    metrics: Metrics | None = None
    error_pages: dict[str, str] = field(factory=dict)
    """The operator's own, by `http.errorpages.FILE_NAME`."""
