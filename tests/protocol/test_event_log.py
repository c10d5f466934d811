"""What a stream has carried can be read again from any event on, within bounds, and nothing of another stream with it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.protocol.errors import EventNotFound
from trioproxy.protocol.event_log import READ_SIZE, EventLog, Stream


def open_log(max_events: int | None = 1000, max_bytes: int | None = 1000_000, *, keeps_sent: bool = True) -> EventLog:
    return EventLog(b"tag", max_events=max_events, max_bytes=max_bytes, keeps_sent=keeps_sent)


def fill(stream: Stream, count: int, size: int = 1) -> list[bytes]:
    messages = [b"%d:%d" % (stream.number, stream.end + n) + b"." * size for n in range(count)]
    for message in messages:
        stream.extend([message])
    return messages


def event_id(stream: Stream, number: int) -> str:
    return f"{stream.id_prefix.decode()}{number}"


def test_what_is_appended_is_read_in_its_order_and_from_any_place() -> None:
    stream = open_log().open_stream()
    messages = fill(stream, 5)
    assert stream.end == 6
    assert stream.read(1) == messages
    assert stream.read(4) == messages[3:]
    assert stream.read(6) == []


@pytest.mark.parametrize("after", range(6))
def test_an_event_id_leads_to_what_came_after_it(after: int) -> None:
    """Transports §Resumability: the server "MAY use this header to replay messages that would have been sent after"."""
    log = open_log()
    stream = log.open_stream()
    messages = fill(stream, 5)
    assert log.find(event_id(stream, after)) == (stream, after + 1)
    assert stream.read(after + 1) == messages[after:]


def test_the_id_of_an_event_names_session_stream_and_number() -> None:
    log = open_log()
    assert log.standalone.id_prefix == b"tag-0-"
    assert [log.open_stream().id_prefix for _ in range(2)] == [b"tag-1-", b"tag-2-"]


def test_nothing_of_another_stream_is_ever_replayed() -> None:
    """Transports §Resumability: "MUST NOT replay messages that would have been delivered on a different stream"."""
    log = open_log()
    streams = [log.standalone, log.open_stream(), log.open_stream()]
    messages = [fill(stream, 3) for stream in streams]
    for stream, own in zip(streams, messages, strict=True):
        found, position = log.find(event_id(stream, 1))
        assert found is stream
        assert found.read(position) == own[1:]


@pytest.mark.parametrize(
    "unknown",
    [
        "",
        "tag",
        "tag-",
        "tag-0",
        "tag-0-",
        "tag--0",
        "other-0-0",
        "TAG-0-0",
        "tag-1-6",
        "tag-2-0",
        "tag-99-0",
        "tag-1-1-1",
        "tag-1--1",
        "tag-1-+1",
        "tag-1- 1",
        "tag-1-1_0",
        "tag-1-\u0661",
        "tag-\u00b2-0",
        "tag-00-0",
        "tag-1-" + "9" * 5000,
        "tag-" + "9" * 5000 + "-1",
        "\xff-0-0",
    ],
)
def test_an_id_that_was_never_given_out_is_unknown(unknown: str) -> None:
    log = open_log()
    fill(log.open_stream(), 5)
    with pytest.raises(EventNotFound) as raised:
        log.find(unknown)
    assert len(str(raised.value)) < 250


def test_an_id_of_another_session_is_unknown() -> None:
    """Event ids are unique within a session; what one session has said is none of another's business."""
    logs = [EventLog(tag, max_events=10, max_bytes=1000) for tag in (b"one", b"two")]
    for log in logs:
        fill(log.standalone, 2)
    with pytest.raises(EventNotFound, match="not an event id of this session"):
        logs[0].find(event_id(logs[1].standalone, 1))


def test_a_stream_that_was_answered_in_another_way_is_forgotten() -> None:
    log = open_log()
    stream = log.open_stream()
    fill(stream, 3)
    log.forget(stream)
    assert (log.events, log.bytes) == (0, 0)
    with pytest.raises(EventNotFound):
        log.find(event_id(stream, 1))


# Bounds


