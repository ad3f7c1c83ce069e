"""TLS on the socket before the clients of others: curl, OpenSSL's s_client, and crowds that stall."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.tls.certificate import Certificate
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import Program, wait_for

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """The program of `tests.support.tlsserver`, and clients for it."""

    def __init__(self, folder: Path, *prefix: str) -> None:
        self.folder = folder
        self.certificates: dict[str, Certificate] = {}
        for name, key_type in (("one.test", "p256"), ("two.test", "p384"), ("three.test", "rsa")):
            self.certificates[name] = make_certificate([name, f"www.{name}"], key_type=key_type)
            (folder / f"{name}.pem").write_bytes(self.certificates[name].to_pem())
        self.ca_file = folder / "ca.crt"
        self.ca_file.write_bytes(shared_authority().pem)
        command = [*prefix, sys.executable, "-m", "tests.support.tlsserver", folder]
        self.program = Program(command, folder / "log", folder=ROOT)

    def start(self) -> Server:
        self.program.start()
        found = self.program.wait_for(lambda: re.search(r"port (\d+)\n", self.program.output()), what="the port")
        assert found is not None
        self.port = int(found[1])
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and wait until it has been acted upon."""
        line = f"{number.name} done"
        before = self.program.output().count(line)
        self.program.send(number)
        self.program.wait_for(lambda: self.program.output().count(line) > before, what=line)

    def cpu_seconds(self) -> float:
        """What the server has used so far."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def curl(self, name: str, path: str = "/10", *options: str) -> subprocess.CompletedProcess[bytes]:
        """curl's verified request."""
        resolve = f"{name}:{self.port}:127.0.0.1"
        url = f"https://{name}:{self.port}{path}"
        command = [
            "curl",
            "-sS",
            "--max-time",
            "20",
            "--cacert",
            str(self.ca_file),
            "--resolve",
            resolve,
            *options,
            url,
        ]
        return subprocess.run(command, capture_output=True, timeout=30)

    def s_client(self, name: str, *options: str, say: bytes = b"GET /10\n\n") -> str:
        """What OpenSSL's client prints, both streams, for a connection that ends with a request."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", name, "-CAfile"]
        command += [str(self.ca_file), "-ign_eof", *options]
        request = say.replace(b"GET /10\n", b"GET /10\nConnection: close\n")
        done = subprocess.run(command, input=request, stdout=-1, stderr=subprocess.STDOUT, timeout=30)
        return done.stdout.decode(errors="replace")

    def converse(self, name: str, version: str, *steps: tuple[bytes, str]) -> str:
        """All that s_client prints in a conversation: each step is typed when the one before it shows its effect."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", name, "-msg", version]
        log = self.folder / "conversation"
        with log.open("wb") as output:
            client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        assert client.stdin is not None
        try:
            for typed, effect in ((b"", "Verify return code"), *steps):
                client.stdin.write(typed)
                client.stdin.flush()
                wait_for(lambda: re.search(effect, log.read_text(errors="replace")), what=effect)  # noqa: B023
        finally:
            client.stdin.close()
            client.wait(10)
        return log.read_text(errors="replace")

    def connect(self) -> socket.socket:
        """A TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("tls"))
    made.start()
    yield made
    made.program.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path).start()
    yield made
    made.program.stop()


# -- ordinary clients


@pytest.mark.parametrize("name", ["one.test", "www.two.test", "three.test"])
@pytest.mark.parametrize("version", ["--tls-max=1.2", "--tlsv1.3"])
def test_curl(server: Server, name: str, version: str) -> None:
    """curl verifies each site's certificate, whatever its key, and gets whole bodies of every size."""
    options = ["--tls-max", "1.2"] if version == "--tls-max=1.2" else [version]
    for size in (0, 1, 20_000_000):
        done = server.curl(name, f"/{size}", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b"x" * size


def test_curl_keeps_alive(server: Server) -> None:
    """Many requests on one connection."""
    done = server.curl("one.test", "/[10-200]", "-w", "%{num_connects}\n", "-o", "/dev/null")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"1"] + [b"0"] * 190


def test_curl_unknown_name(server: Server) -> None:
    """A name that is not served ends in a handshake failure, not in another site's certificate."""
    done = server.curl("four.test", "/10", "--insecure")
    assert done.returncode == 35
    assert b"alert handshake failure" in done.stderr


def test_plain_http(server: Server) -> None:
    """Plain HTTP to a TLS port is closed at once."""
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
        assert b"HTTP" not in client.recv(1000)


