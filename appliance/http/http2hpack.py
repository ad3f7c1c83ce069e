"""Field compression (RFC 7541) by the hpack library, and a memory of blocks that were seen before.

A field block means the same for as long as the dynamic table has not changed, and a client that asks again sends the
same block again. Looking a block up costs a hundredth of decoding it. Blocks that change the table are never kept,
and a change of the table ends what was kept before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple, OversizedHeaderListError
from hpack.table import HeaderTable

from appliance.http.http2frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Http2ConnectionError
from appliance.http.message import Fields

T = TypeVar("T")

_KEPT = 32
_KEPT_BYTES = 1024
_TABLE_BYTES = 4096
"""What every table begins with (SETTINGS_HEADER_TABLE_SIZE), and the most that we use of what a peer allows."""

_NEVER_INDEXED = frozenset(
    {
        b"age",
        b"authorization",
        b"content-length",
        b"content-range",
        b"cookie",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b":path",
        b"set-cookie",
        b"x-request-id",
    }
)
"""Fields that are secret, or whose value hardly comes twice: they would only push others out of the table."""


class _WatchedTable(HeaderTable):
    """A table that says whether it was changed."""

    def __init__(self) -> None:
        self.changed = False
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        """Insert a field."""
        self.changed = True
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """The table's size in bytes, entries counted as in RFC 7541 section 4.1."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        self.changed = True
        HeaderTable.maxsize.fset(self, value)  # type: ignore[attr-defined]


class BlockReader(Generic[T]):
    """Decodes the blocks of one connection. ``read`` makes of the fields what their receiver wants to have."""

    __slots__ = ("_decoder", "_known", "_read", "_table")

    def __init__(self, read: Callable[[Fields, bool], T], max_list_bytes: int) -> None:
        self._read = read
        self._decoder = Decoder(max_list_bytes)
        self._table = self._decoder.header_table = _WatchedTable()
        self._known: tuple[dict[bytes, T], dict[bytes, T]] = {}, {}

    def read(self, block: bytes, ended: bool) -> T:
        """What a whole block says, given whether it ends its stream; the same object again for the same block.

        Raises Http2ConnectionError if the connection cannot go on, and whatever ``read`` raises.
        """
        remembered = self._known[ended]
        known = remembered.get(block)
        if known is not None:
            return known
        made = self._read(self.decode(block), ended)
        if not self._table.changed and len(block) <= _KEPT_BYTES:
            if len(remembered) >= _KEPT:
                remembered.clear()
            remembered[block] = made
        return made

    def decode(self, block: bytes) -> Fields:
        """The fields of a block, for those that are no heads, and for their effect on the table alone."""
        table = self._table
        table.changed = False
        try:
            fields: Fields = self._decoder.decode(block, raw=True)  # type: ignore[assignment]
        except OversizedHeaderListError:
            raise Http2ConnectionError(ENHANCE_YOUR_CALM, "a header list far larger than allowed") from None
        except HPACKError as error:
            raise Http2ConnectionError(COMPRESSION_ERROR, f"a field block that cannot be decoded: {error}") from None
        if table.changed:
            for remembered in self._known:
                remembered.clear()
        return fields


class BlockWriter:
    """Encodes the blocks of one connection, each to be sent in the order in which it was encoded."""

    __slots__ = ("_encoder", "_known", "_table")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._table = self._encoder.header_table = _WatchedTable()
        self._known: dict[object, bytes] = {}

    def resize(self, allowed: int) -> None:
        """The peer's decoder has so many bytes for its table (SETTINGS_HEADER_TABLE_SIZE)."""
        size = min(allowed, _TABLE_BYTES)
        if size != self._encoder.header_table_size:
            self._encoder.header_table_size = size
            self._known.clear()

    def write(self, fields: Fields) -> bytes:
        """The block of ``fields``, their names in lower case."""
        key = tuple(fields)
        known = self._known.get(key)
        if known is not None:
            return known
        self._table.changed = False
        block: bytes = self._encoder.encode(
            [NeverIndexedHeaderTuple(*each) if each[0] in _NEVER_INDEXED else HeaderTuple(*each) for each in fields]
        )
        if self._table.changed:
            self._known.clear()
        elif len(block) <= _KEPT_BYTES:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = block
        return block
