"""``SSL_read`` and ``SSL_write`` for the hot path: what pyOpenSSL's ``recv`` and ``send`` do, less what they repeat.

For each record, those make a new buffer, wrap the data in a context manager and look for errors of callbacks that a
server has none of. Errors are still pyOpenSSL's own to name, so callers see the same exceptions.
"""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

RECORD = 16 * 1024
"""Bytes of data in the longest TLS record, and so the most that one read brings or one write takes."""

# One is enough: a reactor has one thread, and the bytes are copied out before anything else can run.
_buffer = ffi.new("char[]", RECORD)

_read, _write, _bytes_of, _pointer_to = lib.SSL_read, lib.SSL_write, ffi.buffer, ffi.from_buffer


def read_record(tls: SSL.Connection) -> bytes:
    """The data of the next record, or of what is left of it. Raises ``SSL.Error`` as ``Connection.recv`` does."""
    length = _read(tls._ssl, _buffer, RECORD)
    if length <= 0:
        tls._raise_ssl_error(tls._ssl, length)
    data: bytes = _bytes_of(_buffer, length)[:]
    return data


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
    """Raise the ``SSL.Error`` behind a result of `write_records`, if it is one of failure."""
    if result <= 0:
        tls._raise_ssl_error(tls._ssl, result)
