"""The application behind every proxy: nginx with static answers, plain HTTP, keep-alive, one worker; and an echo."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Self

from attrs import frozen

from bench.programs import BenchError, Program, find_program, free_port

BODIES = {"/small": b"hello\n", "/10k": b"k" * 10 * 1024, "/1m": b"m" * 1024 * 1024, "/upload": b"hello\n"}
"""What it serves: path to body."""

ECHO = Path(__file__).with_name("echo.py")

CONFIGURATION = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=10 inactive=1h;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {folder}/root;
        location = /upload {{
            # Reads all of the body before it asks itself for the answer.
            client_max_body_size 0;
            client_body_buffer_size 2m;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/small;
        }}
        location = /websocket {{
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 1h;
            proxy_pass http://127.0.0.1:{echo};
        }}
    }}
}}
"""


@frozen
class Origin:
    """A running origin."""

    program: Program
    echo: Program
    port: int

    def __enter__(self) -> Self:
        """Do nothing: both run already."""
        return self

    def __exit__(self, *error: object) -> None:
        """End both."""
        self.program.stop()
        self.echo.stop()


def start_origin(folder: Path, core: int) -> Origin:
    """Start it on the load's core; raises :exc:`BenchError` when nginx is missing or does not start."""
    nginx = find_program("nginx")
    if nginx is None:
        raise BenchError("the origin needs nginx: apt-get install nginx")
    port = free_port()
    (folder / "root").mkdir(parents=True)
    for path, body in BODIES.items():
        (folder / "root" / path.lstrip("/")).write_bytes(body)
    settings = folder / "nginx.conf"
    echo_port = free_port()
    settings.write_text(CONFIGURATION.format(folder=folder, port=port, echo=echo_port, user=getpass.getuser()))
    echo = Program("echo", [sys.executable, "-I", str(ECHO), str(echo_port)], core=core, log=folder / "echo.log")
    echo.wait_until_listening(echo_port)
    command = [nginx, "-p", str(folder), "-c", str(settings), "-e", str(folder / "log")]
    program = Program("origin", command, core=core, log=folder / "log")
    program.wait_until_listening(port)
    return Origin(program, echo, port)
