"""What each stream of a session has carried and is to carry: the log that `Last-Event-ID` reads (Transports §Resumability).

What the child says is appended to a stream; a connection is a cursor over it.  Live delivery and replay are one and the
same: `Stream.read(position)`.  A slow reader is a cursor that lags, a resumed reader is a cursor that starts later.

    event id = TAG - STREAM - NUMBER        7f3a9c21-4-17

"If present, the ID MUST be globally unique across all streams within that session" (2025-11-25).  The tag is the session's,
so that one session's ids mean nothing in another; the stream's number is there because "Event IDs SHOULD encode sufficient
information to identify the originating stream", so that nothing of any other stream is ever replayed.

The log is bounded, for the session, by count and by bytes.  What is evicted first: the oldest events of the oldest stream,
the standalone stream last.  Not evicted: what a connection is still about to send (then `is_full` asks to read no more
from the child for a while), and the newest event of all.  Where there is an `Archive`, it gets what is evicted, and is asked
when somebody resumes from before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Final, Protocol

from .errors import EventNotFound

READ_SIZE: Final = 256 * 1024
_READ_COUNT: Final = 1024
_COMPACT_AT: Final = 256


class Archive(Protocol):
    """Where the events of one session go for which its log has no room any more.

    Of each stream it gets the messages in their order, number 1 first and without a gap.  It may let go of them again, the
    oldest first.
    """

    def keep(self, stream: int, number: int, messages: Sequence[bytes]) -> None:
        """Take the next messages of a stream, of which the first has that `number`."""

    def kept(self, stream: int) -> range:
        """Return the numbers of the messages that it has of a stream."""

    def read(self, stream: int, number: int) -> Sequence[bytes]:
        """Return messages of a stream from `number` on: at least one, and as many as are well held in memory at once."""

    def close(self) -> None:
        """Let go of everything: the session has ended."""


class Stream:
    """One SSE stream: its messages by number, from 1, of which the first ones may be gone.

    Attributes:
      number: the stream's own, 0 for the standalone stream.
      id_prefix: what the ids of its events begin with.
      end: the number that the next message will get.
      sent: the number of the first message that no connection has taken yet, or that its client has asked for again.
      is_finished: nothing more will be appended.
      is_attached: a connection is reading.
      is_announced: the client has been given an id of the stream's, and can come back for the rest.
    """

    __slots__ = (
        "_dropped",
        "_first",
        "_log",
        "_messages",
        "end",
        "id_prefix",
        "is_announced",
        "is_attached",
        "is_finished",
        "number",
        "sent",
    )

    def __init__(self, log: EventLog, number: int, end: int = 1) -> None:
        self._log = log
        self._messages: list[bytes] = []
        self._first = end  # the number of _messages[0], dropped ones included
        self._dropped = 0  # how many at the front of _messages are dropped and not yet cut off
        self.number = number
        self.id_prefix = b"%b-%d-" % (log.tag, number)
        self.end = end
        self.sent = end
        self.is_finished = False
        self.is_attached = False
        self.is_announced = False

    @property
    def start(self) -> int:
        """The number of the oldest message that is still there; `end` when there is none."""
        return self._first + self._dropped

    def extend(self, messages: Sequence[bytes]) -> None:
        """Add the next messages, and evict older ones where the log has grown too large."""
        self._messages += messages
        self.end += len(messages)
        self._log.grow(self, len(messages), sum(map(len, messages)))

    def read(self, position: int) -> list[bytes]:
        """Return the messages from number `position` on, up to some READ_SIZE bytes of them, and count them as sent.

        The bound makes a cursor's position follow what its client really takes.
        """
        position = max(position, self.start)
        start = position - self._first
        messages = self._messages[start : start + _READ_COUNT]
        if self._log.bytes > READ_SIZE and sum(map(len, messages)) > READ_SIZE:
            sizes = accumulate(map(len, messages))
            count = 1 + next(n for n, size in enumerate(sizes) if size >= READ_SIZE)
            messages = messages[:count]
        end = position + len(messages)
        self.sent = max(self.sent, end)
        if not self._log.keeps_sent:
            self.drop(end - self.start)
        return messages

    def read_archived(self, position: int) -> tuple[int, list[bytes]]:
        """`read`, and the number of the first message: evicted ones come out of the archive, or are skipped without one."""
        if position < self.start and (messages := self._log.recall(self, position)):
            self.sent = max(self.sent, position + len(messages))
            return position, messages
        first = max(position, self.start)
        return first, self.read(first)

    def attach(self, position: int) -> None:
        """Note that a connection is going to read from `position` on; until it has, nothing from there is evicted."""
        self.is_attached = True
        self.sent = min(self.sent, position)

    def oldest(self, count: int) -> Sequence[bytes]:
        """Return the `count` oldest messages that are still there."""
        return self._messages[self._dropped : self._dropped + count]

    def drop(self, count: int) -> None:
        """Forget the `count` oldest messages."""
        end = self._dropped + count
        self._log.shrink(count, sum(map(len, self._messages[self._dropped : end])))
        if end >= _COMPACT_AT or end == len(self._messages):
            # Cutting the front off costs as much as what stays behind is long: do it seldom, or when nothing stays.
            del self._messages[:end]
            self._first += end
            self._dropped = 0
        else:
            self._messages[self._dropped : end] = [b""] * count
            self._dropped = end

    @property
    def evictable(self) -> int:
        """How many of the oldest messages nobody is about to send."""
        return max(0, (self.sent if self.is_attached else self.end) - self.start)


class EventLog:
    """The streams of one session.

    Args:
      tag: what the session's event ids begin with.
      max_events, max_bytes: the bounds; None for none.
      keeps_sent: whether messages stay for replay once they are sent.
      archive: what takes them when there is no room for them any more; without it they are gone.

    Attributes:
      events, bytes: how much there is, the archive not counted.
      evicted: how many messages there was no room for.
    """

    def __init__(
        self,
        tag: bytes,
        *,
        max_events: int | None,
        max_bytes: int | None,
        keeps_sent: bool = True,
        archive: Archive | None = None,
    ) -> None:
        self.tag = tag
        self.keeps_sent = keeps_sent
        self.events = 0
        self.bytes = 0
        self.evicted = 0
        self._max_events = math.inf if max_events is None else max_events
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._archive = archive
        self._last_number = 0
        self._streams: dict[int, Stream] = {}
        self.standalone = Stream(self, 0)

    def open_stream(self) -> Stream:
        """Return a new stream."""
        self._last_number += 1
        stream = self._streams[self._last_number] = Stream(self, self._last_number)
        return stream

    def forget(self, stream: Stream) -> None:
        """Remove a stream and its events: it was answered in another way, and there is nothing to resume."""
        stream.drop(stream.end - stream.start)
        self._streams.pop(stream.number, None)

    def find(self, event_id: str) -> tuple[Stream, int]:
        """Return the stream that `event_id` belongs to, and the number of the first message after it.

        Raises:
          EventNotFound: the id is not one of this session, or what followed it is no longer there.
        """
        tag, _, rest = event_id.partition("-")
        number, _, position = rest.partition("-")
        if tag.encode() != self.tag or not (_is_number(number) and _is_number(position)):
            raise EventNotFound(f"Last-Event-ID {event_id[:80]!r} is not an event id of this session")
        stream = self.standalone if number == "0" else self._streams.get(int(number)) or self._revive(int(number))
        after = int(position) + 1
        if stream is None or after > stream.end:
            raise EventNotFound(f"Last-Event-ID {event_id[:80]!r} names a stream that is finished and gone")
        if after < stream.start and not self._has_archived(stream, after):
            missing = stream.start - after
            raise EventNotFound(f"{missing} events after Last-Event-ID {event_id[:80]!r} are no longer kept")
        return stream, after

    def recall(self, stream: Stream, position: int) -> list[bytes]:
        """Return evicted messages of `stream`, from number `position` on; none if there is no archive, or not any more."""
        return [] if self._archive is None else list(self._archive.read(stream.number, position))

    def close(self) -> None:
        """Let go of the archive; what is not in it can still be read."""
        archive, self._archive = self._archive, None
        if archive is not None:
            archive.close()

    def _revive(self, number: int) -> Stream | None:
        """Return a stream that was finished, and of which all events have gone into the archive."""
        if self._archive is None or not 0 < number <= self._last_number or not (kept := self._archive.kept(number)):
            return None
        stream = self._streams[number] = Stream(self, number, kept.stop)
        stream.is_finished = stream.is_announced = True
        return stream

    def _has_archived(self, stream: Stream, position: int) -> bool:
        """Tell whether nothing is missing between message `position`, which is evicted, and what is still there."""
        if self._archive is None:
            return False
        kept = self._archive.kept(stream.number)
        return position in kept and kept.stop == stream.start

    @property
    def is_full(self) -> bool:
        """Whether messages that some connection is about to send fill the log by themselves."""
        is_over = self.bytes > self._max_bytes or self.events > self._max_events
        return is_over and any(s.sent < s.end for s in self._attached())

    def grow(self, stream: Stream, count: int, size: int) -> None:
        """Account for new events, the last of `stream`, and evict where they are too many."""
        self.events += count
        self.bytes += size
        if self.events > self._max_events or self.bytes > self._max_bytes:
            self._evict(stream)

    def _evict(self, newest: Stream) -> None:
        """Make room for an eighth of what may be kept: to look for the oldest event at each new one would be slow."""
        most_events, most_bytes = self._max_events * 7 / 8, self._max_bytes * 7 / 8
        for stream in list(self._by_age()):
            # The newest event of all stays, however large it is.
            end = stream.end - (stream is newest)
            while self.events > most_events or self.bytes > most_bytes:
                evictable = min(stream.evictable, end - stream.start)
                if evictable <= 0:
                    break
                count = max(1, min(evictable, int(self.events - most_events))) if self.events > most_events else 1
                if self._archive is not None and self.keeps_sent:
                    self._archive.keep(stream.number, stream.start, stream.oldest(count))
                stream.drop(count)
                self.evicted += count
            if stream.is_finished and stream.start == stream.end:
                self._streams.pop(stream.number, None)

    def shrink(self, count: int, size: int) -> None:
        """Account for events that were dropped."""
        self.events -= count
        self.bytes -= size

    def _by_age(self) -> Iterator[Stream]:
        return chain(self._streams.values(), (self.standalone,))

    def _attached(self) -> Iterator[Stream]:
        return (stream for stream in self._by_age() if stream.is_attached)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