def test_the_oldest_events_go_when_there_are_too_many() -> None:
    log = open_log(max_events=8)
    stream = log.open_stream()
    messages = fill(stream, 9)
    assert log.events <= 8
    assert log.evicted == 9 - log.events
    assert stream.read(stream.start) == messages[-log.events :]
    assert log.find(event_id(stream, stream.start - 1)) == (stream, stream.start)
    with pytest.raises(EventNotFound, match=r"1 events after .* are no longer kept"):
        log.find(event_id(stream, stream.start - 2))


def test_the_oldest_events_go_when_they_are_too_large() -> None:
    log = open_log(max_bytes=1000)
    stream = log.open_stream()
    messages = fill(stream, 50, size=100)
    assert log.bytes <= 1000
    assert log.events > 5
    assert stream.read(1) == messages[-log.events :]


def test_the_oldest_stream_goes_first_and_the_standalone_stream_last() -> None:
    log = open_log(max_events=16)
    fill(log.standalone, 4)
    older, newer = log.open_stream(), log.open_stream()
    fill(older, 6)
    fill(newer, 7)
    assert (older.start, newer.start, log.standalone.start) == (4, 1, 1)
    fill(newer, 9)
    assert log.standalone.start == 1
    assert older.start == older.end


def test_the_newest_event_of_all_stays_however_large_it_is() -> None:
    log = open_log(max_bytes=1000)
    older, newer = log.open_stream(), log.open_stream()
    fill(newer, 3)
    (large,) = fill(older, 1, size=100_000)
    assert (log.events, older.read(1)) == (1, [large])
    fill(newer, 1)
    assert older.start == older.end


@pytest.mark.parametrize("limits", [(1, None), (None, 1), (1, 1)])
def test_the_smallest_log_holds_one_event(limits: tuple[int | None, int | None]) -> None:
    log = open_log(*limits)
    stream = log.open_stream()
    for _ in range(3):
        (message,) = fill(stream, 1)
        assert stream.read(stream.start) == [message]


def test_a_finished_stream_whose_events_are_gone_is_forgotten() -> None:
    log = open_log(max_events=4)
    streams = [log.open_stream() for _ in range(100)]
    for stream in streams:
        stream.is_finished = True
        fill(stream, 1)
    assert sum(stream.start < stream.end for stream in streams) <= 4
    with pytest.raises(EventNotFound, match="finished and gone"):
        log.find(event_id(streams[0], 0))
    assert log.find(event_id(streams[-1], 0)) == (streams[-1], 1)


def read_all(stream: Stream) -> list[bytes]:
    """Read a stream from its start, as often as it takes."""
    messages: list[bytes] = []
    while more := stream.read(stream.start + len(messages)):
        messages += more
    return messages


@pytest.mark.parametrize("size", [1, 1000, READ_SIZE - 1, READ_SIZE, 3 * READ_SIZE])
def test_one_read_takes_so_much_that_a_slow_client_is_seen_to_take_it(size: int) -> None:
    log = open_log(None, None)
    for n in range(2500 if size < 1000 else 600 if size < READ_SIZE - 1 else 5):
        log.standalone.extend([b"%d" % n + b"." * size])
    first = log.standalone.read(1)
    assert log.standalone.sent == 1 + len(first)
    assert sum(map(len, first[:-1])) < READ_SIZE
    assert len(first) <= 1024
    assert len(read_all(log.standalone)) == log.standalone.end - 1


def test_a_log_without_limits_keeps_everything() -> None:
    log = open_log(None, None)
    messages = fill(log.standalone, 5000)
    assert read_all(log.standalone) == messages
    assert not log.is_full


def test_what_a_connection_is_about_to_send_is_not_evicted_but_fills_the_log() -> None:
    log = open_log(max_bytes=1000)
    stream, other = log.open_stream(), log.open_stream()
    fill(other, 3)
    stream.attach(1)
    messages = fill(stream, 50, size=100)
    assert log.is_full
    assert other.start == other.end
    assert stream.read(1) == messages
    assert not log.is_full
    fill(other, 1)
    assert log.bytes <= 1000


def test_a_log_is_full_by_the_number_of_events_too() -> None:
    log = open_log(max_events=10, max_bytes=None)
    log.standalone.attach(1)
    fill(log.standalone, 10)
    assert not log.is_full
    fill(log.standalone, 1)
    assert log.is_full
    log.standalone.read(1)
    assert not log.is_full


