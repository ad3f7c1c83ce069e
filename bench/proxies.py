"""The contenders: how each is configured for the same work on one core.

All of them terminate TLS for one name with one certificate, set the usual forwarding headers, keep connections to
the client and to the origin open, write no access log, and otherwise run on their defaults.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from attrs import frozen

from bench.credentials import HOST, Credentials
from bench.programs import Program, find_program, first_line, free_port

REPOSITORY = Path(__file__).resolve().parent.parent


@frozen
class Setting:
    """What a contender is configured from."""

    folder: Path
    """Its own, empty at first."""
    port: int
    """Where it listens for TLS, on 127.0.0.1."""
    origin: int
    """The origin's port on 127.0.0.1."""
    credentials: Credentials


class Proxy(ABC):
    """One contender: its configuration, its command, and which Debian package brings it."""

    name: ClassVar[str]
    package: ClassVar[str]

    @abstractmethod
    def missing(self) -> str | None:
        """Return what must be installed before it can run; None if nothing."""

    @abstractmethod
    def version(self) -> str:
        """Return one line that names the version under test."""

    @abstractmethod
    def prepare(self, setting: Setting) -> list[str]:
        """Write its configuration into the setting's folder and return the command that runs it in the foreground."""

    def environment(self, setting: Setting) -> dict[str, str]:
        """Return what it needs in its environment beside ours."""
        return {}


class Packaged(Proxy):
    """A contender that Debian packages; the package and the program bear its name."""

    version_flag: ClassVar[str] = "-v"

    def missing(self) -> str | None:
        """Name the Debian package when its program is not found."""
        return None if find_program(self.package) else f"Debian's {self.package} (apt-get install {self.package})"

    def version(self) -> str:
        """Ask the program."""
        return first_line([self.path, self.version_flag])

    @property
    def path(self) -> str:
        """The program; its bare name if it is missing."""
        return find_program(self.package) or self.package


class Nginx(Packaged):
    """nginx: one worker beside its idle master; responses are never spilled to disk."""

    name = package = "nginx"
    text = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_max_temp_file_size 0;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        server_name {host};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        client_max_body_size 0;
        location = /websocket {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header Host $http_host;
            proxy_read_timeout 1h;
        }}
        location / {{
            proxy_request_buffering off;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}
}}
"""

    def prepare(self, setting: Setting) -> list[str]:
        """Write nginx.conf."""
        settings = setting.folder / "nginx.conf"
        settings.write_text(
            self.text.format(
                user=getpass.getuser(),
                folder=setting.folder,
                port=setting.port,
                origin=setting.origin,
                host=HOST,
                chain=setting.credentials.chain,
                key=setting.credentials.key,
            )
        )
        return [self.path, "-p", str(setting.folder), "-c", str(settings), "-e", str(setting.folder / "log")]


class HAProxy(Packaged):
    """HAProxy: one process, one thread, connections to the origin reused by all clients."""

    name = package = "haproxy"
    text = """\
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout http-keep-alive 75s
    http-reuse always
frontend tls
    bind 127.0.0.1:{port} ssl crt {bundle} alpn h2,http/1.1 ssl-min-ver TLSv1.3 backlog 4096
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    default_backend origin
backend origin
    server origin 127.0.0.1:{origin}
