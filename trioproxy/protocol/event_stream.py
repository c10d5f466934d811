"""Server-sent events to messages: what a client reads off a stream (HTML standard, §Server-sent events).

    events = EventStream(max_data)
    for event in events.feed(piece): ...

A line ends at LF, CR or both, wherever the bytes were cut.  An event ends at a blank line; what is unfinished when the
stream ends is nothing, and its id does not count: whoever resumes from the last id gets the whole event again.

An event over the limit is not kept, but the two ends of its data are: the id of a message stands at one of them in what the
SDKs write, so that one can still tell which request it was to answer.  One event is lost, the next one is whole.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .lines import OversizedLine

_MARK: Final = b"\xef\xbb\xbf"
_END_KEPT: Final = 4096
_FIELD_SIZE: Final = 6
"""What stands before the data on its line: `data: `."""
_LINE_COST: Final = 64
"""What a line of data costs at least, however short: a stream of empty ones has to reach the limit too."""
_RETRY_DIGITS: Final = 9


class Event(NamedTuple):
    """One event; `data` is what is left of it where it was over the limit."""

    name: str
    data: bytes | OversizedLine


class EventStream:
    """The events of one stream.

    Args:
      max_data: the longest data of an event, in bytes; None for no limit.
      last_event_id: that of the connection before, where this one resumes its stream.

    Attributes:
      last_event_id: of the last event that has come whole, b"" for none: what a client resumes from (`Last-Event-ID`).
      retry_ms: how long to wait before coming back, once the server has said so.
    """

    def __init__(self, max_data: int | None, last_event_id: bytes = b"") -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max_data = max_data
        self._beginning: bytes | None = b""
        self._ended_in_cr = False
        self._line = _Bounded(None if max_data is None else max_data + _FIELD_SIZE)
        self._id = last_event_id
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._oversized: OversizedLine | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events that they complete."""
        if self._beginning is not None:
            data = self._beginning + data
            if len(data) < len(_MARK) and _MARK.startswith(data):
                self._beginning = data
                return []
            self._beginning = None
            data = data.removeprefix(_MARK)
        if self._ended_in_cr and data:
            # The CR has ended its line already.
            data = data.removeprefix(b"\n")
            self._ended_in_cr = False
        if b"\r" in data:
            self._ended_in_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = data.split(b"\n")
        self._line.add(first)
        events = []
        for piece in rest:
            event = self._take(self._line.take())
            if event is not None:
                events.append(event)
            self._line.add(piece)
        return events

    def _take(self, line: bytes | OversizedLine) -> Event | None:
        if not line:
            return self._dispatch()
        start = line.head if isinstance(line, OversizedLine) else line
        colon = start.find(b":")
        name, at = (start, len(start)) if colon < 0 else (start[:colon], colon + 1)
        if start[at : at + 1] == b" ":
            at += 1
        if isinstance(line, OversizedLine):
            # No field but the data can be of any use at such a length.
            if name == b"data":
                self._oversized = OversizedLine(line.head[at:], line.tail, line.length - at)
        elif name == b"data":
            self._add_data(line[at:])
        elif name == b"event":
            self._name = line[at:].decode(errors="replace")
        elif name == b"id":
            if b"\0" not in line[at:]:
                self._id = line[at:]
        elif name == b"retry" and line[at:].isdigit():
            self.retry_ms = int(line[at:][:_RETRY_DIGITS])
        return None

    def _add_data(self, value: bytes) -> None:
        self._size += len(value) + (_LINE_COST if self._data else 0)
        if self._oversized is not None:
            self._oversized = self._oversized._replace(tail=value[-_END_KEPT:], length=self._oversized.length + len(value))
            return
        self._data.append(value)
        if self._max_data is not None and self._size > self._max_data:
            whole = b"\n".join(self._data)
            self._oversized = OversizedLine(whole[:_END_KEPT], whole[-_END_KEPT:], len(whole))
            self._data = []

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        data, self._data = self._data, []
        oversized, self._oversized = self._oversized, None
        name, self._name = self._name or "message", ""
        self._size = 0
        if oversized is not None:
            return Event(name, oversized)
        return Event(name, data[0] if len(data) == 1 else b"\n".join(data)) if data else None


class _Bounded:
    """A line that comes in pieces; of one over the limit the ends are kept."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._text = bytearray()
        self._head: bytes | None = None
        self._length = 0

    def add(self, piece: bytes) -> None:
        self._length += len(piece)
        self._text += piece
        if self._limit is not None and self._length > self._limit:
            if self._head is None:
                self._head = bytes(self._text[:_END_KEPT])
            del self._text[:-_END_KEPT]

    def take(self) -> bytes | OversizedLine:
        text = bytes(self._text)
        line = text if self._head is None else OversizedLine(self._head, text, self._length)
        self._text.clear()
        self._head = None
        self._length = 0
        return line
