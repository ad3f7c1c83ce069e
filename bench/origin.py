"""The application behind every proxy: nginx with three static answers, plain HTTP, keep-alive, one worker."""

from __future__ import annotations

import getpass
from pathlib import Path

from attrs import frozen

from bench.programs import BenchError, Program, find_program, free_port

BODIES = {"/small": b"hello\n", "/10k": b"k" * 10 * 1024, "/1m": b"m" * 1024 * 1024}
"""What it serves: path to body."""

CONFIGURATION = """\
daemon off;
user {user};
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
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
    }}
}}
"""


@frozen
class Origin:
    """A running origin."""

    program: Program
    port: int


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
    settings.write_text(CONFIGURATION.format(folder=folder, port=port, user=getpass.getuser()))
    command = [nginx, "-p", str(folder), "-c", str(settings), "-e", str(folder / "log")]
    program = Program("origin", command, core=core, log=folder / "log")
    program.wait_until_listening(port)
    return Origin(program, port)