def test_what_nobody_reads_is_evicted_and_never_fills_the_log() -> None:
    log = open_log(max_bytes=1000)
    fill(log.open_stream(), 50, size=100)
    fill(log.standalone, 50, size=100)
    assert not log.is_full
    assert log.bytes <= 1000


def test_a_connection_that_leaves_makes_room() -> None:
    log = open_log(max_bytes=1000)
    stream = log.open_stream()
    stream.attach(1)
    fill(stream, 50, size=100)
    stream.is_attached = False
    assert not log.is_full
    fill(log.standalone, 1)
    assert log.bytes <= 1000


def test_what_a_client_has_asked_for_again_is_not_evicted_before_it_is_read() -> None:
    log = open_log(max_events=8)
    stream = log.open_stream()
    messages = fill(stream, 6)
    stream.read(1)
    stream.attach(3)
    fill(log.standalone, 100)
    assert stream.read(3) == messages[2:]


# Without replay


def test_without_replay_what_was_sent_is_gone() -> None:
    log = open_log(keeps_sent=False)
    messages = fill(log.standalone, 3)
    assert log.standalone.read(1) == messages
    assert (log.events, log.bytes) == (0, 0)
    assert log.standalone.read(1) == []
    assert fill(log.standalone, 1) == log.standalone.read(4)


def test_without_replay_what_nobody_has_read_waits_within_bounds() -> None:
    log = open_log(max_events=8, keeps_sent=False)
    messages = fill(log.standalone, 20)
    assert log.standalone.read(log.standalone.sent) == messages[-8:]


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "append", "append", "read", "attach", "detach"]),
            st.integers(0, 2),
            st.integers(0, 60),
        ),
        max_size=60,
    ),
    max_events=st.one_of(st.none(), st.integers(1, 20)),
    max_bytes=st.one_of(st.none(), st.integers(1, 300)),
    keeps_sent=st.booleans(),
)
def test_whatever_happens_a_reader_misses_nothing_and_the_bounds_hold(
    steps: list[tuple[str, int, int]], max_events: int | None, max_bytes: int | None, keeps_sent: bool
) -> None:
    log = open_log(max_events, max_bytes, keeps_sent=keeps_sent)
    streams = [log.standalone, log.open_stream(), log.open_stream()]
    written: list[list[bytes]] = [[], [], []]
    positions = [1, 1, 1]
    for action, which, size in steps:
        stream, all_of_it = streams[which], written[which]
        if action == "append":
            all_of_it += fill(stream, 1, size)
        elif action == "attach" and not stream.is_attached:
            positions[which] = max(stream.start, stream.end - size)
            stream.attach(positions[which])
        elif action == "read" and stream.is_attached:
            assert stream.read(positions[which]) == all_of_it[positions[which] - 1 :]
            positions[which] = stream.end
        elif action == "detach":
            stream.is_attached = False

        kept = [b"".join(w[s.start - 1 :]) for s, w in zip(streams, written, strict=True)]
        assert log.bytes == sum(map(len, kept))
        assert log.events == sum(s.end - s.start for s in streams)
        if not any(s.is_attached for s in streams) and action == "append":
            assert max_events is None or log.events <= max_events
            assert max_bytes is None or log.bytes <= max_bytes or log.events == 1


# With an archive


class Shelf:
    """An archive in a dictionary, that hands out two messages at a time."""

    def __init__(self, most: int | None = None) -> None:
        self.messages: dict[int, dict[int, bytes]] = {}
        self.is_closed = False
        self._most = most

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        shelved = self.messages.setdefault(stream, {})
        assert number == (max(shelved) + 1 if shelved else 1)
        for message in messages:
            shelved[number] = message
            number += 1
        while self._most is not None and len(shelved) > self._most:
            del shelved[min(shelved)]

    def kept(self, stream: int) -> range:
        shelved = self.messages.get(stream)
        return range(min(shelved), max(shelved) + 1) if shelved else range(0)

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        return [self.messages[stream][n] for n in (number, number + 1) if n in self.messages[stream]]

    def close(self) -> None:
        self.is_closed = True


