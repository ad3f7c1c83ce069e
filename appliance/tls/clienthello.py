"""The server name in a ClientHello that has arrived but that OpenSSL has not yet read (RFC 8446 section 4.1.2).

OpenSSL decides on session resumption before it asks about the server name, so that a name found by its callback comes
too late to keep one site's tickets from resuming on another. Who knows the name beforehand can start the handshake
on the site's own context, with the site's own ticket keys.

Only the ordinary case is recognised: the whole message in one record, well-formed up to the name. Everything else is
left to OpenSSL, so a mistake in here can refuse a resumption, and nothing more.
"""

from __future__ import annotations

LONGEST = 16 * 1024 + 5
"""Bytes; what one record can hold, so more never needs to be looked at."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_FIXED = 5 + 4 + 2 + 32  # record header, message header, version, random
_SERVER_NAME = b"\x00\x00"
_HOST_NAME = 0


def server_name(data: bytes) -> str | None:
    """The host name asked for in the ClientHello that ``data`` begins with.

    None if there is none, or if ``data`` is incomplete, fragmented, malformed or no TLS at all. Never raises.
    The name is as sent but for its case, which is folded.
    """
    try:
        return _server_name(data)
    except (IndexError, UnicodeDecodeError):
        return None


def _server_name(data: bytes) -> str | None:
    record_end = 5 + _uint16(data, 3)
    if data[0] != _HANDSHAKE or data[5] != _CLIENT_HELLO or record_end > len(data):
        return None
    if 9 + (data[6] << 16) + _uint16(data, 7) != record_end:
        return None
    position = _FIXED
    position += 1 + data[position]  # session id
    position += 2 + _uint16(data, position)  # cipher suites
    position += 1 + data[position]  # compression methods
    end = position + 2 + _uint16(data, position)
    if end != record_end:
        return None
    position += 2
    while position < end:
        length = _uint16(data, position + 2)
        if data[position : position + 2] == _SERVER_NAME:
            return _host_name(data[position + 4 : position + 4 + length])
        position += 4 + length
    return None


def _host_name(extension: bytes) -> str | None:
    """The one host name of a server_name extension's body (RFC 6066 section 3)."""
    length = _uint16(extension, 3)
    if _uint16(extension, 0) != length + 3 or extension[2] != _HOST_NAME or len(extension) != length + 5:
        return None
    return extension[5:].decode("ascii").lower()


def _uint16(data: bytes, position: int) -> int:
    return data[position] << 8 | data[position + 1]
