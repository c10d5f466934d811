"""Bytes to server-sent events (HTML standard, §Server-sent events)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of one body, and of one event: no honest answer to a check is longer."""


class WireError(Exception):
    """The peer did not speak HTTP, or stopped in the middle; the message says what came."""


@dataclass(frozen=True)
class Event:
    """One server-sent event as it came; `data` is None where the field is missing, and a comment is an event of its own."""

    name: str = "message"
    id: str | None = None
    data: str | None = None
    retry: str | None = None
    comment: str | None = None


class EventParser:
    """Server-sent events out of bytes, however they were cut (HTML standard, "Parsing an event stream").

    Unlike a browser it gives back what a browser would swallow: comments, and events without data.
    """

    def __init__(self) -> None:
        self._text = b""
        self._lines: list[bytes] = []
        self._after_cr = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, and return the events that they complete.

        Raises:
          WireError: an event is too long, or is not UTF-8.
        """
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
        self._after_cr = data[-1:] == b"\r"
        self._text += data
        if len(self._text) > MAX_BODY:
            raise WireError(f"an event of more than {MAX_BODY} bytes")
        if not data or not (b"\n" in data or b"\r" in data):
            return []
        *lines, self._text = self._text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for line in lines:
            if line:
                self._lines.append(line)
            elif self._lines:
                events.append(_event(self._lines))
                self._lines = []
        return events


def _event(lines: list[bytes]) -> Event:
    event, data = Event(), []
    for raw in lines:
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"an event that is not UTF-8: {raw[:100]!r}") from error
        name, _, value = line.removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif field_name := {"": "comment", "event": "name", "id": "id", "retry": "retry"}.get(name):
            event = replace(event, **{field_name: value})
    return replace(event, data="\n".join(data)) if data else event
