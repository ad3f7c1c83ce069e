"""The PROXY protocol's headers, read and written."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.net.proxyprotocol import (
    LONGEST,
    SIGNATURE,
    Connection,
    Header,
    ProxyProtocolError,
    read_header,
    write_v1,
    write_v2,
)

FOUR = Connection("192.0.2.7", 51234, "198.51.100.1", 443)
SIX = Connection("2001:db8::7", 51234, "2001:db8::1", 443)


def v2(command: int, family: int, body: bytes) -> bytes:
    """A header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


ADDRESSES = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 51234, 443)

GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n": FOUR,
    b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n": SIX,
    b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 51234 443\r\n": FOUR,
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff:f...f 65535 and the rest\r\n": None,
    v2(0x21, 0x11, ADDRESSES): FOUR,
    v2(0x21, 0x11, ADDRESSES + b"\x04\x00\x01x"): FOUR,
    v2(0x20, 0x00, b""): None,
    v2(0x20, 0x11, ADDRESSES): None,
    v2(0x21, 0x31, bytes(216)): None,
    v2(0x21, 0x12, ADDRESSES): None,
}


@pytest.mark.parametrize("header", GOOD)
def test_good_ones(header: bytes) -> None:
    """Read whole whatever follows; incomplete at every byte before its end."""
    assert read_header(header + b"\x16\x03\x01") == Header(len(header), GOOD[header])
    for end in range(len(header)):
        assert read_header(header[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"PROXY\tTCP4",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443 1\r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 51234\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 \xff 198.51.100.1 51234 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 51234 443\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 51234 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::1 51234 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 01 443\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 999999 443\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        b"PROXY TCP4 " + b"1" * 107,
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x11" + struct.pack("!H", LONGEST),
        v2(0x21, 0x11, ADDRESSES[:-1]),
        v2(0x21, 0x21, ADDRESSES),
    ],
)
def test_bad_ones(data: bytes) -> None:
    """Refused, in words."""
    with pytest.raises(ProxyProtocolError, match=r"^it |^its "):
        read_header(data)


@pytest.mark.parametrize("connection", [FOUR, SIX, None])
def test_written_ones_are_read(connection: Connection | None) -> None:
    """In both versions."""
    for header in (write_v1(connection), write_v2(connection)):
        assert read_header(header) == Header(len(header), connection)


def test_ends_of_two_families() -> None:
    """A client on IPv4 and a server on IPv6 cannot be told as they are."""
    mixed = Connection("192.0.2.7", 1, "2001:db8::1", 2)
    assert write_v1(mixed) == b"PROXY TCP6 ::ffff:c000:207 2001:db8::1 1 2\r\n"
    assert read_header(write_v2(mixed)) == Header(52, mixed)
    turned = Connection("2001:db8::1", 1, "192.0.2.7", 2)
    assert write_v1(turned) == b"PROXY TCP6 2001:db8::1 ::ffff:c000:207 1 2\r\n"


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_anything(data: bytes, start: bytes) -> None:
    """Read, refused or waited for; never more than there is."""
    try:
        header = read_header(start + data)
    except ProxyProtocolError:
        return
    assert header is None or header.length <= len(start + data)
