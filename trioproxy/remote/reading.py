"""The messages of a response, whichever way it carries them: one JSON body, or a stream of events.

2025-03-26 and later, Transports §Sending Messages to the Server: "the server MUST either return Content-Type:
text/event-stream, to initiate an SSE stream, or Content-Type: application/json, to return one JSON object.  The client MUST
support both these cases."
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import trio

from ..http_client import ResponseStream, find_header
from ..protocol.errors import ChildError, InvalidRequest, LineTooLong, ParseError
from ..protocol.event_stream import EventStream
from ..protocol.lines import OversizedLine
from ..protocol.messages import Message, parse_body, recognise

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream"

Hear: TypeAlias = Callable[[bytes | OversizedLine], Awaitable[bool]]
"""Gets a message, one line without its newline; returns whether it was the last that matters."""

_SHOWN: Final = 80
_LINGER: Final = 0.5
"""Seconds for a stream to end after the last message that matters."""


def media_type(response: ResponseStream) -> bytes:
    """Return the media type of a response's body, b"" where it doesn't say."""
    value = find_header(response.headers, b"content-type") or ""
    return value.partition(";")[0].strip().lower().encode()


def recognised(raw: bytes | OversizedLine) -> Message | None:
    """Return the message that has come; None for what is too long, or is none."""
    try:
        return None if isinstance(raw, OversizedLine) else recognise(raw)
    except (ParseError, InvalidRequest):
        return None


class Reader:
    """Reads one stream, over as many connections as it takes.

    Attributes:
      last_event_id: from which the stream can be resumed; b"" if it can't.
      retry_ms: how long the server wants us to wait before that, if it has said so.
      has_heard: whether anything has come.
    """

    def __init__(self, max_size: int | None) -> None:
        self.last_event_id = b""
        self.retry_ms: int | None = None
        self.has_heard = False
        self._max_size = max_size

    async def read(self, response: ResponseStream, hear: Hear) -> None:
        """Hand on each message, until the end of the response, or soon after the last that matters.

        Raises:
          HttpClientError: the response was cut off.
          ChildError: it is of a media type that carries no messages.
          LineTooLong: it is one JSON body over the limit.
        """
        kind = media_type(response)
        if kind == EVENT_STREAM:
            await self._read_events(response, hear)
        elif kind == JSON:
            await self._read_json(response, hear)
        else:
            came = kind.decode("latin-1")[:_SHOWN]
            raise ChildError(f"the answer is of media type {came!r}, where JSON or an event stream was expected")

    async def _read_events(self, response: ResponseStream, hear: Hear) -> None:
        events = EventStream(self._max_size, self.last_event_id)
        with trio.CancelScope() as rest:
            async for piece in response:
                for event in events.feed(piece):
                    self.has_heard = True
                    # An event without data is a place to resume from, and one of another name no message.
                    if event.data and event.name == "message" and await _hear_data(event.data, hear):
                        # A response that has been read to its end leaves a connection for the next request.
                        rest.deadline = trio.current_time() + _LINGER
                self.last_event_id = events.last_event_id
                self.retry_ms = self.retry_ms if events.retry_ms is None else events.retry_ms

    async def _read_json(self, response: ResponseStream, hear: Hear) -> None:
        body = bytearray()
        async for piece in response:
            body += piece
            if self._max_size is not None and len(body) > self._max_size:
                raise LineTooLong(f"the answer is longer than the limit of {self._max_size} bytes")
        await _hear_data(bytes(body), hear)


async def _hear_data(data: bytes | OversizedLine, hear: Hear) -> bool:
    if isinstance(data, OversizedLine) or not (b"\n" in data or data[:1] != b"{"):
        return await hear(data)
    try:
        messages = parse_body(data)
    except (ParseError, InvalidRequest):
        # Whoever hears it says what is wrong with it.
        return await hear(data.replace(b"\n", b" "))
    has_ended = False
    for message in messages if isinstance(messages, list) else [messages]:
        has_ended = await hear(message.raw) or has_ended
    return has_ended
