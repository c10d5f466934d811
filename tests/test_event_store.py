"""A store of one's own keeps what memory has no room for; that is all it can do, and all that can go wrong with it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from typing import IO

import pytest
from trio.testing import MockClock

from trioproxy.alarm import Alarm
from trioproxy.config import ConfigError
from trioproxy.cursor import Readers
from trioproxy.event_store import EventStore, InMemoryEventStore, open_log
from trioproxy.protocol.errors import EventNotFound
from trioproxy.protocol.event_log import Archive, EventLog, Stream


class FileArchive:
    """The events of one session in a file: a message a line, and where each line begins."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self._places: dict[int, list[int]] = {}

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        self.file.seek(0, 2)
        for message in messages:
            self._places.setdefault(stream, []).append(self.file.tell())
            self.file.write(message + b"\n")

    def kept(self, stream: int) -> range:
        return range(1, 1 + len(self._places.get(stream, ())))

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        self.file.seek(self._places[stream][number - 1])
        return [self.file.readline().removesuffix(b"\n")]

    def close(self) -> None:
        self.file.close()


class OnDisk(InMemoryEventStore):
    """A store as somebody may write it: a file for each session, which is gone with it."""

    def __init__(self, max_events: int) -> None:
        super().__init__(max_events)
        self.archives: dict[str, FileArchive] = {}

    def open_archive(self, tag: str) -> Archive:
        self.archives[tag] = FileArchive(tempfile.TemporaryFile())  # noqa: SIM115  the session's end closes it
        return self.archives[tag]


def fill(stream: Stream, count: int, size: int = 10) -> list[bytes]:
    messages = [b"%d %d " % (stream.number, stream.end + n) + b"." * size for n in range(count)]
    for message in messages:
        stream.extend([message])
    return messages


def event_id(stream: Stream, number: int) -> str:
    return f"{stream.id_prefix.decode()}{number}"


async def resume(log: EventLog, last_event_id: str) -> list[bytes]:
    """Return what a connection reads that resumes a finished stream, or one that is at its end."""
    readers = Readers(log, Alarm(math.inf), on_change=lambda: None)
    stream, position = log.find(last_event_id)
    messages: list[bytes] = []
    with readers.attach(stream, position) as cursor:
        while cursor.position < stream.end:
            first, more = await cursor.read()
            assert first == position + len(messages)
            messages += more
    return messages


# In memory


@pytest.mark.parametrize(("max_events", "max_bytes"), [(8, None), (None, 500)])
def test_each_session_has_the_bounds_of_the_store_for_itself(max_events: int | None, max_bytes: int | None) -> None:
    store: EventStore = InMemoryEventStore(max_events, max_bytes)
    logs = [open_log(store, tag) for tag in ("one", "two")]
    for log in logs:
        fill(log.standalone, 200)
    for log in logs:
        assert log.standalone.id_prefix in (b"one-0-", b"two-0-")
        assert log.events <= 50
        assert (log.events, log.evicted) != (0, 0)
        with pytest.raises(EventNotFound, match="no longer kept"):
            log.find(event_id(log.standalone, 1))


@pytest.mark.parametrize("limits", [{"max_events": 0}, {"max_bytes": -1}])
def test_a_limit_that_nothing_fits_into_is_an_error(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="a limit is above 0"):
        InMemoryEventStore(**limits)


# In a store of one's own


async def test_a_client_resumes_from_before_what_memory_holds(autojump_clock: MockClock) -> None:
    log = open_log(OnDisk(max_events=8), "tag")
    for stream in (log.standalone, log.open_stream(), log.open_stream()):
        messages = fill(stream, 100)
        stream.is_finished = True
        for after in (0, 1, 50, 99):
            assert await resume(log, event_id(stream, after)) == messages[after:]
    log.close()


