"""The PROXY protocol, versions 1 and 2: who the client is, told ahead of a connection's own bytes.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. Pure: bytes in, values out.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import frozen

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""What a header of version 2 begins with."""

LONGEST = 16 + 2048
"""Bytes; a longer header is refused. Version 1 has 107 at the most, version 2 an address and a few extensions."""

_LONGEST_V1 = 107
_V1 = b"PROXY "
_LOCAL, _PROXY = 0x20, 0x21
_INET_STREAM, _INET6_STREAM = 0x11, 0x21
_FIXED = struct.Struct("!12sBBH")


@frozen
class Connection:
    """The two ends of the client's connection, as somebody else accepted it."""

    client: str
    client_port: int
    server: str
    server_port: int


@frozen
class Header:
    """A header that was read whole."""

    length: int
    """Bytes it takes; what follows is the connection's own."""
    connection: Connection | None
    """None: the sender speaks for itself, as in a health check, or does not know."""


class ProxyProtocolError(ValueError):
    """Not a header, or a broken one."""


def read_header(data: bytes) -> Header | None:
    """The header that ``data`` begins with; None if more bytes are needed. Raises ProxyProtocolError."""
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_v2(data)
    if data.startswith(_V1[: len(data)]):
        return _read_v1(data)
    raise ProxyProtocolError("it does not begin with a PROXY protocol header")


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(data) >= _LONGEST_V1:
            raise ProxyProtocolError("its PROXY line does not end")
        return None
    fields = data[:end].split(b" ")
    if fields[1:2] == [b"UNKNOWN"]:
        return Header(end + 2, None)
    if len(fields) != 6 or fields[1] not in (b"TCP4", b"TCP6"):
        raise ProxyProtocolError("its PROXY line is malformed")
    version = 4 if fields[1] == b"TCP4" else 6
    client, server = (_address(field, version) for field in fields[2:4])
    client_port, server_port = (_port(field) for field in fields[4:6])
    return Header(end + 2, Connection(client, client_port, server, server_port))


def _address(field: bytes, version: int) -> str:
    try:
        address = ip_address(field.decode("ascii"))
    except ValueError as error:
        raise ProxyProtocolError("its PROXY line has a malformed address") from error
    if address.version != version or b"%" in field:
        raise ProxyProtocolError("its PROXY line has an address of another family")
    return _plain(address)


def _plain(address: IPv4Address | IPv6Address) -> str:
    """An address as text; an IPv4 one that came dressed as IPv6 is IPv4 here, as everywhere in the appliance."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _port(field: bytes) -> int:
    if not field.isdigit() or len(field) > 5 or int(field) > 65535 or (field[0:1] == b"0" and len(field) > 1):
        raise ProxyProtocolError("its PROXY line has a malformed port")
    return int(field)


def _read_v2(data: bytes) -> Header | None:
    if len(data) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError("its PROXY header has an unknown version or command")
    end = _FIXED.size + length
    if end > LONGEST:
        raise ProxyProtocolError(f"its PROXY header is longer than {LONGEST} bytes")
    if len(data) < end:
        return None
    size = {_INET_STREAM: 4, _INET6_STREAM: 16}.get(family)
    if command == _LOCAL or size is None:
        return Header(end, None)
    if length < 2 * size + 4:
        raise ProxyProtocolError("its PROXY header is too short for its addresses")
    body = data[_FIXED.size : end]
    client, server = (_plain(ip_address(body[start : start + size])) for start in (0, size))
    client_port, server_port = struct.unpack_from("!HH", body, 2 * size)
    return Header(end, Connection(client, client_port, server, server_port))


def write_v1(connection: Connection | None) -> bytes:
    """A header of version 1; None writes ``UNKNOWN``."""
    if connection is None:
        return b"PROXY UNKNOWN\r\n"
    client, server = _same_family(connection)
    ports = f"{connection.client_port} {connection.server_port}"
    return f"PROXY TCP{client.version} {client} {server} {ports}\r\n".encode("ascii")


def write_v2(connection: Connection | None) -> bytes:
    """A header of version 2; None writes ``LOCAL``."""
    if connection is None:
        return _FIXED.pack(SIGNATURE, _LOCAL, 0, 0)
    client, server = _same_family(connection)
    family = _INET_STREAM if client.version == 4 else _INET6_STREAM
    addresses = client.packed + server.packed + struct.pack("!HH", connection.client_port, connection.server_port)
    return _FIXED.pack(SIGNATURE, _PROXY, family, len(addresses)) + addresses


def _same_family(connection: Connection) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Both addresses; if one of them is IPv6, both as that."""
    client, server = ip_address(connection.client), ip_address(connection.server)
    if client.version == server.version:
        return client, server
    return _as_ipv6(client), _as_ipv6(server)


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


WRITERS = {"v1": write_v1, "v2": write_v2}
"""By their names in the configuration."""