def open_archived(
    max_events: int | None = 8, max_bytes: int | None = None, most: int | None = None
) -> tuple[EventLog, Shelf]:
    shelf = Shelf(most)
    return EventLog(b"tag", max_events=max_events, max_bytes=max_bytes, archive=shelf), shelf


def replay(log: EventLog, last_event_id: str) -> list[bytes]:
    """Return what a client gets that resumes after an event, as a cursor reads it."""
    stream, position = log.find(last_event_id)
    stream.attach(position)
    messages: list[bytes] = []
    while position < stream.end:
        first, more = stream.read_archived(position)
        assert (first, bool(more)) == (position, True)
        messages += more
        position += len(more)
    stream.is_attached = False
    return messages


@pytest.mark.parametrize("limits", [(8, None), (None, 50)])
@pytest.mark.parametrize("after", [0, 1, 50, 98, 99, 100])
def test_what_is_evicted_can_be_resumed_out_of_the_archive(limits: tuple[int | None, int | None], after: int) -> None:
    log, _ = open_archived(*limits)
    messages = fill(log.standalone, 100)
    assert log.events <= 20
    assert replay(log, event_id(log.standalone, after)) == messages[after:]


def test_the_archive_gets_each_stream_in_its_order_and_nothing_twice() -> None:
    log, shelf = open_archived()
    streams = [log.standalone, log.open_stream(), log.open_stream()]
    written = [[message for _ in range(20) for message in fill(stream, 1)] for stream in streams]
    for stream, own in zip(streams, written, strict=True):
        assert [*shelf.messages.get(stream.number, {}).values(), *stream.read(stream.start)] == own


def test_a_stream_that_was_finished_and_is_gone_comes_out_of_the_archive() -> None:
    log, _ = open_archived()
    streams = [log.open_stream() for _ in range(50)]
    written = []
    for stream in streams:
        written.append(fill(stream, 3))
        stream.is_finished = True
    for stream, messages in zip(streams, written, strict=True):
        assert replay(log, event_id(stream, 1)) == messages[1:]
        assert log.find(event_id(stream, 3))[0].is_finished
        with pytest.raises(EventNotFound):
            log.find(event_id(stream, 4))


def test_a_stream_that_never_was_does_not_come_out_of_the_archive() -> None:
    log, shelf = open_archived()
    shelf.keep(7, 1, [b"of nobody"])
    for unknown in ("tag-7-0", "tag-00-0", "tag-1-0"):
        with pytest.raises(EventNotFound, match="finished and gone"):
            log.find(unknown)


def test_what_the_archive_has_let_go_of_is_gone() -> None:
    log, _ = open_archived(most=5)
    messages = fill(log.standalone, 30)
    oldest = log.standalone.start - 5
    assert replay(log, event_id(log.standalone, oldest - 1)) == messages[oldest - 1 :]
    with pytest.raises(EventNotFound, match="are no longer kept"):
        log.find(event_id(log.standalone, oldest - 2))


def test_nothing_is_replayed_out_of_an_archive_with_a_gap() -> None:
    log, shelf = open_archived()
    fill(log.standalone, 30)
    del shelf.messages[0][max(shelf.messages[0])]
    with pytest.raises(EventNotFound, match="are no longer kept"):
        log.find(event_id(log.standalone, 1))


def test_an_archive_that_is_closed_gives_and_gets_nothing() -> None:
    log, shelf = open_archived()
    messages = fill(log.standalone, 30)
    archived = dict(shelf.messages[0])
    log.close()
    log.close()
    assert shelf.is_closed
    start = log.standalone.start
    with pytest.raises(EventNotFound):
        log.find(event_id(log.standalone, 1))
    # A reader that was on its way goes on with what there is.
    assert log.standalone.read_archived(1) == (start, messages[start - 1 :])
    fill(log.standalone, 30)
    assert shelf.messages[0] == archived


def test_without_replay_nothing_is_archived() -> None:
    shelf = Shelf()
    log = EventLog(b"tag", max_events=8, max_bytes=None, keeps_sent=False, archive=shelf)
    fill(log.standalone, 30)
    assert shelf.messages == {}