"""

    def prepare(self, setting: Setting) -> list[str]:
        """Write haproxy.cfg."""
        settings = setting.folder / "haproxy.cfg"
        settings.write_text(
            self.text.format(port=setting.port, origin=setting.origin, bundle=setting.credentials.bundle)
        )
        return [self.path, "-db", "-f", str(settings)]


class Caddy(Packaged):
    """Caddy: ``GOMAXPROCS=1``, no administration endpoint, no certificates of its own."""

    name = package = "caddy"
    version_flag = "version"
    text = """\
{{
    admin off
    auto_https off
    log {{
        level WARN
    }}
    servers {{
        protocols h1 h2
    }}
}}
https://{host}:{port} {{
    bind 127.0.0.1
    tls {chain} {key} {{
        protocols tls1.3
    }}
    reverse_proxy 127.0.0.1:{origin}
}}
"""

    def version(self) -> str:
        """Ask the program, which prints a bare number."""
        return f"caddy {super().version()}"

    def prepare(self, setting: Setting) -> list[str]:
        """Write the Caddyfile."""
        settings = setting.folder / "Caddyfile"
        settings.write_text(
            self.text.format(
                host=HOST,
                port=setting.port,
                origin=setting.origin,
                chain=setting.credentials.chain,
                key=setting.credentials.key,
            )
        )
        return [self.path, "run", "--adapter", "caddyfile", "--config", str(settings)]

    def environment(self, setting: Setting) -> dict[str, str]:
        """One thread of Go; its folders are the setting's."""
        folder = str(setting.folder)
        return {"GOMAXPROCS": "1", "HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}


class Appliance(Proxy):
    """The appliance of this repository, run as a user runs it: a stored certificate, and a CA that is down."""

    name = "appliance"
    package = "appliance"
    text = """\
state_dir = "{state}"

[listen]
http = ["tcp:{http}:interface=127.0.0.1"]
https = ["tcp:{port}:interface=127.0.0.1"]

[limits]
requests_per_connection = 1000000000
connections = 10000
connections_per_client = 10000

[acme]
directory = "https://127.0.0.1:1/directory"
email = "admin@{host}"
agree_tos = true

{more}
[[site]]
names = ["{host}"]
upstream = "http://127.0.0.1:{origin}"
{site}"""
    more: ClassVar[str] = ""
    """Tables to put into the configuration."""
    site: ClassVar[str] = ""
    """Keys of the site."""
    versions = (
        "import platform, twisted, OpenSSL;"
        "print('Python', platform.python_version(), 'Twisted', twisted.__version__, 'pyOpenSSL', OpenSSL.__version__,"
        " OpenSSL.SSL.SSLeay_version(0).decode())"
    )

    def missing(self) -> str | None:
        """Say what this interpreter cannot import."""
        command = [sys.executable, "-c", "import appliance.app, appliance.tap"]
        ended = subprocess.run(
            command, env={**os.environ, **source_path()}, capture_output=True, text=True, timeout=20, check=False
        )
        return f"for {sys.executable}: {ended.stderr.strip().splitlines()[-1]}" if ended.returncode else None

    def version(self) -> str:
        """Name the interpreter and the libraries that carry it."""
        return first_line([sys.executable, "-c", self.versions])

    def prepare(self, setting: Setting) -> list[str]:
        """Write appliance.toml and fill the certificate store."""
        settings = setting.folder / "appliance.toml"
        state = setting.folder / "state"
        certificates = state / "certificates"
        for folder in (state, certificates):
            folder.mkdir(mode=0o700)
        stored = certificates / f"{HOST}.pem"
        stored.touch(mode=0o600)
        stored.write_bytes(setting.credentials.bundle.read_bytes())
        more = self.more.format(folder=setting.folder, port=free_port())
        settings.write_text(
            self.text.format(
                state=state,
                http=free_port(),
                port=setting.port,
                origin=setting.origin,
                host=HOST,
                more=more,
                site=self.site,
            )
        )
        return [*self.interpreter(setting), "-m", "twisted", "appliance", "--config", str(settings)]

    def interpreter(self, setting: Setting) -> list[str]:
        """Return the words before ``-m twisted``: a profiler puts itself here."""
        return [sys.executable]

    def environment(self, setting: Setting) -> dict[str, str]:
        """Find the plugin in this repository, installed or not."""
        return source_path()


class Logging(Appliance):
    """The appliance with its access log on, in a file."""

    name = "logging"
    more = '[access_log]\nfile = "{folder}/access.log"\n'


class Everything(Appliance):
    """The appliance with all that a cautious operator turns on: access log, metrics, health checks and rules."""

    name = "everything"
    more = '[access_log]\nfile = "{folder}/access.log"\n[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'
    site = """\
hsts = true
deny = ["192.0.2.0/24"]
rate_limit = { requests = 1000000, per = "1s" }
health_check = { path = "/small", interval = "1s" }
"""


class Metrics(Appliance):
    """The appliance with its metrics on; nobody asks for them meanwhile."""

    name = "metrics"
    more = '[metrics]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'


def source_path() -> dict[str, str]:
    """Return the environment in which Python imports this repository before anything installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}


PROXIES: dict[str, Proxy] = {proxy.name: proxy for proxy in (Appliance(), Nginx(), HAProxy(), Caddy())}
"""All contenders by name, ours first."""

VARIANTS: dict[str, Proxy] = {proxy.name: proxy for proxy in (Logging(), Metrics(), Everything())}
"""Ours again, with something on that costs: for comparison with ours alone."""


@frozen
class Contender:
    """A proxy that runs."""

    proxy: Proxy
    program: Program
    port: int

    @property
    def name(self) -> str:
        """The proxy's."""
        return self.proxy.name

    @property
    def pid(self) -> int:
        """The root of its processes."""
        return self.program.pid


def start(proxy: Proxy, folder: Path, origin: int, credentials: Credentials, core: int) -> Contender:
    """Start a proxy on its core; raises :exc:`~bench.programs.BenchError` with its log when it does not come up."""
    folder.mkdir(parents=True)
    setting = Setting(folder=folder, port=free_port(), origin=origin, credentials=credentials)
    command = proxy.prepare(setting)
    program = Program(proxy.name, command, core=core, log=folder / "log", environment=proxy.environment(setting))
    try:
        program.wait_until_listening(setting.port)
    except BaseException:
        program.stop()
        raise
    return Contender(proxy, program, setting.port)
