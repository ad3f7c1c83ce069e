"""Counting a WebSocket's frames along, whatever pieces they come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.http.websocketframes import GOING_AWAY, ServerFrames


def frame(payload: bytes, opcode: int = 2, masked: bool = False) -> bytes:
    """One frame, with its header as short as it may be."""
    length, mask = len(payload), 0x80 if masked else 0
    if length < 126:
        head = bytes([0x80 | opcode, mask | length])
    elif length < 1 << 16:
        head = bytes([0x80 | opcode, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, mask | 127]) + length.to_bytes(8, "big")
    return head + (b"\0" * 4 if masked else b"") + payload


@given(
    st.lists(st.sampled_from((0, 1, 125, 126, 300, 70_000)), max_size=5),
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=8),
    st.integers(0, 400),
)
def test_goodbye_comes_between_frames(sizes: list[int], masked: bool, cuts: list[int], last: int) -> None:
    """Whatever the pieces, and whenever it is to end: whole frames, our Close, and nothing else."""
    frames = [frame(b"x" * size, masked=masked) for size in sizes]
    stream = b"".join(frames)
    boundaries = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    followed = ServerFrames()
    sent, position = b"", 0
    for cut in cuts:
        piece = stream[position : position + cut]
        position += len(piece)
        assert followed.feed(piece) == piece
    sent = stream[:position] + followed.leave()
    assert followed.leave() == b""
    while position < len(stream):
        piece = stream[position : position + last + 1]
        position += len(piece)
        sent += followed.feed(piece)
    assert followed.over
    assert sent.endswith(GOING_AWAY)
    assert len(sent) - len(GOING_AWAY) in boundaries
    assert stream.startswith(sent.removesuffix(GOING_AWAY))


@pytest.mark.parametrize("size", [0, 125, 126, 300, 65_536])
@pytest.mark.parametrize("told_at", [0, 1, 3, 11])
def test_byte_by_byte(size: int, told_at: int) -> None:
    """Headers in pieces as well, whenever it is to end; nothing follows that."""
    first = frame(b"x" * size)
    data = first + frame(b"y" * 20)
    followed = ServerFrames()
    sent = b""
    for position in range(len(data)):
        if position == told_at:
            sent += followed.leave()
        sent += followed.feed(data[position : position + 1])
    ended = b"" if told_at == 0 else first if told_at <= len(first) else data
    assert sent == ended + GOING_AWAY
    assert followed.feed(data) == b""


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_lengths(size: int) -> None:
    """All three ways that a frame has to tell its length."""
    followed = ServerFrames()
    assert followed.feed(frame(b"x" * size)) == frame(b"x" * size)
    assert followed.leave() == GOING_AWAY


def test_nothing_passes_afterwards() -> None:
    """A client that was told hears no more."""
    followed = ServerFrames()
    assert followed.leave() == GOING_AWAY
    assert followed.feed(frame(b"x")) == b""


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_the_applications_own_close(cut: int) -> None:
    """Two Close frames would be one too many."""
    close = frame(b"\x03\xe8", 8)
    followed = ServerFrames()
    assert followed.feed(close[:cut]) == close[:cut]
    assert followed.leave() == b""
    assert followed.feed(close[cut:] + b"more") == close[cut:] if cut < 4 else followed.over
