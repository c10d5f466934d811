"""Bytes come in, cut anywhere; whole lines come out, and one that is too long takes no other along."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.lines import LineFramer, OversizedLine

SPOKEN = b'{"a":1}\n\r\n{"b":"\xe2\x80\xa8"}\r\n \n{"c":3}\n{"d'
LINES = [b'{"a":1}', b'{"b":"\xe2\x80\xa8"}\r', b'{"c":3}']


def feed_in_pieces(framer: LineFramer, data: bytes, size: int) -> list[bytes | OversizedLine]:
    return [line for at in range(0, len(data), size) for line in framer.feed(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_lines_come_out_whole_however_the_bytes_were_cut(size: int) -> None:
    """Transports §stdio: "Messages are delimited by newlines"; U+2028 is none, a CR before one is white space of JSON."""
    framer = LineFramer(None)
    assert feed_in_pieces(framer, SPOKEN, size) == LINES
    assert framer.pending == len(b'{"d')


@pytest.mark.parametrize("cut", range(len(SPOKEN) + 1))
def test_lines_come_out_whole_wherever_the_bytes_were_cut_in_two(cut: int) -> None:
    framer = LineFramer(100)
    assert framer.feed(SPOKEN[:cut]) + framer.feed(SPOKEN[cut:]) == LINES


def test_half_a_line_is_none() -> None:
    framer = LineFramer(None)
    assert framer.feed(b'{"a":') == []
    assert framer.pending == 5
    assert framer.feed(b"1}") == []
    assert framer.feed(b"\n") == [b'{"a":1}']
    assert framer.pending == 0


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t \n", b"\n\n\n"])
def test_a_blank_line_is_none(blank: bytes) -> None:
    assert LineFramer(None).feed(blank) == []
    assert LineFramer(None).feed(b"a\n" + blank + b"b\n") == [b"a", b"b"]


def test_nothing_read_changes_nothing() -> None:
    framer = LineFramer(4)
    assert framer.feed(b"") == []
    assert framer.feed(b"abcd\n") == [b"abcd"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_line_may_be_as_long_as_the_limit(size: int) -> None:
    assert feed_in_pieces(LineFramer(5), b"12345\n", size) == [b"12345"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_a_line_over_the_limit_is_lost_and_the_next_one_is_whole(size: int) -> None:
    framer = LineFramer(5)
    lines = feed_in_pieces(framer, b"before\nafter\n123456789\nright\n", size)
    assert [line.length if isinstance(line, OversizedLine) else line for line in lines] == [6, b"after", 9, b"right"]


@pytest.mark.parametrize("size", [100, 4095, 4096, 4097, 100_000])
def test_of_a_line_over_the_limit_both_ends_are_kept(size: int) -> None:
    line = b"%07d" * 5000 % tuple(range(5000))
    assert feed_in_pieces(LineFramer(10_000), line + b"\n", size) == [OversizedLine(line[:4096], line[-4096:], len(line))]


def test_a_line_over_the_limit_costs_no_memory_while_it_goes_on() -> None:
    framer = LineFramer(1000)
    for _ in range(1000):
        assert framer.feed(b"x" * 1000) == []
    assert framer.pending == 1_000_000
    (line,) = framer.feed(b"\n")
    assert isinstance(line, OversizedLine)
    assert (len(line.head), len(line.tail), line.length) == (2000, 4096, 1_000_000)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"\n", b"\r", b" ", b"a", b"bb", b"{}", b"x" * 20]), max_size=40).map(b"".join),
    cuts=st.lists(st.integers(1, 12), min_size=1, max_size=20),
    limit=st.one_of(st.none(), st.integers(1, 30)),
)
def test_what_comes_out_does_not_depend_on_how_it_came_in(data: bytes, cuts: list[int], limit: int | None) -> None:
    data += b"\n"
    lines = [line for line in data.split(b"\n") if line.strip() or (limit is not None and len(line) > limit)]
    expected: list[bytes | int] = [len(line) if limit is not None and len(line) > limit else line for line in lines]

    framer, came, at, turn = LineFramer(limit), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        came += framer.feed(data[at : at + size])
        at, turn = at + size, turn + 1

    assert [line.length if isinstance(line, OversizedLine) else line for line in came] == expected
