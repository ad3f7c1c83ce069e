"""What is asked for in a ClientHello that has arrived but that OpenSSL has not yet read (RFC 8446 section 4.1.2).

OpenSSL decides on session resumption before it asks about the server name, so that a name found by its callback comes
too late to keep one site's tickets from resuming on another. Who knows the name beforehand can start the handshake
on the site's own context, with the site's own ticket keys. And only in the ClientHello can a CA that validates
TLS-ALPN-01 be told from everybody else before a certificate is chosen (RFC 8737 section 3).

Only the ordinary case is recognised: the whole message in one record, well-formed up to the name. Everything else is
left to OpenSSL, so a mistake in here can refuse a resumption or a CA's validation, and nothing more.
"""

from __future__ import annotations

LONGEST = 16 * 1024 + 5
"""Bytes; what one record can hold, so more never needs to be looked at."""

_RECORD_HEADER = 5
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_FIXED = 5 + 4 + 2 + 32  # record header, message header, version, random
_SERVER_NAME = b"\x00\x00"
_ALPN = b"\x00\x10"
_HOST_NAME = 0


def server_name(data: bytes) -> str | None:
    """The host name asked for in the ClientHello that ``data`` begins with.

    None if there is none, or if ``data`` is incomplete, fragmented, malformed or no TLS at all. Never raises.
    The name is as sent but for its case, which is folded.
    """
    try:
        body = _extension(data, _SERVER_NAME)
        return None if body is None else _host_name(body)
    except (IndexError, UnicodeDecodeError):
        return None


def application_protocols(data: bytes) -> tuple[bytes, ...]:
    """The protocols offered by ALPN (RFC 7301 section 3.1) in the ClientHello that ``data`` begins with, in its order.

    Empty if there are none, or if ``data`` is incomplete, fragmented, malformed or no TLS at all. Never raises.
    """
    try:
        body = _extension(data, _ALPN)
        return () if body is None else _protocol_names(body)
    except IndexError:
        return ()


def missing(data: bytes) -> int:
    """How many bytes there will be when the record that ``data`` begins with is whole; 0 when it is, or is none."""
    if len(data) < _RECORD_HEADER or data[0] != _HANDSHAKE:
        return 0
    whole = _RECORD_HEADER + _uint16(data, 3)
    return whole if len(data) < whole <= LONGEST else 0


def _extension(data: bytes, wanted: bytes) -> bytes | None:
    """The body of an extension; None if it is not there. Raises IndexError for what ends too early."""
    record_end = _RECORD_HEADER + _uint16(data, 3)
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
        if data[position : position + 2] == wanted:
            return data[position + 4 : position + 4 + length]
        position += 4 + length
    return None


def _protocol_names(extension: bytes) -> tuple[bytes, ...]:
    """The names in an ALPN extension's body; empty if that is malformed. Raises IndexError if it ends too early."""
    if _uint16(extension, 0) != len(extension) - 2:
        return ()
    names = []
    position = 2
    while position < len(extension):
        end = position + 1 + extension[position]
        if end == position + 1 or end > len(extension):
            return ()
        names.append(extension[position + 1 : end])
        position = end
    return tuple(names)


def _host_name(extension: bytes) -> str | None:
    """The one host name of a server_name extension's body (RFC 6066 section 3)."""
    length = _uint16(extension, 3)
    if _uint16(extension, 0) != length + 3 or extension[2] != _HOST_NAME or len(extension) != length + 5:
        return None
    return extension[5:].decode("ascii").lower()


def _uint16(data: bytes, position: int) -> int:
    return data[position] << 8 | data[position + 1]