# -- s_client


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client(server: Server, version: str) -> None:
    """A verified session without compression, and the server's close_notify after the answer."""
    output = server.s_client("one.test", version, "-alpn", "h2,http/1.1", "-msg")
    assert "Verify return code: 0 (ok)" in output
    assert "ALPN protocol: http/1.1" in output
    assert "Compression: NONE" in output
    assert "xxxxxxxxxx" in output
    assert re.search(r"<<< .*Alert.*warning close_notify", output)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tickets(own_server: Server, version: str) -> None:
    """A ticket resumes on its own site, on no other, and not after the keys were renewed or the certificate swapped."""
    session = str(own_server.folder / "session")
    again = (version, "-sess_in", session)
    assert "\nNew, TLS" in own_server.s_client("one.test", version, "-sess_out", session)
    assert "\nReused, TLS" in own_server.s_client("one.test", *again)
    other = own_server.s_client("two.test", *again)
    assert "\nNew, TLS" in other
    assert "subject=CN = two.test" in other
    assert "alert handshake failure" in own_server.s_client("four.test", *again)

    own_server.signal(signal.SIGUSR1)
    assert "\nNew, TLS" in own_server.s_client("one.test", *again, "-sess_out", session)
    assert "\nReused, TLS" in own_server.s_client("one.test", *again)

    renewed = make_certificate(["one.test"])
    (own_server.folder / "one.test.pem").write_bytes(renewed.to_pem())
    own_server.signal(signal.SIGHUP)
    assert "\nNew, TLS" in own_server.s_client("one.test", *again)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions(server: Server, version: str) -> None:
    """Versions before 1.2 get an alert."""
    assert "alert protocol version" in server.s_client("one.test", version, "-cipher", "ALL:@SECLEVEL=0")


def test_renegotiation(server: Server) -> None:
    """A client's renegotiation is refused."""
    output = server.converse("one.test", "-tls1_2", (b"GET /10\n\n", "x{10}"), (b"R\n", "no.renegotiation"))
    assert "RENEGOTIATING" in output
    assert server.curl("one.test").returncode == 0


def test_key_update(server: Server) -> None:
    """A key update that asks for one in return, in the middle of a connection."""
    asked = r">>> TLS 1\.3, Handshake .*KeyUpdate"
    output = server.converse("one.test", "-tls1_3", (b"GET /5\n\n", "x{5}"), (b"K\n", asked), (b"GET /10\n\n", "x{10}"))
    assert re.search(r"<<< TLS 1\.3, Handshake .*KeyUpdate", output)


def test_no_early_data(server: Server, tmp_path: Path) -> None:
    """Tickets do not allow 0-RTT."""
    output = server.s_client("one.test", "-tls1_3", "-sess_out", str(tmp_path / "session"))
    assert "Max Early Data: 0" in output


# -- swaps and crowds


def test_swap_under_open_connections(own_server: Server) -> None:
    """An open connection lives on over a swap; new ones prove the new certificate."""
    context = ssl.create_default_context(cafile=str(own_server.ca_file))

    def serial(connection: ssl.SSLSocket) -> int:
        return int(str((connection.getpeercert() or {})["serialNumber"]), 16)

    def fetch(connection: ssl.SSLSocket) -> bytes:
        connection.sendall(b"GET /4\r\n\r\n")
        received = b""
        while not received.endswith(b"xxxx"):
            received += connection.recv(1000)
        return received

    with ExitStack() as stack:
        opened = [
            stack.enter_context(context.wrap_socket(own_server.connect(), server_hostname="one.test"))
            for _ in range(10)
        ]
        renewed = make_certificate(["one.test"])
        (own_server.folder / "one.test.pem").write_bytes(renewed.to_pem())
        own_server.signal(signal.SIGHUP)
        for connection in opened:
            assert fetch(connection).endswith(b"xxxx")
            assert serial(connection) == own_server.certificates["one.test"].serial
        newer = stack.enter_context(context.wrap_socket(own_server.connect(), server_hostname="one.test"))
        assert fetch(newer).endswith(b"xxxx")
        assert serial(newer) == renewed.serial


def stalled(server: Server, stack: ExitStack, count: int, sent: bytes) -> list[socket.socket]:
    clients = [stack.enter_context(server.connect()) for _ in range(count)]
    for client in clients:
        client.sendall(sent)
    return clients


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="one.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def assert_idle(server: Server) -> None:
    """Fail if the server spends its time on clients that do nothing."""
    before, started = server.cpu_seconds(), time.monotonic()
    wait_for(lambda: time.monotonic() > started + 0.5)
    used = server.cpu_seconds() - before
    assert used < 0.1, f"{used} s of CPU in half a second with nothing to do"


@pytest.mark.parametrize("part", [0, 1, 5, 100, None])
def test_stalled_handshakes(server: Server, part: int | None) -> None:
    """Clients that stop at any point of the handshake cost nothing but their sockets, and others are served."""
    with ExitStack() as stack:
        stalled(server, stack, 100, client_hello()[:part])
        assert server.curl("one.test").stdout == b"x" * 10
        assert_idle(server)


def test_stalled_readers(server: Server) -> None:
    """Clients that ask for much and read nothing cost no time, and others are served."""
    context = ssl.create_default_context(cafile=str(server.ca_file))
    with ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(context.wrap_socket(server.connect(), server_hostname="one.test"))
            client.sendall(b"GET /10000000\r\n\r\n")
        assert server.curl("one.test").stdout == b"x" * 10
        assert_idle(server)


def test_no_descriptors_left(tmp_path: Path) -> None:
    """With its descriptors used up the server turns new clients away without spinning, and recovers when some leave."""
    server = Server(tmp_path, "prlimit", "--nofile=64:64").start()
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
        with ExitStack() as stack:
            stalled(server, stack, 200, b"")
            assert_idle(server)
            assert server.program.running()
        wait_for(lambda: server.curl("one.test").stdout == b"x" * 10, what="an answer after the crowd has left")
    finally:
        server.program.stop()
