"""HTTP/2's frames and field blocks apart from connections."""

from __future__ import annotations

import h2.config
import h2.connection
import hpack
import pytest

from appliance.http.http2bounds import Patience
from appliance.http.http2flow import FlowStream, Sender
from appliance.http.http2frames import Http2ConnectionError, headers
from appliance.http.http2hpack import BlockReader, BlockWriter
from appliance.http.message import Fields


def reader() -> BlockReader[list[object]]:
    """Of blocks, to a new list of fields each."""
    return BlockReader(lambda fields, ended: [*fields, ended], 10_000)


def test_large_field_section_is_cut_into_frames() -> None:
    """h2 puts together again what we cut."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")], True)
    value = bytes(33 + n % 90 for n in range(40_000))
    client.decoder.max_header_list_size = 10**6
    block = BlockWriter().write([(b":status", b"200"), (b"etag", value)])
    frames = headers(1, block, True)
    assert len(frames) > 32_768
    response, _ended = client.receive_data(frames)
    assert response.headers == [(b":status", b"200"), (b"etag", value)]  # type: ignore[union-attr]


def test_remembered_blocks() -> None:
    """The same block has the same meaning, and another with the end of its stream."""
    blocks = reader()
    block = bytes([0x82, 0x84])
    assert blocks.read(block, True) is blocks.read(block, True)
    assert blocks.read(block, False) == [(b":method", b"GET"), (b":path", b"/"), False]
    assert blocks.read(block, True) == [(b":method", b"GET"), (b":path", b"/"), True]


def test_no_more_than_so_many_are_remembered() -> None:
    """Nor large ones: a connection's memory is bounded."""
    blocks = reader()
    many = [b"\0\1a\1" + bytes([value]) for value in range(33, 120)]
    first = [blocks.read(block, True) for block in many]
    assert all(blocks.read(block, True) == made for block, made in zip(many, first, strict=True))
    large = b"\0\1a\x7f\xf0\x0f" + b"v" * 2159
    assert blocks.read(large, True) is not blocks.read(large, True)


def test_blocks_that_change_the_table_are_not_remembered() -> None:
    """They change it each time."""
    blocks = reader()
    adds = b"\x40\1a\1b"
    for _ in range(3):
        assert blocks.read(adds, True) == [(b"a", b"b"), True]
    assert blocks.read(b"\xc0", True) == [(b"a", b"b"), True]
    with pytest.raises(Http2ConnectionError):
        blocks.read(b"\xc1", True)


def test_writer_and_a_table_of_any_size() -> None:
    """What is written, hpack reads, while the table shrinks and grows and fields come again and change."""
    writer, decoder = BlockWriter(), hpack.Decoder()
    sections: list[Fields] = [
        [
            (b":status", b"200"),
            (b"date", b"%d" % (n // 7)),
            (b"set-cookie", b"secret%d" % n),
            (b"x-%d" % (n % 40), b"v"),
        ]
        for n in range(200)
    ]
    sections += [[(b":status", b"200"), (b"etag", b"%d" % n)] for n in range(40)]
    sections += sections[-50:] * 3 + [[(b":status", b"200"), (b"etag", b"x" * 2000)]] * 2
    for number, fields in enumerate(sections):
        if number % 31 == 30:
            size = (0, 100, 4096, 1 << 20)[number // 31 % 4]
            writer.resize(size)
            writer.resize(size)
            decoder.max_allowed_table_size = size
        block = writer.write(fields)
        assert list(decoder.decode(block, raw=True)) == fields
        assert b"secret" not in str(decoder.header_table.dynamic_entries).encode()


def test_end_behind_what_is_pending() -> None:
    """An end that is told when windows are shut goes out with the last of the data."""

    class Output:
        def emit(self, *pieces: bytes | memoryview) -> None:
            sent.append(b"".join(pieces))

    sent: list[bytes] = []
    ended: list[FlowStream] = []
    sender = Sender(Output(), Patience(lambda: 0.0), ended.append)
    stream = FlowStream(1)
    sender.send(stream, b"hello", False)
    sender.send(stream, b"", True)
    assert sent == []
    sender.widen_stream(stream, 5)
    assert sent == [b"\0\0\5\0\1\0\0\0\1hello"]
    assert ended == [stream]
