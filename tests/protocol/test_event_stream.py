"""What a client makes of an event stream, however its bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.event_stream import Event, EventStream
from trioproxy.protocol.lines import OversizedLine
from trioproxy.protocol.sse import KEEP_ALIVE, encode_endpoint_event, encode_messages, encode_priming_event


def read(stream: bytes, size: int = 10**9, max_data: int | None = None) -> list[Event]:
    events = EventStream(max_data)
    return [event for at in range(0, len(stream), size) for event in events.feed(stream[at : at + size])]


def message(data: bytes) -> Event:
    return Event("message", data)


# HTML standard, §Server-sent events: the examples of §Interpreting an event stream.
STOCKS = b"data: YHOO\ndata: +2\ndata: 10\n\n"
BLOCKS = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
EMPTY = b"data\n\ndata\ndata\n\ndata:"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (STOCKS, [message(b"YHOO\n+2\n10")]),
        (BLOCKS, [message(b"first event"), message(b"second event"), message(b" third event")]),
        (EMPTY, [message(b""), message(b"\n")]),
        (b"\xef\xbb\xbfdata: marked\n\n", [message(b"marked")]),
        (b"event: endpoint\ndata: /a\n\ndata: b\n\n", [Event("endpoint", b"/a"), message(b"b")]),
        (b"event: no data, no event\n\ndata: b\n\n", [message(b"b")]),
        (b"other: field\ndatum: x\ndata : y\n\n", []),
        (b"data: unfinished\n", []),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_an_event_is_what_the_standard_says(stream: bytes, events: list[Event], end: bytes, size: int) -> None:
    assert read(stream.replace(b"\n", end), size) == events


@given(
    st.lists(st.tuples(st.binary().filter(lambda data: not {10, 13} & {*data}), st.sampled_from([b"\n", b"\r", b"\r\n"]))),
    st.integers(1, 20),
)
@settings(max_examples=200)
def test_events_come_out_whole_however_the_bytes_were_cut(sent: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(b"data: " + data + end + end for data, end in sent)
    assert read(stream, size) == [message(data) for data, _ in sent]


def test_a_mark_at_the_beginning_only_is_none_of_the_data() -> None:
    mark = b"\xef\xbb\xbf"
    assert read(mark + mark + b"data: x\n\ndata: y\n\n") == [message(b"y")]


def test_what_the_proxy_writes_can_be_read() -> None:
    stream = b"".join(
        [
            encode_priming_event(b"s1-0", 500),
            KEEP_ALIVE,
            encode_endpoint_event("/m?s=1"),
            encode_messages([b"{}"], b"s1-", 1),
        ]
    )
    events = EventStream(None)
    assert events.feed(stream) == [message(b""), Event("endpoint", b"/m?s=1"), message(b"{}")]
    assert (events.last_event_id, events.retry_ms) == (b"s1-1", 500)


def test_the_id_of_an_event_lasts_until_another_comes() -> None:
    events = EventStream(None, b"before")
    seen = []
    for block in (b": nothing\n\n", b"id: 1\ndata: x\n\n", b"data: y\n\n", b"id: 2\n\n", b"id: 3\0\n\n", b"id\n\n"):
        events.feed(block)
        seen.append(events.last_event_id)
    assert seen == [b"before", b"1", b"1", b"2", b"2", b""]


def test_the_id_of_an_event_that_has_not_ended_does_not_count() -> None:
    """Who resumes after it would never get its data."""
    events = EventStream(None)
    events.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n")
    assert events.last_event_id == b"1"


@pytest.mark.parametrize(
    ("field", "retry_ms"),
    [
        (b"retry: 500", 500),
        (b"retry:0", 0),
        (b"retry", None),
        (b"retry: -1", None),
        (b"retry: 1.5", None),
        (b"retry: 1s", None),
        ("retry: ٣".encode(), None),
        (b"retry: " + b"9" * 5000, 999_999_999),
    ],
)
def test_a_time_to_come_back_is_a_number_of_digits(field: bytes, retry_ms: int | None) -> None:
    events = EventStream(None)
    events.feed(field + b"\n\n")
    assert events.retry_ms == retry_ms


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_of_an_event_over_the_limit_the_ends_are_left_and_the_next_is_whole(size: int) -> None:
    head, tail = b"a" * 5000, b"z" * 5000
    stream = b"id: 1\ndata: " + head + tail + b"\n\ndata: next\n\n"
    oversized, following = read(stream, size, max_data=9999)
    assert oversized.data == OversizedLine(b"a" * 4090, b"z" * 4096, 10_000)
    assert following == message(b"next")


def test_an_event_of_exactly_the_limit_is_whole() -> None:
    assert read(b"data: 12345\n\ndata:12345\n\n", max_data=5) == [message(b"12345"), message(b"12345")]
    (event,) = read(b"data: 123456\n\n", max_data=5)
    assert event.data == OversizedLine(b"123456", b"data: 123456", 6)


def test_many_lines_of_data_are_bounded_together() -> None:
    (event,) = read(b"data: x\n" * 1000 + b"data: end\n\n", max_data=500)
    assert isinstance(event.data, OversizedLine)
    assert event.data.head.startswith(b"x\nx\n")
    assert event.data.tail == b"end"


def test_a_long_comment_is_nothing() -> None:
    assert read(b":" + b"x" * 10_000 + b"\ndata: y\n\n", max_data=10) == [message(b"y")]


def test_a_stream_without_an_end_takes_no_more_room_than_the_limit() -> None:
    events = EventStream(1000)
    for _ in range(1000):
        assert events.feed(b"x" * 1000) == []
    assert len(events._line._text) <= 1000 + 4096
