"""gRPC through the appliance: a grpcio client over TLS, grpcio servers in clear (h2c) and over TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.appliance import Appliance
from tests.support.applications import Application
from tests.support.certificates import make_certificate, shared_authority
from tests.support.processes import free_port

MIB = 1 << 20
SECONDS = 30


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("grpc")
    root, pem = folder / "root.pem", folder / "localhost.pem"
    root.write_bytes(shared_authority().pem)
    pem.write_bytes(make_certificate(["localhost"]).to_pem())
    port, tls = free_port(), free_port()
    with (
        Application(["tests.support.grpc_app", str(port)], folder, "grpc", port),
        Application(["tests.support.grpc_app", str(tls), str(pem)], folder, "grpc-tls", tls),
    ):
        appliance = Appliance(folder)
        more = (
            "[timeouts]\nbody = 2\nfirst_byte = 2\n"
            f'[[site]]\nnames = ["tls.test"]\nupstream = "https://localhost:{tls}"\n'
            f'http2 = true\nupstream_ca_file = "{root}"\n'
        )
        appliance.configure([(["one.test"], f"h2c://127.0.0.1:{port}")], "https://127.0.0.1:1/directory", more=more)
        for name in ("one.test", "tls.test"):
            appliance.keep(name, make_certificate([name]))
        with appliance:
            yield appliance


@pytest.fixture(params=["one.test", "tls.test"])
def channel(appliance: Appliance, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(shared_authority().pem)
    options = [
        ("grpc.ssl_target_name_override", request.param),
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.secure_channel(f"127.0.0.1:{appliance.https_port}", credentials, options=options) as channel:
        yield channel


def test_unary(channel: grpc.Channel) -> None:
    """A call and its answer, metadata in its trailers."""
    call = channel.unary_unary("/test.Echo/unary")
    answer, told = call.with_call(b"hello", metadata=[("x-echo", "1"), ("x-echo-bin", b"\0\xff")], timeout=SECONDS)
    assert answer == b"hello"
    assert told.code() is grpc.StatusCode.OK
    assert dict(told.trailing_metadata()) == {"x-echo": "1", "x-echo-bin": b"\0\xff"}


def test_large_message(channel: grpc.Channel) -> None:
    """A message far larger than every window, both ways."""
    message = bytes(range(256)) * (4 * MIB // 256)
    assert channel.unary_unary("/test.Echo/unary")(message, timeout=SECONDS) == message


def test_client_streaming(channel: grpc.Channel) -> None:
    """Many messages, one answer."""
    sent = (b"x" * size for size in range(1000))
    assert channel.stream_unary("/test.Echo/collect")(sent, timeout=SECONDS) == b"1000 499500"


def test_server_streaming(channel: grpc.Channel) -> None:
    """One message, many answers; their trailers."""
    call = channel.unary_stream("/test.Echo/produce")(b"500 1000", metadata=[("x-echo", "2")], timeout=SECONDS)
    assert [len(message) for message in call] == [1000] * 500
    assert dict(call.trailing_metadata()) == {"x-echo": "2"}
    assert call.code() is grpc.StatusCode.OK


def test_both_streaming(channel: grpc.Channel) -> None:
    """A conversation: each message waits for the answer to the last, and may take longer than time-outs allow."""
    turn = threading.Semaphore(1)

    def say() -> Iterator[bytes]:
        for number in range(20):
            turn.acquire()
            if number == 10:
                time.sleep(3.5)
            yield b"%d" % number

    heard = []
    for answer in channel.stream_stream("/test.Echo/talk")(say(), timeout=SECONDS):
        heard.append(answer)
        turn.release()
    assert heard == [b"%d" % number for number in range(20)]


def test_error(channel: grpc.Channel) -> None:
    """A response of nothing but trailers."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/refuse")(b"", timeout=SECONDS)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today: ünmöglich")


def test_unknown_method(channel: grpc.Channel) -> None:
    """The application's own word for it."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/none")(b"", timeout=SECONDS)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_deadline(channel: grpc.Channel) -> None:
    """A deadline that passes ends the call at both ends."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/wait")(b"", timeout=2)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert channel.unary_unary("/test.Echo/waits")(b"", timeout=SECONDS) == b"yes"
    assert channel.unary_unary("/test.Echo/waited")(b"", timeout=SECONDS) == b"yes"


def test_cancelled_by_the_client(channel: grpc.Channel) -> None:
    """A client that cancels: the application is told."""
    call: Any = channel.unary_unary("/test.Echo/wait").future(b"")
    assert channel.unary_unary("/test.Echo/waits")(b"", timeout=SECONDS) == b"yes"
    call.cancel()
    assert channel.unary_unary("/test.Echo/waited")(b"", timeout=SECONDS) == b"yes"


def test_cancelled_by_the_application(channel: grpc.Channel) -> None:
    """An application that cancels: the client is told so."""
    call = channel.unary_stream("/test.Echo/break_off")(b"", timeout=SECONDS)
    assert next(call) == b"first"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.CANCELLED


def test_many_at_once(channel: grpc.Channel) -> None:
    """More calls at once than one connection takes."""
    call = channel.unary_unary("/test.Echo/unary")
    under_way: Any = [call.future(b"%d" % number, timeout=SECONDS) for number in range(300)]
    assert [each.result() for each in under_way] == [b"%d" % number for number in range(300)]


def test_slow_reader(appliance: Appliance, channel: grpc.Channel) -> None:
    """A client that hardly reads a stream of 40 MiB: the application waits, and memory stays flat."""
    before = appliance.resident()
    call = channel.unary_stream("/test.Echo/produce")(b"40 1048576", timeout=60)
    sizes = []
    for number, message in enumerate(call):
        sizes.append(len(message))
        if number < 10:
            time.sleep(0.2)
            assert appliance.resident() < before + 8 * MIB
    assert sizes == [MIB] * 40
