"""Who reads which stream: a cursor for each connection, and the readers of one session together.

    with readers.attach(stream) as cursor:
        number, messages = await cursor.read()

The pure half keeps what streams carry (`protocol.event_log`); this half waits for it.  The newest reader of a stream wins:
the one before is usually a connection that has died without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from .alarm import Alarm
from .protocol.event_log import EventLog, Stream


class Cursor:
    """A connection's place in a stream, for as long as the `with` block of `attach` runs.

    `read` returns what has come, and waits while there is nothing.

    Attributes:
      position: the number of the next message to read.
      is_superseded: a newer connection reads the stream now.
      behind_since: when the client has last taken something, while there is more for it; infinity while it has all.
      interrupt: called if the cursor is superseded while its client is behind.
    """

    __slots__ = (
        "_arrived",
        "_is_out_of_patience",
        "_readers",
        "behind_since",
        "interrupt",
        "is_answered",
        "is_superseded",
        "on_answer",
        "position",
        "stream",
    )

    def __init__(self, readers: Readers, stream: Stream, position: int) -> None:
        self.stream = stream
        self.position = position
        self.is_superseded = False
        self.is_answered = False
        self.behind_since = math.inf
        self.interrupt: Callable[[], None] | None = None
        self._readers = readers
        self._arrived = trio.lowlevel.ParkingLot()
        self._is_out_of_patience = False
        self.on_answer: Callable[[bytes], None] | None = None

    def __enter__(self) -> Cursor:
        self._readers.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._readers.remove(self)

    async def read(self) -> tuple[int, list[bytes]]:
        """Return the next messages, and the number of the first.

        To call it again says that the client has taken them.  No messages mean the end: the stream is finished, or a newer
        connection reads it now.
        """
        stream = self.stream
        while not self.is_superseded:
            if self.position < stream.end:
                first, messages = stream.read_archived(self.position)
                self.position = first + len(messages)
                self.behind_since = trio.current_time()
                self._readers.note_read()
                return first, messages
            self.behind_since = math.inf
            if stream.is_finished:
                break
            await self._arrived.park()
        return self.position, []

    async def wait_answer(self, patience: float, on_answer: Callable[[bytes], None] | None = None) -> bool:
        """Return whether the stream's one message, its answer, comes within `patience` seconds and before any other.

        Args:
          on_answer: called with it as soon as it has come, by the task that brings it; `is_answered` says whether it was.
        """
        stream = self.stream
        self.on_answer = on_answer
        try:
            if stream.end == self.position:
                self._readers.alarm.limit_patience(self, patience)
                while stream.end == self.position and not (self.is_superseded or self._is_out_of_patience):
                    await self._arrived.park()
        finally:
            # Who has given up waiting must not have answered later: the connection may be at another request by then.
            self.on_answer = None
        return self._has_answer

    @property
    def _has_answer(self) -> bool:
        """Whether the stream has carried its answer, and nothing else."""
        return self.stream.is_finished and self.position == 1 and self.stream.end == 2

    @property
    def has_something(self) -> bool:
        """Whether `read` would return at once."""
        return self.stream.end > self.position or self.stream.is_finished

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing more to be read: all of a finished stream was, or a newer connection reads it."""
        return self.is_superseded or (self.stream.is_finished and self.position >= self.stream.end)

    def note_sent(self, *, with_ids: bool) -> None:
        """The client has taken part of what was read; with the ids it can come back for the rest."""
        self.behind_since = trio.current_time()
        self.stream.is_announced |= with_ids

    def wake(self) -> None:
        """Let who waits look again."""
        if self.behind_since == math.inf and self.position < self.stream.end:
            self.behind_since = trio.current_time()
            if self.on_answer is not None and self._has_answer:
                self.on_answer(self.stream.read(1)[0])
                self.on_answer = None
                self.is_answered = True
        if self._arrived:
            self._arrived.unpark_all()

    def supersede(self) -> None:
        """End this cursor, since another connection has taken the stream over."""
        self.is_superseded = True
        self.wake()
        if self.behind_since != math.inf and self.interrupt is not None:
            # It would find out only when its client reads again.
            self.interrupt()

    def run_out_of_patience(self) -> None:
        """End `wait_answer`."""
        self._is_out_of_patience = True
        self.wake()


class Readers:
    """The cursors of one session.

    Args:
      alarm: wakes those who have waited long enough.
      on_change: called when a reader has come or gone.
    """

    def __init__(self, log: EventLog, alarm: Alarm, *, on_change: Callable[[], None]) -> None:
        self.alarm: Final = alarm
        self._log: Final = log
        self._on_change = on_change
        self._cursors: dict[Stream, Cursor] = {}
        self._room = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._cursors)

    def attach(self, stream: Stream, position: int | None = None) -> Cursor:
        """Return a cursor over `stream`, from message `position` or the first that nobody has read.

        It reads from the start of its `with` block to the end.  One that is there already comes to its end.
        """
        return Cursor(self, stream, stream.sent if position is None else position)

    def find(self, stream: Stream) -> Cursor | None:
        """Return who reads `stream`."""
        return self._cursors.get(stream)

    def add(self, cursor: Cursor) -> None:
        """Let `cursor` be woken by what its stream is to carry."""
        if older := self._cursors.get(cursor.stream):
            older.supersede()
        self._cursors[cursor.stream] = cursor
        cursor.stream.attach(cursor.position)
        if cursor.position < cursor.stream.end:
            cursor.behind_since = trio.current_time()
        self._on_change()

    def remove(self, cursor: Cursor) -> None:
        """Undo `add`, unless another cursor has taken the place."""
        stream = cursor.stream
        if self._cursors.get(stream) is cursor:
            del self._cursors[stream]
            stream.is_attached = False
            self._on_change()
            self.note_read()
            if stream.is_finished and not self._log.keeps_sent:
                self._log.forget(stream)

    def wake_all(self) -> None:
        """Let all look again."""
        for cursor in self._cursors.values():
            cursor.wake()

    # Slow readers

    def note_read(self) -> None:
        """A client has taken what was read for it, or is gone: there may be room in the log."""
        if self._room:
            self._room.unpark_all()

    async def wait_room(self, stall_time: float) -> int:
        """Return once the log is not full; let go of clients that have taken nothing for `stall_time` seconds meanwhile.

        Returns:
          How many those were.
        """
        let_go = 0
        while self._log.is_full:
            # The log is full only while somebody is behind.
            with trio.move_on_at(min(cursor.behind_since for cursor in self._cursors.values()) + stall_time):
                await self._room.park()
            let_go += self._let_go(trio.current_time() - stall_time)
        return let_go

    def _let_go(self, since: float) -> int:
        stalled = [cursor for cursor in self._cursors.values() if cursor.behind_since <= since]
        for cursor in stalled:
            del self._cursors[cursor.stream]
            cursor.stream.is_attached = False
            cursor.supersede()
        if stalled:
            self._on_change()
        return len(stalled)