async def test_a_connection_that_resumes_goes_on_with_what_comes_while_it_reads(autojump_clock: MockClock) -> None:
    log = open_log(OnDisk(max_events=8), "tag")
    readers = Readers(log, Alarm(math.inf), on_change=lambda: None)
    messages = fill(log.standalone, 50)
    with readers.attach(*log.find(event_id(log.standalone, 10))) as cursor:
        came: list[bytes] = []
        while len(came) < 60:
            if len(came) < 20:
                messages += fill(log.standalone, 1)
                cursor.wake()
            came += (await cursor.read())[1]
        assert came == messages[10:]
    log.close()


async def test_one_session_never_gets_what_another_was_told(autojump_clock: MockClock) -> None:
    """Both are in the same store, and their streams have the same numbers."""
    store = OnDisk(max_events=8)
    one, two = open_log(store, "one"), open_log(store, "two")
    of_one, of_two = fill(one.standalone, 50, size=1), fill(two.standalone, 50, size=2)
    assert await resume(one, "one-0-5") == of_one[5:]
    assert await resume(two, "two-0-5") == of_two[5:]
    with pytest.raises(EventNotFound, match="not an event id of this session"):
        one.find("two-0-5")
    one.close()
    assert store.archives["one"].file.closed
    assert await resume(two, "two-0-5") == of_two[5:]
    two.close()


def test_a_log_that_keeps_nothing_for_replay_opens_no_archive() -> None:
    store = OnDisk(max_events=8)
    log = open_log(store, "tag", keeps_sent=False)
    fill(log.standalone, 50)
    log.close()
    assert store.archives == {}


# A store that fails


class Faulty(FileArchive):
    """A disk that fills up: what is asked of it fails once it has got so many messages."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        super().__init__(file)
        self.room = room
        self.asked = 0

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        self.asked += 1
        self.room -= len(messages)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        super().keep(stream, number, messages)


class FaultyStore(OnDisk):
    def open_archive(self, tag: str) -> Archive:
        self.archives[tag] = Faulty(tempfile.TemporaryFile(), 20)  # noqa: SIM115
        return self.archives[tag]


async def test_a_store_that_fails_fails_no_session_and_is_asked_no_more(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(max_events=8)
    log = open_log(store, "tag")
    messages = fill(log.standalone, 15)
    assert await resume(log, "tag-0-1") == messages[1:]
    messages += fill(log.standalone, 100)
    with pytest.raises(EventNotFound, match="no longer kept"):
        log.find("tag-0-1")
    recent = log.standalone.start
    assert await resume(log, event_id(log.standalone, recent)) == messages[recent:]
    (record,) = caplog.records
    assert "the archive of the events tag-… failed" in record.getMessage()
    assert record.exc_info is not None
    archive = store.archives["tag"]
    assert isinstance(archive, Faulty)
    asked = archive.asked
    fill(log.standalone, 100)
    assert archive.asked == asked
    log.close()
    assert archive.file.closed


async def test_a_reader_whose_archive_fails_goes_on_with_what_is_in_memory(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = OnDisk(max_events=8)
    log = open_log(store, "tag")
    readers = Readers(log, Alarm(math.inf), on_change=lambda: None)
    messages = fill(log.standalone, 50)
    with readers.attach(*log.find("tag-0-10")) as cursor:
        assert await cursor.read() == (11, [messages[10]])
        store.archives["tag"].file.close()
        start = log.standalone.start
        assert await cursor.read() == (start, messages[start - 1 :])
    assert "asked no more" in caplog.text
    log.close()


class Closed(InMemoryEventStore):
    def open_archive(self, tag: str) -> Archive:
        raise ConnectionRefusedError("nobody there")


def test_a_store_that_opens_no_archive_leaves_the_session_what_memory_holds(caplog: pytest.LogCaptureFixture) -> None:
    log = open_log(Closed(8), "tag")
    messages = fill(log.standalone, 50)
    assert log.standalone.read(1) == messages[log.standalone.start - 1 :]
    assert "no archive of events could be opened for tag" in caplog.text
    log.close()
