"""``SSL_do_handshake``, ``SSL_read`` and ``SSL_write`` for the hot path: what pyOpenSSL does, less what it repeats.

For each record, its ``recv`` and ``send`` make a new buffer, wrap the data in a context manager and look for errors of
callbacks that a server has none of; that a handshake waits for the other end is no exception. Errors are still
pyOpenSSL's own to name, so callers see the same exceptions.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

RECORD = 16 * 1024
"""Bytes of data in the longest TLS record, and so the most that one read brings or one write takes."""

_MORE_LIKELY = 4 * 1024
"""A record of at least so many bytes is probably followed by another: worth a system call to see."""
_AT_ONCE = 8
"""How many records are read at most before anything is done with them."""

# One is enough: a reactor has one thread, and the bytes are copied out before anything else can run.
_buffer = ffi.new("char[]", RECORD * _AT_ONCE)

_LAST_BEGIN = RECORD * (_AT_ONCE - 1)

_protocol, _protocol_length = ffi.new("unsigned char **"), ffi.new("unsigned int *")

_read, _write, _bytes_of, _pointer_to = lib.SSL_read, lib.SSL_write, ffi.buffer, ffi.from_buffer
_do_handshake, _error_of, _selected = lib.SSL_do_handshake, lib.SSL_get_error, lib.SSL_get0_alpn_selected
_WANT_READ = lib.SSL_ERROR_WANT_READ


def shake_hands(tls: SSL.Connection) -> bool:
    """Go on with the handshake: whether it is over; False while the other end has something to say first.

    Raises ``SSL.Error`` as ``Connection.do_handshake`` does where it waits for anything else, or fails.
    """
    ssl = tls._ssl
    result = _do_handshake(ssl)
    if result == 1:
        return True
    if _error_of(ssl, result) != _WANT_READ:
        tls._raise_ssl_error(ssl, result)
    return False


def agreed_protocol(tls: SSL.Connection) -> bytes:
    """What ALPN chose; empty if nothing."""
    _selected(tls._ssl, _protocol, _protocol_length)
    length = _protocol_length[0]
    return _bytes_of(_protocol[0], length)[:] if length else b""


def read_records(tls: SSL.Connection) -> tuple[bytes, int]:
    """The data of the records that are there, and the result that stopped the reading if one did, for `raise_for`.

    Raises ``SSL.Error`` as ``Connection.recv`` does where there is none.
    """
    ssl = tls._ssl
    length = _read(ssl, _buffer, RECORD)
    if length < _MORE_LIKELY:
        if length <= 0:
            tls._raise_ssl_error(ssl, length)
        return _bytes_of(_buffer, length)[:], 1
    end = length
    while length >= _MORE_LIKELY and end <= _LAST_BEGIN:
        length = _read(ssl, _buffer + end, RECORD)
        if length <= 0:
            return _bytes_of(_buffer, end)[:], length
        end += length
    return _bytes_of(_buffer, end)[:], 1


def write_record(tls: SSL.Connection, data: bytes) -> int:
    """Send the beginning of ``data`` (not empty), a record at most; its length.

    Raises ``SSL.Error`` as ``Connection.send`` does.
    """
    sent: int = _write(tls._ssl, data, len(data))
    if sent <= 0:
        tls._raise_ssl_error(tls._ssl, sent)
    return sent


def write_records(tls: SSL.Connection, data: bytes | memoryview, start: int, limit: int) -> tuple[int, int]:
    """Send ``data`` from ``start`` up to ``limit``, record by record, until the socket takes no more.

    Returns the position reached and, if that is before ``limit``, the result that stopped it, for `raise_for`.
    """
    ssl = tls._ssl
    position = start
    with _pointer_to(data) as base:
        while position < limit:
            sent = _write(ssl, base + position, limit - position)
            if sent <= 0:
                return position, sent
            position += sent
    return position, 1


def raise_for(tls: SSL.Connection, result: int) -> None:
    """Raise the ``SSL.Error`` behind a result of the above, if it is one of failure."""
    if result <= 0:
        tls._raise_ssl_error(tls._ssl, result)
